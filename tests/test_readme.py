"""README.md, its Chinese twin, and the figures in both: what they say of commands and numbers is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer
import yaml

from sweeps.cli import app
from sweeps.spec import SweepSpec
from tests import readme_figures
from tests.architecture_tree import ROOT
from tests.dashboards.conftest import make_workspace

ENGLISH, CHINESE = ((ROOT / name).read_text() for name in ("README.md", "README.zh.md"))
LONGEST = 200


def _blocks(text: str, language: str = r"\w*") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def _links(text: str) -> list[str]:
    """Every link and picture but that to the other language."""
    return [to for to in re.findall(r"\]\(([^)]+)\)", text) if not to.startswith("README")]


def _figures(text: str) -> list[list[str]]:
    """The numbers of every row of a table, of every sentence between marks, and of the limits."""
    rows = re.findall(r"^\|.*\|$", text, flags=re.MULTILINE)
    rows += re.findall(r"<!-- figures:.*?<!-- /figures -->", text, flags=re.DOTALL)
    return [sorted(re.findall(r"[+−]?\d[\d,.]*", row)) for row in rows]


def test_the_readme_is_short() -> None:
    assert len(ENGLISH.splitlines()) <= LONGEST
    assert len(CHINESE.splitlines()) <= LONGEST


def test_the_chinese_readme_has_the_same_commands() -> None:
    assert _blocks(CHINESE) == _blocks(ENGLISH)


def test_the_chinese_readme_has_the_same_parts_links_and_figures() -> None:
    def headings(text: str) -> list[int]:
        return [len(marks) for marks in re.findall(r"^(#+) ", text, flags=re.MULTILINE)]

    assert headings(CHINESE) == headings(ENGLISH)
    assert _links(CHINESE) == _links(ENGLISH)
    assert _figures(CHINESE) == _figures(ENGLISH)


@pytest.mark.parametrize("name", readme_figures.FILES)
def test_figures_are_those_of_the_recorded_run(name: str) -> None:
    text = (ROOT / name).read_text()
    assert "<!-- figures:" in text
    assert readme_figures.filled(text) == text, "run: python -m tests.readme_figures"


@pytest.mark.parametrize("name", sorted(path.name for path in ROOT.glob("*.md")))
def test_links_lead_somewhere(name: str) -> None:
    local = [to for to in _links((ROOT / name).read_text()) if "://" not in to]
    assert [to for to in local if not (ROOT / to).exists()] == []


def test_every_command_is_one_with_these_options() -> None:
    verbs = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    lines = [line for block in _blocks(ENGLISH, "sh") for line in block.splitlines()]
    commands = [re.sub(r"\s+#.*", "", line).split() for line in lines]
    ours = [words[1:] for words in commands if words[0] == "sft-select"]
    assert len(ours) > 10
    for verb, *words in ours:
        options = {option for p in verbs[verb].params for option in p.opts}
        given = {word for word in words if word.startswith("-")}
        assert given <= options, verb


def test_the_sweep_file_in_short_is_one() -> None:
    (text,) = _blocks(ENGLISH, "yaml")
    assert SweepSpec.model_validate(yaml.safe_load(text)).volumes == (500, 1000, 2000)


def test_the_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_workspace(tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    (example,) = _blocks(ENGLISH, "python")
    exec(compile(example, "README.md", "exec"), {})
    assert (tmp_path / "recommended.yaml").exists()
    assert (tmp_path / "scaling.html").exists()
