"""A minute of the fault programme: drivers and workers are killed at random moments, and everything holds."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.faults.invariants import lost_work
from tests.faults.mutants import lines_of
from tests.faults.promises import PROMISES
from tests.faults.soak import slope_of

pytestmark = pytest.mark.slow


def command(module: str, *options: str) -> str:
    """What a command of this folder prints. A process of its own may fork: it has one thread."""
    program = [sys.executable, "-m", f"tests.faults.{module}", *options]
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(("trainer", "kills"), [("fake", 10), ("real", 4)])
def test_forked_drivers_and_workers_are_killed(trainer: str, kills: int, tmp_path: Path) -> None:
    options = ("--kills", str(kills), "--trainer", trainer, "--seed", "7")
    assert f"| all | {kills} | {kills} |" in command(
        "programme", *options, "--folder", str(tmp_path)
    )


def test_first_starts_are_killed(tmp_path: Path) -> None:
    said = command("first_start", "--tries", "2", "--seed", "1", "--folder", str(tmp_path))
    counts = re.findall(r"^SIG\w+: (\d) tried, (\d) held$", said, re.MULTILINE)
    assert sum(int(tried) for tried, _ in counts) == 2
    assert all(tried == held for tried, held in counts)


def test_an_extension_is_killed(tmp_path: Path) -> None:
    options = ("--tries", "1", "--seed", "3", "--strategies", "grid")
    said = command("extension", *options, "--folder", str(tmp_path))
    assert "extensions: 1 tried, 1 held" in said


def test_a_crash_point_fails(tmp_path: Path) -> None:
    only = "rename tracker/files.py:put_in_place < sweeps/finetune/checkpoint.py:save_checkpoint"
    said = command("inject", "--only", only, "--limit", "2", "--folder", str(tmp_path))
    assert "| all | | 2 | 2 |" in said


@pytest.mark.parametrize(
    ("steps", "lost"), [((3, 3), 0), ((3, 4), 0), ((3, 2), 1)], ids=["same", "newer", "older"]
)
def test_work_before_a_checkpoint_is_never_lost(steps: Sequence[int], lost: int) -> None:
    saved, resumed = steps
    events = [{"event": "checkpoint", "step": saved}, {"event": "resume", "step": resumed}]
    assert len(lost_work(events)) == lost


def test_a_slope_has_its_interval() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 600)
    samples = [(5.0 * n, 100 + 2.0 * (5.0 * n / 3600) + noise[n]) for n in range(600)]
    slope = slope_of(samples)
    assert slope is not None
    assert slope.low < 2.0 < slope.high
    assert slope_of(samples[:20]) is None


def test_every_line_of_a_promise_is_still_there() -> None:
    """Once in its file, so that breaking it breaks that one; its tests exist, and all stand in one list."""
    assert len(PROMISES) >= 100
    assert len(set(PROMISES)) == len(PROMISES)
    for promise in PROMISES:
        assert len(lines_of(promise)) == 1, f"{promise.file}: {promise.line}"
        assert promise.line != promise.broken
        assert all(Path(test).exists() for test in promise.tests), promise.tests
