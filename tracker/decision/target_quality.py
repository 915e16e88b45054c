"""Target quality: candidates that reach it, and the examples needed according to the laws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tracker.constraints import could_keep
from tracker.decision.posterior import Posterior
from tracker.decision.recommendation import ExamplesNeeded
from tracker.laws.crossover import FEWEST_CROSSINGS
from tracker.laws.curves import CurveFits, configuration_laws
from tracker.laws.fitted_law import MAX_EXTRAPOLATION, FittedLaw
from tracker.laws.pooling import Array
from tracker.metrics import Estimate, Measure, interval, quality_from_error, share_of_draws
from tracker.results import ConfigurationResults

#: A candidate reaches a quality if it does with at least this probability.
LEAST_PROBABILITY = 0.9
_GRID = 257
_MOST_NAMED = 3


def reaching_quality(posterior: Posterior, among: Sequence[int], quality: float) -> list[int]:
    """Candidates of *among* that reach *quality* with P >= 0.9, in the order given."""
    return [i for i in among if posterior.p_at_least(i, quality) >= LEAST_PROBABILITY]


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
    weights: Mapping[str, float],
    fits: CurveFits,
    quality: float,
    constraints: Mapping[str, float],
) -> tuple[ExamplesNeeded, ...]:
    """Examples needed by the curves that may reach *quality* within 16 times their data.

    The smallest models first; only those that could keep the *constraints* with so much data
    (:func:`tracker.constraints.could_keep`).
    """
    needed_by_curve: dict[str, ExamplesNeeded] = {}
    for label, results in _largest(configurations).items():
        laws = configuration_laws(results, weights, fits)
        needed = _needed(label, laws, weights, results.measures, quality) if laws else None
        if needed is not None:
            times = needed.examples.value / max(results.spec.volume, 1)
            if could_keep(results, constraints, times):
                needed_by_curve[label] = needed
    # Likely ones only; configurations come with the smallest model first.
    likely = [n for n in needed_by_curve.values() if n.probability >= 0.5]
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
    weights: Mapping[str, float],
    measures: Mapping[str, Measure],
    quality: float,
) -> ExamplesNeeded | None:
    start, end = measured_sizes(laws)
    sizes = np.geomspace(start, MAX_EXTRAPOLATION * end, _GRID)
    reaches = weighted_curves(laws, weights, measures, sizes) >= quality
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
