"""Partial pooling of many curves: an empirical-Bayes posterior of each on a grid.

Every curve is ln L = ln A + ln(e + 1 / (1 + (D/D0)^beta)) with e = E/A, so its features are
phi = (ln D0, ln beta, ln e, ln A). Over a sweep they scatter about a regression on ln N and on the
groups a curve belongs to (family, model, method, mix, task): phi ~ N(X B, Sigma), the joint law over
size with partial pooling. B and Sigma are fitted by EM (Dempster, Laird and Rubin 1977; empirical
Bayes, Efron and Morris 1975), starting from and shrunk towards what recorded tables of other
people's fine-tunes showed (:mod:`tracker.laws.prior`).

The first three features are integrated on a grid, the level ln A in closed form: no start values, no local
optima, the same steps on every machine. Finer grids around each curve's posterior remove the rounding of the
coarse one.

No run follows the form exactly: a point *a* doublings below the largest measured size has an additional
error of DRIFT x a, so the largest sizes count most where a forecast starts.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Misfit of the form per doubling below the largest size, as a standard deviation of ln L.
DRIFT = 0.006

_GRID = (24, 12, 12)  # cells for ln D0, ln beta, ln e
_BETA, _E = (0.1, 1.5), (0.004, 3.0)
_FINE = (9, 7, 7)
_ZOOMS = 3
_EM_STEPS = 10
_CHUNK = 256  # curves weighed at a time: bounds memory
# Trust in the prior, in numbers of curves: of each feature's intercept, of the slope on ln N, and of a
# group's deviation. D0 differs by orders of magnitude between tasks.
_INTERCEPT_TRUST, _SLOPE_TRUST, _GROUP_TRUST = np.array([0.1, 1.0, 1.0, 1.0]), 3.0, 3.0


class Curves(NamedTuple):
    """C curves stacked at M distinct sizes, ascending.

    ``logs`` (C, M): ln L, anything where missing. ``sd`` (C, M): standard deviation of a log, infinite where
    missing. ``log_size`` (C,): ln N less the table's mean, 0 where unknown. ``groups``: of each curve,
    kind → name.
    """

    sizes: Array
    logs: Array
    sd: Array
    log_size: Array
    groups: Sequence[dict[str, str]]


class Prior(NamedTuple):
    """Prior of the population of curves.

    ``mean`` (2, 4): intercept and slope on ln N per feature. ``cov`` (4, 4): the curves' scatter, trusted as
    if it came from ``trust`` curves. A group deviates by ``cov`` over its ``group_trust``, by kind of group;
    by default _GROUP_TRUST. ``slope_trust``: trust in the slope, in numbers of curves.
    """

    mean: Array
    cov: Array
    trust: float = 1000.0
    group_trust: Mapping[str, float] = MappingProxyType({})
    slope_trust: float = _SLOPE_TRUST


class Pool(NamedTuple):
    """Fitted population of curves: a regression on ln N and groups, with its scatter.

    ``columns`` name the rows of ``coefficients`` (K, 4). ``cov`` (4, 4): scatter of curves. ``level``:
    typical ln L, subtracted from every log so that one prior serves any metric. ``spread`` (K, K): covariance
    of the coefficients, in units of ``cov``.
    """

    columns: tuple[str, ...]
    coefficients: Array
    cov: Array
    level: float
    spread: Array

    def expected(self, curves: Curves) -> tuple[Array, Array]:
        """Expected features (C, 4) of *curves*, and the factor (C,) on ``cov`` of their scatter.

        For a curve without points the uncertainty of the coefficients is added: its groups may be unknown.
        """
        design = _design(self.columns, curves)
        unknown = np.einsum("ck,kl,cl->c", design, self.spread, design)
        measured = np.isfinite(curves.sd).any(axis=1)
        return design @ self.coefficients, np.where(measured, 1.0, 1.0 + unknown)


class Posterior(NamedTuple):
    """Posterior of each curve's features, level included: ``draws`` (C, R, 4) and ``mean`` (C, 4)."""

    draws: Array
    mean: Array


