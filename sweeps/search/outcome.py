"""A result seen through the sweep's objective: one number to search by, and how constraints stand."""

from __future__ import annotations

import math

from sweeps.search.space import Values
from sweeps.search.strategies.strategy import Outcome
from tracker.configurations import run_quality
from tracker.metrics import measures_of, se_of
from tracker.trial import Objective, TrialRecord, TrialResult


def outcome(record: TrialRecord, values: Values, objective: Objective) -> Outcome:
    """What strategies see of an ended trial; its qualities are ``None`` where a score is missing."""
    result = record.result
    return Outcome(
        number=record.number,
        stage=record.stage,
        values=values,
        status=result.status,
        quality=weighted_score(result, objective),
        quality_se=_quality_se(result, objective),
        loss=_weighted_loss(result, objective),
        seconds=result.cost.device_seconds,
        excess=max(excesses(result, objective).values(), default=None),
    )


def weighted_score(result: TrialResult, objective: Objective) -> float | None:
    """Mean quality over tasks by weight; ``None`` where a weighted task was not measured.

    A task without a score is decided on its loss, as in :mod:`tracker.metrics`: one sweep
    measures all its trials alike, so what this one holds says it.
    """
    return run_quality(result, _shares(objective), measures_of([result]))


def excesses(result: TrialResult, objective: Objective) -> dict[str, float]:
    """Each forgetting constraint's excess over its bound, as Optuna takes it: at most 0 is feasible."""
    lost = {f"forgetting.{suite.suite}": suite.forgetting for suite in result.general}
    return {
        name: value - bound
        for name, bound in objective.constraints.items()
        if (value := lost.get(name)) is not None
    }


def _shares(objective: Objective) -> dict[str, float]:
    total = sum(objective.weights.values())
    return {task: weight / total for task, weight in objective.weights.items() if weight}


def _weighted_loss(result: TrialResult, objective: Objective) -> float | None:
    """Bits per byte, weighted as scores are; nats per token where a table has nothing else."""
    found = {
        score.task: score.loss_nats if score.bits_per_byte is None else score.bits_per_byte
        for score in result.tasks
    }
    parts = [(found.get(task), share) for task, share in _shares(objective).items()]
    known = [(value, share) for value, share in parts if value is not None]
    return sum(value * share for value, share in known) if len(known) == len(parts) else None


def _quality_se(result: TrialResult, objective: Objective) -> float | None:
    """Standard error of the weighted score; tasks are evaluated on different rows, so errors add up."""
    measures = measures_of([result])
    errors = {s.task: se_of(s, measures.get(s.task, "score")) for s in result.tasks}
    parts = [(errors.get(task), share) for task, share in _shares(objective).items()]
    known = [error * share for error, share in parts if error is not None]
    return math.hypot(*known) if len(known) == len(parts) else None
