"""Which trials of a sweep have ended, and where their results lie: the question that is asked all the time.

MLflow builds every tag, parameter and metric of every run that it finds, which takes 2 ms a run. An SQLite
database on this disk is asked for what is needed alone; any other store goes through MLflow's client,
and a test holds both answers against each other.
"""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from tracker.store.address import SQLITE, store_error
from tracker.store.runs import PARENT, Runs

_NEEDED = ("sft.result", "sft.number", "sft.stage")
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


class Ended(NamedTuple):
    """One closed run. ``end_ms``: epoch milliseconds; ``tags``: those of a result, as far as it has them."""

    run_id: str
    end_ms: int
    artifact_uri: str
    tags: dict[str, str]


def ended(
    runs: Runs, database: Path | None, parent_id: str, since_ms: int = 0, *, deleted: bool = False
) -> list[Ended]:
    """The trials of the sweep *parent_id* that ended after *since_ms*; or those of them *deleted* since.

    *database*: the SQLite file of the store, where it is one. Raises StoreError where that cannot be read.
    """
    if database is not None:
        return _asked_directly(database, runs.experiment_id, parent_id, since_ms, deleted)
    found = runs.trials(parent_id, f"attributes.end_time > {since_ms}", deleted=deleted)
    return [
        Ended(
            run.info.run_id,
            run.info.end_time,
            run.info.artifact_uri,
            {name: run.data.tags[name] for name in _NEEDED if name in run.data.tags},
        )
        for run in found
    ]


def count(runs: Runs, parent_id: str) -> Counter[str]:
    """How many trials of the sweep *parent_id* ended with which status, by MLflow's client."""
    found = runs.trials(parent_id, "attributes.end_time > 0")
    return Counter(run.data.tags["sft.status"] for run in found if "sft.result" in run.data.tags)


def count_directly(runs: Runs, database: Path) -> dict[str, Counter[str]]:
    """As :func:`count`, of every sweep at once, by its run's id; from the SQLite file *database*.

    Raises StoreError where that cannot be read.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for parent_id, status, number in _rows(database, _COUNT, (runs.experiment_id,)):
        counts[parent_id][status] = number
    return counts


def _asked_directly(
    database: Path, experiment_id: str, parent_id: str, since_ms: int, deleted: bool
) -> list[Ended]:
    stage = "deleted" if deleted else "active"
    asked = (*_NEEDED, parent_id, experiment_id, since_ms, stage)
    found: dict[str, Ended] = {}
    for run_id, end_ms, artifact_uri, name, value in _rows(database, _QUERY, asked):
        run = found.setdefault(run_id, Ended(run_id, end_ms, artifact_uri, {}))
        if name is not None:
            run.tags[name] = value
    return list(found.values())


def _rows(database: Path, query: str, asked: Sequence[object]) -> list[tuple[Any, ...]]:
    look_only = f"{database.absolute().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(look_only, timeout=_WAIT_SECONDS, uri=True)) as connection:
            return connection.execute(query, asked).fetchall()
    except sqlite3.Error as error:
        raise store_error(f"{SQLITE}{database}", error) from error
