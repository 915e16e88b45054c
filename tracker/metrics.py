"""Metrics: scores, losses, what a task is decided on, the weighted quality, and estimates with intervals.

A task is decided on its score, else on an outside table's error (WER, MSE), else on a loss. An *error* is
smaller the better and above 0, which is what laws are fitted to; a *quality* is larger the better, which is
what choices are made by. A score is in [0, 1]: error 1 - score, quality the score itself. A loss, and a
table's error, is its own error, and its quality is minus it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Literal, TypeVar, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from tracker.errors import Argument, ArgumentError
from tracker.frozen import Frozen
from tracker.task import SuiteMeasure, SuiteScore, TaskScore
from tracker.trial import Objective, Status, TrialResult
from tracker.validation import unknown

#: Fields of ``TaskScore``, the preferred first.
Measure = Literal["score", "error", "bits_per_byte", "loss_nats"]
MEASURES: tuple[Measure, ...] = get_args(Measure)
MEASURE_NAMES: dict[Measure, str] = {
    "score": "score",
    "error": "error",
    "bits_per_byte": "bits per byte",
    "loss_nats": "loss in nats",
}
#: Further figures of a score (``TaskScore.figures``) in words.
FIGURES = {
    "micro": "micro F1",
    "macro": "macro F1",
    "samples": "F1 by row",
    "valid_json": "valid JSON",
    "valid_schema": "valid by the schema",
}
#: A table that does not say on how many rows it measured is taken to have seen so many: a perfect
#: score then has an error of half of one.
ROWS_UNSTATED = 1000

#: Least and most that a general suite can lose: a score falls by 1 at most, a loss to nothing.
FORGETTING_LIMITS: dict[SuiteMeasure, tuple[float, float]] = {
    "score": (-1.0, 1.0),
    "bits_per_byte": (-1.0, math.inf),
}

#: Level of every interval that has no other stated.
LEVEL = 0.8
#: Normal quantile of an 80 % interval: so many standard errors on either side.
Z = 1.2816

Number = TypeVar("Number", float, NDArray[np.float64])
Source = Literal["measured", "measured and neighbours", "law"]


class Interval(Frozen):
    """Interval in which a value lies with a given probability."""

    low: float
    high: float


class Estimate(Frozen):
    """Value with its 80 % interval; ``low`` and ``high`` are ``None`` where its error is unknown."""

    value: float
    low: float | None = None
    high: float | None = None
    source: Source = "measured"


def measures_of(results: Iterable[TrialResult]) -> dict[str, Measure]:
    """Measure that each task is decided on, of the tasks that a complete trial measured, by name.

    The score where any complete trial has one, else the table's own error, else bits per byte, else nats
    per token.
    """
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
    """Value of *measure* in *score*, in its own unit."""
    value: float | None = getattr(score, measure)
    return value


def se_of(score: TaskScore, measure: Measure) -> float | None:
    """Standard error, from rows, of the value of *measure* in *score*.

    Of a score over a known number of rows at least that of :func:`score_variance`; ``None`` where not known,
    which a loss's error of exactly 0 is too: rows that all came out alike do not tell how far it is off.
    """
    error: float | None = getattr(score, f"{measure}_se")
    value = value_of(score, measure)
    if error is None or value is None:
        return error
    if measure == "score" and score.n:
        return math.sqrt(score_variance(value, error**2, score.n))
    return error or None


def score_variance(score: float, variance: float, rows: int) -> float:
    """Variance of a *score* in [0, 1] over so many *rows*, *variance* by the bootstrap, or more.

    The bootstrap gives too little on few rows, and exactly 0 where all came out alike. The least is the
    posterior variance of a mean with half a row at either limit: of right and wrong that is Jeffreys' prior,
    Beta(x + 1/2, n - x + 1/2) (Brown, Cai and DasGupta 2001); graded rows, whose spread is n times the
    bootstrap's variance, are counted likewise.
    """
    shrunk = (rows * score + 0.5) / (rows + 1)
    square = (rows * (rows * variance + score**2) + 0.5) / (rows + 1)
    return max(variance, (square - shrunk**2) / (rows + 2))


def error_of(score: TaskScore, measure: Measure) -> float | None:
    """Error by *measure*, above 0; ``None`` where it was not measured."""
    value = value_of(score, measure)
    if value is None:
        return None
    return float(errors([value], [score.n or np.nan], measure)[0])


def quality_of(score: TaskScore, measure: Measure) -> float | None:
    """Quality by *measure*, larger is better; ``None`` where it was not measured."""
    value = value_of(score, measure)
    if value is None or measure == "score":
        return value
    return -value


def errors(values: ArrayLike, rows: ArrayLike, measure: Measure) -> NDArray[np.float64]:
    """Errors (k,) of *values* (k,) of *measure*, each over *rows* (k,) evaluated, NaN if not known.

    That of a score, and a table's own error, is at least half a row, so that a perfect one has a logarithm.
    """
    found = np.asarray(values, dtype=float)
    if measure not in ("score", "error"):
        return found
    half = 0.5 / np.nan_to_num(np.asarray(rows, dtype=float), nan=ROWS_UNSTATED)
    if measure == "error":
        return np.asarray(np.where(found == 0, half, found))
    return np.asarray(np.maximum(1 - found, half))


def quality_from_error(error: Number, measure: Measure) -> Number:
    """Quality of an error, or of an array of them."""
    return 1 - error if measure == "score" else -error


def value_from_error(error: Number, measure: Measure) -> Number:
    """Value in the measure's own unit, a score or a loss, of an error."""
    return 1 - error if measure == "score" else error


