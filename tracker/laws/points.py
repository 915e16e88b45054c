"""Points of a curve from its runs, one per size with its noise; many curves stacked into one array.

Where no configuration ran twice, the noise of a run comes from the residuals: the robust deviation of each
point from the straight line between its neighbours, pooled over all curves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tracker.errors import InputError
from tracker.laws.fitted_law import LeftOut, NoiseSource
from tracker.laws.pooling import Array, Curves

#: Noise of a log value without repeated runs and without residuals; ``noise_source`` says so.
ASSUMED_NOISE = 0.02
#: Sizes that a curve needs without other curves.
FEWEST_SIZES = 3

_SMALLEST_NOISE = 1e-6
_MANY_BENDS = 12  # from so many on, the common curvature is subtracted


class CurveRuns(NamedTuple):
    """Runs of one curve: ``sizes``, ``values`` (n,) and ``keys``; ``parameters``: N, where known.

    ``groups``: those the curve is pooled with, kind → name. ``noise_sd``: known standard deviation
    between runs, in units of the values.
    """

    sizes: Array
    values: Array
    keys: tuple[str, ...]
    groups: dict[str, str]
    parameters: float | None = None
    noise_sd: float | None = None


class CurvePoints(NamedTuple):
    """Points of one curve: ``logs`` (m,) at ``sizes`` (m,), means over ``counts`` (m,) runs."""

    sizes: Array
    logs: Array
    counts: Array
    noise: float | None  # of one run's log value, where known
    runs: CurveRuns
    left_out: tuple[LeftOut, ...]


def points_of(runs: CurveRuns) -> CurvePoints:
    """Points of a curve, the mean log of its runs at each size; the base only with too few sizes."""
    _check(runs)
    base = "the base is used only where there are too few training-set sizes"
    positive = runs.sizes > 0
    enough = len(np.unique(runs.sizes[positive])) >= FEWEST_SIZES
    keep = positive if enough else np.ones_like(positive)
    left_out = tuple(
        LeftOut(key=key, reason=base) for key, kept in zip(runs.keys, keep, strict=True) if not kept
    )
    order = [i for i in np.lexsort((np.array(runs.keys), runs.values, runs.sizes)) if keep[i]]
    sizes, values = runs.sizes[order], runs.values[order]
    distinct = np.unique(sizes)
    logs = np.array([np.log(values[sizes == size]).mean() for size in distinct])
    counts = np.array([(sizes == size).sum() for size in distinct], dtype=float)
    used = runs._replace(sizes=sizes, values=values, keys=tuple(runs.keys[i] for i in order))
    noise = None
    if runs.noise_sd is not None and len(values):
        noise = max(float(np.median(runs.noise_sd / values)), _SMALLEST_NOISE)
    return CurvePoints(distinct, logs, counts, noise, used, left_out)


def _check(runs: CurveRuns) -> None:
    sizes, y = runs.sizes, runs.values
    if sizes.shape != y.shape or sizes.ndim != 1:
        raise InputError(f"examples {sizes.shape} and values {y.shape} must be two equal lists")
    if not (np.isfinite(y).all() and (y > 0).all() and np.isfinite(sizes).all()):
        raise InputError("a law is fitted to logarithms: every value must be finite and above 0")
    if (sizes < 0).any():
        raise InputError(f"examples must be at least 0, found {sizes.min():g}")


def residual_scale(points: Sequence[CurvePoints]) -> float | None:
    """Robust sd of a log value: deviation of points from the line between their neighbours.

    The curvature common to all curves is subtracted first. None where no curve has four sizes above 0.
    """
    bends: list[tuple[float, float]] = []
    for p in points:
        above = p.sizes > 0
        x, y = np.log(p.sizes[above]), p.logs[above]
        if len(x) < 4:
            continue
        share = (x[1:-1] - x[:-2]) / (x[2:] - x[:-2])
        between = y[:-2] + share * (y[2:] - y[:-2])
        size = np.sqrt(1 + share**2 + (1 - share) ** 2)
        bends += list(zip((y[1:-1] - between).tolist(), size.tolist(), strict=True))
    if not bends:
        return None
    deviation, size = np.array(bends).T
    common = np.median(deviation) if len(deviation) >= _MANY_BENDS else 0.0
    return max(robust_sd((deviation - common) / size), _SMALLEST_NOISE)


def robust_sd(deviations: ArrayLike) -> float:
    """Robust standard deviation: the lower third of absolute deviations, 0.4307 sd of a normal.

    Not the median: one glitch bends three points, which may be half of a short curve's.
    """
    return float(np.quantile(np.abs(deviations), 1 / 3)) / 0.4307


def typical_noise(points: Sequence[CurvePoints]) -> float:
    """Median log sd of a run over *points*."""
    residual = residual_scale(points)
    return float(np.median([noise_and_source(p, residual)[0] for p in points]))


def noise_and_source(points: CurvePoints, residual: float | None) -> tuple[float, NoiseSource]:
    """Noise of a run's log value and its source; *residual*: from :func:`residual_scale`."""
    if points.noise is not None:
        return points.noise, "repeated runs"
    if residual is not None:
        return residual, "residuals"
    return ASSUMED_NOISE, "assumed"


def stack_curves(
    points: Sequence[CurvePoints],
    noise: Sequence[float],
    like: Sequence[CurvePoints] | None = None,
) -> Curves:
    """Stack curves over the union of their sizes; ln N is centred on the mean of *like*, or of all."""
    sizes = np.unique(np.concatenate([p.sizes for p in points]))
    logs, sd = np.zeros((len(points), len(sizes))), np.full((len(points), len(sizes)), np.inf)
    for c, p in enumerate(points):
        at = np.searchsorted(sizes, p.sizes)
        logs[c, at] = p.logs
        sd[c, at] = noise[c] / np.sqrt(p.counts)
    log_parameters = [np.log(p.runs.parameters) for p in like or points if p.runs.parameters]
    mean = float(np.mean(log_parameters)) if log_parameters else 0.0
    log_size = [np.log(p.runs.parameters) - mean if p.runs.parameters else 0.0 for p in points]
    return Curves(sizes, logs, sd, np.array(log_size), [p.runs.groups for p in points])
