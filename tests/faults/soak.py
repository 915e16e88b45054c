"""A soak: two trials in flight and a visited dashboard for 45 minutes; slopes of memory and descriptors.

``python -m tests.faults.soak --minutes 45 --folder F``

A real driver and its two workers run trials of some four seconds, of which every fifth trains the tiny model;
a dashboard on the same workspace is read every few seconds. RSS, PSS, descriptors and threads of each process
are sampled, averaged by minute, and after the warm-up a line is fitted: its slope an hour with the 95 %
interval of a least-squares fit over those minutes. At the end the driver gets Ctrl-C, and nothing may be
left.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import psutil
from scipy import stats

from tests.faults import fake_trial, programme
from tests.faults.invariants import left_behind
from tests.faults.programme import results

SAMPLE_SECONDS = 5.0
WARM_UP = 1 / 3  # of all minutes
MEGABYTE = 1024**2
QUANTITIES = ("rss_mb", "pss_mb", "descriptors", "threads")


class Slope(NamedTuple):
    """Slope an hour of a quantity, its 95 % interval, and its mean at the beginning and the end."""

    value: float
    low: float
    high: float
    first: float
    last: float


class Soak:
    """The processes of a soak and the samples taken of them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.workspace = folder, folder / "runs"
        self.log = (folder / "samples.jsonl").open("w")
        self.samples: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)

    def driver(self) -> subprocess.Popen[bytes]:
        """A driver whose workers are forked and whose trials are mostly fake."""
        command = [sys.executable, "-m", "tests.faults.fork_server", "mixed", "run"]
        options = [str(self.folder / "sweep.yaml"), "--workspace", str(self.workspace)]
        steps = {fake_trial.STEPS: "200", fake_trial.STEP_SECONDS: "0.02"}
        return self._start([*command, *options], "driver", steps)

    def dashboard(self) -> tuple[subprocess.Popen[bytes], str]:
        """A dashboard on the workspace, and its address."""
        command = [sys.executable, "-m", "sweeps.cli", "dashboard", "--port", "0"]
        process = self._start([*command, "--workspace", str(self.workspace)], "dashboard", {})
        due = time.monotonic() + 180
        while time.monotonic() < due:
            said = (self.folder / "dashboard.log").read_text()
            if found := re.search(r"http://127\.0\.0\.1:\d+", said):
                return process, found[0]
            time.sleep(0.5)
        raise AssertionError(f"no dashboard: {said}")

    def sample(self, name: str, process: psutil.Process) -> None:
        """Keep what *process* takes now; nothing where it has just ended."""
        with contextlib.suppress(psutil.Error):
            memory = process.memory_full_info()
            now = time.time()
            values = (memory.rss / MEGABYTE, memory.pss / MEGABYTE)
            values += (process.num_fds(), process.num_threads())
            for quantity, value in zip(QUANTITIES, values, strict=True):
                self.samples[name, quantity].append((now, float(value)))
            line = {"time": now, "process": name, **dict(zip(QUANTITIES, values, strict=True))}
            self.log.write(json.dumps(line) + "\n")

    def _start(
        self, command: Sequence[str], name: str, variables: dict[str, str]
    ) -> subprocess.Popen[bytes]:
        output: IO[bytes]
        with (self.folder / f"{name}.log").open("wb") as output:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | variables,
                start_new_session=True,
            )


def workers_of(driver: psutil.Process) -> list[psutil.Process]:
    """The driver's workers, the oldest first; multiprocessing's own helper is none."""
    found = []
    for child in sorted(driver.children(), key=lambda child: child.pid):
        with contextlib.suppress(psutil.Error):
            if "resource_tracker" not in " ".join(child.cmdline()):
                found.append(child)
    return found


def slope_of(samples: Sequence[tuple[float, float]]) -> Slope | None:
    """Slope an hour of minutes' means after the warm-up; None below three of them."""
    minutes: dict[int, list[float]] = defaultdict(list)
    for moment, value in samples:
        minutes[int((moment - samples[0][0]) // 60)].append(value)
    numbers = sorted(minutes)[int(len(minutes) * WARM_UP) :]
    if len(numbers) < 3:
        return None
    hours = np.array(numbers) / 60
    means = np.array([np.mean(minutes[number]) for number in numbers])
    fit = stats.linregress(hours, means)
    # Of a line of equal values scipy has no error.
    error = float(fit.stderr) if np.ptp(means) else 0.0
    half = stats.t.ppf(0.975, len(numbers) - 2) * error
    first, last = float(means[0]), float(means[-1])
    return Slope(float(fit.slope), float(fit.slope - half), float(fit.slope + half), first, last)


def table(samples: dict[tuple[str, str], list[tuple[float, float]]]) -> str:
    """Slopes of every process and quantity."""
    rows = [
        "| process | quantity | first | last | slope an hour (95 %) |",
        "|---|---|---:|---:|---:|",
    ]
    for (name, quantity), taken in sorted(samples.items()):
        slope = slope_of(taken)
        if slope is not None:
            interval = f"{slope.value:+.2f} ({slope.low:+.2f} to {slope.high:+.2f})"
            ends = f"{slope.first:.1f} | {slope.last:.1f}"
            rows.append(f"| {name} | {quantity} | {ends} | {interval} |")
    return "\n".join(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """The soak; 1 where a process ended by itself or something is left."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=45.0)
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args(arguments)
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    write = [sys.executable, "-c", "import sys;from pathlib import Path;from tests.faults import "
             "soak;soak.write_sweep(Path(sys.argv[1]))", str(folder)]  # fmt: skip
    subprocess.run(write, check=True)  # its torch stays out of this process
    soak = Soak(folder)
    driver = soak.driver()
    while not (soak.workspace / "mlflow.db").exists() and driver.poll() is None:
        time.sleep(1)
    dashboard, address = soak.dashboard()
    until = time.monotonic() + options.minutes * 60
    visits = 0
    while time.monotonic() < until and driver.poll() is None and dashboard.poll() is None:
        watched = psutil.Process(driver.pid)
        soak.sample("driver", watched)
        for number, worker in enumerate(workers_of(watched)):
            soak.sample(f"worker {number}", worker)
        soak.sample("dashboard", psutil.Process(dashboard.pid))
        for page in ("/", "/_dash-layout", "/_dash-dependencies"):
            with contextlib.suppress(OSError):
                visits += urllib.request.urlopen(address + page, timeout=30).status == 200
        time.sleep(SAMPLE_SECONDS)
    alive = driver.poll() is None and dashboard.poll() is None
    os.killpg(driver.pid, signal.SIGINT)
    code = driver.wait(120)
    dashboard.terminate()
    dashboard.wait(30)
    soak.log.close()
    left = [each for each in left_behind(soak.workspace) if "step-" not in each]
    print(table(soak.samples))
    print(f"{results(soak.workspace)} trials ended, {visits} answers of the dashboard")
    print(
        f"processes lived to the end: {alive}; the driver's exit after Ctrl-C: {code}; left: {left}"
    )
    return int(not alive or code != 130 or bool(left))


def write_sweep(folder: Path) -> None:
    """Write the tiny sweep of as many trials as there is time for."""
    engine = {"kind": "local", "workers": 2, "checkpoint_seconds": 1.0}
    search = {"strategy": "random", "window": 4}
    programme.write_sweep(folder, budget={"trials": 9000}, search=search, engine=engine)


if __name__ == "__main__":
    sys.exit(main())
