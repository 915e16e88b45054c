"""Kill a sweep's driver or workers at random moments, run it again, and check what must hold.

The invariants: I1 every trial has one terminal state; I2 none ran to its end twice, the budget is exact; I3
the store holds every step once and as the journal has it; I4 the same command finishes with exit 0; I5 the
recommended file equals an uninterrupted run's, measured times apart; I6 nothing is left running or behind.

``python -m tests.faults.kills SWEEP.yaml FOLDER --kills 5`` does it for any sweep file.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import optuna
import psutil

from tracker.store.journal import Journal
from tracker.store.store import Store
from tracker.strict_yaml import read

#: Whether the time to kill has come.
Moment = Callable[[], bool]

LEFT_BEHIND = ("*.lock", "driver.json", ".writing-*", "step-*", ".*.tmp")


def start(sweep: Path, workspace: Path) -> subprocess.Popen[str]:
    """The sweep's driver as a user starts it."""
    command = [sys.executable, "-m", "sweeps.cli", "run", str(sweep), "--workspace", str(workspace)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(sweep: Path, workspace: Path) -> float:
    """Run to the end; exit 0 or AssertionError (I4). Returns seconds."""
    begun = time.monotonic()
    driver = start(sweep, workspace)
    out, err = driver.communicate()
    assert driver.returncode == 0, f"exit {driver.returncode}: {out}\n{err}"
    return time.monotonic() - begun


def at_second(seconds: float) -> Moment:
    """So long after the moment's making."""
    due = time.monotonic() + seconds
    return lambda: time.monotonic() >= due


def at_result(sweep: Path, workspace: Path, count: int) -> Moment:
    """When *count* trials have ended, however fast the machine is."""
    journals = workspace / str(read(sweep).data["name"]) / "journal"
    return lambda: (
        sum('"event":"result"' in path.read_text() for path in journals.glob("*.jsonl")) >= count
    )


def kill_driver(sweep: Path, workspace: Path, moment: Moment) -> bool:
    """Start the driver and SIGKILL it at *moment*; False if it had ended by then."""
    driver = start(sweep, workspace)
    children = _wait(driver, moment)
    ended = driver.poll() is not None
    driver.kill()
    driver.communicate()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive, f"workers outlive their driver: {alive}"
    return not ended


def kill_worker(sweep: Path, workspace: Path, moments: Sequence[Moment], seed: int) -> int:
    """Run to the end (exit 0), killing a random worker at each of the moments; returns kills done."""
    driver = start(sweep, workspace)
    done = 0
    for moment in moments:
        _wait(driver, moment)
        workers = [p for p in _children(driver) if _is_worker(p)]
        if driver.poll() is None and workers:
            random.Random(seed + done).choice(workers).send_signal(signal.SIGKILL)
            done += 1
    out, err = driver.communicate()
    assert driver.returncode == 0, f"exit {driver.returncode}: {out}\n{err}"
    return done


def recommended(sweep: Path, workspace: Path) -> str:
    """The recommended file's text above its measured times."""
    file = workspace / "recommended.yaml"
    command = [sys.executable, "-m", "sweeps.cli", "recommend", str(sweep), "-o", str(file)]
    done = subprocess.run([*command, "--workspace", str(workspace)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return file.read_text().partition("\nmeasured:")[0]


def check(sweep: Path, workspace: Path) -> int:
    """Assert I1 to I3 and I6; returns the number of trials."""
    name = str(read(sweep).data["name"])
    root = workspace / name
    study = optuna.load_study(study_name=name, storage=f"sqlite:///{root / 'study.db'}")
    unfinished = [t.number for t in study.trials if not t.state.is_finished()]
    assert not unfinished, f"I1: trials {unfinished} have no terminal state"

    store = Store.open(workspace)
    records = store.records(name)
    keys = [record.result.spec.key for record in records]
    assert len(set(keys)) == len(keys) == len(study.trials), "I2: one result per planned trial"
    for key in keys:
        journal = Journal(root / "journal" / f"{key}.jsonl")
        events = Counter(event["event"] for event in journal.events())
        assert events["result"] == 1, f"I2: {key} ended {events['result']} times"
        logged = [(s.step, _plain(s.values)) for s in store.history(name, key)]
        assert logged == [(s.step, _plain(s.values)) for s in journal.steps()], f"I3: {key}"

    (info,) = [info for info in store.sweeps() if info.name == name]
    assert info.state == "finished", f"I6: the sweep is {info.state}"
    assert not store.running(name), "I6: a run is still open"
    left = [p for pattern in LEFT_BEHIND for p in root.rglob(pattern)]
    assert not left, f"I6: left behind: {left}"
    mine = [p.pid for p in psutil.process_iter(["cmdline"]) if str(workspace) in _words(p)]
    assert not mine, f"I6: processes {mine} still work on {workspace}"
    return len(keys)


def main() -> None:
    """The whole programme on one sweep file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sweep", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    sweep, folder, draw = options.sweep, options.folder, random.Random(options.seed)
    seconds = finish(sweep, folder / "whole")
    reference = recommended(sweep, folder / "whole")
    print(f"uninterrupted: {check(sweep, folder / 'whole')} trials in {seconds:.0f} s", flush=True)

    kills = [0.0] * options.kills
    for i in range(options.kills):
        kills[i] = draw.uniform(5, 5 + seconds / options.kills)
        hit = kill_driver(sweep, folder / "driver", at_second(kills[i]))
        print(f"driver killed after {kills[i]:.1f} s: {hit}", flush=True)
    rest = finish(sweep, folder / "driver")
    same = recommended(sweep, folder / "driver") == reference
    print(f"driver: {check(sweep, folder / 'driver')} trials, last run {rest:.0f} s, same: {same}")
    assert same, "I5"

    times = sorted(draw.uniform(5, seconds) for _ in range(options.kills))
    moments = [at_second(moment) for moment in times]
    hits = kill_worker(sweep, folder / "worker", moments, options.seed)
    same = recommended(sweep, folder / "worker") == reference
    print(f"worker: {check(sweep, folder / 'worker')} trials, {hits} kills, same: {same}")
    assert same, "I5"


def _wait(driver: subprocess.Popen[str], moment: Moment) -> list[psutil.Process]:
    """Sleep until *moment* unless the driver ends before; returns the children it had last."""
    children: list[psutil.Process] = []
    while not moment() and driver.poll() is None:
        children = _children(driver) or children
        time.sleep(0.05)
    return children


def _children(driver: subprocess.Popen[str]) -> list[psutil.Process]:
    try:
        return psutil.Process(driver.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _is_worker(process: psutil.Process) -> bool:
    return "spawn_main" in _words(process)


def _words(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return ""


def _plain(values: dict[str, float]) -> str:
    return json.dumps(dict(sorted(values.items())))


if __name__ == "__main__":
    main()
