"""The contract of the driver with its surroundings: where results are kept, and who is notified of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from sweeps.search.engines.engine import Job
from sweeps.spec import SweepSpec
from tracker.store.journal import Attempts
from tracker.trial import TakenOver, TrialRecord, TrialResult, TrialSpec


class Results(Protocol):
    """Results of trials by key, and the files that trials leave behind."""

    def result(self, key: str) -> TrialResult | None:
        """The trial's result; ``None`` until it has ended."""

    def keep(self, key: str, result: TrialResult) -> None:
        """Write a result on behalf of a worker that is gone."""

    def taken_over(self, key: str) -> TakenOver | None:
        """Where the trial's result is from, if it was not run in this sweep."""

    def first_result(self, key: str) -> TrialResult | None:
        """The trial's first result, also where it was retried since."""

    def attempts(self, key: str) -> Attempts:
        """Attempts at the trial, which is not under way, since it made progress."""

    def note(self, key: str, event: dict[str, Any]) -> None:
        """Write down what became of the trial's worker: an event of :mod:`tracker.store.journal`."""

    def job(self, key: str, spec: TrialSpec, sweep: SweepSpec) -> Job:
        """The trial with its paths, as an engine takes it."""

    def tidy(self, key: str) -> None:
        """Remove the files that only a running trial needs."""

    def drop_model(self, key: str) -> None:
        """Remove the trial's tuned model, if there is one."""


class TrialListener(Protocol):
    """Receives the events of trials; ``problem``: why it cannot at present, else ``None``."""

    problem: str | None

    def stored(self) -> Mapping[str, TrialResult]:
        """Results that it holds, by the trial's key."""

    def begin(self, number: int, stage: str, spec: TrialSpec) -> None:
        """The trial is under way."""

    def progress(self, number: int, key: str) -> None:
        """The trial has taken steps."""

    def end(self, record: TrialRecord) -> None:
        """The trial has ended."""
