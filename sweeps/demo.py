"""The embedded default, from nothing to a recommendation: ``sft-select demo``."""

from __future__ import annotations

from pathlib import Path

from sweeps.playground.write import write_playground


def prepare_demo(folder: Path) -> Path:
    """Write the playground into *folder* unless it is there; returns its sweep file."""
    sweep_file = folder / "sweep.yaml"
    return sweep_file if sweep_file.exists() else write_playground(folder)
