"""What of one trial is read when someone looks at it: its learning curve, its worst answers, its link.

Too much to keep for every trial: read from the store when asked for, the last few kept.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import urlsplit

from cachetools import LRUCache

from dashboards.background import MAX_ANSWERS, BackgroundJobs
from tracker.errors import InputError, StoreError
from tracker.store.runs import thinned
from tracker.store.store import Store
from tracker.store.worst_answers import TaskExamples

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
        self._later = BackgroundJobs()
        self._lock = threading.Lock()
        self._failed: LRUCache[tuple[str, str], tuple[int, float]] = LRUCache(MAX_ANSWERS)

    def read(self, sweep: str, key: str, wait: float = _PATIENCE) -> Reading | None:
        """The trial *key* of *sweep*; ``None`` while it is being read. *wait*: seconds at most."""
        attempt = str(self._attempt(sweep, key))
        reading: Reading | None = self._later.get(
            (sweep, key), attempt, lambda: self._read(sweep, key), wait
        ).value
        return reading

    def _attempt(self, sweep: str, key: str) -> int:
        """Counts how often it was tried: another attempt is another version of the answer."""
        with self._lock:
            attempt, failed_at = self._failed.get((sweep, key), (0, math.inf))
            if self._clock() - failed_at >= RETRY:
                attempt += 1
                self._failed[sweep, key] = attempt, math.inf
            return attempt

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
            with self._lock:
                attempt, _ = self._failed.get((sweep, key), (0, math.inf))
                self._failed[sweep, key] = attempt, self._clock()
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
