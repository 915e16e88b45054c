"""Trials that ended long ago, written at once: an outside table may hold thousands of them.

MLflow itself is not imported here: the store hands over its client.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from tracker.record import naming
from tracker.record.runs import PARENT, Run, Runs, is_ended
from tracker.record.snapshot import digest_of
from tracker.record.trial import Status, TrialRecord

#: How a trial that ended so is shown in MLflow; any other is FAILED.
RUN_STATUS = {Status.COMPLETE: "FINISHED", Status.PRUNED: "KILLED"}


def write_trials(runs: Runs, parent: Run, records: Iterable[TrialRecord]) -> None:
    """Write *records* as ended trials of the sweep with run *parent*; those that are there stay.

    The same runs as trial by trial, in four requests each instead of a dozen.
    """
    held = {
        run.data.tags["sft.key"]: run
        for run in runs.trials(parent.info.run_id, "tags.`sft.key` != ''")
    }
    for record in records:
        result, text = record.result, record.result.model_dump_json()
        tags = trial_tags(parent, record.number, record.stage, result.spec.key)
        tags |= {"sft.status": result.status.value, "sft.result": digest_of(text)}
        tags |= {"sft.reason": result.reason} if result.reason else {}
        run = held.get(result.spec.key)
        if run is None:
            name = naming.run_name(result.spec)
            run = runs.client.create_run(runs.experiment_id, tags=tags, run_name=name)
        elif is_ended(run) and run.data.tags.get("sft.result") == tags["sft.result"]:
            continue
        _fill(runs, run, record)
        _log_text(runs, run, "result.json", text)
        runs.client.set_terminated(run.info.run_id, RUN_STATUS.get(result.status, "FAILED"))


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


def _fill(runs: Runs, run: Run, record: TrialRecord) -> None:
    """Parameters and metrics in one request; a table's trial has far fewer than MLflow takes."""
    from mlflow.entities import Metric, Param

    result = record.result
    measured_at = run.info.start_time
    runs.client.log_batch(
        run.info.run_id,
        params=[Param(name, value) for name, value in naming.parameters(result.spec).items()],
        metrics=[
            Metric(name, value, measured_at, 0) for name, value in naming.metrics(result).items()
        ],
    )


def _log_text(runs: Runs, run: Run, name: str, text: str) -> None:
    """A text artifact; on local disk without the questions that MLflow would ask its database."""
    place = urlsplit(run.info.artifact_uri)
    if place.scheme != "file":
        runs.client.log_text(run.info.run_id, text, name)
        return
    folder = Path(url2pathname(place.path))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
