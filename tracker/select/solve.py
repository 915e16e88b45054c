"""Many robust fits of one curve at once: E + A / (1 + (D/D0)^beta) over the same sizes D.

For a fixed (D0, beta) the law is linear in (E, A), so a fit is a search over two numbers (variable
projection; Golub and Pereyra 1973). The main fit, the fits without one size and all bootstrap
replicates are rows of one array and take the same steps: every cell of a deterministic grid is a
start, then a pattern search with shrinking steps around the best.

What is minimised is the sum of Huber (delta = 0.001) on log residuals (Hoffmann et al. 2022), that
is nearly the absolute log residual over its scale, plus a weak log-normal prior on D0 and beta. The
prior decides only what three or four points leave open; a bootstrap replicate draws its own prior
centre, so that what is open shows as width (randomise, then optimise; Bardsley et al. 2014).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

HUBER_DELTA = 1e-3
#: ln beta ~ N(ln 0.5, 1), ln D0 ~ N(middle of the measured sizes, 2): weak on purpose.
PRIOR_LOG_BETA, PRIOR_SD = np.log(0.5), np.array([2.0, 1.0])
_BETA_RANGE = (0.05, 4.0)
_GRID = (16, 14)  # values of D0 × values of beta: 224 starts
_FEW_STARTS = 4
_SHRINK = 0.6
_NEIGHBOURS = np.array([(0, 0), *((i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j)])


class Problem(NamedTuple):
    """*rows* fits over *n* points: ``sizes`` (n,), and per row ``values`` and ``mask`` (rows, n),
    the prior's centre (rows, 2) for (ln D0, ln beta) and ``log_sd``, the noise of a log value.
    """

    sizes: Array
    values: Array
    mask: Array
    centre: Array
    log_sd: float


def law(parameters: Array, sizes: Array) -> Array:
    """Law values (rows, m) of parameter rows (E, A, D0, beta) at *sizes* (m,); E + A at 0."""
    e, a, d0, beta = (parameters[..., i, None] for i in range(4))
    return e + a * _shape(np.log(d0), np.log(beta), sizes)


def prior_centre(sizes: Array) -> Array:
    """Where the prior puts (ln D0, ln beta) for curves measured at *sizes*."""
    positive = np.log(sizes[sizes > 0])
    return np.array([(positive.min() + positive.max()) / 2, PRIOR_LOG_BETA])


def solve(problem: Problem, *, near: Array | None = None, levels: int) -> Array:
    """Best (E, A, D0, beta) per row, shape (rows, 4).

    The robust objective is tried on the whole grid. Replicates of a fit *near* (4,), which have no
    outliers, start from it and from the few cells that a least-squares screening likes best.
    """
    grid, step = _grid(problem.sizes)
    rows = len(problem.values)
    if near is None:
        starts = np.broadcast_to(grid, (rows, *grid.shape))
    else:
        hint = np.broadcast_to(np.log(near[2:]), (rows, 1, 2))
        starts = np.concatenate([hint, grid[_screen(problem, grid)]], axis=1)
    best = _best(problem, starts, iterations=12 if near is None else 6)
    for _ in range(levels):
        best = _best(problem, best[:, None, :] + _NEIGHBOURS * step, iterations=4)
        step = step * _SHRINK
    linear, _ = _project(problem, best[:, None, :], iterations=20)
    return np.concatenate([linear[:, 0, :], np.exp(best)], axis=1)


def _shape(log_d0: Array, log_beta: Array, sizes: Array) -> Array:
    """1 / (1 + (D/D0)^beta), broadcast over sizes; 1 at D = 0."""
    with np.errstate(divide="ignore", over="ignore"):
        return np.asarray(1 / (1 + np.exp(np.exp(log_beta) * (np.log(sizes) - log_d0))))


def _grid(sizes: Array) -> tuple[Array, Array]:
    """Starts (G, 2) for (ln D0, ln beta) and their spacing (2,)."""
    positive = sizes[sizes > 0]
    log_d0 = np.linspace(np.log(positive.min() / 50), np.log(positive.max() * 10), _GRID[0])
    log_beta = np.linspace(np.log(_BETA_RANGE[0]), np.log(_BETA_RANGE[1]), _GRID[1])
    mesh = np.stack(np.meshgrid(log_d0, log_beta, indexing="ij"), axis=-1).reshape(-1, 2)
    return mesh, np.array([log_d0[1] - log_d0[0], log_beta[1] - log_beta[0]])


def _screen(problem: Problem, grid: Array) -> NDArray[np.intp]:
    """The grid cells (rows, few) with the least relative squares, from normal equations."""
    x = _shape(grid[:, :1], grid[:, 1:], problem.sizes)
    w = problem.mask / problem.values**2
    wy = w * problem.values
    s11, s12, s22 = w.sum(1, keepdims=True), w @ x.T, w @ (x**2).T
    t1, t2 = wy.sum(1, keepdims=True), wy @ x.T
    e, a = _two_by_two(s11, s12, s22, t1, t2)
    squares = problem.mask.sum(1, keepdims=True) - 2 * (e * t1 + a * t2)
    squares += e**2 * s11 + 2 * e * a * s12 + a**2 * s22
    surprise = (((grid - problem.centre[:, None, :]) / PRIOR_SD) ** 2).sum(-1)
    misfit = squares + problem.log_sd**2 * surprise
    return np.argpartition(misfit, _FEW_STARTS, axis=1)[:, :_FEW_STARTS]


def _best(problem: Problem, starts: Array, iterations: int) -> Array:
    """The best of each row's *starts* (rows, K, 2), shape (rows, 2); the first among equals."""
    _, objective = _project(problem, starts, iterations)
    best: Array = starts[np.arange(len(starts)), objective.argmin(axis=1)]
    return best


