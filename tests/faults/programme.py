"""Kills of drivers and workers at random moments, over minutes or days, and what did not hold after them.

``python -m tests.faults.programme --kills 1000 --trainer fake --folder F --seed 0 --hours 5``

A workspace is killed a few times (its driver by SIGKILL, SIGINT or SIGTERM, all of it at once, a worker, a
stopped process), resumed after each by the same command, and when its sweep has ended all invariants are
checked (:mod:`tests.faults.invariants`). ``F/kills.jsonl`` gets a line a kill once its workspace is checked,
so that a programme that was itself interrupted goes on where it was. A workspace that broke a promise stays.

The drivers are forked (:mod:`tests.faults.fork_server`); *fake* trials last a quarter of a second, *real*
ones train a tiny model. At the end a table: kills by victim and by what the driver was doing, tried and held.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from tests.faults import fork_server
from tests.faults.fork_server import Process, Trainer, fork

NAME = "tiny"
TRIALS = 8
KILLS_A_WORKSPACE = 10
#: Seconds after which a run without a kill has hung.
PATIENCE = 180.0
#: The chance of each victim: who gets which signals, and how long it is stopped before the last of them.
VICTIMS = {
    "driver SIGKILL": 5,
    "driver SIGINT": 3,
    "driver SIGTERM": 3,
    "everything SIGKILL": 2,
    "driver SIGSTOP+SIGKILL": 1,
    "worker SIGKILL": 4,
    "worker SIGTERM": 1,
    "worker SIGSTOP+SIGKILL": 2,
}
_STOPPED_SECONDS = 0.2
#: What a driver may exit with after a signal; minus the signal where it came before the handler.
_EXITS = {"SIGINT": {130, -2, 0}, "SIGTERM": {143, -15, 0}, "SIGKILL": {-9, 0}}


class Sweep(NamedTuple):
    """A sweep file, its trials, and the exported text and the seconds of an uninterrupted run."""

    file: Path
    trials: int
    trainer: Trainer
    reference: str = ""
    seconds: float = 3.0


def prepare(folder: Path, trainer: Trainer) -> Sweep:
    """Write the tiny sweep under *folder* and run it once without a kill."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "sweep.yaml"
    if not file.exists():
        ended = fork(lambda: _prepare_files(folder), folder / "log" / "prepare").wait(PATIENCE)
        assert ended.code == 0, ended.output
    whole = folder / "whole"
    shutil.rmtree(whole, ignore_errors=True)
    begun = time.monotonic()
    ended = start(file, whole, trainer).wait(PATIENCE)
    assert ended.code == 0, ended.output
    sweep = Sweep(file, TRIALS, trainer, seconds=time.monotonic() - begun)
    found, reference = check(sweep, whole)
    assert not found, f"an uninterrupted run: {found}"
    return sweep._replace(reference=reference)


def start(
    file: Path, workspace: Path, trainer: Trainer, before: Callable[[], None] = lambda: None
) -> Process:
    """The command ``run``, forked; *before* is called in the fork first."""
    arguments = ["run", str(file), "--workspace", str(workspace)]
    output = workspace.parent / "log" / f"{workspace.name}.run"
    return fork_server.driver(arguments, output, trainer, before)


def check(sweep: Sweep, workspace: Path) -> tuple[list[str], str]:
    """Violations of a finished workspace, and its exported text; both worked out in a fork."""
    answer = workspace.parent / "log" / f"{workspace.name}.check.json"

    def run() -> None:
        from tests.faults import invariants

        found = invariants.violations(sweep.file, workspace, trials=sweep.trials)
        text = invariants.recommendation(sweep.file, workspace)
        if sweep.reference and text != sweep.reference:
            found.append("I5: another recommended file than without kills")
        answer.write_text(json.dumps([found, text]))

    answer.unlink(missing_ok=True)
    ended = fork(run, workspace.parent / "log" / f"{workspace.name}.check").wait(PATIENCE)
    if ended.code:
        return [f"the check ended with {ended.code}: {ended.output[-1500:]}"], ""
    found, text = json.loads(answer.read_text())
    return found, text


