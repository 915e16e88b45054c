"""What is expected of every configuration at one size, measured or not, from what was measured of all.

The joint laws (:mod:`tracker.select.pooling`) know a configuration without a single run by the groups
it belongs to: its model's size, its method, its learning rate, its mix.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tracker.select import pooling
from tracker.select.experience import prior, widening
from tracker.select.joint import CurveRuns, noise_of, points_of, replicates, stacked
from tracker.select.laws import forecast
from tracker.select.pooling import Array

_DRAWS = 256
_LEVEL = 0.8


class Outlook(NamedTuple):
    """Per configuration (C,): ``draws`` (R, C) of its loss or error at ``size``; ``doublings`` from its
    largest measured size to there, ``None`` without a run; ``noise``: log sd of a run.
    """

    size: float
    draws: Array
    doublings: tuple[float | None, ...]
    noise: float


def outlook(curves: Sequence[CurveRuns], size: float) -> Outlook:
    """The outlook at *size* of *curves*, some of which may have no runs; at least one must have."""
    points = [points_of(curve) for curve in curves]
    measured = [i for i, p in enumerate(points) if len(p.sizes)]
    noise = noise_of([points[i] for i in measured])
    data, _ = stacked(points, [noise] * len(points))
    pool = pooling.fit_pool(pooling.some(data, np.array(measured)), prior())
    posterior = pooling.posterior(data, pool, _DRAWS, np.random.default_rng(0))
    draws, doublings = [], []
    for c, p in enumerate(points):
        end = float(p.sizes[-1]) if len(p.sizes) else None
        logs = np.log(
            forecast(replicates(data, posterior, c), np.array([size]), end or data.sizes[-1])[:, 0]
        )
        far = max(float(np.log2(size / end)), 0.0) if end else None
        centre = np.median(logs)
        wider = widening(np.array([far or 0.0]), _LEVEL)[0]
        draws.append(np.exp(centre + wider * (logs - centre)))
        doublings.append(far)
    return Outlook(size, np.array(draws).T, tuple(doublings), noise)
