"""Engine without training: each trial ends at once, results stay in memory, nobody is notified.

Driver, study and strategies are those of a sweep. Nothing touches a disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from sweeps.finetune.contract import TrialHome
from sweeps.search.engines.engine import Ended, Event, Job
from sweeps.spec import SweepSpec
from tracker.store.journal import Attempts
from tracker.trial import TrialRecord, TrialResult, TrialSpec

_NOWHERE = TrialHome(Path(), Path(), Path())


class MemoryResults:
    """Results of trials in memory."""

    def __init__(self) -> None:
        self.ended: dict[str, TrialResult] = {}

    def result(self, key: str) -> TrialResult | None:
        return self.ended.get(key)

    def keep(self, key: str, result: TrialResult) -> None:
        self.ended[key] = result

    def first_result(self, key: str) -> TrialResult | None:
        return self.ended.get(key)

    def taken_over(self, key: str) -> None:
        """Nothing: there is no other sweep."""

    def attempts(self, key: str) -> Attempts:
        return Attempts()

    def note(self, key: str, event: dict[str, Any]) -> None:
        """Do nothing: no worker dies."""

    def job(self, key: str, spec: TrialSpec, _sweep: SweepSpec) -> Job:
        return Job(key, spec, _NOWHERE, "")

    def tidy(self, key: str) -> None:
        """Do nothing: trials leave no files."""

    def drop_model(self, key: str) -> None:
        """Do nothing: there is no model."""


class InstantEngine:
    """Ends each job at once with the result that *answer* gives it."""

    slots = 1

    def __init__(self, results: MemoryResults, answer: Callable[[TrialSpec], TrialResult]) -> None:
        self.results, self.answer = results, answer
        self._ended: list[str] = []

    def submit(self, job: Job) -> None:
        self.results.keep(job.key, self.answer(job.spec))
        self._ended.append(job.key)

    def events(self, timeout: float) -> Iterable[Event]:
        ended, self._ended = self._ended, []
        return [Ended(key) for key in ended]

    def cancel(self, key: str) -> None:
        """Do nothing: every trial has ended."""

    def close(self) -> None:
        """Do nothing: there are no workers."""


class NullListener:
    """A listener that ignores all events."""

    problem: str | None = None

    def stored(self) -> dict[str, TrialResult]:
        return {}

    def begin(self, number: int, stage: str, spec: TrialSpec) -> None:
        pass

    def progress(self, number: int, key: str) -> None:
        pass

    def end(self, record: TrialRecord) -> None:
        pass
