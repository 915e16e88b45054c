"""What is asked of a sweep, and what a reader of the answers must know: kept beside its trials."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

from tracker.errors import StoreError
from tracker.store.runs import Runs
from tracker.trial import Frozen, Objective

FILE = "question.json"
_TAG = "sft.objective"
_TAG_CHARACTERS = 500


class Question(Frozen):
    """The resolved objective, and the notes: one sentence each."""

    objective: Objective
    notes: tuple[str, ...] = ()


def text(objective: Objective, notes: Sequence[str]) -> str:
    """The content of :data:`FILE`."""
    return Question(objective=objective, notes=tuple(notes)).model_dump_json(indent=1)


def tags(objective: Objective) -> dict[str, str]:
    """The objective in a line, for MLflow's own pages; says as well that the file is there."""
    parts = [f"{task} {weight:g}" for task, weight in objective.weights.items()]
    parts += [f"{name} bound {bound:g}" for name, bound in objective.constraints.items()]
    return {_TAG: ", ".join(parts)[:_TAG_CHARACTERS]}


def read(runs: Runs, sweep: str) -> Question:
    """The sweep's question; StoreError where a version that did not keep it began the sweep."""
    run = runs.sweep(sweep)
    if _TAG not in run.data.tags:
        raise StoreError(
            f"sweep {sweep!r} was begun by a version that did not keep its objective; run its file "
            "again with `sft-select run`: nothing that has ended is run twice"
        )
    try:
        return Question.model_validate_json(runs.text(run, FILE))
    except ValidationError as error:
        raise StoreError(
            f"{FILE} of sweep {sweep!r} does not fit this version ({error.error_count()} problems); "
            "read it with the version that wrote it, or run the sweep's file again"
        ) from error