def score_of(run: TrialResult, task: str) -> TaskScore | None:
    """Validation score of *task*: choices are made on it, never on a test score."""
    return next((s for s in run.tasks if s.task == task and s.split == "validation"), None)


def task_value(run: TrialResult, task: str, measure: Measure) -> float | None:
    """Value of *measure* that *run* has on *task*, on validation, in its own unit."""
    score = score_of(run, task)
    return None if score is None else value_of(score, measure)


def suite_of(run: TrialResult, suite: str) -> SuiteScore | None:
    """Score of *run* on a general suite."""
    return next((s for s in run.general if s.suite == suite), None)


def forgetting_of(run: TrialResult, suite: str) -> float | None:
    """Forgetting of *run* on *suite*."""
    score = suite_of(run, suite)
    return None if score is None else score.forgetting


def forgetting_se(run: TrialResult, suite: str) -> float | None:
    """Standard error, from rows, of the forgetting of *run* on *suite*, in its unit.

    Of the untouched base 0: before and after are one measurement.
    """
    score = suite_of(run, suite)
    if score is None or score.forgetting is None:
        return None
    return 0.0 if run.spec.method.name == "none" else score.forgetting_error


def task_weights(objective: Objective, tasks: Iterable[str]) -> dict[str, float]:
    """Weights of the *tasks* in the objective, summing to 1, zeros left out; raises ArgumentError."""
    known, weights = sorted(set(tasks)), objective.weights
    wrong = [Argument("weights", unknown(name, known)) for name in weights if name not in known]
    wrong += [
        Argument("weights", f"found {weight:g}; allowed: 0 or more", name)
        for name, weight in weights.items()
        if weight < 0
    ]
    if not wrong and sum(weights.values()) <= 0:
        wrong = [Argument("weights", f"found none above 0; allowed: one, of {', '.join(known)}")]
    if wrong:
        raise ArgumentError(*wrong)
    return shares(dict(sorted(objective.weights.items())))


def shares(weights: Mapping[str, float]) -> dict[str, float]:
    """Shares that sum to 1 of *weights*; a task of weight 0 has none."""
    total = sum(weights.values())
    return {task: weight / total for task, weight in weights.items() if weight > 0}


def weighted_quality(
    run: TrialResult, weights: Mapping[str, float], measures: Mapping[str, Measure]
) -> float | None:
    """Mean of the tasks' qualities by *weights*; ``None`` where a weighted task was not measured.

    *measures*: what each task is decided on; a task it does not name is decided on its score. A task of
    weight 0 does not count.
    """
    total = 0.0
    for task, share in shares(weights).items():
        score = score_of(run, task)
        quality = None if score is None else quality_of(score, measures.get(task, "score"))
        if quality is None:
            return None
        total += share * quality
    return total


def perfect_quality(weights: Mapping[str, float], measures: Mapping[str, Measure]) -> float:
    """Weighted quality without error: the share by *weights* of the tasks that are decided on a score.

    The weighted error is so much less the weighted quality: a score's is 1 less the score, a loss its own.
    """
    wanted = shares(weights)
    scored = sum(w for t, w in wanted.items() if measures.get(t, "score") == "score")
    return round(float(scored), 12)  # exactly 1 of scores alone


def weighted_se(
    run: TrialResult, weights: Mapping[str, float], measures: Mapping[str, Measure]
) -> float | None:
    """Standard error, from rows, of :func:`weighted_quality`; ``None`` where a task's is not known.

    Tasks are evaluated on rows of their own, so their errors are independent.
    """
    parts = []
    for task, share in shares(weights).items():
        score = score_of(run, task)
        error = None if score is None else se_of(score, measures.get(task, "score"))
        if error is None:
            return None
        parts.append(share * error)
    return math.hypot(*parts)


