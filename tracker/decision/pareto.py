"""Pareto front: the candidates that no other dominates."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tracker.laws.pooling import Array


class Front(NamedTuple):
    """Pareto front of n rows.

    ``member`` (n,): on the front. ``compared`` (n,): has every dimension; others are not members.
    """

    member: NDArray[np.bool_]
    compared: NDArray[np.bool_]


def pareto_front(losses: Array) -> Front:
    """Pareto front of *losses* (n, d), each dimension smaller is better.

    Row a dominates b if it is at most b everywhere and below it somewhere, so equal rows stand or
    fall together. A row with NaN (not measured) is not compared: it neither dominates nor joins.
    """
    losses = np.asarray(losses, dtype=float)
    compared = np.asarray(np.isfinite(losses).all(axis=1), dtype=bool)
    points = losses[compared]
    # One row against all at a time: n x n x d at once would not fit for tens of thousands.
    dominated = [
        bool(((points <= point).all(axis=1) & (points < point).any(axis=1)).any())
        for point in points
    ]
    member = np.zeros(len(losses), dtype=bool)
    member[compared] = ~np.array(dominated, dtype=bool)
    return Front(member, compared)
