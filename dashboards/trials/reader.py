"""What of one trial is read when someone looks at it: its learning curve, its worst answers, its link.

Too much to keep for every trial: read from the store when asked for, the last few kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import urlsplit

from tracker.cache import SingleFlightCache
from tracker.errors import InputError, StoreError
from tracker.store.runs import thinned
from tracker.store.store import Store
from tracker.store.worst_answers import TaskExamples

#: Trials whose readings are kept.
MAX_READINGS = 64
#: Points of a curve: more than a chart has pixels across.
MAX_POINTS = 1000
#: Seconds after which what could not be read is tried again.
RETRY = 5.0
_PATIENCE = 0.5  # seconds that a page waits for a reading; it comes back for it
_LOSS = "train/loss"


class Reading(NamedTuple):
    """``curve``: (optimizer step, training loss in nats per token), thinned evenly. ``link``: of its
    MLflow run, where an MLflow server is known. ``problem``: why something is missing, in words.
    """

    curve: tuple[tuple[int, float], ...] = ()
    examples: tuple[TaskExamples, ...] = ()
    link: str | None = None
    problem: str | None = None


class _Attempt(NamedTuple):
    """The *number*-th reading of a trial, which is the version of the answer; ended at a clock's time."""

    number: int
    reading: Reading
    ended_at: float

    def is_due(self, now: float) -> bool:
        """Whether what could not be read is to be tried again."""
        return self.reading.problem is not None and now - self.ended_at >= RETRY


class TrialReader:
    """Reads trials of *store* beside the pages, thread-safe. *mlflow_url*: where ``mlflow ui`` answers.

    A store that hangs keeps its own thread waiting and no page.
    """

    def __init__(
        self,
        store: Store,
        mlflow_url: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._mlflow_url, self._clock = store, mlflow_url, clock
        self._readings = SingleFlightCache(MAX_READINGS)

    def read(self, sweep: str, key: str, wait: float = _PATIENCE) -> Reading | None:
        """The trial *key* of *sweep*; ``None`` while it is being read. *wait*: seconds at most."""
        last: _Attempt | None = self._readings.peek((sweep, key))
        number = last.number + last.is_due(self._clock()) if last else 0
        found: _Attempt | None = self._readings.get_later(
            (sweep, key), str(number), lambda: self._attempt(number, sweep, key), wait
        ).value
        return found.reading if found else None

    def _attempt(self, number: int, sweep: str, key: str) -> _Attempt:
        reading = self._read(sweep, key)
        return _Attempt(number, reading, self._clock())

    def _read(self, sweep: str, key: str) -> Reading:
        try:
            steps = self._store.history(sweep, key)
            losses = [(s.step, s.values[_LOSS]) for s in steps if _LOSS in s.values]
            curve = tuple(thinned(losses, MAX_POINTS))
            link = None
            if self._mlflow_url is not None:
                experiment, run = self._store.run_url_parts(sweep, key)
                link = f"{self._mlflow_url}/#/experiments/{experiment}/runs/{run}"
            return Reading(curve, self._store.examples(sweep, key), link)
        except StoreError as error:
            return Reading(problem=str(error))


def mlflow_address(given: str | None, store: str | None) -> str | None:
    """Where runs are linked to: *given*, or the tracking URI *store* where it is a server itself.

    Without user name and password, which belong on no page. InputError where *given* is no address.
    """
    found = given or store or ""
    parts = urlsplit(found)
    if parts.scheme in ("http", "https") and parts.hostname:
        host = parts.netloc.rpartition("@")[2]
        return f"{parts.scheme}://{host}{parts.path.rstrip('/')}"
    if given:
        raise InputError(
            f"--mlflow-url {given!r}: not an address; give one such as http://localhost:5000"
        )
    return None