def log_shape(features: Array, sizes: Array) -> Array:
    """Log shape ln(e + 1 / (1 + (D/D0)^beta)) (..., m) for features (..., 3 or 4) at *sizes* (m,)."""
    ld, lb, le = (features[..., i, None] for i in range(3))
    with np.errstate(divide="ignore", over="ignore"):
        rise = np.exp(np.exp(lb) * (np.log(sizes) - ld))
    return np.asarray(np.log(np.exp(le) + 1 / (1 + rise)))


def log_law(features: Array, sizes: Array) -> Array:
    """Log law ln L (..., m) for features (..., 4) at *sizes* (m,)."""
    return features[..., 3, None] + log_shape(features, sizes)


def log_slope(features: Array, size: float) -> Array:
    """Slope d ln L / d ln D (...) at *size*."""
    ld, lb, le = (features[..., i] for i in range(3))
    rise = np.exp(np.exp(lb) * (np.log(size) - ld))
    shape = 1 / (1 + rise)
    return np.asarray(-np.exp(lb) * rise * shape**2 / (np.exp(le) + shape))


def fit_pool(curves: Curves, prior: Prior) -> Pool:
    """Fit the population of *curves* by EM, starting from *prior*."""
    level = _typical_level(curves)
    columns = _columns(curves)
    design = _design(columns, curves)
    start = np.zeros((len(columns), 4))
    start[:2] = prior.mean
    group_trust = [
        prior.group_trust.get(column.partition("=")[0], _GROUP_TRUST) for column in columns
    ]
    trust = np.tile(np.array(group_trust)[:, None], 4)
    trust[0], trust[1] = _INTERCEPT_TRUST, prior.slope_trust
    equal_scale = np.ones(len(curves.logs))
    grid = _coarse_grid(curves.sizes)
    coefficients, cov = start.copy(), prior.cov.copy()
    for _ in range(_EM_STEPS):
        mean, scatter = _moments(curves, grid, design @ coefficients, equal_scale, cov, level)
        gram = design.T @ design
        for f in range(4):
            right = design.T @ mean[:, f] + trust[:, f] * start[:, f]
            coefficients[:, f] = np.linalg.solve(gram + np.diag(trust[:, f]), right)
        residual, moved = mean - design @ coefficients, coefficients - start
        scatter = (
            scatter + residual.T @ residual + (moved * np.sqrt(trust)).T @ (moved * np.sqrt(trust))
        )
        cov = (scatter + prior.trust * prior.cov) / (len(mean) + prior.trust)
    spread = np.asarray(np.linalg.inv(design.T @ design + np.diag(trust.mean(axis=1))), float)
    return Pool(columns, coefficients, cov, level, spread)


def posterior(
    curves: Curves,
    pool: Pool,
    draws: int,
    rng: np.random.Generator,
    *,
    common_random_numbers: bool = False,
) -> Posterior:
    """Posterior of each curve's features, given its points and the population.

    *common_random_numbers*: all curves use the same ones, so that they differ by their data alone.
    """
    expected, scale = pool.expected(curves)
    parts = []
    for part in _chunks(curves):
        generator = copy.deepcopy(rng) if common_random_numbers else rng
        chunk = select_curves(curves, part)
        parts.append(
            _posterior(
                chunk, pool, expected[part], scale[part], draws, generator, common_random_numbers
            )
        )
    return Posterior(
        np.concatenate([f.draws for f in parts]), np.concatenate([f.mean for f in parts])
    )