def weighted_loss(run: TrialResult, weights: Mapping[str, float]) -> float | None:
    """Bits per byte by *weights*; nats per token of a task without; ``None`` where one has neither."""
    total = 0.0
    for task, share in shares(weights).items():
        score = score_of(run, task)
        loss = None if score is None else loss_of(score)
        if loss is None:
            return None
        total += share * loss
    return total


def loss_of(score: TaskScore) -> float | None:
    """Bits per byte; nats per token where a table has nothing else."""
    return score.loss_nats if score.bits_per_byte is None else score.bits_per_byte


def rounded(value: float) -> float:
    """Value at six significant digits: what machines may differ in lies beyond."""
    return float(f"{value:.6g}")


def estimate(
    value: float, spread: float | None, least: float = -math.inf, most: float = math.inf
) -> Estimate:
    """Rounded estimate, symmetric by *spread* within *least* and *most*."""
    if spread is None:
        return Estimate(value=rounded(value))
    low, high = max(value - spread, least), min(value + spread, most)
    return Estimate(value=rounded(value), low=rounded(low), high=rounded(high))


def interval(draws: NDArray[np.float64], level: float = LEVEL) -> tuple[float, float]:
    """Central interval of *draws* (n,)."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def normal_interval(
    value: float, error: float | None, least: float = -math.inf, most: float = math.inf
) -> tuple[float, float] | None:
    """80 % interval of *value* by its standard *error*, normal; near the limits that of :func:`limited`.

    It holds the value. ``None`` where the error is not known, or 0.
    """
    if error is None or math.isnan(error) or error == 0:
        return None
    low, high = limited(value, error, np.array([-Z, Z]), least, most).tolist()
    return min(low, max(value, least)), max(high, min(value, most))


#: A normal within so many standard errors of a limit of its scale is drawn on the limited scale.
_NEAR = 3.5


def limited(
    value: float,
    error: float,
    normals: NDArray[np.float64],
    least: float = -math.inf,
    most: float = math.inf,
) -> NDArray[np.float64]:
    """Standard *normals* (n,) as quantities of mean *value* and deviation *error* in [*least*, *most*].

    Normal where no limit is near. Between two limits Beta(nv + 1/2, n(1 - v) + 1/2), Jeffreys' posterior of
    as many rows n as have that error, with v the share of the scale below the value; above or below a single
    limit log-normal.
    """
    if least <= value - _NEAR * error and value + _NEAR * error <= most:
        return value + error * normals
    if math.isfinite(least) and math.isfinite(most):
        span = most - least
        share = min(max((value - least) / span, 0.0), 1.0)
        rows = _rows_with_error(share, error / span)
        below = special.ndtr(normals)
        beta = special.betaincinv(rows * share + 0.5, rows * (1 - share) + 0.5, below)
        return np.asarray(least + span * beta)
    side = 1.0 if math.isfinite(least) else -1.0
    limit = least if side > 0 else most
    distance = max(side * (value - limit), 1e-3 * error)
    log_variance = math.log1p((error / distance) ** 2)
    logs = math.log(distance) - log_variance / 2 + side * math.sqrt(log_variance) * normals
    return np.asarray(limit + side * np.exp(logs))


def _rows_with_error(share: float, error: float) -> float:
    """Number of rows, 0 or more, of which Jeffreys' posterior of *share* has the deviation *error*."""
    low, high = 0.0, 1.0

    def deviation(rows: float) -> float:
        mean = (rows * share + 0.5) / (rows + 1)
        return math.sqrt(mean * (1 - mean) / (rows + 2))

    while deviation(high) > error:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if deviation(middle) > error else (low, middle)
    return (low + high) / 2


def share_of_draws(share: float, draws: int = 4096, outcomes: int = 2) -> float:
    """Probability of one of so many *outcomes* that had this *share* of the *draws*, rounded.

    One more draw, shared evenly by the outcomes, keeps it off 0 and 1, which no number of draws can show.
    """
    return rounded((share * draws + 1 / outcomes) / (draws + 1))


def pooled_sd(groups: Iterable[ArrayLike]) -> float | None:
    """Standard deviation within groups, pooled over those with two values or more; ``None`` if none has.

    The noise floor between seeds: sqrt(sum of squares within groups / degrees of freedom).
    """
    squares, freedom = 0.0, 0
    for group in groups:
        values = np.asarray(group, dtype=float)
        if len(values) > 1:
            squares += float(((values - values.mean()) ** 2).sum())
            freedom += len(values) - 1
    return float(np.sqrt(squares / freedom)) if freedom else None
