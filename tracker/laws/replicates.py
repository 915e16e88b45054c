"""Posterior draws of a curve as :class:`tracker.laws.fitted_law.FittedLaw` keeps them."""

from __future__ import annotations

import numpy as np

from tracker.laws import pooling
from tracker.laws.pooling import Array, Curves, Posterior


def replicates(data: Curves, posterior: Posterior, c: int) -> Array:
    """Draws (R, 5) of curve *c*, as :class:`FittedLaw` keeps them."""
    features = posterior.draws[c]
    return np.column_stack([parameters(features), _end_slopes(data, features, c)])


def parameters(features: Array) -> Array:
    """Rows (E, A, D0, beta) of feature rows."""
    a = np.exp(features[:, 3])
    return np.column_stack(
        [a * np.exp(features[:, 2]), a, np.exp(features[:, 0]), np.exp(features[:, 1])]
    )


def _end_slopes(data: Curves, features: Array, c: int) -> Array:
    """d ln L / d ln D (R,) at the curve's end: its tangents, and as measured, by precision.

    The measured slope is that of the last two sizes; what a tangent may be wrong by is the drift of
    one doubling.
    """
    measured = np.flatnonzero(np.isfinite(data.sd[c]) & (data.sizes > 0))
    end = data.sizes[measured[-1] if len(measured) else -1]
    tangents = pooling.log_slope(features, end)
    if len(measured) < 2:
        return tangents
    last, before = measured[-1], measured[-2]
    gap = np.log(end / data.sizes[before])
    # The form never rises.
    own = min((data.logs[c, last] - data.logs[c, before]) / gap, 0.0)
    own_var = (data.sd[c, last] ** 2 + data.sd[c, before] ** 2) / gap**2
    wrong = tangents.var() + (pooling.DRIFT / np.log(2)) ** 2
    share = wrong / (wrong + own_var)
    normals = np.random.default_rng(2).standard_normal(len(tangents))
    return np.asarray(tangents + share * (own + np.sqrt(own_var) * normals - tangents))
