"""Contract of every engine: what becomes of the jobs that it is given."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sweeps.search.engines.engine import Died, Ended, Engine, Event, Job, Progress, Refused
from tracker.store.journal import Journal
from tracker.trial import TrialResult

_PATIENCE_SECONDS = 300.0  # a machine that is busy is slow, not broken


class EngineContract:
    """*engine* has two slots and serves the whole class: each test leaves it as it was, with both free."""

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls) -> Iterator[Engine]:
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def job(cls) -> Callable[..., Job]:
        """``job(long=True)``: another trial, on request one that does not end within the test."""
        raise NotImplementedError

    def kill(self, engine: Engine, job: Job) -> None:
        """Make the worker of *job*, which is under way, die."""
        raise NotImplementedError

    def refuse(self, engine: Engine, job: Job) -> Job:
        """*job* as one that cannot be run as specified."""
        raise NotImplementedError

    def workers(self) -> list[int]:
        """Process ids of all workers that this process has started."""
        return []

    def wait_until_under_way(self, engine: Engine, job: Job) -> None:
        """Return once a worker has taken *job* up."""

    # -- the contract ------------------------------------------------------------------------------

    def test_jobs_move_and_end_with_a_result_in_their_journals(
        self, engine: Engine, job: Callable[..., Job]
    ) -> None:
        assert engine.slots == 2
        jobs = [job(), job()]
        for each in jobs:
            engine.submit(each)
        with pytest.raises(RuntimeError, match="no free slot"):
            engine.submit(job())
        seen = until(engine, Ended, 2)
        for each in jobs:
            events = [event for event in seen if event.key == each.key]
            steps = [event.step for event in events if isinstance(event, Progress)]
            assert steps == sorted(set(steps))
            assert steps[0] == 1
            assert events[-1] == Ended(each.key)
            result = result_of(each)
            assert result is not None
            assert result.spec == each.spec
        assert {event.key for event in seen} == {each.key for each in jobs}

    def test_a_death_is_one_event_and_frees_the_slot(
        self, engine: Engine, job: Callable[..., Job]
    ) -> None:
        victim = job(long=True)
        engine.submit(victim)
        self.wait_until_under_way(engine, victim)
        self.kill(engine, victim)
        died = [event for event in until(engine, Died) if not isinstance(event, Progress)]
        assert died == [Died(victim.key, "worker ended by SIGKILL")]
        assert result_of(victim) is None
        seen = both_slots_end(engine, job)
        assert victim.key not in {event.key for event in seen}

    def test_a_cancelled_trial_has_no_events(self, engine: Engine, job: Callable[..., Job]) -> None:
        cancelled = job(long=True)
        engine.submit(cancelled)
        self.wait_until_under_way(engine, cancelled)
        engine.cancel(cancelled.key)
        engine.cancel("no such trial")
        seen = both_slots_end(engine, job)
        assert cancelled.key not in {event.key for event in seen}
        assert result_of(cancelled) is None

    def test_what_cannot_be_run_as_specified_is_refused_in_one_line(
        self, engine: Engine, job: Callable[..., Job]
    ) -> None:
        refused = self.refuse(engine, job())
        engine.submit(refused)
        (event,) = until(engine, Refused)
        assert isinstance(event, Refused)
        assert event.key == refused.key
        assert event.problem
        assert "\n" not in event.problem
        assert result_of(refused) is None
        both_slots_end(engine, job)

    def test_closing_leaves_no_process(self, engine: Engine, job: Callable[..., Job]) -> None:
        """The last test: with a trial under way."""
        last = job(long=True)
        engine.submit(last)
        self.wait_until_under_way(engine, last)
        engine.close()
        assert self.workers() == []
        assert result_of(last) is None


def until(engine: Engine, kind: type[Event], count: int = 1) -> list[Event]:
    """Events up to the *count*-th of *kind*; AssertionError where so many do not come."""
    seen: list[Event] = []
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while sum(isinstance(event, kind) for event in seen) < count:
        assert time.monotonic() < deadline, f"no {count} {kind.__name__} among {seen}"
        seen += engine.events(0.2)
    return seen


def both_slots_end(engine: Engine, job: Callable[..., Job]) -> list[Event]:
    """Events of two further jobs, which both slots take and end."""
    engine.submit(job())
    engine.submit(job())
    return until(engine, Ended, 2)


def result_of(job: Job) -> TrialResult | None:
    return Journal(Path(job.journal)).result()
