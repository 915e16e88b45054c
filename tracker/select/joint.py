"""Runs of many curves → their laws, fitted together: noise, pooling, glitches, held-out errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tracker.errors import InputError, NotEnoughDataError
from tracker.select import pooling
from tracker.select.experience import prior
from tracker.select.laws import (
    GLITCH,
    PARAMETERS,
    FittedLaw,
    Glitch,
    LeftOut,
    NoiseSource,
    Parameter,
    WithoutSize,
)
from tracker.select.pooling import Array, Curves, Pool, Posterior, Prior

#: Noise of a log value where neither repeated runs nor spare points tell; said in ``noise_source``.
ASSUMED_NOISE = 0.02
DRAWS = 1000

_ENOUGH = 3  # sizes a curve needs when nothing else tells of it
_ENOUGH_POOLED = 2  # sizes a curve needs beside another one with three
_LOO_DRAWS = 64
_FAINT = 20.0  # a flagged point's noise is multiplied by this
_SMALLEST_NOISE = 1e-6
_MANY_BENDS = 12  # from so many on, what all curves bend alike can be told from noise


class CurveRuns(NamedTuple):
    """One curve's runs: ``sizes``, ``values`` (n,) and ``keys``; ``parameters``: N, where known.

    ``groups``: what the curve belongs to, kind → name. ``noise_sd``: known deviation between runs,
    in units of the values.
    """

    sizes: Array
    values: Array
    keys: tuple[str, ...]
    groups: dict[str, str]
    parameters: float | None = None
    noise_sd: float | None = None


class JointFit(NamedTuple):
    """``laws`` in the order of the curves, ``None`` where ``refused`` has the reason; ``pool``: the
    population, for what was not measured; ``mean_log_size``: what its ln N is counted from."""

    laws: list[FittedLaw | None]
    refused: dict[int, str]
    pool: Pool | None
    mean_log_size: float


class CurvePoints(NamedTuple):
    """A curve with one point per size: ``logs``, ``sd`` (m,) at ``sizes``; ``counts`` of runs."""

    sizes: Array
    logs: Array
    counts: Array
    noise: float | None  # of one run's log value, where known
    runs: CurveRuns
    left_out: tuple[LeftOut, ...]


def fit_curve(
    examples: ArrayLike,
    values: ArrayLike,
    *,
    noise_sd: float | None = None,
    keys: Sequence[str] | None = None,
) -> FittedLaw:
    """The law of one curve by itself: runs at *examples* (n,) that measured *values* (n,).

    Raises NotEnoughDataError below three sizes (the base D = 0 may be one of them), and InputError
    for values that have no logarithm.
    """
    sizes, y = np.asarray(examples, dtype=float), np.asarray(values, dtype=float)
    names = tuple(keys) if keys is not None else tuple(str(i) for i in range(len(y)))
    fit = fit_curves([CurveRuns(sizes, y, names, {}, noise_sd=noise_sd)])
    found = fit.laws[0]
    if found is None:
        raise NotEnoughDataError(fit.refused[0])
    return found


def fit_curves(
    curves: Sequence[CurveRuns], *, held_out: bool = True, start: Prior | None = None
) -> JointFit:
    """The laws of *curves*, partially pooled over their groups and sizes.

    A curve of two sizes has a law only beside one with three. The noise of a run's log value is the
    known deviation between runs where there is one, else the scale of the residuals: the robust
    deviation of each point from the straight line between its neighbours, pooled over all curves.
    *held_out* false leaves out what is said of points held out (``without``, ``held_out_error``)
    and flags no glitches: several times faster. *start*: another start than what is shipped.

    Raises InputError for values that have no logarithm.
    """
    points = [points_of(runs) for runs in curves]
    enough = [_sizes(p) >= _ENOUGH for p in points]
    least = _ENOUGH_POOLED if any(enough) else _ENOUGH
    refused = {i: _too_few(p) for i, p in enumerate(points) if _sizes(p) < least}
    taken = [i for i in range(len(points)) if i not in refused]
    if not taken:
        return JointFit([None] * len(points), refused, None, 0.0)
    kept = [points[i] for i in taken]
    residual = _residual_scale(kept)
    noise = [_noise(p, residual) for p in kept]
    data, mean_log_size = stacked(kept, [sd for sd, _ in noise])
    pool, without, suspects = _fitted(data, noise, start or prior(), held_out)
    data = _faint(data, suspects)
    rng = np.random.default_rng(0)
    posterior = pooling.posterior(data, pool, DRAWS, rng)
    laws: list[FittedLaw | None] = [None] * len(points)
    for c, i in enumerate(taken):
        laws[i] = _law(data, posterior, c, kept[c], noise[c], without.get(c, {}), suspects)
    return JointFit(laws, refused, pool, mean_log_size)


def points_of(runs: CurveRuns) -> CurvePoints:
    """One point per size, the mean of its runs' logs; the base only where it must join."""
    _check(runs)
    base = "the base joins only where volumes are too few"
    positive = runs.sizes > 0
    enough = len(np.unique(runs.sizes[positive])) >= _ENOUGH
    keep = positive if enough else np.ones_like(positive)
    left_out = tuple(
        LeftOut(key=key, reason=base) for key, kept in zip(runs.keys, keep, strict=True) if not kept
    )
    order = [i for i in np.lexsort((runs.keys, runs.values, runs.sizes)) if keep[i]]
    sizes, values = runs.sizes[order], runs.values[order]
    distinct = np.unique(sizes)
    logs = np.array([np.log(values[sizes == size]).mean() for size in distinct])
    counts = np.array([(sizes == size).sum() for size in distinct], dtype=float)
    known = runs._replace(sizes=sizes, values=values, keys=tuple(runs.keys[i] for i in order))
    noise = None
    if runs.noise_sd is not None and len(values):
        noise = max(float(np.median(runs.noise_sd / values)), _SMALLEST_NOISE)
    return CurvePoints(distinct, logs, counts, noise, known, left_out)


