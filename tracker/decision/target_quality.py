"""The smallest and cheapest that reaches a quality, and how much data the laws say it would take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tracker.constraints import could_keep
from tracker.decision.posterior import Posterior, configuration_laws
from tracker.decision.recommendation import ExamplesNeeded
from tracker.laws.crossover import FEWEST_CROSSINGS
from tracker.laws.curves import CurveFits
from tracker.laws.fitted_law import MAX_EXTRAPOLATION, FittedLaw
from tracker.laws.pooling import Array
from tracker.metrics import Estimate, Measure, interval, quality_from_error, rounded
from tracker.results import ConfigurationResults

#: A candidate reaches a quality if it does with this probability.
SURE = 0.9
_GRID = 257
_MOST = 3


def reaching(belief: Posterior, among: Sequence[int], quality: float) -> list[int]:
    """Those of *among* that reach *quality* with P >= 0.9, in the order given."""
    return [i for i in among if belief.p_at_least(i, quality) >= SURE]


def weighted_curves(
    laws: Mapping[str, FittedLaw],
    weights: Mapping[str, float],
    measures: Mapping[str, Measure],
    sizes: Array,
) -> Array:
    """Bootstrap curves of the weighted quality (replicates, m), from the tasks' laws of the error.

    The tasks' bootstraps are independent, so their replicates are combined as they come.
    """
    parts = [
        weights[task] * quality_from_error(law.curves(sizes), measures[task])
        for task, law in laws.items()
    ]
    return np.asarray(np.sum(parts, axis=0))


def measured_sizes(laws: Mapping[str, FittedLaw]) -> tuple[float, float]:
    """The sizes that every one of the laws was measured at: smallest above 0, and largest."""
    return max(w.domain[0] for w in laws.values()), min(w.domain[1] for w in laws.values())


def examples_needed(
    cells: Sequence[ConfigurationResults],
    weights: Mapping[str, float],
    fits: CurveFits,
    quality: float,
    constraints: Mapping[str, float],
) -> tuple[ExamplesNeeded, ...]:
    """The curves that may reach *quality* within 16 times their data, the smallest models first.

    Those alone that could keep the *constraints* with so much data
    (:func:`tracker.constraints.could_keep`).
    """
    found: dict[str, ExamplesNeeded] = {}
    for label, cell in _largest(cells).items():
        laws = configuration_laws(cell, weights, fits)
        needed = _needed(label, laws, weights, cell.measures, quality) if laws else None
        if needed is not None:
            times = needed.examples.value / max(cell.spec.volume, 1)
            if could_keep(cell, constraints, times):
                found[label] = needed
    # Likely ones only; cells come with the smallest model first.
    likely = [n for n in found.values() if n.probability >= 0.5]
    return tuple((likely or sorted(found.values(), key=lambda n: -n.probability))[:_MOST])


def _largest(cells: Sequence[ConfigurationResults]) -> dict[str, ConfigurationResults]:
    """By curve, in the order of *cells*, the one with most data."""
    found: dict[str, ConfigurationResults] = {}
    for cell in cells:
        label = cell.configuration.curve.label
        if label not in found or cell.spec.volume > found[label].spec.volume:
            found[label] = cell
    return found


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
    some = reaches.any(axis=1)
    if some.sum() < FEWEST_CROSSINGS:
        return None
    first = sizes[reaches[some].argmax(axis=1)]
    low, high = interval(first)
    return ExamplesNeeded(
        label=label,
        probability=rounded(float(some.mean())),
        examples=Estimate(
            value=float(round(np.median(first))), low=float(round(low)), high=float(round(high))
        ),
        largest_measured=int(end),
    )
