"""What other people's fine-tunes taught: the start of every joint fit, and how far forecasts missed.

``prior.json`` is learned from recorded tables by ``python -m tests.benchmarks.learn_prior``.
Two things are in it: the prior of :mod:`tracker.laws.pooling` and, per interval level, the factor by
which an interval must be widened for a forecast so many doublings beyond the data, such that on the
recorded tables it covered as often as it says (split conformal prediction by distance; Vovk et al.
2005, Barber et al. 2023). A fit's own misses then correct the factor (:mod:`tracker.laws.backtest`).
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
#: The levels of intervals whose widening is recorded; others lie between.
LEVELS = (0.5, 0.8, 0.95)

#: Errors of scores fall from near 1 at any pace to anywhere. No recorded public table has them over
#: volumes, so this is a guess on purpose wide and soon outvoted by the sweep's own curves.
_ERRORS = Prior(
    mean=np.array([[6.5, np.log(0.7), np.log(0.15), -0.1], [0.0, 0.0, 0.0, 0.0]]),
    cov=np.diag([0.5, 0.2, 0.4, 0.05]) ** 2,
    trust=30.0,
    hold={
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
    """The population of curves before a sweep's own are seen: of losses, or errors of a ``score``."""
    if measure == "score":
        return _ERRORS
    known = _known()["prior"]
    return Prior(np.array(known["mean"]), np.array(known["cov"]))


class Widening(NamedTuple):
    """``factors`` (levels, H) by which intervals of LEVELS are widened ``doublings`` (H,) beyond the data."""

    doublings: Array
    factors: Array

    def at(self, doublings: Array, level: float) -> Array:
        """The factor (m,) at each of *doublings* (m,); beyond the furthest recorded one, the last."""
        return by_level([np.interp(doublings, self.doublings, row) for row in self.factors], level)


def by_level(rows: Sequence[Array], level: float) -> Array:
    """Between *rows* (m,), one for each of LEVELS, that of *level*; outside of them the nearest."""
    at = float(np.clip(level, LEVELS[0], LEVELS[-1]))
    upper = int(np.searchsorted(LEVELS, at))
    if LEVELS[upper] == at:
        return np.asarray(rows[upper])
    share = (at - LEVELS[upper - 1]) / (LEVELS[upper] - LEVELS[upper - 1])
    return np.asarray((1 - share) * rows[upper - 1] + share * rows[upper])


def widening(doublings: Array, level: float) -> Array:
    """The recorded factor (m,) for an interval of *level* at each of *doublings* (m,) beyond the data.

    Interpolated between recorded distances and levels; beyond the furthest recorded one, the last.
    """
    return recorded().at(doublings, level)


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


@lru_cache(maxsize=1)
def recorded() -> Widening:
    """The widening that is shipped."""
    known = _known()["widening"]
    return Widening(np.array(known["doublings"], dtype=float), np.array(known["factors"]))


@lru_cache(maxsize=1)
def _known() -> dict[str, Any]:
    return dict(json.loads(FILE.read_text(encoding="utf-8")))
