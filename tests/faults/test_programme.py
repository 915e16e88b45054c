"""A minute of the fault programme: forked drivers and workers are killed, and everything holds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("trainer", "kills"), [("fake", 16), ("real", 8)])
def test_nothing_is_lost(trainer: str, kills: int, tmp_path: Path) -> None:
    """A process of its own, which may fork: it has one thread."""
    command = [sys.executable, "-m", "tests.faults.programme", "--folder", str(tmp_path)]
    options = ["--kills", str(kills), "--trainer", trainer, "--seed", "7"]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"| all | {kills} | {kills} |" in done.stdout
