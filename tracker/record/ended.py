"""Which trials of a sweep have ended, and where their results lie: the question that is asked all the time.

MLflow builds every tag, parameter and metric of every run that it finds, which takes 2 ms a run. An SQLite
database on this disk is asked for what is needed alone; any other store goes through MLflow's client,
and a test holds both answers against each other.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from tracker.record.address import SQLITE, store_error
from tracker.record.runs import PARENT, Runs

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


def _asked_directly(
    database: Path, experiment_id: str, parent_id: str, since_ms: int, deleted: bool
) -> list[Ended]:
    stage = "deleted" if deleted else "active"
    asked = (*_NEEDED, parent_id, experiment_id, since_ms, stage)
    look_only = f"{database.absolute().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(look_only, timeout=_WAIT_SECONDS, uri=True)) as connection:
            rows = connection.execute(_QUERY, asked).fetchall()
    except sqlite3.Error as error:
        raise store_error(f"{SQLITE}{database}", error) from error
    found: dict[str, Ended] = {}
    for run_id, end_ms, artifact_uri, name, value in rows:
        run = found.setdefault(run_id, Ended(run_id, end_ms, artifact_uri, {}))
        if name is not None:
            run.tags[name] = value
    return list(found.values())
