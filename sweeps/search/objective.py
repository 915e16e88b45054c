"""A result seen through the sweep's objective: one number to search by, and how constraints stand."""

from __future__ import annotations

import math
from collections.abc import Mapping

from sweeps.search.space import Values
from sweeps.search.strategy import Outcome
from tracker.record.trial import Objective, TrialRecord, TrialResult


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
        loss=_weighted(result, objective, "bits_per_byte"),
    )


def weighted_score(result: TrialResult, objective: Objective) -> float | None:
    """Mean score over tasks by weight; ``None`` where a weighted task has no score."""
    return _weighted(result, objective, "score")


def excesses(result: TrialResult, objective: Objective) -> dict[str, float]:
    """Each forgetting constraint's excess over its bound, as Optuna takes it: at most 0 is feasible."""
    lost = {f"forgetting.{suite.suite}": suite.forgetting for suite in result.general}
    return {
        name: value - bound
        for name, bound in objective.constraints.items()
        if (value := lost.get(name)) is not None
    }


def _weighted(result: TrialResult, objective: Objective, measure: str) -> float | None:
    """Mean of *measure* over tasks by weight (the same mean that the recommendation uses)."""
    found = {score.task: getattr(score, measure) for score in result.tasks}
    return _mean(found, objective)


def _quality_se(result: TrialResult, objective: Objective) -> float | None:
    """Standard error of the weighted score; tasks are evaluated on different rows, so errors add up."""
    total = sum(objective.weights.values())
    errors = {score.task: score.score_se for score in result.tasks}
    parts = [
        (errors.get(task), weight / total) for task, weight in objective.weights.items() if weight
    ]
    if not parts or any(error is None for error, _ in parts):
        return None
    return math.sqrt(sum((error or 0.0) ** 2 * share**2 for error, share in parts))


def _mean(values: Mapping[str, float | None], objective: Objective) -> float | None:
    total, weighted = 0.0, 0.0
    for task, weight in objective.weights.items():
        if not weight:
            continue
        value = values.get(task)
        if value is None:
            return None
        total += weight
        weighted += weight * value
    return weighted / total
