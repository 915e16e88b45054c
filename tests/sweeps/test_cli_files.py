"""Where verbs write, and what they say where they cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeps import cli, demo, lookup
from sweeps.search.workspace import SweepFolder
from tests.benchmarks.synthetic import synthetic_sweep
from tracker.decision.recommend import recommend
from tracker.errors import InputError
from tracker.store.store import Store


def test_a_draft_goes_into_a_new_folder_or_one_line_says_why_not(
    tiny_data: Path, tiny_model: Path, tmp_path: Path
) -> None:
    data, models = [tiny_data / "train.jsonl"], [str(tiny_model)]
    cli.init(data, models, tmp_path / "new" / "sweep.yaml")
    assert (tmp_path / "new" / "sweep.yaml").read_text().strip()
    with pytest.raises(InputError, match="name a file in a folder that can be") as raised:
        cli.init(data, models, Path("/dev/null/sweep.yaml"))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("folder", "expected"), [("demo", "recommended.yaml"), ("other", "other/recommended.yaml")]
)
def test_a_demo_elsewhere_leaves_nothing_here(
    folder: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written: list[Path] = []
    monkeypatch.setattr(demo, "prepare_demo", lambda folder: folder / "sweep.yaml")
    monkeypatch.setattr(cli, "run", lambda *_, **__: None)
    monkeypatch.setattr(cli, "recommend", lambda *_, output, **__: written.append(output))
    cli.demo(Path(folder), serve=False)
    assert written == [Path(expected)]


def test_a_demo_that_cannot_be_written() -> None:
    with pytest.raises(InputError, match="name another --folder"):
        demo.prepare_demo(Path("/dev/null/demo"))


def test_a_demo_that_was_begun_keeps_its_sweep_file(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text("name: begun\n")
    assert demo.prepare_demo(tmp_path).read_text() == "name: begun\n"
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.yaml"]


def test_it_is_said_whether_the_recommended_model_was_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = synthetic_sweep(0)
    answer = recommend(drawn.records, drawn.objective)
    store, sent = Store.open(tmp_path), []
    monkeypatch.setattr(Store, "keep_model", lambda _, *given: sent.append(given))
    said = lookup.keep_model(store, tmp_path, "s", answer)
    assert (said, sent) == (f"no tuned model of its trial was kept in {tmp_path / 's'}", [])
    model = SweepFolder(tmp_path, "s").model(answer.trial.key)
    model.mkdir(parents=True)
    said = lookup.keep_model(store, tmp_path, "s", answer)
    assert said == f"its trial's tuned model is in the tracking store and in {model}"
    assert sent == [("s", answer.trial.key, model)]
