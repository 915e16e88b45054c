"""Finished trials of a store's sweeps: found, counted, and their results cached on local disk.

- *Which trials have finished* is queried all the time. MLflow builds every tag, parameter and metric of
  every run that it finds, which takes 2 ms a run. An SQLite database on this disk is queried for what is
  needed alone; any other store through MLflow's client, and a test compares both answers.
- *Their results* lie in the store, one file a trial. A local cache (JSON Lines, appended to by the process
  that reads a result first; several may share the file) makes reading again cost only what is new. A line
  that does not check out is ignored and its result read from the store again.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from cachetools import LRUCache
from pydantic import BaseModel, ValidationError

from tracker.errors import StoreError
from tracker.store import mlflow_names
from tracker.store.artifacts import WRITTEN_ANEW
from tracker.store.mlflow_names import digest_of
from tracker.store.runs import PARENT, Run, Runs, is_live, number_of, tag_of
from tracker.store.tracking_uri import SQLITE, store_error
from tracker.trial import TakenOver, TrialRecord, TrialResult

_NEEDED = ("sft.result", "sft.number", "sft.stage", mlflow_names.ORIGIN)
_WAIT_SECONDS = 20.0  # for another process that writes; as long as MLflow itself waits
_QUERY = f"""
SELECT runs.run_uuid, runs.end_time, runs.artifact_uri, tags.key, tags.value
FROM tags AS parent
JOIN tags AS kind ON kind.run_uuid = parent.run_uuid AND kind.key = 'sft.kind' AND kind.value = 'trial'
JOIN runs ON runs.run_uuid = parent.run_uuid
LEFT JOIN tags ON tags.run_uuid = runs.run_uuid AND tags.key IN ({", ".join("?" * len(_NEEDED))})
WHERE parent.key = '{PARENT}' AND parent.value = ?
AND runs.experiment_id = ? AND runs.end_time > ? AND runs.lifecycle_stage = ?
"""
_COUNT = f"""
SELECT parent.value, status.value, count(*)
FROM tags AS parent
JOIN tags AS status ON status.run_uuid = parent.run_uuid AND status.key = 'sft.status'
AND status.value <> 'running'  -- comes with the result; a run closed by hand has neither
JOIN runs ON runs.run_uuid = parent.run_uuid
WHERE parent.key = '{PARENT}'
AND runs.experiment_id = ? AND runs.end_time > 0 AND runs.lifecycle_stage = 'active'
GROUP BY parent.value, status.value
"""
#: A run counts as new for so long after its end: clocks and commits are not in step.
_OVERLAP_MS = 60_000
#: Between two counts of a sweep without a driver, where a run may be deleted by hand; and at least so many
#: times as long as a count takes.
_RECOUNT_SECONDS, _RECOUNT_RATIO = 60.0, 50
_MAX_IN_MEMORY = 8  # sweeps; the results of another are read from local disk again


class ClosedRun(NamedTuple):
    """Closed MLflow run of a trial. ``end_ms``: epoch milliseconds; ``tags``: those needed of a result."""

    run_id: str
    end_ms: int
    artifact_uri: str
    tags: dict[str, str]


def closed_runs(
    runs: Runs, database: Path | None, parent_id: str, since_ms: int = 0, *, deleted: bool = False
) -> list[ClosedRun]:
    """Closed runs of the sweep *parent_id* that ended after *since_ms*; or those of them *deleted* since.

    *database*: the SQLite file of the store, where it is one. Raises StoreError where that cannot be read.
    """
    if database is not None:
        return _closed_in_database(database, runs.experiment_id, parent_id, since_ms, deleted)
    found = runs.trials(parent_id, f"attributes.end_time > {since_ms}", deleted=deleted)
    return [
        ClosedRun(
            run.info.run_id,
            run.info.end_time,
            run.info.artifact_uri,
            {name: run.data.tags[name] for name in _NEEDED if name in run.data.tags},
        )
        for run in found
    ]


def _count_by_client(runs: Runs, parent_id: str) -> Counter[str]:
    """Number of trials of the sweep *parent_id* by status, by MLflow's client."""
    found = runs.trials(parent_id, "attributes.end_time > 0")
    return Counter(run.data.tags["sft.status"] for run in found if "sft.result" in run.data.tags)


