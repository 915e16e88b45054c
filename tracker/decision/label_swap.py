"""Label swaps: results of two methods recorded under each other's name, of a whole curve or at one size.

For each pair of curves of one model and mix, the squared distance of their values from what the response
surface expects is compared with that of the values swapped. The surface was fitted to the table as recorded,
so it partly fits a swap. The likeliest pairs are therefore judged by the evidence of the whole table, with a
surface fitted anew to the swapped values: a Bayes factor (Kass & Raftery, 1995). A pair is flagged where it
is large enough, given the number of pairs. In a table with one model and one mix the expected difference of
methods is unknown, so nothing is flagged.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from tracker.laws.pooling import Array
from tracker.results import ConfigurationResults

#: Evidence for a swap in nats, beyond the logarithm of the number of such pairs: of a whole curve, and of a
#: single size, where a glitch of one of the two looks similar.
_EVIDENCE_OF_CURVE, _EVIDENCE_OF_SIZE = 1.0, 5.0
#: Largest number of pairs judged with a surface fitted anew: of curves, and of single sizes.
_JUDGED_CURVES, _JUDGED_SIZES = 3, 2
#: Standard deviations of chi squared by which the swapped values of a single size may misfit.
_LARGEST_MISFIT = 4.0


class LabelSwap(NamedTuple):
    """Configurations whose results fit better swapped: index ``first[k]`` with ``second[k]``.

    ``probability`` that they were swapped, at even prior odds that the table has a swap.
    """

    first: tuple[int, ...]
    second: tuple[int, ...]
    probability: float


class _Pair(NamedTuple):
    """Pair of configurations or curves; ``gain``: in log likelihood by swapping, under the given surface."""

    gain: float
    first: tuple[int, ...]
    second: tuple[int, ...]

    @property
    def curve(self) -> bool:
        return len(self.first) > 1


def find_label_swaps(
    configurations: Sequence[ConfigurationResults],
    quality: Array,
    mean: Array,
    covariance: Array,
    evidence: Callable[[Array], float],
) -> tuple[LabelSwap, ...]:
    """Label swaps among *configurations*, the clearest first, no configuration twice.

    *quality* (n,): of the configurations; *mean* (n,), *covariance* (n, n): of their measurements under the
    surface. *evidence*: log likelihood of qualities (n,) under the surface fitted to them.
    """
    pairs = list(_pairs(configurations))
    curves = sum(len(first) > 1 for first, _ in pairs)
    candidates = _candidate_pairs(pairs, quality, mean, covariance)
    if not candidates:
        return ()
    limits = {True: (curves, _EVIDENCE_OF_CURVE), False: (len(pairs) - curves, _EVIDENCE_OF_SIZE)}
    swaps: list[LabelSwap] = []
    as_recorded = evidence(quality)
    while candidates:
        # One swap makes others look likely, so the next is judged with the clearest undone.
        judged = [
            (
                _evidence_beyond_chance(
                    pair, quality, as_recorded, evidence, limits[pair.curve][0]
                ),
                pair,
            )
            for pair in candidates
        ]
        judged = [(x, pair) for x, pair in judged if x > limits[pair.curve][1]]
        if not judged:
            break
        beyond, best = min(judged, key=lambda j: (-j[0], j[1].first, j[1].second))
        swaps.append(LabelSwap(best.first, best.second, float(1 / (1 + np.exp(-beyond)))))
        quality = _swapped(quality, best)
        as_recorded = evidence(quality)
        used = {*best.first, *best.second}
        candidates = [pair for _, pair in judged if not used & {*pair.first, *pair.second}]
    return tuple(swaps)


def _evidence_beyond_chance(
    pair: _Pair, quality: Array, as_recorded: float, evidence: Callable[[Array], float], pairs: int
) -> float:
    """Gain in log evidence by swapping *pair*, less the logarithm of the number of *pairs*."""
    gained = evidence(_swapped(quality, pair)) - as_recorded
    return float(f"{gained - np.log(pairs):.6g}")  # machines differ beyond


def _swapped(quality: Array, pair: _Pair) -> Array:
    other = quality.copy()
    other[[*pair.first, *pair.second]] = quality[[*pair.second, *pair.first]]
    return other


def _candidate_pairs(
    pairs: Sequence[tuple[tuple[int, ...], tuple[int, ...]]],
    quality: Array,
    mean: Array,
    covariance: Array,
) -> list[_Pair]:
    """Pairs that fit best swapped, under the surface fitted to the table as recorded."""
    precision = np.linalg.inv(covariance)
    weighted_residual = precision @ (quality - mean)
    standardized = weighted_residual / np.sqrt(np.diag(precision))
    # A surface whose errors are larger than its variance says must not see swaps in them.
    scale = max(1.0, float(np.median(standardized**2)) / 0.455)
    pairs_found = []
    for first, second in pairs:
        at = np.array([*first, *second])
        precision_of_pair = precision[np.ix_(at, at)]
        residual = np.linalg.solve(precision_of_pair, weighted_residual[at])
        change = quality[[*second, *first]] - quality[at]
        as_recorded = float(residual @ precision_of_pair @ residual) / scale
        swapped = float((residual + change) @ precision_of_pair @ (residual + change)) / scale
        fits = len(first) > 1 or swapped < len(at) + _LARGEST_MISFIT * np.sqrt(2 * len(at))
        if as_recorded > swapped and fits:
            pairs_found.append(_Pair(float(f"{(as_recorded - swapped) / 2:.6g}"), first, second))
    pairs_found.sort(key=lambda p: (-p.gain, p.first, p.second))
    curves = [p for p in pairs_found if p.curve][:_JUDGED_CURVES]
    return curves + [p for p in pairs_found if not p.curve][:_JUDGED_SIZES]


def _pairs(
    configurations: Sequence[ConfigurationResults],
) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Pairs of two methods on one model and mix at equal sizes: whole curves, then each size."""
    curves: defaultdict[tuple[str, str], defaultdict[str, dict[int, int]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    for i, configuration in enumerate(configurations):
        spec = configuration.spec
        place = (spec.model.name, spec.mix.name if spec.mix else "")
        curves[place][spec.method.model_dump_json()][spec.volume] = i
    methods = {c.spec.method.model_dump_json(): c.spec.method.name for c in configurations}
    for of_place in curves.values():
        for first, second in itertools.combinations(sorted(of_place), 2):
            volumes = sorted(of_place[first].keys() & of_place[second].keys())
            if methods[first] == methods[second] or not volumes:
                continue
            pairs = [(of_place[first][v], of_place[second][v]) for v in volumes]
            if len(pairs) > 1:
                yield tuple(a for a, _ in pairs), tuple(b for _, b in pairs)
            for a, b in pairs:
                yield (a,), (b,)
