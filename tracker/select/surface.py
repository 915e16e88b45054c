"""The response surface of a sweep: what a configuration's neighbours say of its quality.

A Gaussian process over configurations. Its covariance is a product over the design's factors f
(model, method, mix, learning rate, volume), ``c * prod(1 + a_f k_f / c)`` with k_f in [0, 1]:
multiplied out, a main effect of variance a_f per factor and every interaction, the smaller the
larger c is (the ANOVA kernel of Durrande et al., 2013). Each configuration has its own departure
from it too, of variance tau^2, as in the hierarchical normal model (Gelman et al., 2013, ch. 5).

Variances are learned from the table alone, by its leave-one-out misses (Rasmussen & Williams, 2006,
eq. 5.10-5.12), scored by a Student t with 4 degrees of freedom instead of a normal, so that a
glitched run does not decide; on a fixed grid, one coordinate after the other, so that every machine
finds the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tracker.record.trial import MethodSpec
from tracker.select.cells import Cell
from tracker.select.pooling import Array

#: Fewer trained configurations than this say too little of each other.
ENOUGH = 6
_LEARNED_ON = 240
_ROUNDS = 2
_TAIL = 4.0
_CONSTANT = 100.0

#: Grids, in units of the variance of the qualities; ``length`` in doublings of the volume.
_AMPLITUDE = (0.01, 0.1, 0.3, 1.0, 3.0)
_GRIDS: dict[str, tuple[float, ...]] = {
    "stiffness": (0.3, 1.0, 3.0, 10.0, 100.0),
    "length": (1.0, 2.0, 4.0),
    "own": (1e-5, 1e-4, 1e-3, 0.01, 0.05, 0.2, 1.0),
}
_START = {"stiffness": 3.0, "length": 2.0, "own": 0.01}


class Factors(NamedTuple):
    """Similarity (n, n), in [0, 1], of n configurations in each factor that varies among them;
    ``volume``: their differences in ln D.
    """

    alike: dict[str, Array]
    volume: Array | None


class Surface(NamedTuple):
    """Prior covariance (n, n) of the qualities of n configurations, and the part tau^2 of its
    diagonal that they do not share. ``widen``: what was learned is itself uncertain, so deviations are
    wider by sqrt(n / (n - p)) for p things learned from n configurations.
    """

    covariance: Array
    own: float
    widen: float = 1.0


class Misses(NamedTuple):
    """Leave-one-out: what the others expect of each (n,), and the deviation of that (n,)."""

    expected: Array
    sd: Array


def factors(cells: Sequence[Cell]) -> Factors:
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


def learn(known: Factors, quality: Array, noise: Array) -> Surface:
    """The surface under which each of *quality* (n,) is best told by the others.

    *noise* (n, n): covariance of what blurs the measurement; the surface is what is beyond it.
    """
    unit = max(float(np.var(quality)), 1e-12)
    top = np.sort(np.argsort(-quality, kind="stable")[:_LEARNED_ON])
    near = Factors(
        {name: k[np.ix_(top, top)] for name, k in known.alike.items()},
        None if known.volume is None else known.volume[np.ix_(top, top)],
    )
    y, blur = quality[top], noise[np.ix_(top, top)]
    grids = dict.fromkeys((*known.alike, "volume"), _AMPLITUDE) | _GRIDS
    chosen = dict.fromkeys((*known.alike, "volume"), 0.3) | _START

    def score(setting: dict[str, float]) -> float:
        surface = _surface(near, setting, unit)
        missed = leave_one_out(surface.covariance + blur, y)
        tail = np.log1p(((y - missed.expected) / missed.sd) ** 2 / _TAIL)
        total = float((np.log(missed.sd) + (_TAIL + 1) / 2 * tail).sum())
        return float(f"{total:.8g}")  # machines differ beyond

    for _ in range(_ROUNDS):
        for name, grid in grids.items():
            tried = [(score(chosen | {name: value}), i) for i, value in enumerate(grid)]
            chosen[name] = grid[min(tried)[1]]
    learned = len(grids) + 1  # and the level
    spare = max(len(y) - learned, len(y) / 2)
    return _surface(known, chosen, unit)._replace(widen=float(np.sqrt(len(y) / spare)))


def leave_one_out(covariance: Array, quality: Array) -> Misses:
    """What the others say of each of *quality* (n,) whose measurements have *covariance* (n, n)."""
    inverse = np.linalg.inv(covariance)
    precision = np.diag(inverse)
    centred = quality - quality.mean()
    return Misses(quality - inverse @ centred / precision, precision**-0.5)


def _surface(known: Factors, setting: dict[str, float], unit: float) -> Surface:
    stiffness = setting["stiffness"]
    parts = [1 + setting[name] / stiffness * k for name, k in known.alike.items()]
    if known.volume is not None:
        away = known.volume / (setting["length"] * np.log(2))
        parts.append(1 + setting["volume"] / stiffness * np.exp(-0.5 * away**2))
    size = len(known.volume) if known.volume is not None else len(next(iter(known.alike.values())))
    shared = stiffness * np.prod(parts, axis=0) if parts else np.full((size, size), stiffness)
    own = setting["own"] * unit
    return Surface(unit * (shared + _CONSTANT) + own * np.eye(size), own)


def _shape(method: MethodSpec) -> tuple[object, ...]:
    return (method.variant, method.rank, method.virtual_tokens)


def _sizes_alike(cells: Sequence[Cell]) -> Array:
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
