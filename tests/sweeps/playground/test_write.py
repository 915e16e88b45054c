"""The written folder is complete, repeats byte for byte; its sweep file points at real files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from sweeps.method_entry import Range
from sweeps.playground.write import write_playground
from sweeps.resolve import read_sweep


@pytest.fixture(scope="module")
def sweep_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_playground(tmp_path_factory.mktemp("playground"))


def _paths(value: Any) -> list[str]:
    """Every string of a nested value that names a data file."""
    if isinstance(value, dict):
        return [p for v in value.values() for p in _paths(v)]
    return [value] if isinstance(value, str) and value.endswith(".jsonl") else []


def test_the_sweep_file_names_files_and_models_that_exist(sweep_file: Path) -> None:
    spec = yaml.safe_load(sweep_file.read_text(encoding="utf-8"))
    assert len(_paths(spec)) == 15
    assert all((sweep_file.parent / path).is_file() for path in _paths(spec))
    assert all((Path(model["path"]) / "config.json").is_file() for model in spec["models"])
    assert max(spec["volumes"]) <= 2000
    assert all(set(mix) & set(spec["tasks"]) for mix in spec["mixes"].values())


def test_p_tuning_is_what_learns_these_tasks(sweep_file: Path) -> None:
    """Measured: a prefix of 8 tokens at rates up to .5 learns them, v1 below .1 next to nothing."""
    p_tuning = read_sweep(sweep_file).spec.methods.p_tuning
    assert p_tuning is not None
    assert (p_tuning.variant, p_tuning.virtual_tokens) == (("v2",), (16,))
    rates = p_tuning.learning_rate
    assert isinstance(rates, Range)
    assert rates.low <= 0.06 < 0.47 <= rates.high


def test_every_line_is_a_row_of_text(sweep_file: Path) -> None:
    for path in sweep_file.parent.rglob("*.jsonl"):
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        wanted = {"text"} if path.stem in {"language", "replay"} else {"text", "label"}
        assert rows
        assert all(set(row) == wanted and all(row.values()) for row in rows)


def test_writing_again_gives_the_same_bytes(sweep_file: Path, tmp_path: Path) -> None:
    def digests(folder: Path) -> dict[str, str]:
        files = (p for p in folder.rglob("*") if p.is_file())
        return {
            str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files
        }

    write_playground(tmp_path)
    assert digests(tmp_path) == digests(sweep_file.parent)
