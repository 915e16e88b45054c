"""Results that look exchanged: two methods' curves, or one volume of them, booked under each other's name.

For each pair of curves of one model and mix, what the rest of the table expects of their cells is
compared with what they measured and with the same values the other way round: the squared distance
under the response surface, chi squared with as many degrees of freedom as cells. A pair is flagged
where the values fit clearly better exchanged, fit well so, and do not as they stand. Where a table has
one model and one mix nothing says how methods should differ, so nothing is flagged.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from tracker.select.cells import Cell
from tracker.select.pooling import Array

#: Nats by which the exchanged values must be likelier, beside the logarithm of how many such pairs were
#: looked at: of a whole curve, and of a single volume, where a glitch of one of the two looks much alike.
#: On 60 synthetic tables without exchanges the largest found were 6 and 10.7, 95th percentiles 2.1 and 7.7.
_EVIDENCE_OF_CURVE, _EVIDENCE_OF_ONE = 1.0, 5.0
#: Standard deviations of chi squared that the exchanged values may be off.
_FITS = 4.0
_MOST = 8


class Exchange(NamedTuple):
    """Positions of cells whose values fit the other way round: ``first[k]`` with ``second[k]``."""

    first: tuple[int, ...]
    second: tuple[int, ...]
    evidence: float


def find_exchanges(
    cells: Sequence[Cell], quality: Array, covariance: Array
) -> tuple[Exchange, ...]:
    """The pairs among *cells* that look exchanged, the clearest first, no cell twice.

    *quality* (n,) of the cells, *covariance* (n, n): of their measurements under the surface.
    """
    precision = np.linalg.inv(covariance)
    pull = precision @ (quality - np.median(quality))
    misses = pull / np.sqrt(np.diag(precision))
    # A surface that misses more than it says must not see exchanges in that.
    scale = max(1.0, float(np.median(misses**2)) / 0.455)
    found = []
    pairs = list(_pairs(cells))
    singles = sum(len(first) == 1 for first, _ in pairs)
    for first, second in pairs:
        at = np.array([*first, *second])
        inner = precision[np.ix_(at, at)]
        off = np.linalg.solve(inner, pull[at])
        change = quality[[*second, *first]] - quality[at]
        as_is = float(off @ inner @ off) / scale
        exchanged = float((off + change) @ inner @ (off + change)) / scale
        size = len(at)
        evidence = (as_is - exchanged) / 2
        enough = _EVIDENCE_OF_CURVE + np.log(max(len(pairs) - singles, 1))
        if len(first) == 1:
            enough = _EVIDENCE_OF_ONE + np.log(singles)
        if evidence > enough and exchanged < size + _FITS * np.sqrt(2 * size):
            found.append(Exchange(first, second, evidence))
    # A whole curve explains more than one of its volumes does.
    found.sort(key=lambda e: (-float(f"{e.evidence:.6g}"), e.first, e.second))
    return tuple(_apart(found))[:_MOST]


def _apart(found: Sequence[Exchange]) -> Iterator[Exchange]:
    used: set[int] = set()
    for one in found:
        if not used & {*one.first, *one.second}:
            used |= {*one.first, *one.second}
            yield one


def _pairs(cells: Sequence[Cell]) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
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
