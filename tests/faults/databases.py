"""Databases that lock, restart, fill up or are shared, under a real tiny sweep: each case tried and checked.

``python -m tests.faults.databases FOLDER [CASE …]`` prints a line a case: held, or what did not hold. The
cases of PostgreSQL need its server (Debian's package), as root or not.
"""

from __future__ import annotations

import argparse
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from tests.conftest import write_tiny_data, write_tiny_model
from tests.factories import sweep_text
from tests.faults.invariants import recommendation, violations
from tests.faults.programme import results
from tests.postgres import Server, server

_TRIALS = 16  # enough that the first driver still runs when a second has started
_LOCKED_SECONDS, _LEASE_SECONDS = 30.0, 60.0
_PATIENCE_SECONDS = 900.0


class Shared(NamedTuple):
    """A sweep, the folder of its case, and the databases of its study and store."""

    sweep: Path
    folder: Path
    study: str
    store: str

    def start(self, workspace: str = "a") -> subprocess.Popen[str]:
        """The driver of a workspace, as a user starts it."""
        options = ("--workspace", str(self.folder / workspace), "--study-uri", self.study)
        command = [sys.executable, "-m", "sweeps.cli", "run", str(self.sweep), *options]
        return subprocess.Popen(
            [*command, "--store", self.store],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def wait(self, ended: int, workspace: str = "a") -> None:
        """Until so many trials have ended in the workspace."""
        due = time.monotonic()
        while results(self.folder / workspace) < ended:
            assert time.monotonic() - due < _PATIENCE_SECONDS, f"{ended} trials have not ended"
            time.sleep(0.05)


def ends(driver: subprocess.Popen[str], code: int, words: str = "") -> str:
    """The output of a driver that ends with *code*, its last line with *words*, without a traceback."""
    output = driver.communicate(timeout=_PATIENCE_SECONDS)[0]
    assert driver.returncode == code, f"exit {driver.returncode}, not {code}: {output[-1500:]}"
    assert "Traceback" not in output, output[-1500:]
    assert words in output.strip().splitlines()[-1], output[-1500:]
    return output


def lock(file: str, seconds: float) -> None:
    """Hold an SQLite database as another process does."""
    with closing(sqlite3.connect(file.removeprefix("sqlite:///"), timeout=60)) as other:
        other.execute("BEGIN EXCLUSIVE")
        time.sleep(seconds)
        other.rollback()


def study_locked(shared: Shared) -> str:
    """The study is locked for 30 s."""
    driver = shared.start()
    shared.wait(2)
    lock(shared.study, _LOCKED_SECONDS)
    assert "database is locked; trying again" in ends(driver, 0), "no sign of life"
    return "a"


def store_locked(shared: Shared) -> str:
    """The tracking store is locked for 30 s."""
    driver = shared.start()
    shared.wait(2)
    lock(shared.store, _LOCKED_SECONDS)
    ends(driver, 0)
    return "a"


def study_full(shared: Shared) -> str:
    """The study's disk is full until the driver gives up; then there is room."""
    driver = shared.start()
    shared.wait(2)
    limit = max(path.stat().st_size for path in Path(shared.folder).rglob("*") if path.is_file())
    unlimited = resource.prlimit(driver.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(driver.pid, resource.RLIMIT_FSIZE, (4096, unlimited[1]))
    output = driver.communicate(timeout=_PATIENCE_SECONDS)[0]
    assert driver.returncode not in (0, -signal.SIGXFSZ), f"exit {driver.returncode}, {limit}"
    assert "Traceback" not in output, output[-1500:]
    assert "invalid data" not in output, output[-1500:]
    ends(shared.start(), 0)
    return "a"


def killed_and_taken_over(shared: Shared) -> str:
    """A second workspace is refused while the first runs, and goes on once that is killed."""
    first = shared.start()
    shared.wait(1)
    ends(shared.start("b"), 3, "another driver runs this sweep: process")
    first.kill()
    first.communicate()
    ends(shared.start("b"), 0)
    return "b"


def suspended_and_taken_over(shared: Shared) -> str:
    """The first driver stands still for longer than its lease, and wakes while the second runs."""
    first = shared.start()
    shared.wait(2)
    first.send_signal(signal.SIGSTOP)
    time.sleep(_LEASE_SECONDS + 5)
    second = shared.start("b")
    shared.wait(4, "b")
    first.send_signal(signal.SIGCONT)
    ends(first, 3, "has taken this sweep over")
    ends(second, 0)
    return "b"


def killed_and_run_again(shared: Shared) -> str:
    """The same workspace need not wait for the lease of its killed driver."""
    driver = shared.start()
    shared.wait(2)
    driver.kill()
    driver.communicate()
    ends(shared.start(), 0)
    return "a"


def restarted(shared: Shared, database: Server) -> str:
    """The PostgreSQL server of study and store loses its processes three times."""
    driver = shared.start()
    for ended in (1, 3, 5):
        shared.wait(ended)
        database.control("restart", "-m", "immediate")
    ends(driver, 0)
    return "a"


SQLITE: tuple[Callable[[Shared], str], ...] = (
    study_locked,
    store_locked,
    study_full,
    killed_and_taken_over,
    suspended_and_taken_over,
    killed_and_run_again,
)
ON_SERVER = (killed_and_taken_over, suspended_and_taken_over, killed_and_run_again)


def main() -> None:
    """All cases, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("cases", nargs="*")
    options = parser.parse_args()
    folder: Path = options.folder.resolve()
    folder.mkdir(parents=True)
    (folder / "data").mkdir()
    write_tiny_data(folder / "data")
    write_tiny_model(folder / "model", folder / "data")
    sweep = folder / "sweep.yaml"
    engine = {"kind": "local", "workers": 1, "checkpoint_seconds": 0.2}
    changes = {"budget": {"trials": _TRIALS}, "engine": engine}
    sweep.write_text(sweep_text(folder / "model", folder / "data", **changes))
    plain = Shared(sweep, folder, f"sqlite:///{folder}/s.db", f"sqlite:///{folder}/m.db")
    ends(plain.start("whole"), 0)
    reference = recommendation(sweep, folder / "whole", plain.store)
    with server() as database:
        cases = [(f"sqlite: {case.__name__}", case, False) for case in SQLITE]
        cases += [(f"postgresql: {case.__name__}", case, True) for case in ON_SERVER]
        cases.append(("postgresql: restarted", lambda shared: restarted(shared, database), True))
        for number, (name, case, on_server) in enumerate(cases):
            if options.cases and not any(wanted in name for wanted in options.cases):
                continue
            place = folder / str(number)
            place.mkdir()
            uris = (f"sqlite:///{place}/s.db", f"sqlite:///{place}/m.db")
            shared = Shared(sweep, place, *((database(), database()) if on_server else uris))
            _tell(name, case, shared, reference)


def _tell(name: str, case: Callable[[Shared], str], shared: Shared, reference: str) -> None:
    begun = time.monotonic()
    try:
        workspace = shared.folder / case(shared)
        uris = {"study_uri": shared.study, "store_uri": shared.store}
        found = violations(shared.sweep, workspace, trials=_TRIALS, **uris)
        if recommendation(shared.sweep, workspace, shared.store) != reference:
            found.append("I5: another recommendation")
    except (AssertionError, subprocess.TimeoutExpired) as error:
        found = [str(error)]
    outcome = "held" if not found else "NOT HELD: " + "; ".join(found)
    print(f"{name} [{time.monotonic() - begun:.0f} s]: {outcome}", flush=True)


if __name__ == "__main__":
    main()
