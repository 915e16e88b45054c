"""Workers of the local engine that die or stand still before they are ready, and by whose doing they die."""

from __future__ import annotations

import functools
import os
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from sweeps.finetune.contract import TrialHome
from sweeps.search.engines import local
from sweeps.search.engines.engine import Died, Ended, Event, Job
from sweeps.search.engines.local import LocalEngine
from sweeps.search.worker import Ready
from tests.factories import trial_spec
from tracker.errors import SftSelectError


def light_work(folder: Path, pipe: Connection, _threads: int, _device: str | None) -> None:
    """A worker without libraries; ``starts`` counts how often it began, and it is ready once ``go`` is there.

    It exits at once where there is ``broken``, and ends jobs only once there is ``end``.
    """
    with (folder / "starts").open("a") as starts:
        starts.write(f"{os.getpid()}\n")
    if (folder / "broken").exists():
        raise SystemExit(1)
    _wait_for(folder / "go")
    pipe.send(Ready())
    while True:
        job = pipe.recv()
        (folder / "taken").touch()
        _wait_for(folder / "end")
        pipe.send(Ended(job.key))


def _wait_for(file: Path) -> None:
    while not file.exists():
        time.sleep(0.01)


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., LocalEngine]]:
    monkeypatch.setattr(local, "work", functools.partial(light_work, tmp_path))
    made: list[LocalEngine] = []

    def make(hang_seconds: float = 600.0) -> LocalEngine:
        made.append(LocalEngine(devices=[None], threads=1, hang_seconds=hang_seconds))
        return made[-1]

    yield make
    for each in made:
        each.close()


JOB = Job("key", trial_spec(), TrialHome(Path(), Path(), Path()), "")


def pids(folder: Path, count: int) -> list[int]:
    """Process ids of the workers, once *count* have begun."""
    file = folder / "starts"
    until = time.monotonic() + 60
    while time.monotonic() < until:
        found = file.read_text().split() if file.exists() else []
        if len(found) >= count:
            return [int(pid) for pid in found]
        time.sleep(0.01)
    raise AssertionError(f"fewer than {count} workers began")


def first_event(engine: LocalEngine, seconds: float = 60.0) -> Event | None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for event in engine.events(0.05):
            return event
    return None


def test_a_slow_start_is_no_hang_and_a_killed_one_no_death_of_the_trial(
    engine: Callable[..., LocalEngine], tmp_path: Path
) -> None:
    running = engine(hang_seconds=0.5)
    running.submit(JOB)
    for count in range(1, 5):
        os.kill(pids(tmp_path, count)[-1], signal.SIGKILL)
        assert first_event(running, 0.3) is None
    pids(tmp_path, 5)
    assert first_event(running, 1.5) is None, "longer than a hang"
    (tmp_path / "end").touch()
    (tmp_path / "go").touch()
    assert first_event(running) == Ended("key")


def test_a_worker_that_stands_still_is_ended(
    engine: Callable[..., LocalEngine], tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    running = engine(hang_seconds=0.5)
    running.submit(JOB)
    died = first_event(running)
    assert isinstance(died, Died)
    assert died.why.startswith("no progress for ")
    assert died.counts


@pytest.mark.parametrize(
    ("number", "counts"),
    [(signal.SIGKILL, True), (signal.SIGSEGV, True), (signal.SIGTERM, False)],
)
def test_a_signal_that_comes_from_outside_does_not_count(
    number: signal.Signals, counts: bool, engine: Callable[..., LocalEngine], tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    running = engine()
    running.submit(JOB)
    until = time.monotonic() + 60
    while not (tmp_path / "taken").exists() and time.monotonic() < until:
        assert first_event(running, 0.05) is None
    os.kill(pids(tmp_path, 1)[-1], number)
    assert first_event(running) == Died("key", f"worker ended by {number.name}", counts)


def test_workers_that_cannot_start_end_the_sweep_in_one_line(
    engine: Callable[..., LocalEngine], tmp_path: Path
) -> None:
    (tmp_path / "broken").touch()
    running = engine()
    running.submit(JOB)
    with pytest.raises(
        SftSelectError, match=r"cannot start \(worker exited with 1, 3 times in a"
    ) as raised:
        first_event(running)
    assert "\n" not in str(raised.value)
    assert len(pids(tmp_path, 3)) == 3
