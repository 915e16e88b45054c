"""The verb ``control`` against a real driver with real workers, as a user would give it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.factories import sweep_text
from tracker.errors import StoreError
from tracker.store.store import LiveTrial, Store
from tracker.trial import Status

_PATIENCE = 300.0  # seconds, on a machine that does much else


def control(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sweeps.cli", "control", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True)


def learning(driver: subprocess.Popen[str], workspace: Path) -> LiveTrial:
    """The first trial that was seen to take steps."""
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until and driver.poll() is None:
        time.sleep(1.0)
        try:
            running = Store.open(workspace, create=False).running("tiny")
        except StoreError:
            continue
        if running and running[0].step:
            return running[0]
    raise AssertionError(f"no trial took a step; exit {driver.poll()}")


@pytest.mark.slow
def test_a_running_trial_is_stopped_and_the_sweep_ends_well(
    tiny_model: Path, tiny_data: Path, tmp_path: Path
) -> None:
    sweep, workspace = tmp_path / "sweep.yaml", tmp_path / "runs"
    text = sweep_text(
        tiny_model,
        tiny_data,
        models=[{"path": str(tiny_model), "name": "a"}],
        methods={"full": {"learning_rate": 1e-3}},
        mixes={"plain": {"intent": 1}},
        volumes=[160],
        train={"epochs": 1000, "batch_size": 8, "max_length": 96},
        seeds=1,
        engine={"kind": "local", "workers": 1},
    )
    sweep.write_text(text)
    command = [sys.executable, "-m", "sweeps.cli", "run", str(sweep), "--workspace", str(workspace)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as driver:
        try:
            trial = learning(driver, workspace)
            assert trial.curve[-1] == (trial.step, trial.loss)
            stopped = control("tiny", "stop-trial", trial.number, "--workspace", workspace)
            assert (stopped.returncode, stopped.stderr) == (0, "")
            assert f"stop trial {trial.number}: trial {trial.number} is stopped" in stopped.stdout
            _, errors = driver.communicate(timeout=_PATIENCE)
        finally:
            driver.kill()
    assert driver.returncode == 0, errors
    store = Store.open(workspace)
    result = store.records("tiny")[trial.number].result
    assert (result.status, result.reason) == (Status.PRUNED, "stopped by hand")
    assert (result.cost.device_seconds or 0) > 0
    assert store.history("tiny", trial.key), "what it learned until then is kept"
    assert not list((workspace / "tiny" / "checkpoints").glob("*"))

    late = control("tiny", "pause", "--workspace", workspace)
    assert late.returncode == 2
    assert "found sweep 'tiny' finished; allowed while it is running or paused" in late.stderr
    log = json.loads(control("tiny", "log", "--workspace", workspace, "--json").stdout)
    assert [each["request"]["action"] for each in log] == ["stop_trial"]
    assert log[0]["answer"]["accepted"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tiny", "halt"], "ACTION: found 'halt'; allowed: pause, resume, stop, stop-trial"),
        (["tiny", "clone", 3, "--set", "volume"], "--set volume: allowed is NAME=VALUE"),
        (["tiny", "clone", 3], "clone: found no changed value; allowed: one"),
        (["tiny", "stop-trial"], "stop_trial: found no trial number; allowed: one"),
        (["tiny", "raise-budget"], "found both or neither; allowed: one of trials, gpu_hours"),
        (["tiny", "pause", "--trials", 3], "--trials: found with pause; allowed with raise-budget"),
        (["tiny", "raise-budget", "--trials", -1], "budget.trials: found -1"),
    ],
)
def test_what_cannot_be_asked_is_one_line(words: list[object], said: str, tmp_path: Path) -> None:
    refused = control(*words, "--workspace", tmp_path)
    assert refused.returncode == 2
    assert said in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir()), "nothing is created"
