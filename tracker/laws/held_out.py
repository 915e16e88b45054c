"""What each curve says of each of its points without it: held-out errors, and glitches by them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tracker.laws import pooling
from tracker.laws.backtest import TELLING, Ends
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

_ENOUGH = 4  # sizes of a curve of which one can be held out
_DRAWS = 64
_END_DRAWS = 256
_FAINT = 20.0  # a flagged point's noise is multiplied by this

#: By curve and index of the size.
Without = dict[int, dict[int, WithoutSize]]
#: Deviations by (curve, index of the size).
Outliers = dict[tuple[int, int], float]


def fit_and_hold_out(
    data: Curves, noise: Sequence[tuple[float, NoiseSource]], start: Prior, held_out: bool
) -> tuple[Pool, Without, Outliers]:
    """The population, each point without itself, and the glitches: (curve, size) → deviations.

    A glitch also pulls the fits at its neighbours and the scale of all misses, so suspicion is
    raised by the plain deviation, at one point a curve, and upheld by what is left once the
    suspects hardly count.
    """
    pool = pooling.fit_pool(data, start)
    if not held_out:
        return pool, {}, {}
    without = _without(data, pool, noise)
    raised = {at: score for at, score in _worst(without).items() if score > GLITCH_DEVIATIONS}
    if not raised:
        return pool, without, {}
    quiet = down_weighted(data, raised)
    pool = pooling.fit_pool(quiet, start)
    without = _without(quiet, pool, noise)
    scores = _deviations(without)
    rest = [score for at, score in scores.items() if at not in raised]
    scale = max(1.0, robust_sd(rest)) if rest else 1.0
    upheld = {at: scores[at] / scale for at in raised if scores[at] / scale > GLITCH_DEVIATIONS}
    if len(upheld) < len(raised):
        quiet = down_weighted(data, upheld)
        pool = pooling.fit_pool(quiet, start)
        without = _without(quiet, pool, noise)
    return pool, without, upheld


def _without(data: Curves, pool: Pool, noise: Sequence[tuple[float, NoiseSource]]) -> Without:
    """What each curve of four sizes or more says at each of its sizes, fitted without it."""
    measured = np.isfinite(data.sd)
    pairs = [
        (c, m)
        for c in np.flatnonzero(measured.sum(1) >= _ENOUGH).tolist()
        for m in np.flatnonzero(measured[c]).tolist()
    ]
    if not pairs:
        return {}
    rows = np.array([c for c, _ in pairs])
    sd = data.sd[rows].copy()
    sd[np.arange(len(pairs)), [m for _, m in pairs]] = np.inf
    held = Curves(
        data.sizes, data.logs[rows], sd, data.log_size[rows], [data.groups[c] for c in rows]
    )
    draws = pooling.posterior(held, pool, _DRAWS, np.random.default_rng(1)).draws
    found: Without = {}
    for (c, m), features in zip(pairs, draws, strict=True):
        told = pooling.log_law(features, data.sizes[m : m + 1])[:, 0]
        centre = float(np.median(told))
        low, high = np.quantile(told, [0.16, 0.84])
        found.setdefault(c, {})[m] = WithoutSize(
            examples=float(data.sizes[m]),
            value=float(np.exp(centre)),
            log_sd=float(np.hypot((high - low) / 2, noise[c][0])),
            missed=float(data.logs[c, m] - centre),
        )
    return found


def _deviations(without: Without) -> Outliers:
    """How many deviations each point lies from where its curve, fitted without it, expects it.

    Only between other sizes: what lies beyond an end is extrapolation, and an error there is the
    law's.
    """
    return {
        (c, m): abs(sizes[m].missed) / sizes[m].log_sd
        for c, sizes in without.items()
        for m in sorted(sizes)[1:-1]
    }


def _worst(without: Without) -> Outliers:
    """The worst point of each curve."""
    worst: dict[int, tuple[float, int]] = {}
    for (c, m), score in _deviations(without).items():
        worst[c] = max(worst.get(c, (0.0, m)), (score, m))
    return {(c, m): score for c, (score, m) in worst.items()}


def down_weighted(data: Curves, outliers: Outliers) -> Curves:
    """The curves with the *suspects* hardly counting."""
    sd = data.sd.copy()
    for c, m in outliers:
        sd[c, m] *= _FAINT
    return data._replace(sd=sd)


def held_out_ends(data: Curves, noise_at: Sequence[float | None], start: Prior) -> Ends:
    """The largest size of every curve of four or more, foretold without any of them.

    Unlike in :func:`_without` the population too is fitted without them. None where they would be too
    few to tell. *noise_at*: see :class:`FittedLaw`.
    """
    measured = np.isfinite(data.sd)
    rows = np.flatnonzero(measured.sum(1) >= _ENOUGH)
    if len(rows) < TELLING:
        return Ends.none()
    order = [np.flatnonzero(measured[c]) for c in rows]
    last, before = (np.array([sizes[-i] for sizes in order]) for i in (1, 2))
    sd = data.sd.copy()
    sd[rows, last] = np.inf
    short = data._replace(sd=sd)
    pool = pooling.fit_pool(short, start)
    part = pooling.some(short, rows)
    posterior = pooling.posterior(part, pool, _END_DRAWS, np.random.default_rng(3))
    needed = []
    for i, (c, m) in enumerate(zip(rows.tolist(), last.tolist(), strict=True)):
        logs = log_forecast(
            replicates(part, posterior, i), data.sizes[m : m + 1], data.sizes[before[i]]
        )
        told = spread(logs, data.sd[c, m], noise_at[c], LEVELS)
        needed.append(told.needed(data.logs[c, m : m + 1])[:, 0])
    return Ends(np.array(needed).T, np.log2(data.sizes[last] / data.sizes[before]))
