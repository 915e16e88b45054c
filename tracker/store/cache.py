"""A local copy of a sweep's ended trials, so that reading again costs only what is new.

JSON Lines, appended to by whoever read a result first; several processes may share the file. It is
a cache: a line that does not check out is ignored and its result read from the store again.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from tracker.errors import StoreError
from tracker.store.compact import compact
from tracker.store.ended import Ended, ended
from tracker.store.runs import Runs, number_of, tag_of
from tracker.trial import TrialRecord, TrialResult

#: A run counts as new for so long after its end: clocks and commits are not in step.
_OVERLAP_MS = 60_000


class Entry(NamedTuple):
    """One ended run: the digest of its result.json, and the record read from it."""

    digest: str
    record: TrialRecord


class Snapshot:
    """The ended trials of the sweep with run *parent_id*, copied to *path*.

    *database*: the store's SQLite file, where it is one.
    """

    def __init__(self, path: Path, parent_id: str, database: Path | None = None) -> None:
        self.path = path
        self.database = database
        self.parent_id = parent_id
        self._entries = _load(path)
        self._newest_ms: int | None = None  # end of the newest run seen by this process
        self._records: list[TrialRecord] | None = None

    def records(self) -> list[TrialRecord]:
        """The records held, by number; the same objects every time."""
        if self._records is None:
            records = (entry.record for entry in self._entries.values())
            self._records = sorted(records, key=lambda record: record.number)
        return list(self._records)

    def refresh(self, runs: Runs, *, anew: bool = False) -> None:
        """Take in what ended and drop what was deleted since.

        The first refresh of a process, and one *anew*, compares with every run there is, for runs may
        have been removed for good or restored; others ask for the new and the deleted alone.
        """
        first = anew or self._newest_ms is None
        newest = 0 if anew else self._newest_ms or 0
        since = max(newest - _OVERLAP_MS, 0)
        found = {run.run_id: run for run in ended(runs, self.database, self.parent_id, since)}
        for run in found.values():
            self._take(runs, run)
        if first:
            gone = self._entries.keys() - found.keys()
        else:
            deleted = ended(runs, self.database, self.parent_id, deleted=True)
            gone = {run.run_id for run in deleted}
        for run_id in gone:
            if self._entries.pop(run_id, None):
                self._records = None
        self._newest_ms = max((run.end_ms for run in found.values()), default=newest)

    def _take(self, runs: Runs, run: Ended) -> None:
        run_id, tags = run.run_id, run.tags
        known = self._entries.get(run_id)
        if "sft.result" not in tags:  # closed by hand, in MLflow's own pages
            return
        if known is not None and known.digest == tags["sft.result"]:
            return
        text = runs.text_at(run_id, run.artifact_uri, "result.json")
        number, stage = number_of(run_id, tags, "sft.number"), tag_of(run_id, tags, "sft.stage")
        try:
            self._entries[run_id] = _entry(number, stage, text)
        except ValidationError as error:
            raise StoreError(
                f"result.json of MLflow run {run_id} does not fit this version "
                f"({error.error_count()} problems); read it with the version that wrote it, or "
                "delete the run"
            ) from error
        self._records = None
        line = {"run_id": run_id, "number": number, "stage": stage, "digest": digest_of(text)}
        self._append(json.dumps(line | {"result": text}).encode() + b"\n")

    def _append(self, line: bytes) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(self.path, flags, 0o644)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)


def digest_of(text: str) -> str:
    """SHA-256 of *text* in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def _load(path: Path) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    if not path.exists():
        return entries
    with path.open("rb") as lines:
        for line in lines:
            try:
                kept = json.loads(line)
                entry = _entry(kept["number"], kept["stage"], kept["result"])
            except (ValueError, KeyError, TypeError, AttributeError):  # torn, or of another version
                continue
            if entry.digest == kept.get("digest"):
                entries[kept["run_id"]] = entry
    return entries


def _entry(number: int, stage: str, text: str) -> Entry:
    result = TrialResult.model_validate_json(text)
    compact(result)
    return Entry(digest_of(text), TrialRecord(number=number, stage=stage, result=result))
