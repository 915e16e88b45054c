"""Forgetting law: L_general = L0 + A D^beta / ((1 + B p) N)^alpha, or the form that predicts better.

D is the number of examples, N the model's parameters, p the share of replay, L0 the untouched base's
loss on a general suite (Bethune et al., ICML 2025). Departures: L0 is measured, so the fit is of the rise
L - L0. The rise may be negative (a suite that gains), so its noise is additive. The signs of A, alpha and
beta are free, since small models with replay were seen to forget less the more examples they see.

The law is chosen only where it predicts the held-out largest training set better than a constant rise and a
log-linear one; ``form`` says which was. A fourth form lets the law bend down in ln D: with replay, small
models were seen to forget most after some hundred examples and to recover with more. The held-out error is
the one that chose the form, among at most four, so it is slightly optimistic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field

from tracker.errors import NotEnoughDataError
from tracker.frozen import Frozen
from tracker.laws.fitted_law import MAX_EXTRAPOLATION, LeftOut, Parameter, Prediction
from tracker.laws.prior import doublings_outside, widened_interval
from tracker.laws.robust_fit import Array, Form, content_generator, estimate, resample
from tracker.metrics import rounded

Kind = Literal["constant", "log-linear", "law", "peaked"]
#: Simplest first: a later one is chosen only if it predicts better.
KINDS: tuple[Kind, ...] = ("constant", "log-linear", "law", "peaked")
FORMS: dict[Kind, str] = {
    "constant": "L0 + c",
    "log-linear": "L0 + c + d ln(D/D*) + n ln(N/N*) + r p/p*",
    "law": "L0 + A D^beta / ((1 + B p) N)^alpha",
    "peaked": "L0 + A D^beta exp(-h ln(D/D*)^2) / ((1 + B p) N)^alpha",
}
#: Internal parameters of each kind. Of the law: the rise at the reference, the two exponents, and the
#: relief, by which the largest share of replay lowers ln(rise): alpha ln(1 + B p*).
NAMES: dict[Kind, tuple[str, ...]] = {
    "constant": ("c",),
    "log-linear": ("c", "d", "n", "r"),
    "law": ("rise", "beta", "alpha", "relief"),
    "peaked": ("rise", "beta", "alpha", "relief", "h"),
}
# Centre and sd: weak on purpose; forgetting that falls with data, or grows with size, stays possible.
_PRIOR = np.array([[0.3, 1.0], [0.3, 1.0], [0.5, 1.5], [0.1, 0.2]])
_LARGEST_EXPONENT = 30.0
_REPLICATES = 200
_FEWEST_VOLUMES = 3
#: A form with more parameters must lower the held-out error of a simpler one by this share, and by the
#: standard error of that gain over the held-out runs.
_LEAST_GAIN = 0.05


class Reference(NamedTuple):
    """Reference point: ``examples`` D*, ``parameters`` N*; ``replay`` p*, the largest share (1 if none)."""

    examples: float
    parameters: float
    replay: float


class Design(NamedTuple):
    """Design matrix columns of n runs: ln(D/D*), ln(N/N*), p/p*."""

    data: Array
    size: Array
    replay: Array


class ForgettingRun(NamedTuple):
    """Forgetting of one run on one general suite.

    ``rise``: loss after minus ``base``, the loss before, in the suite's units (bits per byte; a score counts
    as the loss 1 - score, with base 1).
    """

    key: str
    parameters: float
    examples: float
    replay: float
    rise: float
    base: float


class FittedForgetting(Frozen):
    """Fitted law of forgetting.

    ``parameters``: those of ``form`` with 80 % intervals; ``None``: not identifiable (alpha with one
    size, and A and B are then those of alpha 1; B with one replay share, or where alpha may be 0).
    ``replay factor`` among them: what the largest replay share measured multiplies the rise by,
    (1 + B p)^-alpha; known even where B is not.
    ``domain``: smallest and largest ``examples``, ``parameters``, ``replay``. ``noise``: robust
    standard deviation of a run's rise about the form. ``held_out``: by form, the mean |error| at the
    largest volume of the form fitted without it, as a fraction of the base's loss;
    ``held_out_error`` is the chosen form's. ``replicates``: bootstrap rows of the form's internal
    parameters (:data:`NAMES`) relative to ``reference``.
    """

    kind: Kind
    form: str
    parameters: dict[str, Parameter | None]
    domain: dict[str, tuple[float, float]]
    steps: float
    noise: float
    held_out_error: float | None
    held_out: dict[str, float]
    used: tuple[str, ...]
    left_out: tuple[LeftOut, ...] = ()
    reference: Reference
    best: tuple[float, ...]
    replicates: tuple[tuple[float, ...], ...] = Field(repr=False)

    def predict(
        self,
        parameters: float,
        examples: float,
        replay: float,
        level: float = 0.8,
        *,
        allow_far: bool = False,
    ) -> Prediction:
        """Prediction for one run: the rise over the untouched base, arrays of one element.

        The interval is widened by how many doublings the three together lie outside their domains.
        Raises NotEnoughDataError beyond 16 times the largest volume, one size step beyond the sizes,
        or outside the replay shares measured, unless *allow_far*.
        """
        outside = self._beyond_domain(parameters, examples, replay)
        if outside and not allow_far:
            raise NotEnoughDataError(outside[0])
        point = np.array([[parameters], [examples], [replay]], dtype=float)
        at = design(self.reference, *point)
        value = rises(self.kind, np.array([self.best]), at)[0]
        curves = rises(self.kind, np.array(self.replicates), at)
        normals = np.random.default_rng(0).standard_normal(len(curves))[:, None]
        point_by_name = {"parameters": parameters, "examples": examples, "replay": replay}
        far = sum(doublings_outside(x, self.domain[name]) for name, x in point_by_name.items())
        low, high = widened_interval(curves + self.noise * normals, far, level)
        return Prediction(value, low, high, np.array([far > 0]))

    def _beyond_domain(self, parameters: float, examples: float, replay: float) -> list[str]:
        (_, volume), (least, most) = self.domain["examples"], self.domain["parameters"]
        shares = self.domain["replay"]
        reasons = []
        if examples > MAX_EXTRAPOLATION * volume:
            reasons.append(
                f"{examples:,.0f} examples: forgetting was measured up to {volume:,.0f} and "
                f"is trusted up to {MAX_EXTRAPOLATION * volume:,.0f}: measure more, or allow far "
                "extrapolation"
            )
        if not least / self.steps * (1 - 1e-9) <= parameters <= most * self.steps * (1 + 1e-9):
            reasons.append(
                f"{parameters:,.0f} parameters: forgetting was measured from {least:,.0f} "
                f"to {most:,.0f} and is trusted one size step further "
                f"(a factor {self.steps:.3g}): measure that size, or allow far extrapolation"
            )
        if not shares[0] <= replay <= shares[1]:
            reasons.append(
                f"a replay share of {replay:g}: forgetting was measured from {shares[0]:g} "
                f"to {shares[1]:g}: run trials with that share, or allow far extrapolation"
            )
        return reasons


def fit_forgetting(
    runs: Sequence[ForgettingRun],
    left_out: Sequence[LeftOut] = (),
    *,
    replicates: int = _REPLICATES,
) -> FittedForgetting:
    """Fit the rise of one suite under one method over model sizes, training-set sizes and replay shares.

    Intervals come from a bootstrap over whole runs. Raises NotEnoughDataError below three training-set sizes
    or with too few runs for the simplest form.
    """
    runs = sorted(runs, key=lambda r: (r.examples, r.parameters, r.replay, r.rise, r.key))
    parameters, examples, replay, rise, base = (
        np.array([getattr(run, name) for run in runs], dtype=float)
        for name in ("parameters", "examples", "replay", "rise", "base")
    )
    _check(examples)
    reference = Reference(
        float(np.exp(np.log(np.unique(examples)).mean())),
        float(np.exp(np.log(np.unique(parameters)).mean())),
        float(replay.max()) or 1.0,
    )
    at = design(reference, parameters, examples, replay)
    held_out = _held_out(at, rise, base)
    keys = tuple(run.key for run in runs)
    kind = _select_kind(held_out, KINDS)
    best, draws, scale = _fit(kind, at, rise, keys, replicates)
    if kind == "peaked" and not _is_peaked(draws):
        kind = _select_kind(held_out, [other for other in KINDS if other != "peaked"])
        best, draws, scale = _fit(kind, at, rise, keys, replicates)
    errors = {name: rounded(values.mean()) for name, values in held_out.items()}
    return FittedForgetting(
        kind=kind,
        form=FORMS[kind],
        parameters=_parameters(kind, best[None], draws, at, reference),
        domain={
            name: (float(values.min()), float(values.max()))
            for name, values in (
                ("examples", examples),
                ("parameters", parameters),
                ("replay", replay),
            )
        },
        steps=_size_step(parameters),
        noise=rounded(scale),
        held_out_error=errors.get(kind),
        held_out={str(name): error for name, error in errors.items()},
        used=keys,
        left_out=tuple(left_out),
        reference=Reference(*(rounded(value) for value in reference)),
        best=tuple(rounded(x) for x in best),
        replicates=tuple(tuple(rounded(x) for x in row) for row in draws),
    )


def _fit(
    kind: Kind, at: Design, rise: Array, keys: Sequence[str], count: int
) -> tuple[Array, Array, float]:
    """Parameters (k,) of the kind, bootstrap rows (count, k) and the noise of a run."""
    fitted_form, complete = form(kind, at, rise)
    estimated = estimate(fitted_form, rise)
    draws = resample(fitted_form, rise, estimated, content_generator(kind, keys), count)
    return complete(estimated.theta[None])[0], complete(draws), estimated.scale


def _is_peaked(draws: Array) -> bool:
    """Whether the peak is significant: a form with one parameter more wins by chance now and then."""
    return bool(np.quantile(draws[:, -1], 0.025) > 0)


def _check(examples: Array) -> None:
    volumes = np.unique(examples[examples > 0])
    if len(volumes) < _FEWEST_VOLUMES or len(examples) < _FEWEST_VOLUMES + 1:
        raise NotEnoughDataError(
            f"forgetting measured in {len(examples)} runs at {len(volumes)} training-set sizes; a "
            f"law needs 4 runs at 3 sizes: run {max(_FEWEST_VOLUMES - len(volumes), 1)} more size(s)"
        )


def _held_out(at: Design, rise: Array, base: Array) -> dict[Kind, Array]:
    """Held-out |error| of each run at the largest training set over the base's loss, by form."""
    last = at.data == at.data.max()
    kept = Design(*(column[~last] for column in at))
    errors: dict[Kind, Array] = {}
    for kind in KINDS:
        if (~last).sum() < len(free_parameters(kind, kept)) + 2:
            continue
        fitted_form, complete = form(kind, kept, rise[~last])
        best = complete(estimate(fitted_form, rise[~last]).theta[None])
        predicted = rises(kind, best, Design(*(column[last] for column in at)))[0]
        errors[kind] = np.abs(predicted - rise[last]) / base[last]
    return errors


