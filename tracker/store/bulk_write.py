"""Bulk writing of finished trials into MLflow: an outside table may hold thousands of them.

MLflow's client commits each of a trial's four requests, which is nearly all that an import costs. It has
no call for many runs, so here rows of its SQLite database are written as it writes them: the first trial
goes through the client, and every other one is a copy of that run's row with its sweep_files name, tags,
parameters and metrics, one transaction for hundreds. A column that a later MLflow adds is thereby copied
too, and a table that it takes away is an error, not a silent gap; a test holds both ways against each
other.
"""

from __future__ import annotations

import posixpath
import re
import shutil
import sqlite3
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from tracker.errors import StoreError
from tracker.files import write_atomically
from tracker.store import mlflow_names
from tracker.store.mlflow_names import digest_of
from tracker.store.runs import PARENT, Run, Runs, is_ended
from tracker.store.tracking_uri import SQLITE, database_file, store_error
from tracker.trial import Objective, Status, TrialRecord, TrialSpec

#: MLflow's status of a run by that of its trial; any other is FAILED.
RUN_STATUS = {Status.COMPLETE: "FINISHED", Status.PRUNED: "KILLED"}
#: Other processes wait for the database no longer than a fraction of a second.
_RUNS_PER_TRANSACTION = 500
#: The ids of the runs that are being written, beside the files of their sweep.
_LISTED = "importing.txt"
#: Where MLflow keeps a run's name a second time.
_NAME = "mlflow.runName"
_KEY = re.compile(r"[\w.\- /:]+")
_KEY_CHARACTERS, _VALUE_CHARACTERS = 250, 500
_WAIT_SECONDS = 20.0  # for another process that writes; as long as MLflow itself waits
_METRIC_COLUMNS = "run_uuid, key, value, timestamp, step, is_nan"


class NewRun(NamedTuple):
    """MLflow run to be written. ``status``: MLflow's; ``files``: text artifacts by name."""

    name: str
    status: str
    tags: dict[str, str]
    parameters: dict[str, str]
    metrics: dict[str, float]
    files: dict[str, str]

    @property
    def is_plain(self) -> bool:
        """Whether MLflow takes it as it is; its client says what is wrong with any other."""
        texts = {"name": self.name, **self.tags, **self.parameters}
        return all(map(_is_key, (*self.tags, *self.parameters, *self.metrics))) and all(
            len(text) <= _VALUE_CHARACTERS for text in texts.values()
        )


def write_trials(
    runs: Runs,
    parent: Run,
    records: Iterable[TrialRecord],
    uri: str,
    objective: Objective | None = None,
) -> None:
    """Write *records* as finished trials of the sweep with run *parent*; those in the store stay.

    *objective*: by which a trial's quality is worked out; without one it has none.

    The same runs as trial by trial. In an SQLite store at *uri*, with artifacts on this disk, all but
    the first are written hundreds at a time; elsewhere each takes four requests instead of a dozen.
    """
    existing = {
        run.data.tags["sft.key"]: run
        for run in runs.trials(parent.info.run_id, "tags.`sft.key` != ''")
    }
    database, pattern = database_file(uri), None
    rest = iter(records)
    while batch := list(islice(rest, _RUNS_PER_TRANSACTION)):
        new_runs = []
        for record in batch:
            made, run = _new_run(parent, record, objective), existing.get(record.result.spec.key)
            if run is None and pattern is not None and made.is_plain:
                new_runs.append(made)
            elif run is None or not _is_whole(run, made):
                run = _write(runs, run, made)
                on_disk = runs.artifacts.folder(run.info.artifact_uri) is not None
                pattern = pattern or (run if database and on_disk else None)
        if new_runs and database and pattern:
            folder = runs.artifacts.folder(pattern.info.artifact_uri)
            assert folder is not None
            ids = [uuid.uuid4().hex for _ in new_runs]
            sweep_files = runs.artifacts.folder(parent.info.artifact_uri)
            if sweep_files is not None:  # what a kill leaves is found by it
                write_atomically(sweep_files / _LISTED, "\n".join(ids))
            insert_runs(database, pattern.info.run_id, folder, new_runs, ids)
            if sweep_files is not None:
                (sweep_files / _LISTED).unlink(missing_ok=True)


def discard(runs: Runs, parent: Run, uri: str) -> None:
    """Remove the run *parent* and its trials, which an import did not finish, with their files."""
    of_parent = f"tags.`{PARENT}` = '{parent.info.run_id}'"
    unfinished = [*runs.search(of_parent), parent]
    folders = [runs.artifacts.folder(run.info.artifact_uri) for run in unfinished]
    sweep_files = folders[-1]
    if (
        sweep_files is not None and (sweep_files / _LISTED).exists()
    ):  # their files came before their rows
        ids = (sweep_files / _LISTED).read_text(encoding="utf-8").split()
        folders += [sweep_files.parent.with_name(run_id) / sweep_files.name for run_id in ids]
    database = database_file(uri)
    if database is None:
        for run in unfinished:
            runs.client.delete_run(run.info.run_id)
    else:
        _delete(database, [run.info.run_id for run in unfinished])
    for folder in folders:
        if folder is not None:  # <run id>/artifacts
            shutil.rmtree(folder.parent, ignore_errors=True)


