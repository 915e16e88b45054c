"""The engine contract: jobs that the driver submits, events that come back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from sweeps.finetune.contract import TrialHome
from tracker.trial import TrialSpec


class Job(NamedTuple):
    """One trial to run; ``journal``: the file to which its worker writes events, the result last."""

    key: str
    spec: TrialSpec
    home: TrialHome
    journal: str


class Progress(NamedTuple):
    """Event: the trial *key* reached an optimizer step."""

    key: str
    step: int
    values: dict[str, float]


class Ended(NamedTuple):
    """Event: the trial has ended, and its journal holds the result."""

    key: str


class Died(NamedTuple):
    """Event: the worker of the trial *key* died; ``why``: its signal, exit code or silence.

    ``counts``: whether that may be the trial's doing.
    """

    key: str
    why: str
    counts: bool = True


class Refused(NamedTuple):
    """Event: the trial cannot run as specified (changed data, a full disk); the sweep must stop."""

    key: str
    problem: str


Event = Progress | Ended | Died | Refused


class Engine(Protocol):
    """Runs jobs, a few at a time. Used by one thread."""

    slots: int

    def submit(self, job: Job) -> None:
        """Start *job* on a free slot; the caller never has more than ``slots`` jobs under way."""

    def cancel(self, key: str) -> None:
        """End the running trial *key*; no event of it follows."""

    def events(self, timeout: float) -> Iterable[Event]:
        """Events since the last call, waiting up to *timeout* seconds for the first."""

    def close(self) -> None:
        """End all workers and the trials that they run."""