def _count_in_database(runs: Runs, database: Path) -> dict[str, Counter[str]]:
    """Number of trials by status, of every sweep by its run's id, from the SQLite file *database*.

    Raises StoreError where that cannot be read.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for parent_id, status, number in _rows(database, _COUNT, (runs.experiment_id,)):
        counts[parent_id][status] = number
    return counts


def _closed_in_database(
    database: Path, experiment_id: str, parent_id: str, since_ms: int, deleted: bool
) -> list[ClosedRun]:
    stage = "deleted" if deleted else "active"
    values = (*_NEEDED, parent_id, experiment_id, since_ms, stage)
    found: dict[str, ClosedRun] = {}
    for run_id, end_ms, artifact_uri, name, value in _rows(database, _QUERY, values):
        run = found.setdefault(run_id, ClosedRun(run_id, end_ms, artifact_uri, {}))
        if name is not None:
            run.tags[name] = value
    return list(found.values())


def _rows(database: Path, query: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
    read_only = f"{database.absolute().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(read_only, timeout=_WAIT_SECONDS, uri=True)) as connection:
            return connection.execute(query, values).fetchall()
    except sqlite3.Error as error:
        raise store_error(f"{SQLITE}{database}", error) from error


class Entry(NamedTuple):
    """Record of one finished trial, and the digest of the result.json that it was read from."""

    digest: str
    record: TrialRecord


class ResultsCache:
    """Results of the finished trials of the sweep with run *parent_id*, cached in the file *path*.

    *database*: the store's SQLite file, where it is one.
    """

    def __init__(self, path: Path, parent_id: str, database: Path | None = None) -> None:
        self.path = path
        self.database = database
        self.parent_id = parent_id
        self._parts = _SharedParts()
        self._entries = _load(path, self._parts)
        self._newest_ms: int | None = None  # end of the newest run seen by this process
        self._records: list[TrialRecord] | None = None

    def records(self) -> list[TrialRecord]:
        """Cached records, by number; the same objects every time."""
        if self._records is None:
            records = (entry.record for entry in self._entries.values())
            self._records = sorted(records, key=lambda record: record.number)
        return list(self._records)

    def refresh(self, runs: Runs, *, anew: bool = False) -> None:
        """Read the results that are new and drop those deleted since.

        The first refresh of a process, and one *anew*, compares with every run there is, for runs may
        have been removed for good or restored; others query the new and the deleted alone.
        """
        first = anew or self._newest_ms is None
        newest = 0 if anew else self._newest_ms or 0
        since = max(newest - _OVERLAP_MS, 0)
        found = {run.run_id: run for run in closed_runs(runs, self.database, self.parent_id, since)}
        for run in found.values():
            self._take(runs, run)
        if first:
            gone = self._entries.keys() - found.keys()
        else:
            deleted = closed_runs(runs, self.database, self.parent_id, deleted=True)
            gone = {run.run_id for run in deleted}
        for run_id in gone:
            if self._entries.pop(run_id, None):
                self._records = None
        self._newest_ms = max((run.end_ms for run in found.values()), default=newest)

    def _take(self, runs: Runs, run: ClosedRun) -> None:
        run_id, tags = run.run_id, run.tags
        known = self._entries.get(run_id)
        if "sft.result" not in tags:  # closed by hand, in MLflow's own pages
            return
        if known is not None and known.digest == tags["sft.result"]:
            return
        text = runs.text_at(run_id, run.artifact_uri, "result.json")
        if digest_of(text) != tags["sft.result"]:
            raise StoreError(
                f"result.json of MLflow run {run_id} was changed since it was written; {WRITTEN_ANEW}, or "
                "delete the run"
            )
        number, stage = number_of(run_id, tags, "sft.number"), tag_of(run_id, tags, "sft.stage")
        origin = tags.get(mlflow_names.ORIGIN)
        try:
            self._entries[run_id] = _entry(number, stage, text, origin, self._parts)
        except ValidationError as error:
            raise StoreError(
                f"result.json of MLflow run {run_id} does not fit this version "
                f"({error.error_count()} problems); read it with the version that wrote it, or "
                "delete the run"
            ) from error
        self._records = None
        line = {"run_id": run_id, "number": number, "stage": stage, "digest": digest_of(text)}
        line |= {"origin": origin} if origin else {}
        self._append(json.dumps(line | {"result": text}).encode() + b"\n")

    def _append(self, line: bytes) -> None:
        """Keep *line* for other processes; where the disk refuses they read the store instead."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, flags, 0o644)
            try:
                os.write(descriptor, line)
            finally:
                os.close(descriptor)


def _load(path: Path, parts: _SharedParts) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    with suppress(OSError), path.open("rb") as lines:
        for line in lines:
            try:
                kept = json.loads(line)
                origin = kept.get("origin")
                entry = _entry(kept["number"], kept["stage"], kept["result"], origin, parts)
            except (ValueError, KeyError, TypeError, AttributeError):  # torn, or of another version
                continue
            if entry.digest == kept.get("digest"):
                entries[kept["run_id"]] = entry
    return entries


