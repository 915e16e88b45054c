"""Surrogate forecast for a search: loss or error of every configuration at one training-set size.

The joint laws (:mod:`tracker.laws.pooling`) also predict a configuration without a run, by its groups: model
size, method, learning rate, mix.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tracker.laws import pooling
from tracker.laws.fitted_law import log_forecast, replicates
from tracker.laws.points import CurveRuns, points_of, stack_curves, typical_noise
from tracker.laws.pooling import Array
from tracker.laws.prior import prior, widening

_DRAWS = 256
_LEVEL = 0.8


class SurrogateForecast(NamedTuple):
    """Joint forecast of C configurations, each at its ``size`` (C,).

    ``draws`` (R, C): loss or error. ``resolved`` (V, C): share of its deviation that one more run at each of
    V sizes should resolve. ``doublings`` (C,): from the largest measured size to ``size``, infinite without
    a run. ``noise``: log sd of a run.
    """

    size: Array
    draws: Array
    resolved: Array
    doublings: Array
    noise: float


def surrogate_forecast(
    curves: Sequence[CurveRuns], size: ArrayLike, sizes: Sequence[float], measure: str = "loss"
) -> SurrogateForecast:
    """Forecast *curves* at *size*; some may have no runs, at least one must have.

    *size*: one for all, or one per curve. *sizes*: those of possible runs. *measure*: ``score`` where the
    values are errors of scores. What a run would resolve is the part of ln L(size) that a linear regression
    on ln L(run), noise included, explains over the posterior draws.
    """
    points = [points_of(curve) for curve in curves]
    measured = [i for i, p in enumerate(points) if len(p.sizes)]
    noise = typical_noise([points[i] for i in measured])
    data = stack_curves(points, [noise] * len(points))
    pool = pooling.fit_pool(pooling.select_curves(data, np.array(measured)), prior(measure))
    posterior = pooling.posterior(data, pool, _DRAWS, np.random.default_rng(0))
    wanted = np.broadcast_to(np.asarray(size, dtype=float), (len(curves),))
    draws, resolved, doublings = [], [], []
    for c, (p, target) in enumerate(zip(points, wanted.tolist(), strict=True)):
        at = np.array([target, *sizes])
        end = float(p.sizes[-1]) if len(p.sizes) else None
        logs = log_forecast(replicates(data, posterior, c), at, end or data.sizes[-1])
        here = logs[:, 0] - logs[:, 0].mean()
        far = max(float(np.log2(target / end)), 0.0) if end else np.inf
        wide = widening(np.array([far if end else 0.0]), _LEVEL)[0]
        there = logs[:, 1:] - logs[:, 1:].mean(axis=0)
        explained = np.abs(here @ there) / len(here) / np.sqrt((there**2).mean(axis=0) + noise**2)
        draws.append(np.exp(logs[:, 0].mean() + wide * here))
        resolved.append(explained / (wide * here.std() + 1e-12))
        doublings.append(far)
    return SurrogateForecast(
        wanted, np.array(draws).T, np.array(resolved).T, np.array(doublings), noise
    )
