"""Rivals that were not run at the largest training-set size, and how likely each is ahead there.

A search leaves what seems worse at few examples. Its best training-set size was then never run, so that the
best of what was measured is not surely the best. The surrogate forecast over all curves of the sweep
(:mod:`tracker.laws.surrogate`) says what each would reach.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tracker.constraints import could_keep
from tracker.decision.analysis import Analysis
from tracker.decision.noise import DRAWS, generator
from tracker.decision.recommendation import UnrunRival
from tracker.laws.points import CurveRuns
from tracker.laws.pooling import Array
from tracker.laws.surrogate import surrogate_forecast
from tracker.metrics import perfect_quality, share_of_draws, weighted_quality
from tracker.results import ConfigurationResults

#: A rival less likely ahead is not named.
_LEAST = 0.01
_MOST_NAMED = 3
#: The error of a perfect score: its logarithm must exist.
_LEAST_ERROR = 1e-3

_Group = tuple[str, str, str | None, str]


class UnrunRivals(NamedTuple):
    """The rivals, likeliest ahead first, and ``gain`` (DRAWS,): by how much the best of them is ahead.

    Below 0 where none is; minus infinity without a rival.
    """

    named: tuple[UnrunRival, ...]
    gain: Array


def unrun_rivals(analysis: Analysis, choice: int) -> UnrunRivals:
    """Models with a method and mix, but *choice*'s, that were not run at the largest size of their mix.

    Of each the best curve counts, unless the objective's constraints rule it out at that size. A mix that
    nothing was run with at the largest size of the sweep is meant for its own sizes.
    """
    return analysis.cached_for_objective(("unrun", choice), lambda: _unrun(analysis, choice))


def _unrun(analysis: Analysis, choice: int) -> UnrunRivals:
    none = UnrunRivals((), np.full(DRAWS, -np.inf))
    tuned = [c for c in analysis.scored if not c.untouched]
    rivals = _short_of(analysis, analysis.scored[choice])
    measures = set(analysis.weighted_measures.values())
    if not rivals or (len(measures) > 1 and "score" in measures):  # no law of a score minus a loss
        return none
    curves: dict[str, list[ConfigurationResults]] = {}
    for results in tuned:
        curves.setdefault(results.configuration.curve.label, []).append(results)
    names = list(curves)
    scored = measures == {"score"}
    perfect = perfect_quality(analysis.weights, analysis.measures)
    runs = [_runs(analysis, curves[name], perfect) for name in names]
    sizes = sorted({float(c.spec.volume) for c in tuned})
    targets = [float(_largest(analysis, curves[name][0])) for name in names]
    forecast = surrogate_forecast(runs, targets, sizes, "score" if scored else "loss")
    pick = generator("unrun").integers(len(forecast.draws), size=DRAWS)
    quality = (perfect - forecast.draws)[pick]
    best, found = analysis.posterior.draws[:, choice], []
    gain = none.gain.copy()
    for rival in rivals:
        more = quality[:, names.index(rival.configuration.curve.label)] - best
        gain = np.maximum(gain, more)
        probability = share_of_draws(float((more > 0).mean()), len(forecast.draws))
        found.append(
            UnrunRival(
                label=rival.configuration.curve.label,
                measured_to=rival.spec.volume,
                examples=_largest(analysis, rival),
                probability=probability,
            )
        )
    likely = sorted((r for r in found if r.probability >= _LEAST), key=lambda r: -r.probability)
    return UnrunRivals(tuple(likely[:_MOST_NAMED]), gain)


def _largest(analysis: Analysis, results: ConfigurationResults) -> int:
    """Largest training-set size that anything was run at with the mix of *results*."""
    mix = results.configuration.mix
    return max(c.spec.volume for c in analysis.scored if c.configuration.mix == mix)


def _short_of(analysis: Analysis, choice: ConfigurationResults) -> list[ConfigurationResults]:
    """Of every other model, method and mix without a run at its mix's largest size the best one measured."""
    found: dict[_Group, list[int]] = {}
    for i, results in enumerate(analysis.scored):
        if not results.untouched:
            found.setdefault(_group(results), []).append(i)
    found.pop(_group(choice), None)
    mean, rivals = analysis.posterior.mean, []
    for members in found.values():
        largest = _largest(analysis, analysis.scored[members[0]])
        if any(analysis.scored[i].spec.volume >= largest for i in members):
            continue
        best = analysis.scored[max(members, key=lambda i: (mean[i], -i))]
        times = largest / max(best.spec.volume, 1)
        if could_keep(best, analysis.objective.constraints, times):
            rivals.append(best)
    return rivals


def _group(results: ConfigurationResults) -> _Group:
    c = results.configuration
    return c.model, c.method.name, c.method.variant, c.mix


def _runs(analysis: Analysis, curve: list[ConfigurationResults], perfect: float) -> CurveRuns:
    """Runs of one curve, of the weighted error: the *perfect* quality minus the quality."""
    runs = [(c.spec.volume, run) for c in curve for run in c.runs]
    quality = np.array(
        [weighted_quality(run, analysis.weights, analysis.measures) for _, run in runs], dtype=float
    )
    spec = curve[0].spec
    return CurveRuns(
        sizes=np.array([float(volume) for volume, _ in runs]),
        values=np.maximum(perfect - quality, _LEAST_ERROR),
        keys=tuple(run.spec.key for _, run in runs),
        groups=curve[0].configuration.groups(spec.model.family),
        parameters=spec.model.parameters,
    )
