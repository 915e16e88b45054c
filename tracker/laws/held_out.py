"""Held-out errors of curves: each point predicted without it, the glitches among them, and the ends."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tracker.laws import pooling
from tracker.laws.backtest import FEWEST_ENDS, CurveEnds
from tracker.laws.fitted_law import (
    GLITCH_DEVIATIONS,
    NoiseSource,
    WithoutSize,
    log_forecast,
    replicates,
    spread,
)
from tracker.laws.points import robust_sd
from tracker.laws.pooling import Curves, Pool, Prior
from tracker.laws.prior import LEVELS

_FEWEST_SIZES = 4  # sizes of a curve of which one can be held out
_DRAWS = 64
_END_DRAWS = 256
_DOWN_WEIGHT = 20.0  # factor on the noise of a glitch

#: Held-out predictions by curve and index of the size.
Without = dict[int, dict[int, WithoutSize]]
#: Robust deviations of the glitches by (curve, index of the size).
Outliers = dict[tuple[int, int], float]


def fit_and_hold_out(
    data: Curves, noise: Sequence[tuple[float, NoiseSource]], start: Prior, held_out: bool
) -> tuple[Pool, Without, Outliers]:
    """Population of *data*, held-out predictions of each point, and glitches: (curve, size) → deviations.

    A glitch also pulls the fits at its neighbours and the scale of all held-out errors. So candidates are
    found by the plain deviation, at most one a curve, and confirmed by the deviation that remains once all
    candidates are down-weighted.
    """
    pool = pooling.fit_pool(data, start)
    if not held_out:
        return pool, {}, {}
    without = _without_each_size(data, pool, noise)
    candidates = {at: score for at, score in _worst(without).items() if score > GLITCH_DEVIATIONS}
    if not candidates:
        return pool, without, {}
    weighted = down_weighted(data, candidates)
    pool = pooling.fit_pool(weighted, start)
    without = _without_each_size(weighted, pool, noise)
    scores = _deviations(without)
    rest = [score for at, score in scores.items() if at not in candidates]
    scale = max(1.0, robust_sd(rest)) if rest else 1.0
    confirmed = {
        at: scores[at] / scale for at in candidates if scores[at] / scale > GLITCH_DEVIATIONS
    }
    if len(confirmed) < len(candidates):
        weighted = down_weighted(data, confirmed)
        pool = pooling.fit_pool(weighted, start)
        without = _without_each_size(weighted, pool, noise)
    return pool, without, confirmed


def _without_each_size(
    data: Curves, pool: Pool, noise: Sequence[tuple[float, NoiseSource]]
) -> Without:
    """Held-out prediction at each size of every curve of four sizes or more."""
    measured = np.isfinite(data.sd)
    pairs = [
        (c, m)
        for c in np.flatnonzero(measured.sum(1) >= _FEWEST_SIZES).tolist()
        for m in np.flatnonzero(measured[c]).tolist()
    ]
    if not pairs:
        return {}
    rows = np.array([c for c, _ in pairs])
    sd = data.sd[rows].copy()
    sd[np.arange(len(pairs)), [m for _, m in pairs]] = np.inf
    short = Curves(
        data.sizes, data.logs[rows], sd, data.log_size[rows], [data.groups[c] for c in rows]
    )
    draws = pooling.posterior(short, pool, _DRAWS, np.random.default_rng(1)).draws
    predictions: Without = {}
    for (c, m), features in zip(pairs, draws, strict=True):
        predicted = pooling.log_law(features, data.sizes[m : m + 1])[:, 0]
        centre = float(np.median(predicted))
        low, high = np.quantile(predicted, [0.16, 0.84])
        predictions.setdefault(c, {})[m] = WithoutSize(
            examples=float(data.sizes[m]),
            value=float(np.exp(centre)),
            log_sd=float(np.hypot((high - low) / 2, noise[c][0])),
            missed=float(data.logs[c, m] - centre),
        )
    return predictions


def _deviations(without: Without) -> Outliers:
    """Held-out deviation of each inner point, in robust standard deviations.

    An end is left out: its prediction is an extrapolation, so an error there is the law's.
    """
    return {
        (c, m): abs(sizes[m].missed) / sizes[m].log_sd
        for c, sizes in without.items()
        for m in sorted(sizes)[1:-1]
    }


def _worst(without: Without) -> Outliers:
    """Largest deviation of each curve, with its point."""
    worst: dict[int, tuple[float, int]] = {}
    for (c, m), score in _deviations(without).items():
        worst[c] = max(worst.get(c, (0.0, m)), (score, m))
    return {(c, m): score for c, (score, m) in worst.items()}


def down_weighted(data: Curves, outliers: Outliers) -> Curves:
    """Raise the noise of *outliers*, so that they hardly count."""
    sd = data.sd.copy()
    for c, m in outliers:
        sd[c, m] *= _DOWN_WEIGHT
    return data._replace(sd=sd)


def held_out_ends(data: Curves, noise_at: Sequence[float | None], start: Prior) -> CurveEnds:
    """Backtest at the curves' ends: the largest size of every curve of four or more, predicted without them.

    Unlike in :func:`_without_each_size` the population too is fitted without them. None with fewer than
    :data:`FEWEST_ENDS`. *noise_at*: see :class:`FittedLaw`.
    """
    measured = np.isfinite(data.sd)
    rows = np.flatnonzero(measured.sum(1) >= _FEWEST_SIZES)
    if len(rows) < FEWEST_ENDS:
        return CurveEnds.none()
    order = [np.flatnonzero(measured[c]) for c in rows]
    last, before = (np.array([sizes[-i] for sizes in order]) for i in (1, 2))
    sd = data.sd.copy()
    sd[rows, last] = np.inf
    short = data._replace(sd=sd)
    pool = pooling.fit_pool(short, start)
    part = pooling.select_curves(short, rows)
    posterior = pooling.posterior(part, pool, _END_DRAWS, np.random.default_rng(3))
    needed = []
    for i, (c, m) in enumerate(zip(rows.tolist(), last.tolist(), strict=True)):
        logs = log_forecast(
            replicates(part, posterior, i), data.sizes[m : m + 1], data.sizes[before[i]]
        )
        run = spread(logs, data.sd[c, m], noise_at[c], LEVELS)
        needed.append(run.needed(data.logs[c, m : m + 1])[:, 0])
    return CurveEnds(np.array(needed).T, np.log2(data.sizes[last] / data.sizes[before]))
