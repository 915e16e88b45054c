"""Drivers and workers of a real, tiny sweep are killed; the sweep comes out the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.factories import sweep_text
from tests.faults import kills

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sweep(tiny_model: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("kills") / "sweep.yaml"
    engine = {"kind": "local", "workers": 2, "checkpoint_seconds": 0.2}
    search = {"strategy": "grid", "tuning": {"trials": 1}, "window": 4}
    changes = {
        "engine": engine,
        "search": search,
        "budget": {"trials": 12},
        "volumes": [40, 160, 480],
    }
    changes["mixes"] = {"plain": {"intent": 1}}
    path.write_text(sweep_text(tiny_model, tiny_data, **changes))
    return path


@pytest.fixture(scope="module")
def reference(sweep: Path) -> str:
    folder = sweep.parent
    kills.finish(sweep, folder / "whole")
    assert kills.check(sweep, folder / "whole") == 12
    return kills.recommended(sweep, folder / "whole")


def test_killed_driver(sweep: Path, reference: str) -> None:
    workspace = sweep.parent / "driver"
    for ended in (2, 7):
        assert kills.kill_driver(sweep, workspace, kills.at_result(sweep, workspace, ended))
    kills.finish(sweep, workspace)
    assert kills.check(sweep, workspace) == 12
    assert kills.recommended(sweep, workspace) == reference


def test_killed_workers(sweep: Path, reference: str) -> None:
    workspace = sweep.parent / "worker"
    moments = [kills.at_result(sweep, workspace, ended) for ended in (3, 6)]
    assert kills.kill_worker(sweep, workspace, moments, seed=0) == 2
    assert kills.check(sweep, workspace) == 12
    assert kills.recommended(sweep, workspace) == reference
