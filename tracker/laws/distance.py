"""How far a question lies outside what was measured, and intervals as wide as that calls for."""

from __future__ import annotations

import numpy as np

from tracker.laws.pooling import Array
from tracker.laws.prior import widening


def doublings(asked: float, domain: tuple[float, float]) -> float:
    """How often *asked* doubles the largest measured, or halves the smallest; 0 between them.

    Infinite where the one is 0 and the other is not.
    """
    low, high = domain
    if low <= asked <= high:
        return 0.0
    larger, smaller = (asked, high) if asked > high else (low, asked)
    return float(np.log2(larger / smaller)) if smaller > 0 else float("inf")


def widened_interval(runs: Array, far: float, level: float) -> tuple[Array, Array]:
    """The ends (m,) of the interval of *level* that draws *runs* (R, m) give, *far* doublings outside.

    About their median it is as many times wider as forecasts so far beyond the data of recorded
    tables needed (:func:`tracker.laws.prior.widening`).
    """
    low, centre, high = np.quantile(runs, [(1 - level) / 2, 0.5, (1 + level) / 2], axis=0)
    wider = widening(np.array([far]), level)
    return centre + wider * (low - centre), centre + wider * (high - centre)