def _posterior(
    curves: Curves,
    pool: Pool,
    expected: Array,
    scale: Array,
    draws: int,
    rng: np.random.Generator,
    common_random_numbers: bool,
) -> Posterior:
    """Posterior of a chunk of curves: on the coarse grid, then on finer ones around each posterior."""
    coarse = _coarse_grid(curves.sizes)
    grid = np.broadcast_to(coarse, (len(expected), *coarse.shape))
    step = _grid_spacing(coarse)
    for zoom in range(_ZOOMS + 1):
        weights, level, spread = _grid_weights(
            curves, coarse if zoom == 0 else grid, expected, scale, pool.cov, pool.level
        )
        if zoom < _ZOOMS:
            centre = np.einsum("cg,cgi->ci", weights, grid)
            width = np.sqrt(np.einsum("cg,cgi->ci", weights, (grid - centre[:, None]) ** 2))
            grid, step = _refined_grid(centre, np.maximum(2.5 * width, 0.8 * step))
    mean_shape = np.einsum("cg,cgi->ci", weights, grid)
    mean_level = (weights * level).sum(1) + pool.level
    count, rows = (1 if common_random_numbers else len(grid)), np.arange(len(grid))[:, None]
    even = (np.arange(draws) + 0.5) / draws  # one draw from each thousandth of a curve's posterior
    picks = [np.searchsorted(w.cumsum(), even * w.sum(), side="right") for w in weights]
    pick = np.minimum(np.array(picks), grid.shape[1] - 1)
    pick = pick[:, rng.permutation(draws)] if common_random_numbers else rng.permuted(pick, axis=1)
    shapes = grid[rows, pick] + (rng.random((count, draws, 3)) - 0.5) * step[:, None, :]
    normals = rng.standard_normal((count, draws))
    levels = level[rows, pick] + pool.level + normals * spread[:, None]
    # A jittered shape keeps its prediction where the data are: the level takes up the difference.
    near = curves.sizes[_last_measured(curves)]
    for c in range(len(shapes)):
        at = np.array([near[c]])
        levels[c] += log_shape(grid[c, pick[c]], at)[:, 0] - log_shape(shapes[c], at)[:, 0]
    together = np.concatenate([shapes, levels[..., None]], axis=-1)
    return Posterior(together, np.concatenate([mean_shape, mean_level[:, None]], axis=1))


def _last_measured(curves: Curves) -> NDArray[np.intp]:
    """Index (C,) of the largest measured size of each curve."""
    measured = np.isfinite(curves.sd)
    return np.asarray(measured.shape[1] - 1 - measured[:, ::-1].argmax(axis=1))


def precision(curves: Curves) -> Array:
    """Precision (C, M) of each point: measurement noise and, below the curve's end, drift."""
    # The untouched base, D = 0, counts as one doubling below the smallest size.
    above = curves.sizes[curves.sizes > 0].min()
    doublings = np.log2(np.maximum(curves.sizes, above / 2))
    age = np.maximum(doublings[_last_measured(curves)][:, None] - doublings, 0.0)
    return np.asarray(1 / (curves.sd**2 + (DRIFT * age) ** 2))


def _grid_weights(
    curves: Curves, grid: Array, expected: Array, scale: Array, cov: Array, level: float
) -> tuple[Array, Array, Array]:
    """Posterior weights (C, G) of *grid* (G, 3) or (C, G, 3), ln A there (C, G) and its sd (C,)."""
    w = precision(curves)
    y = np.where(w > 0, curves.logs - level, 0.0)
    shape = log_shape(grid, curves.sizes)
    total = w.sum(1)[:, None]
    if grid.ndim == 2:
        first, second, cross = w @ shape.T, w @ (shape**2).T, (w * y) @ shape.T
    else:
        first, second, cross = (
            np.einsum("cm,cgm->cg", a, b) for a, b in ((w, shape), (w, shape**2), (w * y, shape))
        )
    wy = (w * y).sum(1)[:, None]
    # The level of the points alone; a curve without points has the population's.
    points_level = np.divide(wy - first, total, out=np.zeros_like(first), where=total > 0)
    misfit = second - 2 * cross - total * points_level**2  # up to a constant over the grid
    distance, prior_level, prior_var = _population_terms(grid, expected, scale, cov)
    misfit += distance
    with np.errstate(divide="ignore"):
        misfit += (points_level - prior_level) ** 2 / (1 / total + prior_var)
    misfit -= misfit.min(axis=1, keepdims=True)
    weights = np.exp(-0.5 * misfit)
    weights /= weights.sum(axis=1, keepdims=True)
    both = total + 1 / prior_var
    mixed = (total * points_level + prior_level / prior_var) / both
    return weights, mixed, np.asarray(np.sqrt(1 / both[:, 0]))


def _population_terms(
    grid: Array, expected: Array, scale: Array, cov: Array
) -> tuple[Array, Array, Array]:
    """Population terms at each shape: squared distance (C, G), expected level (C, G) and its variance.

    Quadratic forms are multiplied out, so that no (C, G, 3) array is made.
    """
    shape_precision = np.linalg.inv(cov[:3, :3])
    slope = shape_precision @ cov[:3, 3]
    centre = expected[:, :3]
    pulled = centre @ shape_precision
    if grid.ndim == 2:
        square, cross, rise = (grid @ shape_precision * grid).sum(-1), pulled @ grid.T, grid @ slope
    else:
        square = (grid @ shape_precision * grid).sum(-1)
        cross, rise = np.einsum("ci,cgi->cg", pulled, grid), grid @ slope
    distance = square - 2 * cross + (pulled * centre).sum(-1)[:, None]
    level = rise + (expected[:, 3] - centre @ slope)[:, None]
    spread = scale[:, None]
    return distance / spread, level, spread * float(cov[3, 3] - cov[3, :3] @ slope)


