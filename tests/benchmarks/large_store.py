"""A store of many thousand trials, made from the recorded playground: what a dashboard must bear.

Every recorded trial is there again and again, each time with another seed and scores that differ by a run's
noise, so that the laws have something to fit and no two rows are alike.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path

from tests.benchmarks.record_playground import TABLE
from tracker.importing.trials import read_table, write_sweep
from tracker.store.store import Store
from tracker.trial import TrialRecord, TrialResult

NAME = "large"
_NOISE = 0.015  # of a score between seeds, as recorded


def many_records(count: int) -> Iterator[TrialRecord]:
    """*count* trials; the first are the recorded ones, the untouched bases come once."""
    recorded = [record.result for record in read_table(TABLE).records]
    trained = [result for result in recorded if result.spec.method.name != "none"]
    bases = [result for result in recorded if result.spec.method.name == "none"]
    chance = random.Random(0)
    every = (again(result, round_, chance) for round_ in range(count) for result in trained)
    for number, result in enumerate(islice(_chained(bases, every), count)):
        yield TrialRecord(number=number, stage="large", result=result)


def _chained(first: Sequence[TrialResult], rest: Iterator[TrialResult]) -> Iterator[TrialResult]:
    yield from first
    yield from rest


def again(result: TrialResult, times: int, chance: random.Random) -> TrialResult:
    """*result* as another seed of its trial might have come out; itself for *times* 0."""
    if not times:
        return result
    spec = result.spec.model_copy(update={"seed": result.spec.seed + 3 * times})
    shift = chance.gauss(0, _NOISE)
    tasks = tuple(
        task.model_copy(update={"score": min(1.0, max(0.0, task.score + shift))})
        if task.score is not None
        else task
        for task in result.tasks
    )
    return result.model_copy(update={"spec": spec, "tasks": tasks})


def large_store(workspace: Path, trials: int, metric_rows: int) -> Store:
    """The store in *workspace* with *trials* ended trials and *metric_rows* rows of learning curves."""
    store = Store.open(workspace)
    if all(info.name != NAME for info in store.sweeps()):
        table = read_table(TABLE)
        table = table._replace(records=tuple(many_records(trials)))
        write_sweep(store, NAME, table)
        _age(workspace / "mlflow.db", metric_rows)
    return store


def _age(database: Path, rows: int) -> None:
    """As if the trials had been trained: one a minute, each with the losses of its steps.

    Straight into MLflow's tables: through its client it would take an hour.
    """
    with closing(sqlite3.connect(database)) as connection, connection:
        runs = [run for (run,) in connection.execute("SELECT run_uuid FROM runs")]
        connection.executemany(
            "UPDATE runs SET start_time = start_time - ?, end_time = end_time - ? WHERE run_uuid = ?",
            ((60_000 * age, 60_000 * age, run) for age, run in enumerate(reversed(runs))),
        )
        steps = rows // len(runs)
        connection.executemany(
            "INSERT INTO metrics (run_uuid, key, value, timestamp, step, is_nan) "
            "VALUES (?, 'train/loss', ?, ?, ?, 0)",
            ((run, 3 / (1 + step) ** 0.3, step, step) for run in runs for step in range(steps)),
        )