def _select_kind(held_out: dict[Kind, Array], kinds: Sequence[Kind]) -> Kind:
    """Kind with the lowest held-out error; a simpler one unless the gain is large and significant."""
    chosen = kinds[0]
    for kind in kinds[1:]:
        if kind not in held_out or chosen not in held_out:
            continue
        gain = held_out[chosen] - held_out[kind]
        error = float(gain.std(ddof=1)) / np.sqrt(len(gain)) if len(gain) > 1 else 0.0
        if gain.mean() > max(_LEAST_GAIN * held_out[chosen].mean(), error):
            chosen = kind
    return chosen


def _parameters(
    kind: Kind, best: Array, replicates: Array, at: Design, reference: Reference
) -> dict[str, Parameter | None]:
    """Parameters of the form as published; None where the runs do not identify them."""
    free = {NAMES[kind][i] for i in free_parameters(kind, at)}
    if kind not in ("law", "peaked"):
        return {
            name: Parameter.of(best[0, i], replicates[:, i]) if name in free else None
            for i, name in enumerate(NAMES[kind])
        }
    rows = np.concatenate([best, replicates])
    rise, beta, alpha, relief = rows.T[:4]
    with np.errstate(over="ignore", under="ignore"):
        scale = np.exp(alpha * np.log(reference.parameters) - beta * np.log(reference.examples))
        replay = replay_factor(relief, alpha) / reference.replay
    published: dict[str, Parameter | None] = {
        "A": Parameter.of(rise[0] * scale[0], rise[1:] * scale[1:]),
        "beta": Parameter.of(beta[0], beta[1:]),
        "alpha": Parameter.of(alpha[0], alpha[1:]) if "alpha" in free else None,
        "B": Parameter.of(replay[0], replay[1:]) if "relief" in free else None,
    }
    if "relief" in free:
        factor = np.exp(-relief)
        published["replay factor"] = Parameter.of(factor[0], factor[1:])
    if kind == "peaked":
        published["h"] = Parameter.of(best[0, 4], replicates[:, 4]) if "h" in free else None
    size = published["alpha"]
    if size is not None and size.low <= 0 <= size.high:
        published["B"] = None
    return published