def _check(runs: CurveRuns) -> None:
    sizes, y = runs.sizes, runs.values
    if sizes.shape != y.shape or sizes.ndim != 1:
        raise InputError(f"examples {sizes.shape} and values {y.shape} must be two equal lists")
    if not (np.isfinite(y).all() and (y > 0).all() and np.isfinite(sizes).all()):
        raise InputError("a law is fitted to logarithms: every value must be finite and above 0")
    if (sizes < 0).any():
        raise InputError(f"examples must be at least 0, found {sizes.min():g}")


def _sizes(points: CurvePoints) -> int:
    return len(points.sizes)


def _too_few(points: CurvePoints) -> str:
    positive, base = int((points.sizes > 0).sum()), bool((points.sizes == 0).any())
    found = f"{positive} volumes above 0" + " and the base model" * base
    return (
        f"{found} measured; a law needs 3, or 2 and the base model, or 2 beside another curve with "
        f"3: run {_ENOUGH - positive - base} more volume(s) of this curve"
    )


def _residual_scale(points: Sequence[CurvePoints]) -> float | None:
    """Robust sd of a log value: how far points lie from the line between their neighbours.

    What all curves bend alike is taken out first. None where no curve has four sizes above 0.
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
    off, size = np.array(bends).T
    common = np.median(off) if len(off) >= _MANY_BENDS else 0.0
    return max(_robust_sd((off - common) / size), _SMALLEST_NOISE)


def _robust_sd(deviations: ArrayLike) -> float:
    """A third of a normal's absolute deviations lie below 0.4307 sd.

    The median would not do: one glitch bends three points, which may be half of a short curve's.
    """
    return float(np.quantile(np.abs(deviations), 1 / 3)) / 0.4307


def noise_of(points: Sequence[CurvePoints]) -> float:
    """One log sd of a run for all of *points*: the typical one."""
    residual = _residual_scale(points)
    return float(np.median([_noise(p, residual)[0] for p in points]))


def _noise(points: CurvePoints, residual: float | None) -> tuple[float, NoiseSource]:
    if points.noise is not None:
        return points.noise, "repeated runs"
    if residual is not None:
        return residual, "residuals"
    return ASSUMED_NOISE, "assumed"


def stacked(points: Sequence[CurvePoints], noise: Sequence[float]) -> tuple[Curves, float]:
    """All curves over the union of their sizes."""
    sizes = np.unique(np.concatenate([p.sizes for p in points]))
    logs, sd = np.zeros((len(points), len(sizes))), np.full((len(points), len(sizes)), np.inf)
    for c, p in enumerate(points):
        at = np.searchsorted(sizes, p.sizes)
        logs[c, at] = p.logs
        sd[c, at] = noise[c] / np.sqrt(p.counts)
    known = [np.log(p.runs.parameters) for p in points if p.runs.parameters]
    mean = float(np.mean(known)) if known else 0.0
    log_size = [np.log(p.runs.parameters) - mean if p.runs.parameters else 0.0 for p in points]
    groups = [p.runs.groups for p in points]
    return Curves(sizes, logs, sd, np.array(log_size), groups), mean


Without = dict[int, dict[int, WithoutSize]]
Suspects = dict[tuple[int, int], float]


def _fitted(
    data: Curves, noise: Sequence[tuple[float, NoiseSource]], start: Prior, held_out: bool
) -> tuple[Pool, Without, Suspects]:
    """The population, each point without itself, and the glitches: (curve, size) → deviations.

    A glitch also pulls the fits at its neighbours and the scale of all misses, so suspicion is
    raised by the plain deviation, at one point a curve, and upheld by what is left once the
    suspects hardly count.
    """
    pool = pooling.fit_pool(data, start)
    if not held_out:
        return pool, {}, {}
    without = _without(data, pool, noise)
    raised = {at: score for at, score in _worst(without).items() if score > GLITCH}
    if not raised:
        return pool, without, {}
    quiet = _faint(data, raised)
    pool = pooling.fit_pool(quiet, start)
    without = _without(quiet, pool, noise)
    scores = _deviations(without)
    rest = [score for at, score in scores.items() if at not in raised]
    scale = max(1.0, _robust_sd(rest)) if rest else 1.0
    upheld = {at: scores[at] / scale for at in raised if scores[at] / scale > GLITCH}
    if len(upheld) < len(raised):
        quiet = _faint(data, upheld)
        pool = pooling.fit_pool(quiet, start)
        without = _without(quiet, pool, noise)
    return pool, without, upheld


def _without(data: Curves, pool: Pool, noise: Sequence[tuple[float, NoiseSource]]) -> Without:
    """What each curve of four sizes or more says at each of its sizes, fitted without it."""
    measured = np.isfinite(data.sd)
    pairs = [
        (c, m) for c in np.flatnonzero(measured.sum(1) >= 4) for m in np.flatnonzero(measured[c])
    ]
    if not pairs:
        return {}
    rows = np.array([c for c, _ in pairs])
    sd = data.sd[rows].copy()
    sd[np.arange(len(pairs)), [m for _, m in pairs]] = np.inf
    held = Curves(
        data.sizes, data.logs[rows], sd, data.log_size[rows], [data.groups[c] for c in rows]
    )
    draws = pooling.posterior(held, pool, _LOO_DRAWS, np.random.default_rng(1)).draws
    found: Without = {}
    for (c, m), features in zip(pairs, draws, strict=True):
        told = pooling.log_law(features, data.sizes[m : m + 1])[:, 0]
        centre = float(np.median(told))
        low, high = np.quantile(told, [0.16, 0.84])
        found.setdefault(int(c), {})[int(m)] = WithoutSize(
            examples=float(data.sizes[m]),
            value=float(np.exp(centre)),
            log_sd=float(np.hypot((high - low) / 2, noise[c][0])),
            missed=float(data.logs[c, m] - centre),
        )
    return found


def _deviations(without: Without) -> Suspects:
    """How many deviations each point lies from where its curve, fitted without it, expects it.

    Only between other sizes: what lies beyond an end is extrapolation, and an error there is the
    law's.
    """
    return {
        (c, m): abs(sizes[m].missed) / sizes[m].log_sd
        for c, sizes in without.items()
        for m in sorted(sizes)[1:-1]
    }


def _worst(without: Without) -> Suspects:
    """The worst point of each curve."""
    worst: dict[int, tuple[float, int]] = {}
    for (c, m), score in _deviations(without).items():
        worst[c] = max(worst.get(c, (0.0, m)), (score, m))
    return {(c, m): score for c, (score, m) in worst.items()}


def _faint(data: Curves, suspects: Suspects) -> Curves:
    sd = data.sd.copy()
    for c, m in suspects:
        sd[c, m] *= _FAINT
    return data._replace(sd=sd)


def _law(
    data: Curves,
    posterior: Posterior,
    c: int,
    points: CurvePoints,
    noise: tuple[float, NoiseSource],
    without: dict[int, WithoutSize],
    suspects: Suspects,
) -> FittedLaw:
    drawn = replicates(data, posterior, c)
    rows = drawn[:, :4]
    main = _parameters(posterior.mean[c : c + 1])[0]
    bounds = np.quantile(rows, [0.1, 0.9], axis=0)
    flagged = {m: deviations for (curve, m), deviations in suspects.items() if curve == c}
    held = [without[m] for m in sorted(without)]
    above = points.sizes[points.sizes > 0]
    return FittedLaw(
        parameters={
            name: Parameter(
                value=main[i], low=min(bounds[0, i], main[i]), high=max(bounds[1, i], main[i])
            )
            for i, name in enumerate(PARAMETERS)
        },
        domain=(float(above.min()), float(above.max())),
        base=bool(points.sizes.min() == 0),
        noise=noise[0],
        noise_source=noise[1],
        held_out_error=abs(float(np.expm1(-held[-1].missed))) if held else None,
        used=points.runs.keys,
        left_out=points.left_out,
        glitches=_glitches(data, points, without, flagged),
        without=tuple(held),
        replicates=tuple(map(tuple, drawn.tolist())),
    )


def replicates(data: Curves, posterior: Posterior, c: int) -> Array:
    """Draws (R, 5) of curve *c*, as :class:`FittedLaw` keeps them."""
    features = posterior.draws[c]
    return np.column_stack([_parameters(features), _end_slopes(data, features, c)])


def _parameters(features: Array) -> Array:
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


def _glitches(
    data: Curves, points: CurvePoints, without: dict[int, WithoutSize], flagged: dict[int, float]
) -> tuple[Glitch, ...]:
    runs = points.runs
    return tuple(
        Glitch(
            key=key,
            examples=size,
            value=value,
            expected=without[m].value,
            deviations=deviations,
        )
        for m, deviations in sorted(flagged.items())
        for size, value, key in zip(
            runs.sizes.tolist(), runs.values.tolist(), runs.keys, strict=True
        )
        if size == data.sizes[m]
    )
