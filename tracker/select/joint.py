"""Runs of many curves → their laws, fitted together (:mod:`tracker.select.pooling`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tracker.errors import NotEnoughDataError
from tracker.select import pooling
from tracker.select.experience import prior
from tracker.select.held_out import Suspects, end_miss, faint, fit_and_hold_out
from tracker.select.laws import (
    PARAMETERS,
    FittedLaw,
    Glitch,
    NoiseSource,
    Parameter,
    WithoutSize,
)
from tracker.select.points import (
    ENOUGH,
    CurvePoints,
    CurveRuns,
    noise_and_source,
    points_of,
    residual_scale,
    stacked,
)
from tracker.select.pooling import Array, Curves, Pool, Posterior, Prior

DRAWS = 1000

_ENOUGH_POOLED = 2  # sizes a curve needs beside another one with three


class JointFit(NamedTuple):
    """``laws`` in the order of the curves, ``None`` where ``refused`` has the reason; ``elsewhere``: of
    curves without runs, as the population has them; ``pool``: the population.
    """

    laws: list[FittedLaw | None]
    refused: dict[int, str]
    elsewhere: list[FittedLaw]
    pool: Pool | None


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
    curves: Sequence[CurveRuns],
    *,
    elsewhere: Sequence[CurveRuns] = (),
    held_out: bool = True,
    start: Prior | None = None,
) -> JointFit:
    """The laws of *curves*, partially pooled over their groups and sizes; and of curves *elsewhere*.

    The latter have no runs (another model size, say): their laws are what the others make likely.

    A curve of two sizes has a law only beside one with three. The noise of a run's log value is the
    known deviation between runs where there is one, else the scale of the residuals: the robust
    deviation of each point from the straight line between its neighbours, pooled over all curves.
    *held_out* false leaves out what is said of points held out (``without``, ``held_out_error``)
    and flags no glitches: several times faster. *start*: another start than what is shipped.

    Raises InputError for values that have no logarithm.
    """
    points = [points_of(runs) for runs in curves]
    enough = [_sizes(p) >= ENOUGH for p in points]
    least = _ENOUGH_POOLED if any(enough) else np.inf
    refused = {
        i: _too_few(p)
        for i, p in enumerate(points)
        if not enough[i] and (p.sizes > 0).sum() < least
    }
    taken = [i for i in range(len(points)) if i not in refused]
    if not taken:
        return JointFit([None] * len(points), refused, [], None)
    kept = [points[i] for i in taken]
    residual = residual_scale(kept)
    noise = [noise_and_source(p, residual) for p in kept]
    data = stacked(kept, [sd for sd, _ in noise])
    pool, without, suspects = fit_and_hold_out(data, noise, start or prior(), held_out)
    asked = [points_of(runs) for runs in elsewhere]
    typical = sorted(noise)[len(noise) // 2]
    noise += [typical] * len(asked)
    data = faint(stacked([*kept, *asked], [sd for sd, _ in noise], like=kept), suspects)
    posterior = pooling.posterior(data, pool, DRAWS, np.random.default_rng(0))
    miss = end_miss(without)
    fitted = [
        _law(data, posterior, c, curve, noise[c], without.get(c, {}), suspects).model_copy(
            update={"miss": miss}
        )
        for c, curve in enumerate([*kept, *asked])
    ]
    laws: list[FittedLaw | None] = [None] * len(points)
    for i, law in zip(taken, fitted, strict=False):
        laws[i] = law
    return JointFit(laws, refused, fitted[len(taken) :], pool)


def _sizes(points: CurvePoints) -> int:
    return len(points.sizes)


def _too_few(points: CurvePoints) -> str:
    positive, base = int((points.sizes > 0).sum()), bool((points.sizes == 0).any())
    found = f"{positive} volumes above 0" + " and the base model" * base
    return (
        f"{found} measured; a law needs 3, or 2 and the base model, or 2 beside another curve with "
        f"3: run {ENOUGH - positive - base} more volume(s) of this curve"
    )


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
    above = points.sizes if len(points.sizes) else data.sizes
    above = above[above > 0]
    return FittedLaw(
        parameters={
            name: Parameter(
                value=main[i], low=min(bounds[0, i], main[i]), high=max(bounds[1, i], main[i])
            )
            for i, name in enumerate(PARAMETERS)
        },
        domain=(float(above.min()), float(above.max())),
        base=bool((points.sizes == 0).any()),
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
