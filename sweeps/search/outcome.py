"""A result seen through the sweep's objective: one number to search by, and how constraints stand."""

from __future__ import annotations

from sweeps.search.space import Values
from sweeps.search.strategies.strategy import Outcome
from tracker.metrics import measures_of, weighted_loss, weighted_quality, weighted_se
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
        quality_se=weighted_se(result, objective.weights, measures_of([result])),
        loss=weighted_loss(result, objective.weights),
        seconds=result.cost.device_seconds,
        excess=max(excesses(result, objective).values(), default=None),
    )


def weighted_score(result: TrialResult, objective: Objective) -> float | None:
    """Mean quality over tasks by weight; ``None`` where a weighted task was not measured.

    A task without a score is decided on its loss, as in :mod:`tracker.metrics`: one sweep measures all its
    trials alike, so what this one holds says it.
    """
    return weighted_quality(result, objective.weights, measures_of([result]))


def excesses(result: TrialResult, objective: Objective) -> dict[str, float]:
    """Each forgetting constraint's excess over its bound, as Optuna takes it: at most 0 is feasible."""
    lost = {f"forgetting.{suite.suite}": suite.forgetting for suite in result.general}
    return {
        name: value - bound
        for name, bound in objective.constraints.items()
        if (value := lost.get(name)) is not None
    }
