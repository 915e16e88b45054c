"""What the driver stands between: where ends of trials are kept, who hears of them, who asks for what.

On disk and to the tracking store in a sweep (:class:`~sweeps.search.workspace.SweepFolder`,
:class:`~sweeps.search.outbox.Outbox`); in memory and to nobody in a replay.
"""

from __future__ import annotations

from typing import Protocol

from sweeps.search.engines.engine import Job
from sweeps.spec import SweepSpec
from tracker.store.control import Answer, Request
from tracker.store.store import SweepState
from tracker.trial import TrialRecord, TrialResult, TrialSpec


class Results(Protocol):
    """How trials ended, by key; what they leave behind besides is tidied up by it."""

    def result(self, key: str) -> TrialResult | None:
        """How the trial ended; ``None`` while it has not."""

    def keep(self, key: str, result: TrialResult) -> None:
        """Enter a result that no worker could write."""

    def job(self, key: str, spec: TrialSpec, sweep: SweepSpec) -> Job:
        """The trial with its places, as an engine takes it."""

    def tidy(self, key: str) -> None:
        """Drop what only a trial under way needs."""

    def drop_model(self, key: str) -> None:
        """Drop the trial's tuned model, if there is one."""


class Audience(Protocol):
    """Hears of trials; ``problem`` is what keeps it from hearing, while something does."""

    problem: str | None

    def delivered(self) -> set[str]:
        """Keys of the trials whose ends it has heard of."""

    def begin(self, number: int, stage: str, spec: TrialSpec) -> None:
        """The trial is under way."""

    def progress(self, key: str) -> None:
        """The trial has taken steps."""

    def end(self, record: TrialRecord) -> None:
        """The trial has ended."""


class Inbox(Protocol):
    """Where people ask things of a sweep that runs, and read what became of it."""

    def requests(self) -> list[Request]:
        """What was asked since the last call; never waits."""

    def read_now(self) -> list[Request]:
        """As :meth:`requests`, looked up at this moment: for when nothing is under way."""

    def answer(self, answer: Answer) -> None:
        """Say what became of a request."""

    def state(self, state: SweepState, **facts: object) -> None:
        """Show the sweep in this state, with *facts*."""


class NoInbox:
    """Nobody asks."""

    def requests(self) -> list[Request]:
        return []

    def read_now(self) -> list[Request]:
        return []

    def answer(self, answer: Answer) -> None:
        """Nobody reads it."""

    def state(self, state: SweepState, **facts: object) -> None:
        """Nobody sees it."""
