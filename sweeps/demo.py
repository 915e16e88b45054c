"""The embedded default, from nothing to a recommendation: ``sft-select demo``."""

from __future__ import annotations

from pathlib import Path

from sweeps.playground.write import write_playground
from tracker.errors import InputError


def prepare_demo(folder: Path) -> Path:
    """Write the playground into *folder* unless it is there; returns its sweep file.

    Raises InputError where it cannot be written.
    """
    sweep_file = folder / "sweep.yaml"
    try:
        return sweep_file if sweep_file.exists() else write_playground(folder)
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written ({error.strerror}); name another --folder"
        ) from error
