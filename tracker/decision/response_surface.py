"""Response surface of a sweep: a Gaussian process for the quality of configurations.

Its covariance is a product over the design's factors f (model, method, mix, learning rate, training-set
size), ``c * prod(1 + a_f k_f / c)`` with k_f in [0, 1]. Multiplied out it has a main effect of variance a_f
per factor and every interaction, the smaller the larger c is (the ANOVA kernel of Durrande et al., 2013).
Each configuration also has an independent deviation of variance tau^2, the nugget, as in the hierarchical
normal model (Gelman et al., 2013, ch. 5).

Effects of a product kernel add up; those of a sweep do not. Near the best configurations each effect is
smaller, since an error falls to a floor. A surface of the qualities overshoots there, so that the best seem
further apart than they are. Laws of the error are a floor plus a product of powers (Kaplan et al., 2020;
Hoffmann et al., 2022), so the additive scale is ``-ln(error - floor)``. The choice between that, with a floor
of some share of the smallest error, and the plain quality is by the density of the measured values (the
Jacobian of Box & Cox, 1964). The scale is linearised at the expectation of a first, plain surface, so prior
and posterior stay normal in units of quality.

Variances are estimated from the table alone. While it may hold glitched runs: by its leave-one-out errors
(Rasmussen & Williams, 2006, eq. 5.10-5.12), scored by a Student t with 4 degrees of freedom. Once outliers
are known: by the marginal likelihood (eq. 5.8), whose posterior is calibrated. Both are minimised on a fixed
grid, one coordinate after the other, so that every machine finds the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tracker.laws.pooling import Array
from tracker.results import ConfigurationResults
from tracker.trial import MethodSpec

#: With fewer trained configurations there is no surface.
FEWEST_CONFIGURATIONS = 6
_MOST_FITTED = 240
#: Rounds on the plain scale, which finds the best configurations; then with the scale among the unknowns.
_PLAIN_ROUNDS, _ROUNDS = 1, 2
_TAIL = 4.0
_CONSTANT = 100.0

#: Grids, in units of the variance of the qualities; ``length`` in doublings of the volume.
_AMPLITUDE = (0.01, 0.1, 0.3, 1.0, 3.0)
_GRIDS: dict[str, tuple[float, ...]] = {
    "stiffness": (0.3, 1.0, 3.0, 10.0, 100.0),
    "length": (1.0, 2.0, 4.0, 8.0),
    "nugget": (1e-5, 1e-4, 1e-3, 0.01, 0.05, 0.2, 1.0),
}
_START = {"stiffness": 3.0, "length": 2.0, "nugget": 0.01}
#: Floor as a share of the smallest error; the plain quality is tried first.
_FLOORS = (0.0, 0.25, 0.5, 0.75)
#: Smallest error, as a share of the median one: the logarithm of a smaller one would dominate.
_LEAST_ERROR = 0.02


class Factors(NamedTuple):
    """Similarity of n configurations in each factor that varies among them.

    ``similarity``: by factor, (n, n) in [0, 1]. ``volume``: differences in ln D (n, n).
    """

    similarity: dict[str, Array]
    volume: Array | None


class ResponseSurface(NamedTuple):
    """Prior of the qualities of n configurations: ``mean`` (n,) and ``covariance`` (n, n).

    ``nugget`` (n,): the independent part tau^2 of its diagonal. ``widen``: factor sqrt(n / (n - p)) on
    deviations for the uncertainty of p parameters fitted to n configurations.
    """

    mean: Array
    covariance: Array
    nugget: Array
    widen: float = 1.0


class LeaveOneOut(NamedTuple):
    """Leave-one-out predictions (n,), and their standard deviations (n,)."""

    expected: Array
    sd: Array


def factors(configurations: Sequence[ConfigurationResults]) -> Factors:
    """Similarities of *configurations* by factor; a factor in which all are equal is left out."""
    specs = [configuration.spec for configuration in configurations]
    methods = [spec.method for spec in specs]
    same_name = np.array([[a.name == b.name for b in methods] for a in methods], dtype=float)
    shapes = [tuple(method.without_rate.settings.items()) for method in methods]
    same_shape = np.array([[a == b for b in shapes] for a in shapes], dtype=float)
    mixes = np.array([spec.mix.name if spec.mix else "" for spec in specs])
    names = np.array([spec.model.name for spec in specs])
    rates = _relative_rates(methods)
    similarity = {
        "model": (_size_similarity(configurations) + (names[:, None] == names)) / 2,
        "method": (same_name + same_name * same_shape) / 2,
        "mix": (mixes[:, None] == mixes).astype(float),
        "rate": np.exp(-0.5 * ((rates[:, None] - rates) / np.log(3)) ** 2),
    }
    logs = np.log(np.maximum([spec.volume for spec in specs], 1.0))
    gaps = np.asarray(logs[:, None] - logs)
    return Factors(
        {name: k for name, k in similarity.items() if (k < 1).any()}, gaps if gaps.any() else None
    )


def fit_surface(
    similarities: Factors,
    quality: Array,
    noise: Array,
    *,
    ceiling: float | None = None,
    robust: bool = True,
) -> ResponseSurface:
    """Fit the surface to *quality* (n,).

    *noise* (n, n): covariance of the measurement noise, which is not part of the surface. *ceiling*: the
    quality of an error of 0, ``None`` if unknown. *robust*: glitched measurements may be among them.
    """
    data = _Measurements(similarities, quality, noise, ceiling, quality)
    top = np.sort(np.argsort(-quality, kind="stable")[:_MOST_FITTED])
    names = (*similarities.similarity, *(() if similarities.volume is None else ("volume",)))
    grids: dict[str, tuple[float | None, ...]] = {**dict.fromkeys(names, _AMPLITUDE), **_GRIDS}
    chosen: _Setting = {**dict.fromkeys(names, 0.3), **_START, "floor": None}
    score = _leave_one_out_loss if robust else _negative_log_likelihood
    for _ in range(_PLAIN_ROUNDS):
        chosen = _coordinate_descent(data.part(top), grids, chosen, score)
    data = data._replace(at=_posterior_mean(data, chosen))
    # An error below 0 has no logarithm: such qualities have no such ceiling.
    if ceiling is not None and (quality <= ceiling).all():
        grids = {"floor": (None, *_FLOORS), **grids}
    for _ in range(_ROUNDS):
        chosen = _coordinate_descent(data.part(top), grids, chosen, score)
    data = data._replace(at=_posterior_mean(data, chosen))
    fitted = len(grids) + 1  # and the level
    spare = max(len(top) - fitted, len(top) / 2)
    return _surface(data, chosen)._replace(widen=float(np.sqrt(len(top) / spare)))


_Setting = dict[str, float | None]


def log_evidence(
    similarities: Factors, quality: Array, noise: Array, *, ceiling: float | None = None
) -> float:
    """Log evidence of *quality* (n,), up to a constant: the likelihood under the surface fitted to them."""
    surface = fit_surface(similarities, quality, noise, ceiling=ceiling, robust=False)
    return -_negative_log_likelihood(
        surface, _Measurements(similarities, quality, noise, ceiling, quality)
    )


class _Measurements(NamedTuple):
    """Measurements of n configurations; ``at`` (n,): the qualities at which the scale is linearised."""

    factors: Factors
    quality: Array
    noise: Array
    ceiling: float | None
    at: Array

    def part(self, of: NDArray[np.intp]) -> _Measurements:
        square = np.ix_(of, of)
        volume = self.factors.volume
        near = Factors(
            {name: k[square] for name, k in self.factors.similarity.items()},
            None if volume is None else volume[square],
        )
        return _Measurements(near, self.quality[of], self.noise[square], self.ceiling, self.at[of])


def _coordinate_descent(
    data: _Measurements,
    grids: dict[str, tuple[float | None, ...]],
    chosen: _Setting,
    score: Callable[[ResponseSurface, _Measurements], float],
) -> _Setting:
    """One round of coordinate descent: each setting at the lowest *score* on its grid."""
    for name, grid in grids.items():
        tried = [
            # Machines differ beyond eight digits.
            (float(f"{score(_surface(data, chosen | {name: value}), data):.8g}"), i)
            for i, value in enumerate(grid)
        ]
        chosen = chosen | {name: grid[min(tried)[1]]}
    return chosen


def _leave_one_out_loss(surface: ResponseSurface, data: _Measurements) -> float:
    without = leave_one_out(surface.covariance + data.noise, data.quality, surface.mean)
    tail = np.log1p(((data.quality - without.expected) / without.sd) ** 2 / _TAIL)
    return float((np.log(without.sd) + (_TAIL + 1) / 2 * tail).sum())


def _negative_log_likelihood(surface: ResponseSurface, data: _Measurements) -> float:
    root = np.linalg.cholesky(surface.covariance + data.noise)
    residual = np.linalg.solve(root, data.quality - surface.mean)
    return float(np.log(np.diag(root)).sum() + residual @ residual / 2)


def leave_one_out(covariance: Array, quality: Array, mean: Array | None = None) -> LeaveOneOut:
    """Leave-one-out predictions of *quality* (n,), with *covariance* (n, n) about *mean* (n,).

    By default *mean* is the average of all.
    """
    inverse = np.linalg.inv(covariance)
    precision = np.diag(inverse)
    residual = quality - (quality.mean() if mean is None else mean)
    return LeaveOneOut(quality - inverse @ residual / precision, precision**-0.5)


def _posterior_mean(data: _Measurements, setting: _Setting) -> Array:
    surface = _surface(data, setting)
    residual = np.linalg.solve(surface.covariance + data.noise, data.quality - surface.mean)
    return np.asarray(surface.mean + surface.covariance @ residual)


def _surface(data: _Measurements, setting: _Setting) -> ResponseSurface:
    """Prior under *setting*, whose variances are in units of the variance of the scaled qualities."""
    value, slope = _additive_scale(data, setting["floor"])
    unit = max(float(np.var(value)), 1e-12)
    size = len(value)
    stiffness = _setting_value(setting, "stiffness")
    parts = [
        1 + _setting_value(setting, name) / stiffness * k
        for name, k in data.factors.similarity.items()
    ]
    if data.factors.volume is not None:
        away = data.factors.volume / (_setting_value(setting, "length") * np.log(2))
        parts.append(1 + _setting_value(setting, "volume") / stiffness * np.exp(-0.5 * away**2))
    shared = stiffness * np.prod(parts, axis=0) if parts else np.full((size, size), stiffness)
    nugget = _setting_value(setting, "nugget") * unit / slope**2
    covariance = unit * (shared + _CONSTANT) / np.outer(slope, slope) + np.diag(nugget)
    return ResponseSurface(
        data.quality - (value - float(np.median(value))) / slope, covariance, nugget
    )


def _additive_scale(data: _Measurements, floor: float | None) -> tuple[Array, Array]:
    """Qualities (n,) on the additive scale, linearised; and its slope (n,)."""
    if floor is None or data.ceiling is None:
        return data.quality, np.ones_like(data.quality)
    error = data.ceiling - data.at
    # An error no larger than the noise is indistinguishable from 0.
    noise = float(np.median(np.sqrt(np.diag(data.noise))))
    error = np.maximum(error, max(noise, _LEAST_ERROR * float(np.median(error))))
    beyond = error - floor * error.min()
    value = -np.log(beyond) + (data.quality - (data.ceiling - error)) / beyond
    return value, 1 / beyond


def _setting_value(setting: _Setting, name: str) -> float:
    value = setting[name]
    assert value is not None
    return value


def _size_similarity(configurations: Sequence[ConfigurationResults]) -> Array:
    """Similarity of model sizes: e^-1/2 for a factor of e in parameters, 0 for an unknown size."""
    sizes = [configuration.spec.model.parameters for configuration in configurations]
    logs = np.array([np.nan if size is None else np.log(max(size, 1)) for size in sizes])
    return np.asarray(np.nan_to_num(np.exp(-np.abs(logs[:, None] - logs) / 2), nan=0.0))


def _relative_rates(methods: Sequence[MethodSpec]) -> Array:
    """Log of each learning rate over the median of its method; 0 without a rate."""
    logs: dict[str, list[float]] = {}
    for method in methods:
        if method.learning_rate:
            logs.setdefault(method.name, []).append(float(np.log(method.learning_rate)))
    middle = {name: float(np.median(sorted(set(values)))) for name, values in logs.items()}
    return np.array(
        [np.log(m.learning_rate) - middle[m.name] if m.learning_rate else 0.0 for m in methods]
    )
