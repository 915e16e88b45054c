"""Many ended trials as rows of MLflow's SQLite database, one transaction for all of them.

MLflow's client commits each of a trial's four requests, which is nearly all that an import costs. It has
no call for many runs, so here the rows are written as it writes them: the first trial goes through
the client, and every other one is a copy of that run's row with its own name, tags, parameters and
metrics. A column that a later MLflow adds is thereby copied too, and a table that it takes away is
an error, not a silent gap; a test holds both ways against each other.
"""

from __future__ import annotations

import posixpath
import re
import sqlite3
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from tracker.errors import StoreError
from tracker.store import address

#: Where MLflow keeps a run's name a second time.
_NAME = "mlflow.runName"
_KEY = re.compile(r"[\w.\- /:]+")
_KEY_CHARACTERS, _VALUE_CHARACTERS = 250, 500
_WAIT_SECONDS = 20.0  # for another process that writes; as long as MLflow itself waits
_METRIC_COLUMNS = "run_uuid, key, value, timestamp, step, is_nan"


class EndedRun(NamedTuple):
    """A run to be written. ``status`` as MLflow says it; ``files``: text artifacts by name."""

    name: str
    status: str
    tags: dict[str, str]
    parameters: dict[str, str]
    metrics: dict[str, float]
    files: dict[str, str]

    @property
    def is_plain(self) -> bool:
        """Whether nothing in it comes near MLflow's limits; its client says what is wrong."""
        texts = {"name": self.name, **self.tags, **self.parameters}
        return all(map(_is_key, (*self.tags, *self.parameters, *self.metrics))) and all(
            len(text) <= _VALUE_CHARACTERS for text in texts.values()
        )


def database_file(uri: str) -> Path | None:
    """The file of an SQLite tracking URI; ``None`` for any other store, or one with options."""
    return None if "?" in uri else address.sqlite_file(uri)


def insert_runs(database: Path, pattern: str, folder: Path, runs: Sequence[EndedRun]) -> None:
    """Write *runs* like the run *pattern*, whose artifacts lie in *folder*: all of them or none.

    Files come first, so that a run that is there is whole. Raises StoreError where the database
    cannot be written.
    """
    ids = [uuid.uuid4().hex for _ in runs]
    for run_id, run in zip(ids, runs, strict=True):
        place = Path(str(folder).replace(pattern, run_id))
        place.mkdir(parents=True)
        for name, text in run.files.items():
            (place / name).write_text(text, encoding="utf-8")
    try:
        with closing(sqlite3.connect(database, timeout=_WAIT_SECONDS)) as connection, connection:
            connection.execute("BEGIN IMMEDIATE")
            _insert(connection, pattern, list(zip(ids, runs, strict=True)))
    except sqlite3.Error as error:
        raise address.store_error(f"{address.SQLITE}{database}", error) from error


def _insert(
    connection: sqlite3.Connection, pattern: str, runs: Sequence[tuple[str, EndedRun]]
) -> None:
    found = connection.execute("SELECT * FROM runs WHERE run_uuid = ?", (pattern,))
    columns = [column[0] for column in found.description]
    row = found.fetchone()
    if row is None:
        raise StoreError(f"MLflow run {pattern} is gone from the tracking store; import again")
    now = time.time_ns() // 1_000_000
    base = dict(zip(columns, row, strict=True)) | {"start_time": now, "end_time": now}
    slots = ", ".join("?" * len(columns))
    connection.executemany(
        f"INSERT INTO runs ({', '.join(columns)}) VALUES ({slots})",
        [_run_row(base, pattern, run_id, run) for run_id, run in runs],
    )
    tags = _texts((run_id, {**run.tags, _NAME: run.name}) for run_id, run in runs)
    parameters = _texts((run_id, run.parameters) for run_id, run in runs)
    connection.executemany("INSERT INTO tags (run_uuid, key, value) VALUES (?, ?, ?)", tags)
    connection.executemany("INSERT INTO params (run_uuid, key, value) VALUES (?, ?, ?)", parameters)
    metrics = [
        (run_id, name, value, now, 0, False)
        for run_id, run in runs
        for name, value in run.metrics.items()
    ]
    for table in ("metrics", "latest_metrics"):
        connection.executemany(
            f"INSERT INTO {table} ({_METRIC_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)",
            metrics,
        )


def _run_row(base: Mapping[str, Any], pattern: str, run_id: str, run: EndedRun) -> list[Any]:
    own = {
        "run_uuid": run_id,
        "name": run.name,
        "status": run.status,
        "artifact_uri": base["artifact_uri"].replace(pattern, run_id),
    }
    return list((dict(base) | own).values())


def _texts(
    by_run: Iterable[tuple[str, Mapping[str, str]]],
) -> Iterator[tuple[str, str, str]]:
    return ((run_id, name, text) for run_id, texts in by_run for name, text in texts.items())


def _is_key(text: str) -> bool:
    """As MLflow allows the names of tags, parameters and metrics."""
    whole = _KEY.fullmatch(text) is not None and len(text) <= _KEY_CHARACTERS
    return whole and posixpath.normpath(text) == text and not text.startswith(("/", ".."))