def _size_step(parameters: Array) -> float:
    """Largest factor between neighbouring model sizes; 1 with one size."""
    sizes = np.unique(parameters)
    return rounded((sizes[1:] / sizes[:-1]).max()) if len(sizes) > 1 else 1.0


# -- forms ---------------------------------------------------------------------------------------------
# Sizes are relative to a reference (geometric means of those measured), so that a form's first parameter is
# the rise at the reference, without replay.


def design(reference: Reference, parameters: Array, examples: Array, replay: Array) -> Design:
    """Design matrix columns of runs, relative to *reference*."""
    return Design(
        np.log(examples / reference.examples),
        np.log(parameters / reference.parameters),
        replay / reference.replay,
    )


def free_parameters(kind: Kind, runs: Design) -> list[int]:
    """Indices of the kind's parameters that *runs* identify: size needs two sizes, replay two shares."""
    if kind == "constant":
        return [0]
    curved = len(np.unique(runs.data)) > 3
    identifiable = [
        True,
        True,
        len(np.unique(runs.size)) > 1,
        len(np.unique(runs.replay)) > 1,
        curved,
    ]
    identifiable = identifiable[: len(NAMES[kind])]
    return [i for i, is_free in enumerate(identifiable) if is_free]


def fixed_parameters(kind: Kind) -> Array:
    """Values (k,) of the parameters that are not free: alpha 1, all others 0."""
    values = np.zeros(len(NAMES[kind]))
    if kind in ("law", "peaked"):
        values[2] = 1.0
    return values


