"""The ended trials of a store's sweeps: counted for all of them, held in memory for the few last read."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from cachetools import LRUCache

from tracker.store.cache import Snapshot
from tracker.store.ended import count, count_directly
from tracker.store.runs import Run, Runs, is_live
from tracker.trial import TrialRecord

_AT_REST_SECONDS = (
    60.0  # between two looks at a sweep that nobody works on: a run may be deleted by hand
)
_SELDOM = 50  # and at least so many times as long as a look takes
_HELD = 8  # sweeps in memory; of another, the copy on disk is read again


class _Count(NamedTuple):
    """What a server said of a sweep that ended at *end*; good until the monotonic clock shows *until*."""

    found: Counter[str]
    end: int | None
    until: float


class EndedTrials:
    """Those of every sweep among *runs*, thread-safe; copies lie in *folder*, a file a sweep.

    *database*: the store's SQLite file, where it is one.
    """

    def __init__(self, runs: Runs, folder: Path, database: Path | None) -> None:
        self._runs, self._folder, self._database = runs, folder, database
        self._lock = threading.Lock()  # a dashboard reads from many threads
        self._snapshots: LRUCache[str, Snapshot] = LRUCache(_HELD)  # by parent run id
        self._at_rest: dict[str, _Count] = {}  # by parent run id
        self._counted: dict[
            str, int
        ] = {}  # how many had ended when they were last counted, likewise

    def records(self, parent_id: str) -> list[TrialRecord]:
        """Those of the sweep with run *parent_id*, by number; deleted runs are gone."""
        with self._lock:
            snapshot = self._snapshots.get(parent_id)
            if snapshot is None:
                path = self._folder / f"{parent_id}.jsonl"
                snapshot = self._snapshots[parent_id] = Snapshot(path, parent_id, self._database)
            snapshot.refresh(self._runs)
            known = len(snapshot.records())
            if self._counted.get(parent_id, known) != known:  # such as a run that was restored
                snapshot.refresh(self._runs, anew=True)
            return snapshot.records()

    def counts(self, parents: Iterable[Run]) -> dict[str, Counter[str]]:
        """How many ended with which status, by the id of the sweep's run.

        A server is asked for what is new of a sweep that runs, and seldom for one at rest.
        """
        if self._database is not None:
            found = count_directly(self._runs, self._database)
        else:
            found = {parent.info.run_id: self._count(parent) for parent in parents}
        self._counted = {run_id: counts.total() for run_id, counts in found.items()}
        return found

    def _count(self, parent: Run) -> Counter[str]:
        run_id, now = parent.info.run_id, time.monotonic()
        if is_live(parent):
            self._at_rest.pop(run_id, None)
            return Counter(record.result.status.value for record in self.records(run_id))
        held = self._at_rest.get(run_id)
        if held is None or held.end != parent.info.end_time or now >= held.until:
            found = count(self._runs, run_id)
            took = time.monotonic() - now
            until = now + max(_AT_REST_SECONDS, _SELDOM * took)
            held = self._at_rest[run_id] = _Count(found, parent.info.end_time, until)
        return held.found.copy()