def _project(problem: Problem, starts: Array, iterations: int) -> tuple[Array, Array]:
    """Robust (E, A) (rows, K, 2) at given (ln D0, ln beta), and the objective (rows, K).

    Iteratively reweighted least squares on the working response p (1 + ln(y/p)), whose fixed point
    is the stationary point of the Huber sum on ln(y/p).
    """
    # Points lie along the first axis: sums over them are then sums of long vectors.
    x = _shape(starts[..., 0], starts[..., 1], problem.sizes[:, None, None])
    y, mask = problem.values.T[..., None], problem.mask.T[..., None]
    weight, response = mask / y**2, np.broadcast_to(y, x.shape)
    for _ in range(iterations):
        wx, wy = weight * x, weight * response
        e, a = _two_by_two(weight.sum(0), wx.sum(0), (wx * x).sum(0), wy.sum(0), (wy * x).sum(0))
        predicted = np.maximum(e + a * x, 1e-12)
        residual = np.log(y / predicted)
        size = np.abs(residual)
        weight = mask * np.minimum(1, HUBER_DELTA / np.maximum(size, 1e-12)) / predicted**2
        response = predicted * (1 + residual)
    huber = np.where(size <= HUBER_DELTA, size**2 / 2, HUBER_DELTA * (size - HUBER_DELTA / 2))
    # |r| / b is the Laplace likelihood of scale b = sd / sqrt(2); times delta b it is the Huber
    # sum.
    prior = HUBER_DELTA * problem.log_sd / np.sqrt(2) / 2
    surprise = (((starts - problem.centre[:, None, :]) / PRIOR_SD) ** 2).sum(-1)
    return np.stack([e, a], axis=-1), (mask * huber).sum(0) + prior * surprise


def _two_by_two(s11: Array, s12: Array, s22: Array, t1: Array, t2: Array) -> tuple[Array, Array]:
    """Weighted least squares for (E, A) under E >= 0 and A >= 0."""
    det = s11 * s22 - s12**2
    solvable = det > 1e-12 * s11 * s22
    a = np.where(solvable, (s11 * t2 - s12 * t1) / np.where(solvable, det, 1.0), 0.0)
    a = np.maximum(a, 0.0)
    e = (t1 - s12 * a) / s11
    below = e < 0
    return np.where(below, 0.0, e), np.where(below, t2 / s22, a)
