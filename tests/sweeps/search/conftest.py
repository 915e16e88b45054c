"""A small sweep over the tiny model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.resolve import ResolvedSweep, read_sweep
from tests.factories import sweep_text


@pytest.fixture
def make_sweep(
    tiny_model: Path, tiny_data: Path, tmp_path: Path
) -> Callable[..., tuple[ResolvedSweep, Path]]:
    """``make_sweep(**changes)`` → the resolved sweep and its file."""

    def make(**changes: object) -> tuple[ResolvedSweep, Path]:
        path = tmp_path / "sweep.yaml"
        path.write_text(sweep_text(tiny_model, tiny_data, **changes))
        return read_sweep(path), path

    return make
