"""Divergence: a training whose loss stays well above its beginning, though it is still a number, is ended.

Decided on the run's logged points alone, never on time or on other runs, so that a resumed run is ended at
the same step and a run that is not ended is untouched.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from tracker.numbers import number
from tracker.trial import TrainSpec

FIRST = "first_loss"  #: in a log history: the loss of one of the first steps
LOSS = "loss"  #: in a log history: the mean loss of the steps since the point before

_FIRST_ROWS = 64  # whose mean loss is where a run began: one batch may be all of one task
_ABOVE_NATS = 1.0  # a loss near 0 doubles easily
_SHARE = 0.1  # of all steps that the loss must stay above its limit
_FEWEST_STEPS = 10  # a shorter run has little to save, and its batches scatter
_WEIGHT = 1 / 3  # of the newest point in the smoothed loss: about the last five points count


class DivergedError(Exception):
    """The loss became NaN or infinite, or stayed far above where it began."""


class DivergenceRule(NamedTuple):
    """When a run counts as diverged; all counts are optimizer steps.

    ``first``: steps whose mean loss is that of the beginning, while the learning rate still rises;
    ``warmup``: steps before the loss is judged; ``span``: steps that it must stay above ``factor`` times
    the beginning; ``None``: never.
    """

    first: int
    warmup: int
    span: int
    factor: float | None

    @classmethod
    def of(cls, train: TrainSpec, steps: int) -> DivergenceRule:
        """The rule of a run of *steps* on the schedule *train*."""
        warmup = math.ceil(train.warmup * steps)
        rows = train.batch_size * train.accumulation
        return cls(
            first=max(1, min(math.ceil(_FIRST_ROWS / rows), warmup)),
            warmup=warmup,
            span=max(math.ceil(_SHARE * steps), _FEWEST_STEPS),
            factor=train.diverged_above,
        )


def divergence_reason(history: Sequence[Mapping[str, float]], rule: DivergenceRule) -> str | None:
    """Why the run with this log history has diverged, in one line; ``None`` where it has not.

    *history*: points in order, each with ``step`` and either ``FIRST`` or ``LOSS``, nats per answer token.
    A history without the run's beginning decides nothing.
    """
    began = [point[FIRST] for point in history if FIRST in point]
    if rule.factor is None or len(began) < rule.first:
        return None
    start = fmean(began)
    limit = max(rule.factor * start, start + _ABOVE_NATS)
    smoothed, below, step = start, rule.warmup, 0
    for point in history:
        if LOSS not in point:
            continue
        step = int(point["step"])
        smoothed += _WEIGHT * (point[LOSS] - smoothed)
        if smoothed <= limit:
            below = max(step, rule.warmup)
    if step - below < rule.span:
        return None
    return (
        f"training loss {number(smoothed)} at step {step}, above {number(limit)} for "
        f"{step - below} steps; it began at {number(start)}"
    )
