"""Joint fit of many curves: partially pooled laws from their runs (:mod:`tracker.laws.pooling`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tracker.laws import pooling
from tracker.laws.backtest import BacktestErrors, CurveEnds
from tracker.laws.fitted_law import (
    PARAMETERS,
    Draws,
    FittedLaw,
    Glitch,
    NoiseSource,
    Parameter,
    WithoutSize,
    parameters,
    replicates,
)
from tracker.laws.held_out import Outliers, down_weighted, fit_and_hold_out, held_out_ends
from tracker.laws.points import (
    FEWEST_SIZES,
    CurvePoints,
    CurveRuns,
    noise_and_source,
    points_of,
    residual_scale,
    stack_curves,
)
from tracker.laws.pooling import Curves, Pool, Posterior, Prior
from tracker.laws.prior import prior

DRAWS = 1000

_ENOUGH_POOLED = 2  # sizes a curve needs beside another one with three


class JointFit(NamedTuple):
    """Laws of curves fitted together.

    ``laws``: in the order of the curves, ``None`` where ``refused`` has the reason. ``unmeasured``: laws of
    curves without runs, as the population has them. ``pool``: the population. ``ends``: the backtest at the
    curves' ends.
    """

    laws: list[FittedLaw | None]
    refused: dict[int, str]
    unmeasured: list[FittedLaw]
    pool: Pool | None
    ends: CurveEnds


def fit_curves(
    curves: Sequence[CurveRuns],
    *,
    unmeasured: Sequence[CurveRuns] = (),
    held_out: bool = True,
    start: Prior | None = None,
) -> JointFit:
    """Fit the laws of *curves*, partially pooled over their groups and sizes; and of curves *unmeasured*.

    The latter have no runs (another model size, say): their laws are the population's. A curve of two
    sizes has a law only beside one with three. The noise of a run's log value is the known deviation
    between runs where there is one, else the scale of the residuals: the robust
    deviation of each point from the straight line between its neighbours, pooled over all curves.
    *held_out* false leaves out the held-out errors (``without``, ``held_out_error``) and the glitches:
    several times faster. *start*: another prior than the shipped one. Raises InputError for values that
    have no logarithm.
    """
    points = [points_of(runs) for runs in curves]
    enough = [len(p.sizes) >= FEWEST_SIZES for p in points]
    least = _ENOUGH_POOLED if any(enough) else np.inf
    refused = {
        i: _too_few(p)
        for i, p in enumerate(points)
        if not enough[i] and (p.sizes > 0).sum() < least
    }
    taken = [i for i in range(len(points)) if i not in refused]
    if not taken:
        return JointFit([None] * len(points), refused, [], None, CurveEnds.none())
    kept = [points[i] for i in taken]
    residual = residual_scale(kept)
    noise = [noise_and_source(p, residual) for p in kept]
    data = stack_curves(kept, [sd for sd, _ in noise])
    pool, without, outliers = fit_and_hold_out(data, noise, start or prior(), held_out)
    noise_at = [_noise_at(curve, sd) for curve, (sd, _) in zip(kept, noise, strict=True)]
    ends = CurveEnds.none()
    if held_out:
        ends = held_out_ends(down_weighted(data, outliers), noise_at, start or prior())
    without_runs = [points_of(runs) for runs in unmeasured]
    typical = sorted(noise)[len(noise) // 2]
    noise += [typical] * len(without_runs)
    data = down_weighted(
        stack_curves([*kept, *without_runs], [sd for sd, _ in noise], like=kept), outliers
    )
    posterior = _posterior(data, pool, len(kept))
    backtest_errors = BacktestErrors.of(ends)
    fitted = [
        _law(data, posterior, c, curve, noise[c], without.get(c, {}), outliers).model_copy(
            update={"backtest_errors": backtest_errors}
        )
        for c, curve in enumerate([*kept, *without_runs])
    ]
    laws: list[FittedLaw | None] = [None] * len(points)
    for i, law in zip(taken, fitted, strict=False):
        laws[i] = law
    return JointFit(laws, refused, fitted[len(taken) :], pool, ends)


def _posterior(data: Curves, pool: Pool, measured: int) -> Posterior:
    """Posterior of the first *measured* curves, then of the unmeasured ones.

    The latter share their random numbers, so that they vary smoothly with model size.
    """
    parts = [
        pooling.posterior(
            pooling.select_curves(data, part),
            pool,
            DRAWS,
            np.random.default_rng(0),
            common_random_numbers=part[0] > 0,
        )
        for part in np.split(np.arange(len(data.logs)), [measured])
        if len(part)
    ]
    return Posterior(*(np.concatenate(field) for field in zip(*parts, strict=True)))


def _noise_at(points: CurvePoints, noise: float) -> float | None:
    """Value from which the noise is constant in logs (:attr:`FittedLaw.noise_at`)."""
    return None if points.runs.noise_sd is None else points.runs.noise_sd / noise


def _too_few(points: CurvePoints) -> str:
    positive, base = int((points.sizes > 0).sum()), bool((points.sizes == 0).any())
    measured = f"{_sizes(positive)} above 0" + " and the base model" * base
    return (
        f"{measured} measured; a law needs 3, or 2 and the base model, or 2 beside another curve with "
        f"3: run {_sizes(FEWEST_SIZES - positive - base, ' more')} of this curve"
    )


def _sizes(count: int, more: str = "") -> str:
    return f"{count}{more} training-set size{'s' * (count != 1)}"


def _law(
    data: Curves,
    posterior: Posterior,
    c: int,
    points: CurvePoints,
    noise: tuple[float, NoiseSource],
    without: dict[int, WithoutSize],
    outliers: Outliers,
) -> FittedLaw:
    draws = replicates(data, posterior, c)
    rows = draws[:, :4]
    main = parameters(posterior.mean[c : c + 1])[0]
    bounds = np.quantile(rows, [0.1, 0.9], axis=0)
    flagged = {m: deviations for (curve, m), deviations in outliers.items() if curve == c}
    held_out = [without[m] for m in sorted(without)]
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
        noise_at=_noise_at(points, noise[0]) if len(points.sizes) else None,
        held_out_error=abs(float(np.expm1(-held_out[-1].missed))) if held_out else None,
        used=points.runs.keys,
        left_out=points.left_out,
        glitches=_glitches(data, points, without, flagged),
        without=tuple(held_out),
        replicates=Draws(draws),
    )


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