def _moments(
    curves: Curves, grid: Array, expected: Array, scale: Array, cov: Array, level: float
) -> tuple[Array, Array]:
    """Posterior means (C, 4), and the sum of the posterior covariances (4, 4)."""
    means, total = [], np.zeros((4, 4))
    for part in _chunks(curves):
        weights, levels, spread = _grid_weights(
            select_curves(curves, part), grid, expected[part], scale[part], cov, level
        )
        mean = np.concatenate([weights @ grid, (weights * levels).sum(1)[:, None]], axis=1)
        mass, lifted = weights.sum(0), (weights * levels).sum(0)
        square = np.zeros((4, 4))
        square[:3, :3] = (grid * mass[:, None]).T @ grid
        square[:3, 3] = square[3, :3] = lifted @ grid
        square[3, 3] = (weights * levels**2).sum() + (spread**2).sum()
        means.append(mean)
        total += square - mean.T @ mean
    return np.concatenate(means), total


def _typical_level(curves: Curves) -> float:
    """Median ln L at the smallest measured size of each curve."""
    first = np.isfinite(curves.sd).argmax(axis=1)
    return float(np.median(curves.logs[np.arange(len(first)), first]))


def _columns(curves: Curves) -> tuple[str, ...]:
    """Columns of the design matrix: intercept, ln N, and groups that some but not all curves share."""
    columns = ["1", "ln N"]
    for kind in dict.fromkeys(kind for groups in curves.groups for kind in groups):
        names = [groups.get(kind, "") for groups in curves.groups]
        distinct = sorted(set(names))
        if 1 < len(distinct) < len(names):
            columns += [f"{kind}={name}" for name in distinct]
    return tuple(columns)


def _design(columns: Sequence[str], curves: Curves) -> Array:
    pairs = zip(curves.log_size.tolist(), curves.groups, strict=True)
    return np.array([_row(columns, size, groups) for size, groups in pairs])


def _row(columns: Sequence[str], log_size: float, groups: dict[str, str]) -> Array:
    members = {f"{kind}={name}" for kind, name in groups.items()}
    return np.array([1.0, log_size, *(float(column in members) for column in columns[2:])])


def _coarse_grid(sizes: Array) -> Array:
    """Coarse grid (G, 3), with D0 from below the data to far beyond it."""
    axes = (
        np.linspace(np.log(sizes[sizes > 0].min() / 2), np.log(sizes.max() * 3e4), _GRID[0]),
        np.linspace(np.log(_BETA[0]), np.log(_BETA[1]), _GRID[1]),
        np.linspace(np.log(_E[0]), np.log(_E[1]), _GRID[2]),
    )
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


def _grid_spacing(grid: Array) -> Array:
    """Spacing (1, 3) of the coarse grid."""
    span = grid.max(axis=0) - grid.min(axis=0)
    return np.asarray(span / (np.array(_GRID) - 1))[None]


def _refined_grid(centre: Array, half_width: Array) -> tuple[Array, Array]:
    """Refined grid (C, F, 3) of *centre* ± *half_width*, both (C, 3), and its spacing (C, 3)."""
    axes = [np.linspace(-1, 1, n) for n in _FINE]
    unit = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    grid = centre[:, None] + unit * half_width[:, None]
    return grid, 2 * half_width / (np.array(_FINE) - 1)


def _chunks(curves: Curves) -> list[NDArray[np.intp]]:
    count = len(curves.logs)
    return [np.arange(i, min(i + _CHUNK, count)) for i in range(0, count, _CHUNK)]


def select_curves(curves: Curves, part: NDArray[np.intp]) -> Curves:
    """Curves at the indices *part*."""
    return Curves(
        curves.sizes,
        curves.logs[part],
        curves.sd[part],
        curves.log_size[part],
        [curves.groups[i] for i in part],
    )
