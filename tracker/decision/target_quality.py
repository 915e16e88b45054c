"""Target quality: the candidates that reach it, and the examples needed according to the laws.

A target is a list of conditions, each the least quality that a weighted mean of tasks must have: one for a
weighted quality, one per task for a target by task. It is *met* where a candidate reaches all of them with
P >= 0.9, *not met* where none reaches them with P > 0.1, and else *unknown*: the runs do not tell. Tasks are
evaluated on rows of their own, so the probabilities of conditions on different tasks multiply.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tracker.constraints import could_keep
from tracker.decision.analysis import Analysis
from tracker.decision.recommendation import (
    ExamplesNeeded,
    TargetQuality,
    TargetState,
    TaskTarget,
)
from tracker.errors import Argument, ArgumentError, NotEnoughDataError
from tracker.laws.crossover import FEWEST_CROSSINGS
from tracker.laws.curves import CurveFits, configuration_laws
from tracker.laws.fitted_law import MAX_EXTRAPOLATION, FittedLaw
from tracker.laws.pooling import Array
from tracker.metrics import (
    Estimate,
    Measure,
    interval,
    quality_from_error,
    rounded,
    share_of_draws,
)
from tracker.results import ConfigurationResults
from tracker.trial import Objective, Target
from tracker.validation import unknown

#: A candidate reaches a target if it does with at least this probability.
LEAST_PROBABILITY = 0.9
#: A target is not met where no candidate reaches it with more than this probability.
MOST_UNMET = 0.1
#: Laws that reach it with less are named only where none is likelier.
LIKELY = 0.5
_GRID = 257
_MOST_NAMED = 3


class Condition(NamedTuple):
    """Least *quality* that the mean of tasks by *weights* must have; *task*: of a target by task."""

    weights: Mapping[str, float]
    quality: float
    task: str | None = None


class TargetChances(NamedTuple):
    """How surely each candidate reaches a target.

    ``probabilities`` (k, C): by condition and candidate, NaN where a task was not measured; ``together``
    (C,): of all conditions.
    """

    conditions: tuple[Condition, ...]
    probabilities: Array
    together: Array

    def reaching(self, among: Sequence[int]) -> list[int]:
        """Candidates of *among* that reach the target with P >= 0.9, in the order given."""
        return [i for i in among if self.together[i] >= LEAST_PROBABILITY]

    def closest(self, among: Sequence[int], mean: Array) -> int | None:
        """Of *among*, the likeliest to reach a target by task, then the best by *mean*.

        ``None`` for a weighted quality, which the best is closest to, and where no probability is known.
        """
        known = [i for i in among if not np.isnan(self.together[i])]
        if not known or self.conditions[0].task is None:
            return None
        return max(known, key=lambda i: (self.together[i], mean[i]))

    def state(self, among: Sequence[int]) -> TargetState:
        """Whether one of *among* meets the target."""
        known = [p for i in among if not np.isnan(p := self.together[i])]
        if any(p >= LEAST_PROBABILITY for p in known):
            return "met"
        sure = len(known) == len(among) and max(known) <= MOST_UNMET
        return "not met" if sure else "unknown"


def check_target(target: Target, measures: Mapping[str, Measure], weighted: Sequence[str]) -> None:
    """Raise ArgumentError where *target* names no measured task, or is outside of its measure's scale.

    *measures*: of every task; *weighted*: the tasks that a weighted quality is of.
    """
    wrong = []
    if not isinstance(target, dict):
        scored = all(measures.get(task, "score") == "score" for task in weighted)
        if problem := target_problem(target, "score" if scored else None):
            wrong.append(Argument("target_quality", problem))
        target = {}
    for task, value in target.items():
        if task not in measures:
            wrong.append(Argument("target_quality", unknown(task, sorted(measures))))
        elif problem := target_problem(value, measures[task]):
            wrong.append(Argument("target_quality", problem, task))
    if wrong:
        raise ArgumentError(*wrong)


def target_problem(value: float, measure: Measure | None) -> str | None:
    """Problem of *value* as the target of a *measure*; ``None``: of a weighted quality of no score alone."""
    if measure == "score" and not 0 < value <= 1:
        return f"found {value:g}; allowed: above 0 and at most 1"
    if measure not in ("score", None) and value < 0:
        return f"found {value:g}; allowed: 0 or more, the most that the {measure} may be"
    return None


def target_chances(analysis: Analysis, target: Target) -> TargetChances:
    """How surely each candidate of *analysis* reaches *target*."""
    if not isinstance(target, dict):
        conditions = [Condition(analysis.weights, target)]
    else:
        measures = analysis.measures
        conditions = [
            Condition({task: 1.0}, value if measures[task] == "score" else -value, task)
            for task, value in sorted(target.items())
        ]
    found = np.array([_probabilities(analysis, condition) for condition in conditions])
    return TargetChances(tuple(conditions), found, found.prod(axis=0))


def _probabilities(analysis: Analysis, condition: Condition) -> Array:
    """Probability (C,) of every candidate to fulfil *condition*, NaN where its task was not measured."""
    keys = [results.key for results in analysis.scored]
    if condition.task is not None:  # on the posterior of that task alone
        analysis = analysis.with_objective(Objective(weights=dict(condition.weights)))
    try:
        index = {results.key: i for i, results in enumerate(analysis.scored)}
    except NotEnoughDataError:
        index = {}
    return np.array(
        [
            analysis.posterior.p_at_least(index[key], condition.quality) if key in index else np.nan
            for key in keys
        ]
    )


def answer(analysis: Analysis, target: Target, chances: TargetChances, index: int) -> TargetQuality:
    """Whether candidate *index*, the choice, reaches *target*, and the examples needed where it does not."""
    sure = float(chances.together[index])
    state = chances.state(analysis.admitted)
    by_task = tuple(
        TaskTarget(
            task=condition.task,
            measure=analysis.measures[condition.task],
            value=abs(condition.quality),
            probability=None if np.isnan(p) else rounded(float(p)),
        )
        for condition, p in zip(
            chances.conditions, chances.probabilities[:, index].tolist(), strict=True
        )
        if condition.task is not None
    )
    needed: tuple[ExamplesNeeded, ...] = ()
    if state != "met":
        measures = {t: analysis.measures[t] for c in chances.conditions for t in c.weights}
        needed = examples_needed(
            analysis.scored,
            chances.conditions,
            analysis.fits_of(measures),
            analysis.objective.constraints,
        )
    return TargetQuality(
        quality=None if isinstance(target, dict) else target,
        tasks=by_task,
        state=state,
        reached=state == "met",
        probability=None if np.isnan(sure) else rounded(sure),
        needed=needed,
    )


def weighted_curves(
    laws: Mapping[str, FittedLaw],
    weights: Mapping[str, float],
    measures: Mapping[str, Measure],
    sizes: Array,
) -> Array:
    """Draws of the weighted quality (replicates, m) at *sizes* (m,), from the tasks' laws of the error.

    The tasks' draws are independent, so they are combined in their order. No score is below 0.
    """
    parts = [
        weights[task]
        * np.maximum(
            quality_from_error(law.curves(sizes), measures[task]),
            0.0 if measures[task] == "score" else -np.inf,
        )
        for task, law in laws.items()
    ]
    return np.asarray(np.sum(parts, axis=0))


def measured_sizes(laws: Mapping[str, FittedLaw]) -> tuple[float, float]:
    """Range of sizes in which every one of the laws was measured: smallest above 0, and largest."""
    return max(w.domain[0] for w in laws.values()), min(w.domain[1] for w in laws.values())


def examples_needed(
    configurations: Sequence[ConfigurationResults],
    conditions: Sequence[Condition],
    fits: CurveFits,
    constraints: Mapping[str, float],
) -> tuple[ExamplesNeeded, ...]:
    """Examples needed by the curves that may fulfil all *conditions* within 16 times their data.

    The smallest models first; only those that could keep the *constraints* with so much data
    (:func:`tracker.constraints.could_keep`).
    """
    needed_by_curve: dict[str, ExamplesNeeded] = {}
    tasks = {task: 1.0 for condition in conditions for task in condition.weights}
    for label, results in _largest(configurations).items():
        laws = configuration_laws(results, tasks, fits)
        needed = _needed(label, laws, conditions, results.measures) if laws else None
        if needed is not None:
            times = needed.examples.value / max(results.spec.volume, 1)
            if could_keep(results, constraints, times):
                needed_by_curve[label] = needed
    # Likely ones only; configurations come with the smallest model first.
    likely = [n for n in needed_by_curve.values() if n.probability >= LIKELY]
    return tuple(
        (likely or sorted(needed_by_curve.values(), key=lambda n: -n.probability))[:_MOST_NAMED]
    )


def _largest(configurations: Sequence[ConfigurationResults]) -> dict[str, ConfigurationResults]:
    """Largest configuration of each curve, in the order of *configurations*."""
    largest: dict[str, ConfigurationResults] = {}
    for results in configurations:
        label = results.configuration.curve.label
        if label not in largest or results.spec.volume > largest[label].spec.volume:
            largest[label] = results
    return largest


def _needed(
    label: str,
    laws: Mapping[str, FittedLaw],
    conditions: Sequence[Condition],
    measures: Mapping[str, Measure],
) -> ExamplesNeeded | None:
    start, end = measured_sizes(laws)
    sizes = np.geomspace(start, MAX_EXTRAPOLATION * end, _GRID)
    fulfilled = []
    for condition in conditions:
        laws_of_it = {task: laws[task] for task in condition.weights}
        fulfilled.append(
            weighted_curves(laws_of_it, condition.weights, measures, sizes) >= condition.quality
        )
    reaches = np.all(fulfilled, axis=0)
    replicates_reaching = reaches.any(axis=1)
    if replicates_reaching.sum() < FEWEST_CROSSINGS:
        return None
    size_reached = sizes[reaches[replicates_reaching].argmax(axis=1)]
    low, high = interval(size_reached)
    return ExamplesNeeded(
        label=label,
        probability=share_of_draws(float(replicates_reaching.mean()), len(reaches)),
        examples=Estimate(
            value=float(round(np.median(size_reached))),
            low=float(round(low)),
            high=float(round(high)),
        ),
        largest_measured=int(end),
    )
