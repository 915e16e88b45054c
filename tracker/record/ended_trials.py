"""The ended trials of a store's sweeps: counted for all of them, held in memory for the few last read."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from cachetools import LRUCache

from tracker.record.ended import count, count_directly
from tracker.record.runs import Run, Runs, is_live
from tracker.record.snapshot import Snapshot
from tracker.record.trial import TrialRecord

_HELD = 8  # sweeps in memory; of another, the copy on disk is read again


class EndedTrials:
    """Those of every sweep among *runs*, thread-safe; copies lie in *folder*, a file a sweep.

    *database*: the store's SQLite file, where it is one.
    """

    def __init__(self, runs: Runs, folder: Path, database: Path | None) -> None:
        self._runs, self._folder, self._database = runs, folder, database
        self._lock = threading.Lock()  # a dashboard reads from many threads
        self._snapshots: LRUCache[str, Snapshot] = LRUCache(_HELD)  # by parent run id
        self._at_rest: dict[tuple[str, int], Counter[str]] = {}  # by parent run id and its end

    def records(self, parent_id: str) -> list[TrialRecord]:
        """Those of the sweep with run *parent_id*, by number; deleted runs are gone."""
        with self._lock:
            snapshot = self._snapshots.get(parent_id)
            if snapshot is None:
                path = self._folder / f"{parent_id}.jsonl"
                snapshot = self._snapshots[parent_id] = Snapshot(path, parent_id, self._database)
            snapshot.refresh(self._runs)
            return snapshot.records()

    def counts(self, parents: Iterable[Run]) -> dict[str, Counter[str]]:
        """How many ended with which status, by the id of the sweep's run.

        A server is asked for what is new of a sweep that runs, and once for one at rest.
        """
        if self._database is not None:
            return count_directly(self._runs, self._database)
        return {parent.info.run_id: self._count(parent) for parent in parents}

    def _count(self, parent: Run) -> Counter[str]:
        run_id = parent.info.run_id
        if is_live(parent):
            return Counter(record.result.status.value for record in self.records(run_id))
        at_rest = (run_id, parent.info.end_time)
        if at_rest not in self._at_rest:
            self._at_rest[at_rest] = count(self._runs, run_id)
        return self._at_rest[at_rest].copy()
