"""A sample of the bad inputs: each is refused at once, in lines, and leaves nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import bad_inputs
from tests.faults.bad_input_cases import Case, cases

#: Every so many of the cases that run within this process.
EVERY = 37


def sample() -> Iterator[Case]:
    chosen = [case for case in cases() if not case.name.startswith("process/")]
    yield from chosen[::EVERY]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    folder = tmp_path_factory.mktemp("bad_inputs")
    (folder / "sound-model").symlink_to(tiny_model)
    return folder


def test_a_sample_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(bad_inputs, "MAX_SECONDS", 10.0)  # the first one imports
    outcomes = list(bad_inputs.tried(sample(), root, {}))
    assert len(outcomes) > 30
    assert [f"{each.case.name}: {each.faults}" for each in outcomes if each.faults] == []
