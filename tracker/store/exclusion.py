"""Exclusion of trials from a sweep's answers, each with its reason, as tags of the sweep's run; reversible.

They are facts of the sweep, and are read with it. The trial's own run says so too (``sft.excluded``), for
MLflow's pages. An excluded trial has no row in the table, and counts for no law and no recommendation.
Its result stays, and for a search that goes on it stays an outcome: nothing is run again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from pydantic import Field, ValidationError

from tracker.errors import InputError
from tracker.frozen import Frozen
from tracker.store.runs import FACT, Run, Runs
from tracker.trial import TrialRecord

_TAG = "sft.excluded"  # of a trial's run
_FACT = "excluded."  # of a sweep, before the trial's key
_MOST_CHARACTERS = 1000
#: How the reason begins where a sweep's present file no longer has the trial: it counts again with that.
LEFT = "left the design: "


class Finished(Protocol):
    """What knows a sweep's finished trials; the tracking store does."""

    def records(self, sweep: str) -> list[TrialRecord]:
        """Those that count."""
        ...

    def excluded(self, sweep: str) -> list[TrialRecord]:
        """Those that are excluded."""
        ...


class Excluded(Frozen):
    """Exclusion of the trial ``key``, which has this ``number``, and ``why``."""

    key: str
    number: int
    why: str = Field(min_length=1, max_length=_MOST_CHARACTERS)


def excluded_of(facts: Mapping[str, str]) -> dict[str, Excluded]:
    """Excluded trials by key, as the *facts* of a sweep say; one that somebody garbled counts not."""
    found = {}
    for name, text in facts.items():
        if name.startswith(_FACT):
            try:
                excluded = Excluded.model_validate_json(text)
            except ValidationError:
                continue
            found[excluded.key] = excluded
    return found


def split(
    records: Sequence[TrialRecord], tags: Mapping[str, str]
) -> tuple[list[TrialRecord], list[TrialRecord]]:
    """Those of *records* that count, and those that are excluded, which say why.

    *tags*: of the sweep's run.
    """
    every = marked(records, excluded_of_tags(tags))
    return (
        [record for record in every if record.excluded is None],
        [record for record in every if record.excluded is not None],
    )


def excluded_of_tags(tags: Mapping[str, str]) -> dict[str, Excluded]:
    """Excluded trials by key, as the *tags* of the sweep's run say."""
    return excluded_of({name.removeprefix(FACT): text for name, text in tags.items()})


def marked(records: Sequence[TrialRecord], excluded: Mapping[str, Excluded]) -> list[TrialRecord]:
    """*records*, of which those that are *excluded* by key say why; the others are the same objects."""
    return [
        record.model_copy(update={"excluded": excluded[key].why})
        if (key := record.result.spec.key) in excluded
        else record
        for record in records
    ]


def reason(text: str | None) -> str:
    """The reason of an exclusion as one line; InputError where there is none, or it is too long."""
    why = " ".join((text or "").split())
    if not why:
        raise InputError("--why: found nothing; give the reason, which the pages and status show")
    if len(why) > _MOST_CHARACTERS:
        raise InputError(
            f"--why: found {len(why)} characters; allowed: at most {_MOST_CHARACTERS}; shorten it"
        )
    return why


def set_excluded(runs: Runs, parent: Run, key: str, number: int, why: str) -> None:
    """Exclude the trial *key* of the sweep with run *parent*."""
    tag = Excluded(key=key, number=number, why=why).model_dump_json()
    if (run := runs.trial(parent.info.run_id, key)) is not None:
        runs.client.set_tag(run.info.run_id, _TAG, why)
    runs.client.set_tag(parent.info.run_id, f"{FACT}{_FACT}{key}", tag)


def unset_excluded(runs: Runs, parent: Run, key: str) -> None:
    """Count the trial *key* again; InputError where it is not excluded."""
    name = f"{FACT}{_FACT}{key}"
    if name not in parent.data.tags:
        raise InputError(f"trial {key}: is not excluded; `sft-select status` lists those that are")
    runs.client.delete_tag(parent.info.run_id, name)
    run: Any = runs.trial(parent.info.run_id, key)
    if run is not None and _TAG in run.data.tags:
        runs.client.delete_tag(run.info.run_id, _TAG)


def finished(store: Finished, sweep: str, trial: str) -> TrialRecord:
    """The finished *trial* of *sweep*, by its number or key, excluded or not.

    Raises InputError, with the numbers there are, where there is none.
    """
    records = [*store.records(sweep), *store.excluded(sweep)]
    for record in records:
        if trial in (str(record.number), record.result.spec.key):
            return record
    numbers = sorted(record.number for record in records)
    known = f"{numbers[0]} to {numbers[-1]}" if numbers else "none yet"
    raise InputError(
        f"{sweep}: no trial {trial} has ended; allowed: the number of an ended one ({known}), or its key"
    )
