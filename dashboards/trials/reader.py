"""One trial's learning curve, worst answers and MLflow link, read from the store when its page opens.

They are too much to keep for every trial; the last few are cached.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import urlsplit

from tracker.cache import SingleFlightCache
from tracker.errors import InputError, StoreError
from tracker.store.runs import evenly_spaced
from tracker.store.store import Store
from tracker.store.worst_answers import TaskExamples

#: Trials whose readings are cached.
MAX_READINGS = 64
#: Points of a curve: as many as a chart has pixels across.
MAX_POINTS = 1000
#: Seconds after which a failed reading is tried again.
RETRY = 5.0
_PATIENCE = 0.5  # seconds that a page waits for a reading before it comes back for it
_LOSS = "train/loss"


class TrialDetails(NamedTuple):
    """What was read of a trial.

    ``curve``: (optimizer step, training loss in nats per token), thinned evenly. ``link``: to its run,
    where an MLflow server is known. ``problem``: why something is missing, in words.
    """

    curve: tuple[tuple[int, float], ...] = ()
    examples: tuple[TaskExamples, ...] = ()
    link: str | None = None
    problem: str | None = None


class _Attempt(NamedTuple):
    """A reading of a trial. ``number``: how often it was tried before, the version in the cache."""

    number: int
    reading: TrialDetails
    ended_at: float

    def is_due(self, now: float) -> bool:
        """Whether a failed reading is to be tried again."""
        return self.reading.problem is not None and now - self.ended_at >= RETRY


class TrialReader:
    """Reads trials of *store* in threads of their own. *mlflow_url*: where ``mlflow ui`` answers.

    A store that hangs keeps no page waiting.
    """

    def __init__(
        self,
        store: Store,
        mlflow_url: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._mlflow_url, self._clock = store, mlflow_url, clock
        self._readings = SingleFlightCache(MAX_READINGS)

    def read(self, sweep: str, key: str, wait: float = _PATIENCE) -> TrialDetails | None:
        """The reading of the trial *key*; ``None`` while it goes on. *wait*: seconds at most."""
        last: _Attempt | None = self._readings.peek((sweep, key))
        number = last.number + last.is_due(self._clock()) if last else 0

        def attempt() -> _Attempt:
            return _Attempt(number, self._read(sweep, key), self._clock())

        latest = self._readings.get_in_background((sweep, key), str(number), attempt, wait)
        return latest.value.reading if latest.value else None

    def _read(self, sweep: str, key: str) -> TrialDetails:
        try:
            steps = self._store.history(sweep, key)
            losses = [(s.step, s.values[_LOSS]) for s in steps if _LOSS in s.values]
            curve = tuple(evenly_spaced(losses, MAX_POINTS))
            link = None
            if self._mlflow_url is not None:
                experiment, run = self._store.run_url_parts(sweep, key)
                link = f"{self._mlflow_url}/#/experiments/{experiment}/runs/{run}"
            return TrialDetails(curve, self._store.examples(sweep, key), link)
        except StoreError as error:
            return TrialDetails(problem=str(error))


def mlflow_address(given: str | None, store: str | None) -> str | None:
    """The address of ``mlflow ui``: *given*, or the tracking URI *store* if it is a server.

    Without user name and password, which belong on no page. InputError where *given* is no address.
    """
    parts = urlsplit(given or store or "")
    if parts.scheme in ("http", "https") and parts.hostname:
        host = parts.netloc.rpartition("@")[2]
        return f"{parts.scheme}://{host}{parts.path.rstrip('/')}"
    if given:
        raise InputError(
            f"--mlflow-url {given!r}: not an address; give one such as http://localhost:5000"
        )
    return None
