"""The first start of a fresh workspace, killed at a random moment: the same command, rerun, exits 0.

``python -m tests.faults.first_start --tries 60 --folder F``

Each try starts ``python -m sweeps.cli run`` on a tiny real sweep in a session of its own, sends SIGKILL to
the driver or SIGINT to all of them, as Ctrl-C in a terminal does, at a moment between the start and the end
of the first trial, and reruns the command by a forked driver with real workers. Every invariant is checked.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.faults import fork_server
from tests.faults.fork_server import Process
from tests.faults.programme import PATIENCE, Sweep, check, phase, prepare, results, start

#: The exit codes of an interrupted start; minus the signal where it came before Python's handler.
_INTERRUPTED = {130, -signal.SIGINT, 0}


class Try(NamedTuple):
    """One killed first start; ``phase``: what the driver was doing; ``violations``: what did not hold."""

    number: int
    signal: str
    after: float
    phase: str
    violations: list[str]


def spawn(sweep: Sweep, workspace: Path) -> subprocess.Popen[str]:
    """The command as a user starts it, in a session of its own."""
    command = [sys.executable, "-m", "sweeps.cli", "run", str(sweep.file)]
    return subprocess.Popen(
        [*command, "--workspace", str(workspace)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def first_trial_seconds(sweep: Sweep, folder: Path) -> float:
    """Seconds from the start of the command to the end of its first trial."""
    begun = time.monotonic()
    driver = spawn(sweep, folder)
    while results(folder) == 0 and driver.poll() is None:
        time.sleep(0.05)
    seconds = time.monotonic() - begun
    os.killpg(driver.pid, signal.SIGKILL)
    driver.communicate()
    shutil.rmtree(folder)
    return seconds


def attempt(sweep: Sweep, workspace: Path, number: int, what: signal.Signals, after: float) -> Try:
    """Kill the first start *after* seconds by *what*, rerun, and check."""
    found: list[str] = []
    driver = spawn(sweep, workspace)
    time.sleep(after)
    doing = phase(workspace, sweep.trials)
    if what is signal.SIGINT:
        os.killpg(driver.pid, what)
    else:
        driver.kill()
    try:
        said, _ = driver.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        found.append("hung after the signal")
        os.killpg(driver.pid, signal.SIGKILL)
        said, _ = driver.communicate()
    if what is signal.SIGINT and driver.returncode not in _INTERRUPTED:
        found.append(f"exit {driver.returncode} after Ctrl-C: {said[-1500:]}")
    # Before its main is called, the command is Python's own to interrupt.
    if "Traceback" in said and (doing != "before the workspace" or "    main()" in said):
        found.append(f"traceback: {said[-1500:]}")
    found += fork_server.outlives(Process(driver.pid, workspace), 2.0)
    ended = start(sweep.file, workspace, sweep.trainer).wait(PATIENCE)
    if ended.code:
        found.append(f"I4: the rerun exits {ended.code}: {ended.output[-1500:]}")
    else:
        found += check(sweep, workspace)[0]
    return Try(number, what.name, round(after, 2), doing, found)


def main(arguments: Sequence[str] | None = None) -> int:
    """All tries; 1 where one broke a promise."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tries", type=int, default=60)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    fork_server.preload()
    folder, draw = options.folder.resolve(), random.Random(options.seed)
    sweep = prepare(folder, "real")
    longest = first_trial_seconds(sweep, folder / "timed")
    print(f"the first trial ends after {longest:.1f} s", flush=True)
    tries = []
    for number in range(options.tries):
        what = draw.choice([signal.SIGKILL, signal.SIGINT])
        workspace = folder / f"first-{number}"
        shutil.rmtree(workspace, ignore_errors=True)
        tries.append(attempt(sweep, workspace, number, what, draw.uniform(0, longest)))
        with (folder / "first_start.jsonl").open("a") as file:
            file.write(json.dumps(tries[-1]._asdict()) + "\n")
        print(*tries[-1], flush=True)
        if not tries[-1].violations:
            shutil.rmtree(workspace)
    for field in ("signal", "phase"):
        tried = Counter(getattr(one, field) for one in tries)
        kept = Counter(getattr(one, field) for one in tries if not one.violations)
        print(
            "\n".join(f"{name}: {n} tried, {kept[name]} held" for name, n in sorted(tried.items()))
        )
    return int(any(one.violations for one in tries))


if __name__ == "__main__":
    sys.exit(main())
