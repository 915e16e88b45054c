"""The forms a rise of general loss may take over size, data and replay, ready for a robust fit.

Sizes enter relative to a reference (geometric means of those measured), so that a form's first
parameter is a rise that can be seen: that at the reference, without replay.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from tracker.laws.robust_fit import Array, Form

Kind = Literal["constant", "log-linear", "law", "peaked"]
#: Simplest first: a later one must earn its place.
KINDS: tuple[Kind, ...] = ("constant", "log-linear", "law", "peaked")
FORMS: dict[Kind, str] = {
    "constant": "L0 + c",
    "log-linear": "L0 + c + d ln(D/D*) + n ln(N/N*) + r p/p*",
    "law": "L0 + A D^beta / ((1 + B p) N)^alpha",
    "peaked": "L0 + A D^beta exp(-h ln(D/D*)^2) / ((1 + B p) N)^alpha",
}
#: Internal parameters of each kind. Of the law: the rise at the reference, the two exponents, and
#: how far replay at the largest share lowers ln(rise): alpha ln(1 + B p*).
NAMES: dict[Kind, tuple[str, ...]] = {
    "constant": ("c",),
    "log-linear": ("c", "d", "n", "r"),
    "law": ("rise", "beta", "alpha", "relief"),
    "peaked": ("rise", "beta", "alpha", "relief", "h"),
}
# Centre and sd: weak on purpose; forgetting that falls with data, or grows with size, stays possible.
_PRIOR = np.array([[0.3, 1.0], [0.3, 1.0], [0.5, 1.5], [0.1, 0.2]])
_LARGEST = 30.0


class Reference(NamedTuple):
    """``examples`` D*, ``parameters`` N*; ``replay`` p*, the largest share measured (1 if none)."""

    examples: float
    parameters: float
    replay: float


class Design(NamedTuple):
    """Runs (n,): ln(D/D*), ln(N/N*), p/p*."""

    data: Array
    size: Array
    replay: Array


def design(reference: Reference, parameters: Array, examples: Array, replay: Array) -> Design:
    """The runs relative to *reference*."""
    return Design(
        np.log(examples / reference.examples),
        np.log(parameters / reference.parameters),
        replay / reference.replay,
    )


def free_parameters(kind: Kind, runs: Design) -> list[int]:
    """Which of the kind's parameters these runs can tell: size needs two sizes, replay two shares."""
    if kind == "constant":
        return [0]
    curved = len(np.unique(runs.data)) > 3
    told = [True, True, len(np.unique(runs.size)) > 1, len(np.unique(runs.replay)) > 1, curved]
    told = told[: len(NAMES[kind])]
    return [i for i, known in enumerate(told) if known]


def fixed_parameters(kind: Kind) -> Array:
    """What a parameter that is not free is taken to be: alpha 1, anything else 0."""
    values = np.zeros(len(NAMES[kind]))
    if kind in ("law", "peaked"):
        values[2] = 1.0
    return values


def rises(kind: Kind, theta: Array, runs: Design) -> Array:
    """Rises (rows, n) for parameters (rows, k), all of the kind's, at *runs* (n,)."""
    if kind == "constant":
        return np.broadcast_to(theta, (len(theta), len(runs.data)))
    if kind == "log-linear":
        columns = np.stack([np.ones_like(runs.data), *runs])
        return np.asarray(theta @ columns)
    rise, beta, alpha, relief = (theta[:, i, None] for i in range(4))
    exponent = beta * runs.data - alpha * runs.size - relief * _share(relief, alpha, runs.replay)
    if kind == "peaked":
        exponent = exponent - theta[:, 4, None] * runs.data**2
    return np.asarray(rise * np.exp(np.clip(exponent, -_LARGEST, _LARGEST)))


def replay_factor(relief: Array, alpha: Array) -> Array:
    """B p*, from relief = alpha ln(1 + B p*)."""
    return np.expm1(_ratio(relief, alpha))


def form(kind: Kind, runs: Design, targets: Array) -> tuple[Form, Callable[[Array], Array]]:
    """The kind's :class:`Form` in its free parameters, and what makes (rows, free) whole again."""
    free = free_parameters(kind, runs)
    fixed = fixed_parameters(kind)

    def whole(theta: Array) -> Array:
        full = np.tile(fixed, (len(theta), 1))
        full[:, free] = theta
        return full

    spread = max(float(np.abs(targets).max()), 1e-6)
    starts = _starts(kind, runs, targets)
    if kind in ("law", "peaked"):
        prior = _PRIOR[: len(fixed) - 1]
        centre = np.array([0.0, *prior[:, 0]])
        sd = np.array([np.inf, *prior[:, 1]])
    else:
        centre, sd = np.zeros(len(fixed)), np.full(len(fixed), 10 * spread)
    made = Form(
        lambda theta: rises(kind, whole(theta), runs), starts[:, free], centre[free], sd[free]
    )
    return made, whole


def _share(relief: Array, alpha: Array, replay: Array) -> Array:
    """ln(1 + B p) / ln(1 + B p*): how much of the largest share's relief a share p gives."""
    u = _ratio(relief, alpha)
    near = np.abs(u) < 1e-6
    u = np.where(near, 1.0, u)
    return np.where(near, replay, np.log1p(np.expm1(u) * np.minimum(replay, 1.0)) / u)


def _ratio(relief: Array, alpha: Array) -> Array:
    alpha = np.where(np.abs(alpha) < 1e-9, 1e-9, alpha)
    return np.clip(relief / alpha, -_LARGEST, _LARGEST)


def _starts(kind: Kind, runs: Design, targets: Array) -> Array:
    if kind not in ("law", "peaked"):
        start = np.zeros((1, len(NAMES[kind])))
        start[0, 0] = np.median(targets)
        return start
    mesh = np.stack(np.meshgrid([-0.5, 0.3, 1.0], [-0.3, 0.5], [0.0, 1.0]), -1).reshape(-1, 3)
    shapes = rises("law", np.concatenate([np.ones((len(mesh), 1)), mesh], axis=1), runs)
    amplitude = (shapes * targets).sum(1) / np.square(shapes).sum(1)
    curved = np.full((len(mesh), len(NAMES[kind]) - 4), _PRIOR[3, 0])
    return np.concatenate([amplitude[:, None], mesh, curved], axis=1)