def rises(kind: Kind, theta: Array, runs: Design) -> Array:
    """Rises (rows, n) at *runs* (n,) for complete parameters (rows, k) of the kind."""
    if kind == "constant":
        return np.broadcast_to(theta, (len(theta), len(runs.data)))
    if kind == "log-linear":
        columns = np.stack([np.ones_like(runs.data), *runs])
        return np.asarray(theta @ columns)
    rise, beta, alpha, relief = (theta[:, i, None] for i in range(4))
    exponent = beta * runs.data - alpha * runs.size - relief * _share(relief, alpha, runs.replay)
    if kind == "peaked":
        exponent = exponent - theta[:, 4, None] * runs.data**2
    return np.asarray(rise * np.exp(np.clip(exponent, -_LARGEST_EXPONENT, _LARGEST_EXPONENT)))


def replay_factor(relief: Array, alpha: Array) -> Array:
    """Value of B p*, from relief = alpha ln(1 + B p*)."""
    return np.expm1(_ratio(relief, alpha))


def form(kind: Kind, runs: Design, targets: Array) -> tuple[Form, Callable[[Array], Array]]:
    """The kind's :class:`Form` in its free parameters, and the function from (rows, free) to (rows, k)."""
    free = free_parameters(kind, runs)
    fixed = fixed_parameters(kind)

    def complete(theta: Array) -> Array:
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
    fitted_form = Form(
        lambda theta: rises(kind, complete(theta), runs), starts[:, free], centre[free], sd[free]
    )
    return fitted_form, complete


def _share(relief: Array, alpha: Array, replay: Array) -> Array:
    """Share of the largest relief that a replay share p gives: ln(1 + B p) / ln(1 + B p*)."""
    u = _ratio(relief, alpha)
    near = np.abs(u) < 1e-6
    u = np.where(near, 1.0, u)
    return np.where(near, replay, np.log1p(np.expm1(u) * np.minimum(replay, 1.0)) / u)


def _ratio(relief: Array, alpha: Array) -> Array:
    alpha = np.where(np.abs(alpha) < 1e-9, 1e-9, alpha)
    return np.clip(relief / alpha, -_LARGEST_EXPONENT, _LARGEST_EXPONENT)


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
