"""Readings of test files: how often a sweep's test rows were scored, kept with the project in MLflow.

A choice that was made by looking at test is measured there no longer, so that each look counts. A reading
is a tag of the experiment, with a key of its own: the same one may be written again, and two processes that
write at the same time lose none. They stay when the sweep is deleted: the rows were read all the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tracker.numbers import count
from tracker.store.runs import Runs

_PREFIX = "sft.test_read"
_DIGITS = 16


class Reading(NamedTuple):
    """One reading of the test file with this *sha256*; ``id``: of the reading, ``by``: who read it."""

    sha256: str
    id: str
    by: str


def add_readings(runs: Runs, sweep: str, readings: Iterable[Reading]) -> None:
    """Keep *readings* of the sweep's test files; those that are kept already stay as they are."""
    for reading in readings:
        key = f"{_key(sweep, reading.sha256)}{reading.id}"
        runs.client.set_experiment_tag(runs.experiment_id, key, reading.by)


def count_readings(runs: Runs, sweep: str, sha256: str) -> int:
    """How often the test file with this *sha256* was read for the sweep."""
    tags = runs.client.get_experiment(runs.experiment_id).tags
    return sum(key.startswith(_key(sweep, sha256)) for key in tags)


def reads_line(reads: int) -> str:
    """How often a test file was read for a sweep."""
    times = "once" if reads == 1 else f"{count(reads)} times"
    chosen = "" if reads == 1 else "; a choice made by its scores is no longer measured by them"
    return f"test was read {times} for this sweep{chosen}"


def _key(sweep: str, sha256: str) -> str:
    return f"{_PREFIX}/{sweep}/{sha256[:_DIGITS]}/"
