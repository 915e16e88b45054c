"""Recorded prior of every joint fit, and widening of forecast intervals by distance beyond the data.

``prior.json`` is learned from recorded tables of other people's fine-tunes by
``python -m tests.benchmarks.learn_prior``. It holds the prior of :mod:`tracker.laws.pooling` and, per
interval level, the factor by which an interval is widened for a forecast so many doublings beyond the data,
such that on the recorded tables it covered as often as it says (split conformal prediction by distance;
Vovk et al. 2005, Barber et al. 2023). The backtest errors of a sweep then correct the factor
(:mod:`tracker.laws.backtest`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tracker.laws.pooling import Prior

Array = NDArray[np.float64]

FILE = Path(__file__).with_name("prior.json")
#: Interval levels whose widening is recorded; others are interpolated.
LEVELS = (0.5, 0.8, 0.95)

#: Prior of errors of scores, which fall from near 1 at any pace to any level. No recorded public table has
#: them over training-set sizes, so this is a guess, wide on purpose and soon outweighed by the sweep.
_ERRORS = Prior(
    mean=np.array([[6.5, np.log(0.7), np.log(0.15), -0.1], [0.0, 0.0, 0.0, 0.0]]),
    cov=np.diag([0.5, 0.2, 0.4, 0.05]) ** 2,
    trust=30.0,
    group_trust={
        "run": 0.15,
        "pair": 0.3,
        "setting": 0.3,
        "method": 0.3,
        "model": 0.3,
        "task": 0.1,
        "mix": 2.0,
    },
)


def prior(measure: str = "loss") -> Prior:
    """Recorded prior of the population of curves: of losses, or of the errors of a ``score``."""
    if measure == "score":
        return _ERRORS
    recorded = _prior_file()["prior"]
    return Prior(np.array(recorded["mean"]), np.array(recorded["cov"]))


class Widening(NamedTuple):
    """Widening ``factors`` (levels, H) of intervals of LEVELS, ``doublings`` (H,) beyond the data."""

    doublings: Array
    factors: Array

    def at(self, doublings: Array, level: float) -> Array:
        """Factor (m,) at each of *doublings* (m,); beyond the furthest recorded one, the last."""
        return by_level([np.interp(doublings, self.doublings, row) for row in self.factors], level)


def by_level(rows: Sequence[Array], level: float) -> Array:
    """Interpolation to *level* between *rows* (m,), one for each of LEVELS; outside of them the nearest."""
    at = float(np.clip(level, LEVELS[0], LEVELS[-1]))
    upper = int(np.searchsorted(LEVELS, at))
    if LEVELS[upper] == at:
        return np.asarray(rows[upper])
    share = (at - LEVELS[upper - 1]) / (LEVELS[upper] - LEVELS[upper - 1])
    return np.asarray((1 - share) * rows[upper - 1] + share * rows[upper])


def widening(doublings: Array, level: float) -> Array:
    """Recorded widening factor (m,) of an interval of *level*, *doublings* (m,) beyond the data.

    Interpolated between recorded distances and levels; beyond the furthest recorded one, the last.
    """
    return recorded_widening().at(doublings, level)


def doublings_outside(value: float, domain: tuple[float, float]) -> float:
    """Doublings of *value* above the largest measured, or halvings below the smallest; 0 between them.

    Infinite where the one is 0 and the other is not.
    """
    low, high = domain
    if low <= value <= high:
        return 0.0
    larger, smaller = (value, high) if value > high else (low, value)
    return float(np.log2(larger / smaller)) if smaller > 0 else float("inf")


def widened_interval(runs: Array, far: float, level: float) -> tuple[Array, Array]:
    """Interval (m,) of *level* from draws *runs* (R, m), widened for *far* doublings outside the data.

    The factor about the median is :func:`widening`.
    """
    low, centre, high = np.quantile(runs, [(1 - level) / 2, 0.5, (1 + level) / 2], axis=0)
    wider = widening(np.array([far]), level)
    return centre + wider * (low - centre), centre + wider * (high - centre)


@lru_cache(maxsize=1)
def recorded_widening() -> Widening:
    """Widening shipped in ``prior.json``."""
    recorded = _prior_file()["widening"]
    return Widening(np.array(recorded["doublings"], dtype=float), np.array(recorded["factors"]))


@lru_cache(maxsize=1)
def _prior_file() -> dict[str, Any]:
    return dict(json.loads(FILE.read_text(encoding="utf-8")))
