"""The response surface of a sweep: what a configuration's neighbours say of its quality.

A Gaussian process over configurations. Its covariance is a product over the design's factors f
(model, method, mix, learning rate, volume), ``c * prod(1 + a_f k_f / c)`` with k_f in [0, 1]:
multiplied out, a main effect of variance a_f per factor and every interaction, the smaller the
larger c is (the ANOVA kernel of Durrande et al., 2013). Each configuration has its own departure
from it too, of variance tau^2, as in the hierarchical normal model (Gelman et al., 2013, ch. 5).

Effects of a product kernel add up, and those of a sweep do not: towards the best corner each does less,
since an error falls to a floor. A surface of the qualities overshoots there, so that the leaders seem
further apart than they are. Laws of the error are a floor plus a product of powers (Kaplan et al., 2020;
Hoffmann et al., 2022), so what adds up is ``-ln(error - floor)``. The table decides between that, with
a floor of some share of its smallest error, and the plain quality, by the density of the same measured
values (the Jacobian of Box & Cox, 1964). The scale is entered as its tangent at what a first, plain surface
expects, so prior and posterior stay normal in units of quality.

Variances are learned from the table alone. While glitched runs may be in it: by its leave-one-out misses
(Rasmussen & Williams, 2006, eq. 5.10-5.12), scored by a Student t with 4 degrees of freedom; once
they are known, by the marginal likelihood (eq. 5.8), whose posterior is neither too sure nor too wide.
Both on a fixed grid, one coordinate after the other, so that every machine finds the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tracker.laws.pooling import Array
from tracker.results import ConfigurationResults
from tracker.trial import MethodSpec

#: Fewer trained configurations than this say too little of each other.
FEWEST_CONFIGURATIONS = 6
_LEARNED_ON = 240
#: On the plain scale, which tells where the leaders are; then with the scale to learn.
_PLAIN_ROUNDS, _ROUNDS = 1, 2
_TAIL = 4.0
_CONSTANT = 100.0

#: Grids, in units of the variance of the qualities; ``length`` in doublings of the volume.
_AMPLITUDE = (0.01, 0.1, 0.3, 1.0, 3.0)
_GRIDS: dict[str, tuple[float, ...]] = {
    "stiffness": (0.3, 1.0, 3.0, 10.0, 100.0),
    "length": (1.0, 2.0, 4.0, 8.0),
    "own": (1e-5, 1e-4, 1e-3, 0.01, 0.05, 0.2, 1.0),
}
_START = {"stiffness": 3.0, "length": 2.0, "own": 0.01}
#: The floor's share of the smallest error; nothing, for the plain quality, is tried first.
_FLOORS = (0.0, 0.25, 0.5, 0.75)
#: An error below this share of the median one is taken for that much: its logarithm would rule.
_LEAST_ERROR = 0.02


class Factors(NamedTuple):
    """Similarity (n, n), in [0, 1], of n configurations in each factor that varies among them;
    ``volume``: their differences in ln D.
    """

    alike: dict[str, Array]
    volume: Array | None


class ResponseSurface(NamedTuple):
    """Prior of the qualities of n configurations: ``mean`` (n,), ``covariance`` (n, n), and ``own`` (n,),
    the part tau^2 of its diagonal that they do not share. ``widen``: what was learned is itself
    uncertain, so deviations are wider by sqrt(n / (n - p)) for p things learned from n configurations.
    """

    mean: Array
    covariance: Array
    own: Array
    widen: float = 1.0


class LeaveOneOut(NamedTuple):
    """Leave-one-out: what the others expect of each (n,), and the deviation of that (n,)."""

    expected: Array
    sd: Array


def factors(cells: Sequence[ConfigurationResults]) -> Factors:
    """How alike *cells* are; a factor in which all are equal is left out."""
    specs = [cell.spec for cell in cells]
    methods = [spec.method for spec in specs]
    same_name = np.array([[a.name == b.name for b in methods] for a in methods], dtype=float)
    shapes = [_shape(method) for method in methods]
    same_shape = np.array([[a == b for b in shapes] for a in shapes], dtype=float)
    mixes = np.array([spec.mix.name if spec.mix else "" for spec in specs])
    names = np.array([spec.model.name for spec in specs])
    rates = _relative_rates(methods)
    alike = {
        "model": (_sizes_alike(cells) + (names[:, None] == names)) / 2,
        "method": (same_name + same_name * same_shape) / 2,
        "mix": (mixes[:, None] == mixes).astype(float),
        "rate": np.exp(-0.5 * ((rates[:, None] - rates) / np.log(3)) ** 2),
    }
    logs = np.log(np.maximum([spec.volume for spec in specs], 1.0))
    gaps = np.asarray(logs[:, None] - logs)
    return Factors(
        {name: k for name, k in alike.items() if (k < 1).any()}, gaps if gaps.any() else None
    )


def learn(
    known: Factors,
    quality: Array,
    noise: Array,
    *,
    ceiling: float | None = None,
    robust: bool = True,
) -> ResponseSurface:
    """The surface under which *quality* (n,) is most likely.

    *noise* (n, n): covariance of what blurs the measurement; the surface is what is beyond it.
    *ceiling*: the quality of an error of 0, ``None`` where qualities are not known to have one.
    *robust*: glitched measurements may be among them.
    """
    table = _Table(known, quality, noise, ceiling, quality)
    top = np.sort(np.argsort(-quality, kind="stable")[:_LEARNED_ON])
    names = (*known.alike, *(() if known.volume is None else ("volume",)))
    grids: dict[str, tuple[float | None, ...]] = {**dict.fromkeys(names, _AMPLITUDE), **_GRIDS}
    chosen: _Setting = {**dict.fromkeys(names, 0.3), **_START, "floor": None}
    score = _robust if robust else _likelihood
    for _ in range(_PLAIN_ROUNDS):
        chosen = _descend(table.part(top), grids, chosen, score)
    table = table._replace(at=_centre(table, chosen))
    # An error below 0 has no logarithm: such qualities are not what they are taken for.
    if ceiling is not None and (quality <= ceiling).all():
        grids = {"floor": (None, *_FLOORS), **grids}
    for _ in range(_ROUNDS):
        chosen = _descend(table.part(top), grids, chosen, score)
    table = table._replace(at=_centre(table, chosen))
    learned = len(grids) + 1  # and the level
    spare = max(len(top) - learned, len(top) / 2)
    return _surface(table, chosen)._replace(widen=float(np.sqrt(len(top) / spare)))


_Setting = dict[str, float | None]


def evidence(
    known: Factors, quality: Array, noise: Array, *, ceiling: float | None = None
) -> float:
    """Log likelihood of *quality* (n,), up to a constant, under the surface learned from them."""
    surface = learn(known, quality, noise, ceiling=ceiling, robust=False)
    return -_likelihood(surface, _Table(known, quality, noise, ceiling, quality))


class _Table(NamedTuple):
    """What is learned from: n measurements; ``at`` (n,): the qualities that the scale is tangent at."""

    factors: Factors
    quality: Array
    noise: Array
    ceiling: float | None
    at: Array

    def part(self, of: NDArray[np.intp]) -> _Table:
        square = np.ix_(of, of)
        volume = self.factors.volume
        near = Factors(
            {name: k[square] for name, k in self.factors.alike.items()},
            None if volume is None else volume[square],
        )
        return _Table(near, self.quality[of], self.noise[square], self.ceiling, self.at[of])


def _descend(
    table: _Table,
    grids: dict[str, tuple[float | None, ...]],
    chosen: _Setting,
    score: Callable[[ResponseSurface, _Table], float],
) -> _Setting:
    """One round over all coordinates; each is set where *score* is lowest."""
    for name, grid in grids.items():
        tried = [
            # Machines differ beyond eight digits.
            (float(f"{score(_surface(table, chosen | {name: value}), table):.8g}"), i)
            for i, value in enumerate(grid)
        ]
        chosen = chosen | {name: grid[min(tried)[1]]}
    return chosen


def _robust(surface: ResponseSurface, table: _Table) -> float:
    missed = leave_one_out(surface.covariance + table.noise, table.quality, surface.mean)
    tail = np.log1p(((table.quality - missed.expected) / missed.sd) ** 2 / _TAIL)
    return float((np.log(missed.sd) + (_TAIL + 1) / 2 * tail).sum())


def _likelihood(surface: ResponseSurface, table: _Table) -> float:
    root = np.linalg.cholesky(surface.covariance + table.noise)
    off = np.linalg.solve(root, table.quality - surface.mean)
    return float(np.log(np.diag(root)).sum() + off @ off / 2)


def leave_one_out(covariance: Array, quality: Array, mean: Array | None = None) -> LeaveOneOut:
    """What the others say of each of *quality* (n,) whose measurements have *covariance* (n, n) about
    *mean* (n,); by default about the average of them all.
    """
    inverse = np.linalg.inv(covariance)
    precision = np.diag(inverse)
    off = quality - (quality.mean() if mean is None else mean)
    return LeaveOneOut(quality - inverse @ off / precision, precision**-0.5)


def _centre(table: _Table, setting: _Setting) -> Array:
    surface = _surface(table, setting)
    off = np.linalg.solve(surface.covariance + table.noise, table.quality - surface.mean)
    return np.asarray(surface.mean + surface.covariance @ off)


def _surface(table: _Table, setting: _Setting) -> ResponseSurface:
    """The prior under *setting*, whose variances are in units of the variance of the scaled qualities."""
    value, slope = _scaled(table, setting["floor"])
    unit = max(float(np.var(value)), 1e-12)
    size = len(value)
    stiffness = _number(setting, "stiffness")
    parts = [1 + _number(setting, name) / stiffness * k for name, k in table.factors.alike.items()]
    if table.factors.volume is not None:
        away = table.factors.volume / (_number(setting, "length") * np.log(2))
        parts.append(1 + _number(setting, "volume") / stiffness * np.exp(-0.5 * away**2))
    shared = stiffness * np.prod(parts, axis=0) if parts else np.full((size, size), stiffness)
    own = _number(setting, "own") * unit / slope**2
    covariance = unit * (shared + _CONSTANT) / np.outer(slope, slope) + np.diag(own)
    return ResponseSurface(
        table.quality - (value - float(np.median(value))) / slope, covariance, own
    )


def _scaled(table: _Table, floor: float | None) -> tuple[Array, Array]:
    """The qualities (n,) on the scale on which effects add up, by its tangent; and its slope (n,)."""
    if floor is None or table.ceiling is None:
        return table.quality, np.ones_like(table.quality)
    error = table.ceiling - table.at
    # An error that the noise could have made of none is not told from the noise.
    noise = float(np.median(np.sqrt(np.diag(table.noise))))
    error = np.maximum(error, max(noise, _LEAST_ERROR * float(np.median(error))))
    beyond = error - floor * error.min()
    value = -np.log(beyond) + (table.quality - (table.ceiling - error)) / beyond
    return value, 1 / beyond


def _number(setting: _Setting, name: str) -> float:
    value = setting[name]
    assert value is not None
    return value


def _shape(method: MethodSpec) -> tuple[object, ...]:
    return (method.variant, method.rank, method.virtual_tokens)


def _sizes_alike(cells: Sequence[ConfigurationResults]) -> Array:
    """A factor of e in parameters leaves a similarity of e^-1/2; an unknown size resembles none."""
    sizes = [cell.spec.model.parameters for cell in cells]
    logs = np.array([np.nan if size is None else np.log(max(size, 1)) for size in sizes])
    return np.asarray(np.nan_to_num(np.exp(-np.abs(logs[:, None] - logs) / 2), nan=0.0))


def _relative_rates(methods: Sequence[MethodSpec]) -> Array:
    """ln of each learning rate over the median of its method's; 0 where there is none."""
    found: dict[str, list[float]] = {}
    for method in methods:
        if method.learning_rate:
            found.setdefault(method.name, []).append(float(np.log(method.learning_rate)))
    middle = {name: float(np.median(sorted(set(values)))) for name, values in found.items()}
    return np.array(
        [np.log(m.learning_rate) - middle[m.name] if m.learning_rate else 0.0 for m in methods]
    )
