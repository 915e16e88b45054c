"""What a task is decided on: its score, or a loss where nothing scored it.

An *error* is smaller the better and above 0, which is what laws are fitted to; a *quality* is larger
the better, which is what choices are made by. A score is in [0, 1]: error 1 - score, quality the
score itself. A loss is its own error, and its quality is minus it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeVar, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tracker.trial import Status, TaskScore, TrialResult

#: Fields of ``TaskScore``, the preferred first.
Measure = Literal["score", "bits_per_byte", "loss_nats"]
MEASURES: tuple[Measure, ...] = get_args(Measure)
#: A table that does not say on how many rows it measured is taken to have seen so many: a perfect
#: score then has an error of half of one.
ROWS_UNSTATED = 1000

Number = TypeVar("Number", float, NDArray[np.float64])


def measure_of(task: str, results: Iterable[TrialResult]) -> Measure:
    """What *task* is decided on among *results*.

    The score where any complete trial has one, else bits per byte, else nats per token; the score
    too where nothing measured the task at all.
    """
    return measures_of(results).get(task, "score")


def measures_of(results: Iterable[TrialResult]) -> dict[str, Measure]:
    """:func:`measure_of` for every task that a complete trial measured, in order of name."""
    found: dict[str, set[Measure]] = {}
    for result in results:
        if result.status is Status.COMPLETE:
            for score in result.tasks:
                if score.split == "validation":
                    has = found.setdefault(score.task, set())
                    has |= {m for m in MEASURES if getattr(score, m) is not None}
    return {
        task: next(m for m in MEASURES if m in has) for task, has in sorted(found.items()) if has
    }


def value_of(score: TaskScore, measure: Measure) -> float | None:
    """What *score* holds of *measure*, in its own unit."""
    value: float | None = getattr(score, measure)
    return value


def se_of(score: TaskScore, measure: Measure) -> float | None:
    """The rows' standard error of that value."""
    error: float | None = getattr(score, f"{measure}_se")
    return error


def error_of(score: TaskScore, measure: Measure) -> float | None:
    """The error, above 0; ``None`` where *measure* was not measured."""
    value = value_of(score, measure)
    if value is None:
        return None
    return float(errors([value], [score.n or np.nan], measure)[0])


def quality_of(score: TaskScore, measure: Measure) -> float | None:
    """The quality, larger is better; ``None`` where *measure* was not measured."""
    value = value_of(score, measure)
    if value is None or measure == "score":
        return value
    return -value


def errors(values: ArrayLike, rows: ArrayLike, measure: Measure) -> NDArray[np.float64]:
    """Errors (k,) of *values* (k,) of *measure*, each over *rows* (k,) evaluated, NaN if not known.

    The error of a score is at least half a row, so that a perfect one has a logarithm.
    """
    found = np.asarray(values, dtype=float)
    if measure != "score":
        return found
    half = 0.5 / np.nan_to_num(np.asarray(rows, dtype=float), nan=ROWS_UNSTATED)
    return np.asarray(np.maximum(1 - found, half))


def quality_from_error(error: Number, measure: Measure) -> Number:
    """The quality that an error, or an array of them, stands for."""
    return 1 - error if measure == "score" else -error


def value_from_error(error: Number, measure: Measure) -> Number:
    """The value in the measure's own unit: a score, or a loss."""
    return 1 - error if measure == "score" else error