class Workspace:
    """One workspace whose driver and workers are killed until they were killed often enough."""

    def __init__(self, sweep: Sweep, folder: Path, seed: str) -> None:
        self.sweep, self.folder = sweep, folder
        self.draw = random.Random(seed)
        self.driver: Process | None = None
        self.kills: list[dict[str, Any]] = []
        self.violations: list[str] = []

    def kill_all(self, count: int) -> None:
        """Kill *count* times, then run to the end and check."""
        early = 0  # the first kills fall into the first start more often than chance would have it
        while len(self.kills) < count and early < 3 * count:
            victim = self.draw.choices(list(VICTIMS), list(VICTIMS.values()))[0]
            first = not self.kills and self.driver is None
            moment = self.draw.uniform(0, self.sweep.seconds * (0.8 if first else 0.6))
            if not self._kill(victim, moment):
                early += 1
                if results(self.folder) >= self.sweep.trials:
                    break  # the sweep has ended: later kills would meet an idle workspace
        self._finish()

    def _kill(self, victim: str, moment: float) -> bool:
        """Kill *victim* after *moment* seconds; False where the driver had ended by itself before."""
        driver = self._running()
        due = time.monotonic() + moment
        whom, _, what = victim.partition(" ")
        target: psutil.Process | Process | None = driver
        while True:
            if driver.poll() is not None:
                self._ended(driver, {0})
                return False
            if time.monotonic() >= due:
                target = self._worker(driver) if whom == "worker" else driver
                if target is not None:
                    break
            time.sleep(0.005)
        doing = phase(self.folder, self.sweep.trials)
        signals = [signal.Signals[name] for name in what.split("+")]
        for number in signals:
            try:
                if whom == "everything" or (whom == "driver" and number is signal.SIGINT):
                    driver.signal_session(number)
                elif isinstance(target, psutil.Process):
                    target.send_signal(number)
                else:
                    driver.signal(number)
            except psutil.NoSuchProcess:
                return False
            if number is signal.SIGSTOP:
                time.sleep(_STOPPED_SECONDS)
        if whom != "worker":
            self._ended(driver, _EXITS[signals[-1].name])
        fact = {"victim": victim, "after": round(moment, 3), "phase": doing}
        self.kills.append(fact | {"exit": driver.code if whom != "worker" else None})
        return True

    def _running(self) -> Process:
        if self.driver is None:
            self.driver = start(self.sweep.file, self.folder, self.sweep.trainer)
        return self.driver

    def _ended(self, driver: Process, allowed: set[int]) -> None:
        """Wait for the end of the driver and of all that it started."""
        self.driver = None
        try:
            ended = driver.wait(PATIENCE)
        except AssertionError as problem:
            self.violations.append(f"hung: {problem}")
            return
        if ended.code not in allowed:
            self.violations.append(
                f"I4: exit {ended.code} of {sorted(allowed)}: {ended.output[-1500:]}"
            )
        if "Traceback" in ended.output:
            self.violations.append(f"traceback: {ended.output[-1500:]}")
        self.violations += fork_server.outlives(driver)

    def _finish(self) -> None:
        for _ in range(2):  # the second run finds all done, and exits 0 too
            self._ended(self._running(), {0})
        found, _ = check(self.sweep, self.folder)
        self.violations += found

    def _worker(self, driver: Process) -> psutil.Process | None:
        workers = driver.children()
        return self.draw.choice(workers) if workers else None


def results(workspace: Path) -> int:
    """How many trials of the workspace have ended."""
    journals = (workspace / NAME / "journal").glob("*.jsonl")
    return sum('"event":"result"' in path.read_text(errors="replace") for path in journals)


def phase(workspace: Path, trials: int) -> str:
    """What the driver is doing, by what is on disk."""
    root = workspace / NAME
    if not root.exists():
        return "before the workspace"
    if not (workspace / "mlflow.db").exists():
        return "store is made"
    if not (root / "study.db").exists():
        return "study is made"
    if not (root / "journal").exists():
        return "before the first trial"
    return "trials run" if results(workspace) < trials else "after the last trial"


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Kills by victim and by what the driver was doing: how many were tried, and broke no promise."""
    rows = []
    for title, field in (("victim", "victim"), ("the driver's work", "phase")):
        tried = Counter(line[field] for line in lines)
        kept = Counter(line[field] for line in lines if line["kept"])
        rows += [f"| {title} | tried | held |", "|---|---:|---:|"]
        rows += [f"| {name} | {n:,} | {kept[name]:,} |" for name, n in sorted(tried.items())]
        rows.append(f"| all | {len(lines):,} | {sum(kept.values()):,} |\n")
    return "\n".join(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """The programme; 1 where a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--kills", type=int, default=1000, help="of all calls on this folder together"
    )
    parser.add_argument("--trainer", choices=["fake", "real"], default="fake")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hours", type=float, default=24.0)
    options = parser.parse_args(arguments)
    until = time.monotonic() + options.hours * 3600
    fork_server.preload()
    folder = options.folder.resolve()
    sweep = prepare(folder, options.trainer)
    written = folder / "kills.jsonl"
    lines = _read(written)
    first = 1 + max((line["workspace"] for line in lines), default=-1)
    number = first
    while len(lines) < options.kills and time.monotonic() < until:
        workspace = Workspace(sweep, folder / f"workspace-{number}", f"{options.seed}:{number}")
        workspace.kill_all(min(KILLS_A_WORKSPACE, options.kills - len(lines)))
        kept = not workspace.violations
        fresh = [
            {"kill": len(lines) + n, "workspace": number, "kept": kept, "trainer": sweep.trainer}
            | fact
            | {"violations": workspace.violations}
            for n, fact in enumerate(workspace.kills)
        ]
        lines += fresh
        with written.open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in fresh)
        for problem in workspace.violations:
            print(f"workspace {number}: {problem}", flush=True)
        if kept:
            shutil.rmtree(workspace.folder)
        number += 1
        broken = sum(not line["kept"] for line in lines)
        print(f"{len(lines)} kills, {broken} in workspaces that broke a promise", flush=True)
    print(table(lines))
    return int(any(not line["kept"] for line in lines))


def write_sweep(folder: Path, **changes: object) -> None:
    """Write a sweep file of one mix, with *changes*, and beside it its tiny model and data."""
    from tests.conftest import write_tiny_data, write_tiny_model
    from tests.factories import sweep_text

    (folder / "data").mkdir(exist_ok=True)
    write_tiny_data(folder / "data")
    write_tiny_model(folder / "model", folder / "data")
    text = sweep_text(folder / "model", folder / "data", mixes={"plain": {"intent": 1}}, **changes)
    (folder / "sweep.yaml").write_text(text)


def _prepare_files(folder: Path) -> None:
    engine = {"kind": "local", "workers": 2, "checkpoint_seconds": 0.05}
    write_sweep(folder, budget={"trials": TRIALS}, seeds=1, engine=engine)


def _read(file: Path) -> list[dict[str, Any]]:
    lines: Iterable[str] = file.read_text().splitlines() if file.exists() else ()
    return [json.loads(line) for line in lines]


if __name__ == "__main__":
    sys.exit(main())