def _delete(database: Path, run_ids: Sequence[str]) -> None:
    try:
        with closing(sqlite3.connect(database, timeout=_WAIT_SECONDS)) as connection, connection:
            connection.execute("BEGIN IMMEDIATE")
            for table in ("latest_metrics", "metrics", "params", "tags", "runs"):
                connection.executemany(
                    f"DELETE FROM {table} WHERE run_uuid = ?", [(run_id,) for run_id in run_ids]
                )
    except sqlite3.Error as error:
        raise store_error(f"{SQLITE}{database}", error) from error


def _new_run(parent: Run, record: TrialRecord, objective: Objective | None) -> NewRun:
    result, text = record.result, record.result.model_dump_json()
    tags = trial_tags(parent, record.number, record.stage, result.spec)
    tags |= {"sft.status": result.status.value, "sft.result": digest_of(text)}
    tags |= {"sft.reason": result.reason} if result.reason else {}
    return NewRun(
        name=mlflow_names.run_name(result.spec),
        status=RUN_STATUS.get(result.status, "FAILED"),
        tags=tags,
        parameters=mlflow_names.parameters(result.spec),
        metrics=mlflow_names.metrics(result, objective),
        files={"result.json": text},
    )


def _is_whole(run: Run, made: NewRun) -> bool:
    return is_ended(run) and run.data.tags.get("sft.result") == made.tags["sft.result"]


def _write(runs: Runs, run: Run | None, made: NewRun) -> Run:
    """Write one trial through MLflow's client; *run*: the part of it that is there already."""
    if run is None:
        run = runs.client.create_run(runs.experiment_id, tags=made.tags, run_name=made.name)
    _fill(runs, run, made)
    for name, text in made.files.items():
        runs.artifacts.log_text(run, text, name)
    runs.client.set_terminated(run.info.run_id, made.status)
    return run


def trial_tags(parent: Run, number: int, stage: str, spec: TrialSpec) -> dict[str, str]:
    """Tags by which a trial's run is found and grouped."""
    return {
        PARENT: parent.info.run_id,
        "sft.kind": "trial",
        "sft.sweep": parent.data.tags["sft.sweep"],
        "sft.key": spec.key,
        "sft.number": str(number),
        "sft.stage": stage,
        **mlflow_names.group_tags(spec),
    }


def batches(values: list[Any], size: int) -> Iterator[list[Any]]:
    """Batches of at most *size* of *values*."""
    return (values[start : start + size] for start in range(0, len(values), size))


def _fill(runs: Runs, run: Run, made: NewRun) -> None:
    """Log parameters, metrics and tags in one request; a trial has far fewer than MLflow takes."""
    from mlflow.entities import Metric, Param, RunTag

    measured_at = run.info.start_time
    runs.client.log_batch(
        run.info.run_id,
        params=[Param(name, value) for name, value in made.parameters.items()],
        metrics=[Metric(name, value, measured_at, 0) for name, value in made.metrics.items()],
        tags=[RunTag(name, text) for name, text in made.tags.items()],
    )


def insert_runs(
    database: Path,
    pattern: str,
    folder: Path,
    runs: Sequence[NewRun],
    ids: Sequence[str] | None = None,
) -> None:
    """Insert *runs* with these *ids* as copies of the run *pattern*, whose artifacts lie in *folder*.

    All or none. Files come first, so that a run that is there is whole. Raises StoreError where the
    database cannot be written.
    """
    ids = ids or [uuid.uuid4().hex for _ in runs]
    for run_id, run in zip(ids, runs, strict=True):
        place = Path(str(folder).replace(pattern, run_id))
        for name, text in run.files.items():
            write_atomically(place / name, text)
    try:
        with closing(sqlite3.connect(database, timeout=_WAIT_SECONDS)) as connection, connection:
            connection.execute("BEGIN IMMEDIATE")
            _insert(connection, pattern, list(zip(ids, runs, strict=True)))
    except sqlite3.Error as error:
        raise store_error(f"{SQLITE}{database}", error) from error


def _insert(
    connection: sqlite3.Connection, pattern: str, runs: Sequence[tuple[str, NewRun]]
) -> None:
    cursor = connection.execute("SELECT * FROM runs WHERE run_uuid = ?", (pattern,))
    columns = [column[0] for column in cursor.description]
    row = cursor.fetchone()
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


def _run_row(base: Mapping[str, Any], pattern: str, run_id: str, run: NewRun) -> list[Any]:
    changed = {
        "run_uuid": run_id,
        "name": run.name,
        "status": run.status,
        "artifact_uri": base["artifact_uri"].replace(pattern, run_id),
    }
    return list((dict(base) | changed).values())


def _texts(
    by_run: Iterable[tuple[str, Mapping[str, str]]],
) -> Iterator[tuple[str, str, str]]:
    return ((run_id, name, text) for run_id, texts in by_run for name, text in texts.items())


def _is_key(text: str) -> bool:
    """Whether MLflow allows *text* as the name of a tag, parameter or metric."""
    whole = _KEY.fullmatch(text) is not None and len(text) <= _KEY_CHARACTERS
    return whole and posixpath.normpath(text) == text and not text.startswith(("/", ".."))
