"""Robust non-linear regression with a Bayesian bootstrap, all replicates fitted at once.

Minimised per row is sum w rho((y - f(theta)) / s) + the squared distance of theta from a weak
normal prior, with Huber's rho (threshold 1.345: 95 % efficient where noise is normal; Huber 1964) and
s the scale of the noise, by Levenberg-Marquardt steps on iteratively reweighted residuals. The prior
decides only what the runs do not identify; each replicate draws its own prior centre, so that what is not
identified has a wide interval (randomise, then optimise; Bardsley et al. 2014).

Replicates reweigh whole runs (Bayesian bootstrap; Rubin 1981): unlike drawing runs with replacement,
no replicate loses the only run of a size or a mix.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

HUBER = 1.345
_STEP = 1e-7
_ITERATIONS, _SCALE_ROUNDS, _KEPT_STARTS = 60, 4, 3
# A row stops where a step gains no more than this part, or no step gains at all.
_SETTLED, _STUCK = 1e-11, 1e6
_SMALLEST_SCALE = 1e-9


class Form(NamedTuple):
    """Non-linear form with *k* parameters at *n* runs.

    ``predict``: parameters (rows, k) to values (rows, n). ``starts`` (S, k). Prior N(``centre``,
    ``prior_sd``) per parameter (k,); an infinite sd is a flat one.
    """

    predict: Callable[[Array], Array]
    starts: Array
    centre: Array
    prior_sd: Array


class Estimated(NamedTuple):
    """Fitted parameters (k,), and ``scale``: the robust sd of a run about them."""

    theta: Array
    scale: float


def estimate(form: Form, targets: Array) -> Estimated:
    """Fit *form* robustly to *targets* (n,), n > k, together with the scale of the noise."""
    size = len(targets)
    spare = max(size - form.starts.shape[1], 1)
    scale = _mad(targets - np.median(targets)) or float(targets.std())
    theta = form.starts
    for _ in range(_SCALE_ROUNDS):
        weights, centre = np.ones((len(theta), size)), np.tile(form.centre, (len(theta), 1))
        scale = max(scale, _SMALLEST_SCALE)
        theta, objective = _minimise(form, targets, weights, theta, centre, scale)
        theta = theta[np.argsort(objective, kind="stable")[:_KEPT_STARTS]]
        best = theta[0]
        before, scale = (
            scale,
            _mad(targets - form.predict(best[None])[0]) * float(np.sqrt(size / spare)),
        )
        if abs(scale - before) < 1e-3 * before:
            break
    return Estimated(best, max(scale, _SMALLEST_SCALE))


def resample(
    form: Form, targets: Array, estimated: Estimated, rng: np.random.Generator, count: int
) -> Array:
    """Bootstrap replicates (count, k) of *estimated*.

    The runs' weights have mean 1 and variance (n / (n - k))^2, as the jackknife has: residuals are
    smaller than the noise by what the parameters absorbed, and pull the fit towards themselves.
    """
    size, free = len(targets), len(estimated.theta)
    shape = (max(size - free, 1) / size) ** 2
    weights = rng.gamma(shape, 1 / shape, (count, size))
    spread = np.where(np.isfinite(form.prior_sd), form.prior_sd, 0.0)
    centre = form.centre + spread * rng.standard_normal((count, free))
    starts = np.tile(estimated.theta, (count, 1))
    return _minimise(form, targets, weights, starts, centre, estimated.scale)[0]


def content_generator(*content: Sequence[str] | str) -> np.random.Generator:
    """Random generator seeded by *content*: the same on every machine and in every order of calls."""
    text = "\n".join(c if isinstance(c, str) else "\n".join(c) for c in content)
    return np.random.default_rng(crc32(text.encode()))


def _mad(residuals: Array) -> float:
    return 1.4826 * float(np.median(np.abs(residuals)))


def _minimise(
    form: Form, targets: Array, weights: Array, starts: Array, centre: Array, scale: float
) -> tuple[Array, Array]:
    """Minimum of each row from its start: parameters (rows, k) and objective (rows,)."""
    precision = 1 / np.square(form.prior_sd)
    theta, damping = starts.copy(), np.full(len(starts), 1e-2)
    best = _objective(_residual(form, targets, theta, scale), weights, theta - centre, precision)
    active = np.arange(len(starts))  # the rows that still move
    for _ in range(_ITERATIONS):
        at, w, c = theta[active], weights[active], centre[active]
        trial = at + _step(form, targets, w, at, c, scale, damping[active])
        residual = _residual(form, targets, trial, scale)
        objective = _objective(residual, w, trial - c, precision)
        gain = best[active] - objective
        better = gain > 0
        theta[active] = np.where(better[:, None], trial, at)
        settled = (better & (gain < _SETTLED * (1 + objective))) | (damping[active] > _STUCK)
        best[active] = np.where(better, objective, best[active])
        damping[active] *= np.where(better, 0.2, 6.0)
        active = active[~settled]
        if not len(active):
            break
    return theta, best


def _step(
    form: Form,
    targets: Array,
    weights: Array,
    theta: Array,
    centre: Array,
    scale: float,
    damping: Array,
) -> Array:
    """Damped Gauss-Newton step (rows, k) on the reweighted residuals."""
    values, jacobian = _jacobian(form, theta)
    residual = np.nan_to_num(np.clip((targets - values) / scale, -1e9, 1e9), nan=1e9)
    downweighted = weights * np.minimum(1, HUBER / np.maximum(np.abs(residual), 1e-12))
    jacobian = np.nan_to_num(np.clip(jacobian / scale, -1e9, 1e9))
    weighted = (jacobian * downweighted[..., None]).swapaxes(1, 2)
    precision = 1 / np.square(form.prior_sd)
    hessian = weighted @ jacobian + np.diag(precision)
    slope = (weighted @ residual[..., None])[..., 0] - precision * (theta - centre)
    diagonal = np.einsum("rii->ri", hessian)
    damped = hessian + (damping[:, None] * diagonal + 1e-10)[..., None] * np.eye(len(precision))
    return np.asarray(np.linalg.solve(damped, slope[..., None])[..., 0])


def _residual(form: Form, targets: Array, theta: Array, scale: float) -> Array:
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        residual = (targets - form.predict(theta)) / scale
    return np.nan_to_num(np.clip(residual, -1e9, 1e9), nan=1e9)


def _objective(residual: Array, weights: Array, away: Array, precision: Array) -> Array:
    size = np.abs(residual)
    rho = np.where(size <= HUBER, size**2 / 2, HUBER * (size - HUBER / 2))
    total: Array = (weights * rho).sum(1) + (precision * away**2).sum(1) / 2
    return total


def _jacobian(form: Form, theta: Array) -> tuple[Array, Array]:
    """Values (rows, n) of the form and its Jacobian (rows, n, k), by differences."""
    columns = []
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        values = form.predict(theta)
        for i in range(theta.shape[1]):
            step = np.zeros_like(theta)
            step[:, i] = _STEP * np.maximum(1, np.abs(theta[:, i]))
            columns.append((form.predict(theta + step) - values) / step[:, i, None])
    return values, np.stack(columns, axis=-1)