def _entry(number: int, stage: str, text: str, origin: str | None, parts: _SharedParts) -> Entry:
    result = TrialResult.model_validate_json(text)
    record = TrialRecord(
        number=number,
        stage=sys.intern(stage),
        result=result,
        taken_over=TakenOver.model_validate_json(origin) if origin else None,
    )
    parts.share(record)
    return Entry(digest_of(text), record)


class _SharedParts:
    """Equal parts of a sweep's records, kept in memory once: most of a spec, half of the memory.

    Only for records that nobody changes. Equal means equal in what was given, too: a field that an older
    version did not write stays one that was not given.
    """

    _OF_SPEC = ("model", "method", "mix", "replay", "train", "evaluation")

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], Any] = {}  # by type and content

    def share(self, record: TrialRecord) -> None:
        """Replace the parts of *record*, just read, by equal ones that are kept already."""
        result, spec = record.result, record.result.spec
        for name in self._OF_SPEC:
            spec.__dict__[name] = self._part(getattr(spec, name))
        for name in ("tasks", "general"):
            shared = tuple(self._part(part) for part in getattr(spec, name))
            spec.__dict__[name] = self._known.setdefault((tuple, *map(id, shared)), shared)
        for model, name in ((spec, "examples"), (result, "environment")):
            mapping = getattr(model, name)
            vars(model)[name] = self._known.setdefault((dict, *mapping.items()), mapping)
        # What follows from the rows, which every trial is evaluated on, or is much alike.
        columns = {"labels": ("names", "truths"), "confidence": ("kept",)}
        counted = []
        for score, (field, names) in product(result.tasks, columns.items()):
            if (part := getattr(score, field)) is not None:
                counted.append(part)
                for name in names:
                    column = getattr(part, name)
                    vars(part)[name] = self._known.setdefault((name, column), column)
        for part in (record, result, spec, result.cost, *result.tasks, *counted, *result.general):
            self._share_fields(part)

    def _part(self, part: BaseModel | None) -> object:
        if part is None:
            return None
        return self._known.setdefault((type(part), part.model_dump_json(exclude_unset=True)), part)

    def _share_fields(self, model: BaseModel) -> None:
        """Share the set of fields that were given, which pydantic keeps for every single model."""
        given = model.model_fields_set
        shared = self._known.setdefault((set, frozenset(given)), given)
        object.__setattr__(model, "__pydantic_fields_set__", shared)


class _Count(NamedTuple):
    """Counts of a sweep without a driver, ended at *end*; valid until the monotonic clock shows *until*."""

    by_status: Counter[str]
    end: int | None
    until: float


class FinishedTrials:
    """Finished trials of every sweep among *runs*, thread-safe; *folder* holds the caches, a file a sweep.

    *database*: the store's SQLite file, where it is one.
    """

    def __init__(self, runs: Runs, folder: Path, database: Path | None) -> None:
        self._runs, self._folder, self._database = runs, folder, database
        self._lock = threading.Lock()  # a dashboard reads from many threads
        self._caches: LRUCache[str, ResultsCache] = LRUCache(_MAX_IN_MEMORY)  # by parent run id
        self._counts: dict[str, _Count] = {}  # by parent run id
        self._totals: dict[str, int] = {}  # finished trials when last counted, likewise

    def records(self, parent_id: str) -> list[TrialRecord]:
        """Records of the sweep with run *parent_id*, by number; deleted runs are gone."""
        with self._lock:
            cache = self._caches.get(parent_id)
            if cache is None:
                path = self._folder / f"{parent_id}.jsonl"
                cache = self._caches[parent_id] = ResultsCache(path, parent_id, self._database)
            cache.refresh(self._runs)
            known = len(cache.records())
            if self._totals.get(parent_id, known) != known:  # such as a run that was restored
                cache.refresh(self._runs, anew=True)
            return cache.records()

    def counts(self, parents: Iterable[Run]) -> dict[str, Counter[str]]:
        """Number of finished trials by status, by the id of the sweep's run.

        A server is queried for what is new of a sweep that runs, and seldom for one without a driver.
        """
        if self._database is not None:
            found = _count_in_database(self._runs, self._database)
        else:
            found = {parent.info.run_id: self._count(parent) for parent in parents}
        self._totals = {run_id: counts.total() for run_id, counts in found.items()}
        return found

    def _count(self, parent: Run) -> Counter[str]:
        run_id, now = parent.info.run_id, time.monotonic()
        if is_live(parent):
            self._counts.pop(run_id, None)
            return Counter(record.result.status.value for record in self.records(run_id))
        count = self._counts.get(run_id)
        if count is None or count.end != parent.info.end_time or now >= count.until:
            found = _count_by_client(self._runs, run_id)
            took = time.monotonic() - now
            until = now + max(_RECOUNT_SECONDS, _RECOUNT_RATIO * took)
            count = self._counts[run_id] = _Count(found, parent.info.end_time, until)
        return count.by_status.copy()
