"""What of one trial is read when someone looks at it: its learning curve, its worst answers, its link.

Too much to keep for every trial: read from the store when asked for, the last few kept.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import urlsplit

from cachetools import LRUCache

from tracker.errors import InputError, StoreError
from tracker.record.examples import TaskExamples
from tracker.record.runs import thinned
from tracker.record.store import Store

#: Readings kept; a further one drops that unused for longest.
MAX_READINGS = 32
#: Points of a curve: more than a chart has pixels across.
MAX_POINTS = 1000
#: Seconds after which a trial under way is read anew.
FRESH = 5.0
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
    """Reads trials of *store*, thread-safe, one at a time. *mlflow_url*: where ``mlflow ui`` answers."""

    def __init__(
        self, store: Store, mlflow_url: str | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._store, self._mlflow_url, self._clock = store, mlflow_url, clock
        self._lock = threading.Lock()
        self._known: LRUCache[tuple[str, str], tuple[float, Reading]] = LRUCache(MAX_READINGS)

    def read(self, sweep: str, key: str, *, ended: bool = True) -> Reading:
        """The trial *key* of *sweep*. A store that is down is a ``problem``, and asked again next time."""
        name = (sweep, key)
        with self._lock:
            until, reading = self._known.get(name, (0.0, Reading()))
            if self._clock() < until:
                return reading
            reading = self._read(sweep, key)
            lasts = float("inf") if ended else FRESH
            if reading.problem is None:
                self._known[name] = (self._clock() + lasts, reading)
            return reading

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
