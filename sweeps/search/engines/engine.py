"""What the driver needs of whatever runs trials."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from sweeps.finetune.contract import TrialHome
from tracker.trial import TrialSpec


class Job(NamedTuple):
    """One trial to run: ``journal`` is where its worker writes what happens, the result last."""

    key: str
    spec: TrialSpec
    home: TrialHome
    journal: str


class Progress(NamedTuple):
    """The trial *key* reached an optimizer step."""

    key: str
    step: int
    values: dict[str, float]


class Ended(NamedTuple):
    """The trial's journal holds its result."""

    key: str


class Died(NamedTuple):
    """The worker of *key* is gone without a result; ``why`` in words."""

    key: str
    why: str


class Refused(NamedTuple):
    """The trial cannot be run as specified (its data changed, say): the sweep must stop."""

    key: str
    problem: str


Event = Progress | Ended | Died | Refused


class Engine(Protocol):
    """Runs jobs, a few at a time. Used by one thread."""

    slots: int

    def submit(self, job: Job) -> None:
        """Start *job* on a free slot; the caller never has more than ``slots`` jobs under way."""

    def cancel(self, key: str) -> None:
        """End the trial *key*, which is under way; no event tells of it any more."""

    def events(self, timeout: float) -> Iterable[Event]:
        """What happened, waiting up to *timeout* seconds for something to."""

    def close(self) -> None:
        """End all workers and whatever they run."""
