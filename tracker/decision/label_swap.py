"""Results that look exchanged: two methods' curves, or one volume of them, booked under each other's name.

For each pair of curves of one model and mix, what the rest of the table expects of their cells is
compared with what they measured and with the same values the other way round: the squared distance
under the response surface. That surface was learned from the table as it stands, so it makes room for an
exchange; the likeliest pairs are therefore judged by the evidence of the whole table, with a surface
learned anew from the values exchanged: a Bayes factor (Kass & Raftery, 1995). A pair is flagged where that
is clear, given how many pairs there are. Where a table has one model and one mix nothing says how
methods should differ, so nothing is flagged.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from tracker.laws.pooling import Array
from tracker.results import ConfigurationResults

#: Nats by which the table must be likelier exchanged, beside the logarithm of how many such pairs there are:
#: of a whole curve, and of a single volume, where a glitch of one of the two looks much alike.
_EVIDENCE_OF_CURVE, _EVIDENCE_OF_ONE = 1.0, 5.0
#: How many pairs are judged with a surface of their own, each the time of a fit: of curves, of volumes.
_JUDGED_CURVES, _JUDGED_ONES = 3, 2
#: Standard deviations of chi squared that a single volume's exchanged values may be off.
_FITS = 4.0


class LabelSwap(NamedTuple):
    """Positions of cells whose values fit the other way round: ``first[k]`` with ``second[k]``.

    ``probability`` that they are exchanged, if some pair of the table is as likely to be as none.
    """

    first: tuple[int, ...]
    second: tuple[int, ...]
    probability: float


class _Pair(NamedTuple):
    """``likelier``: nats by which the exchanged values are, under the surface of the table as it is."""

    likelier: float
    first: tuple[int, ...]
    second: tuple[int, ...]

    @property
    def curve(self) -> bool:
        return len(self.first) > 1


def find_label_swaps(
    cells: Sequence[ConfigurationResults],
    quality: Array,
    mean: Array,
    covariance: Array,
    evidence: Callable[[Array], float],
) -> tuple[LabelSwap, ...]:
    """The pairs among *cells* that look exchanged, the clearest first, no cell twice.

    *quality* (n,) of the cells; *mean* (n,), *covariance* (n, n): of their measurements under the surface.
    *evidence*: log likelihood of qualities (n,) under the surface learned from them.
    """
    pairs = list(_pairs(cells))
    curves = sum(len(first) > 1 for first, _ in pairs)
    likely = _likely(pairs, quality, mean, covariance)
    if not likely:
        return ()
    limits = {True: (curves, _EVIDENCE_OF_CURVE), False: (len(pairs) - curves, _EVIDENCE_OF_ONE)}
    found: list[LabelSwap] = []
    as_is = evidence(quality)
    while likely:
        # One exchange makes others look likely, so the next is judged with the clearest undone.
        judged = [
            (_beyond(pair, quality, as_is, evidence, limits[pair.curve][0]), pair)
            for pair in likely
        ]
        judged = [(x, pair) for x, pair in judged if x > limits[pair.curve][1]]
        if not judged:
            break
        beyond, best = min(judged, key=lambda j: (-j[0], j[1].first, j[1].second))
        found.append(LabelSwap(best.first, best.second, float(1 / (1 + np.exp(-beyond)))))
        quality = _swapped(quality, best)
        as_is = evidence(quality)
        used = {*best.first, *best.second}
        likely = [pair for _, pair in judged if not used & {*pair.first, *pair.second}]
    return tuple(found)


def _beyond(
    pair: _Pair, quality: Array, as_is: float, evidence: Callable[[Array], float], pairs: int
) -> float:
    """Nats by which the table is likelier with *pair* exchanged, beyond what one of *pairs* is by chance."""
    gained = evidence(_swapped(quality, pair)) - as_is
    return float(f"{gained - np.log(pairs):.6g}")  # machines differ beyond


def _swapped(quality: Array, pair: _Pair) -> Array:
    other = quality.copy()
    other[[*pair.first, *pair.second]] = quality[[*pair.second, *pair.first]]
    return other


def _likely(
    pairs: Sequence[tuple[tuple[int, ...], tuple[int, ...]]],
    quality: Array,
    mean: Array,
    covariance: Array,
) -> list[_Pair]:
    """The few that fit better exchanged even under the surface learned from them as they are."""
    precision = np.linalg.inv(covariance)
    pull = precision @ (quality - mean)
    misses = pull / np.sqrt(np.diag(precision))
    # A surface that misses more than it says must not see exchanges in that.
    scale = max(1.0, float(np.median(misses**2)) / 0.455)
    found = []
    for first, second in pairs:
        at = np.array([*first, *second])
        inner = precision[np.ix_(at, at)]
        off = np.linalg.solve(inner, pull[at])
        change = quality[[*second, *first]] - quality[at]
        as_is = float(off @ inner @ off) / scale
        exchanged = float((off + change) @ inner @ (off + change)) / scale
        fits = len(first) > 1 or exchanged < len(at) + _FITS * np.sqrt(2 * len(at))
        if as_is > exchanged and fits:
            found.append(_Pair(float(f"{(as_is - exchanged) / 2:.6g}"), first, second))
    found.sort(key=lambda p: (-p.likelier, p.first, p.second))
    curves = [p for p in found if p.curve][:_JUDGED_CURVES]
    return curves + [p for p in found if not p.curve][:_JUDGED_ONES]


def _pairs(
    cells: Sequence[ConfigurationResults],
) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Cells of two methods on one model and mix at equal volumes: whole curves, then each volume."""
    curves: defaultdict[tuple[str, str], defaultdict[str, dict[int, int]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    for i, cell in enumerate(cells):
        spec = cell.spec
        place = (spec.model.name, spec.mix.name if spec.mix else "")
        curves[place][spec.method.model_dump_json()][spec.volume] = i
    methods = {c.spec.method.model_dump_json(): c.spec.method.name for c in cells}
    for of_place in curves.values():
        for one, other in itertools.combinations(sorted(of_place), 2):
            volumes = sorted(of_place[one].keys() & of_place[other].keys())
            if methods[one] == methods[other] or not volumes:
                continue
            pairs = [(of_place[one][v], of_place[other][v]) for v in volumes]
            if len(pairs) > 1:
                yield tuple(a for a, _ in pairs), tuple(b for _, b in pairs)
            for a, b in pairs:
                yield (a,), (b,)
