"""Trials that ended long ago, written at once: an outside table may hold thousands of them.

MLflow itself is not imported here: the store hands over its client.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from tracker.store import naming
from tracker.store.bulk_rows import EndedRun, database_file, insert_runs
from tracker.store.cache import digest_of
from tracker.store.runs import PARENT, Run, Runs, is_ended
from tracker.trial import Status, TrialRecord

#: How a trial that ended so is shown in MLflow; any other is FAILED.
RUN_STATUS = {Status.COMPLETE: "FINISHED", Status.PRUNED: "KILLED"}
#: Trials in one transaction: others wait for the database no longer than a fraction of a second.
_TOGETHER = 500


def write_trials(runs: Runs, parent: Run, records: Iterable[TrialRecord], uri: str) -> None:
    """Write *records* as ended trials of the sweep with run *parent*; those that are there stay.

    The same runs as trial by trial. In an SQLite store at *uri*, with artifacts on this disk, all but
    the first are written hundreds at a time; elsewhere each takes four requests instead of a dozen.
    """
    held = {
        run.data.tags["sft.key"]: run
        for run in runs.trials(parent.info.run_id, "tags.`sft.key` != ''")
    }
    database, pattern = database_file(uri), None
    rest = iter(records)
    while batch := list(islice(rest, _TOGETHER)):
        together = []
        for record in batch:
            made, run = _ended_run(parent, record), held.get(record.result.spec.key)
            if run is None and pattern is not None and made.is_plain:
                together.append(made)
            elif run is None or not _is_whole(run, made):
                run = _write(runs, run, made)
                pattern = pattern or (run if database and _folder(run) else None)
        if together and database and pattern and (folder := _folder(pattern)):
            insert_runs(database, pattern.info.run_id, folder, together)


def _ended_run(parent: Run, record: TrialRecord) -> EndedRun:
    result, text = record.result, record.result.model_dump_json()
    tags = trial_tags(parent, record.number, record.stage, result.spec.key)
    tags |= {"sft.status": result.status.value, "sft.result": digest_of(text)}
    tags |= {"sft.reason": result.reason} if result.reason else {}
    return EndedRun(
        name=naming.run_name(result.spec),
        status=RUN_STATUS.get(result.status, "FAILED"),
        tags=tags,
        parameters=naming.parameters(result.spec),
        metrics=naming.metrics(result),
        files={"result.json": text},
    )


def _is_whole(run: Run, made: EndedRun) -> bool:
    return is_ended(run) and run.data.tags.get("sft.result") == made.tags["sft.result"]


def _write(runs: Runs, run: Run | None, made: EndedRun) -> Run:
    """One trial through MLflow's client; *run* is what there is of it."""
    if run is None:
        run = runs.client.create_run(runs.experiment_id, tags=made.tags, run_name=made.name)
    _fill(runs, run, made)
    for name, text in made.files.items():
        _log_text(runs, run, name, text)
    runs.client.set_terminated(run.info.run_id, made.status)
    return run


def trial_tags(parent: Run, number: int, stage: str, key: str) -> dict[str, str]:
    """The tags by which a trial's run is found."""
    return {
        PARENT: parent.info.run_id,
        "sft.kind": "trial",
        "sft.sweep": parent.data.tags["sft.sweep"],
        "sft.key": key,
        "sft.number": str(number),
        "sft.stage": stage,
    }


def batches(values: list[Any], size: int) -> Iterator[list[Any]]:
    """*values* in pieces of at most *size*."""
    return (values[start : start + size] for start in range(0, len(values), size))


def _fill(runs: Runs, run: Run, made: EndedRun) -> None:
    """Everything in one request; a table's trial has far fewer metrics than MLflow takes."""
    from mlflow.entities import Metric, Param, RunTag

    measured_at = run.info.start_time
    runs.client.log_batch(
        run.info.run_id,
        params=[Param(name, value) for name, value in made.parameters.items()],
        metrics=[Metric(name, value, measured_at, 0) for name, value in made.metrics.items()],
        tags=[RunTag(name, text) for name, text in made.tags.items()],
    )


def _log_text(runs: Runs, run: Run, name: str, text: str) -> None:
    """A text artifact; on local disk without the questions that MLflow would ask its database."""
    folder = _folder(run)
    if folder is None:
        runs.client.log_text(run.info.run_id, text, name)
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")


def _folder(run: Run) -> Path | None:
    """Where the run's artifacts lie, on local disk."""
    place = urlsplit(run.info.artifact_uri)
    return Path(url2pathname(place.path)) if place.scheme == "file" else None
