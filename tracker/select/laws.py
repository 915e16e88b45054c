"""A scaling law per curve: L(D) = E + A / (1 + (D/D0)^beta), with honest uncertainty.

D is the number of fine-tuning examples, L a loss or an error (both > 0, smaller is better). D0 is
the pre-learned data size in units of examples: flat for D << D0, a power law A D0^beta D^-beta + E
for D >> D0. It equals the rectified law B / (D_l + D^beta) + E of Lin et al. (ICML 2024, arXiv
2402.02314) with D0 = D_l^(1/beta).

The untouched base model, the point D = 0, joins a fit only where it must, below three measured
volumes. The first examples teach the format of the answer at once, a drop that is not of this form:
on the public curves of Lin et al. a fit through the base misses a loss at twice the data by 1.2 to
3.1 % (median), one without it by 0.8 to 2.8 %, and its 80 % intervals cover 63 to 93 % against 86
to 100 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from tracker.errors import InputError, NotEnoughDataError
from tracker.record.trial import Frozen
from tracker.select.solve import PRIOR_SD, Array, Problem, law, prior_centre, solve

FORM = "E + A / (1 + (D/D0)^beta)"
PARAMETERS = ("E", "A", "D0", "beta")
#: Predictions beyond this multiple of the largest measured D are refused unless asked for.
FAR = 16.0
#: A point further than this many robust standard deviations from the law fitted without it is
#: flagged.
GLITCH = 5.0
#: Noise of a log value where neither repeated runs nor spare points tell; said in ``noise_source``.
ASSUMED_NOISE = 0.02

_ENOUGH = 3  # sizes a fit needs
_REPLICATES = 200
_REPLICATES_WITHOUT_ONE = 20
_LEVEL = 0.8

NoiseSource = Literal["repeated runs", "residuals", "assumed"]


class Prediction(NamedTuple):
    """Arrays over the sizes asked for; ``extrapolates``: the size is outside the measured ones."""

    value: Array
    low: Array
    high: Array
    extrapolates: NDArray[np.bool_]


class Parameter(Frozen):
    """A law's parameter with its 80 % interval."""

    value: float
    low: float
    high: float


class LeftOut(Frozen):
    """A run the fit did not use, and why."""

    key: str
    reason: str


class Glitch(Frozen):
    """A used run, missed by ``deviations`` robust deviations by the law fitted without its size."""

    key: str
    examples: float
    value: float
    expected: float
    deviations: float


class WithoutSize(Frozen):
    """What the law fitted without one size says at that size.

    ``log_sd``: how far ln(run / value) should scatter if the law of all points holds; ``missed``:
    the median of ln(run / value) over the runs of that size.
    """

    examples: float
    value: float
    log_sd: float
    missed: float


class FittedLaw(Frozen):
    """A fitted curve.

    ``domain``: smallest (> 0) and largest measured D; ``base``: whether the base, D = 0, is a
    point of it.
    ``noise``: standard deviation of a run's log value about the law. ``held_out_error``: |relative
    error| at the largest D of the law fitted without it (``None`` with too few sizes left).
    ``used``: keys of the runs fitted, the ``glitches`` among them. ``replicates``: bootstrap rows
    of (E, A, D0, beta).
    """

    form: str = FORM
    parameters: dict[str, Parameter]
    domain: tuple[float, float]
    base: bool
    noise: float
    noise_source: NoiseSource
    held_out_error: float | None
    used: tuple[str, ...]
    left_out: tuple[LeftOut, ...] = ()
    glitches: tuple[Glitch, ...] = ()
    without: tuple[WithoutSize, ...] = ()
    replicates: tuple[tuple[float, float, float, float], ...] = Field(repr=False)

    def predict(
        self, examples: ArrayLike, level: float = _LEVEL, *, allow_far: bool = False
    ) -> Prediction:
        """What one run at each of *examples* would measure: the law and an interval for the run.

        Raises NotEnoughDataError beyond 16 times the largest measured size unless *allow_far*.
        """
        sizes = np.atleast_1d(np.asarray(examples, dtype=float))
        main = np.array([[self.parameters[name].value for name in PARAMETERS]])
        curves = self.curves(sizes, allow_far=allow_far)
        # The same standard normals on every machine and call: the interval has no noise of its own.
        normals = np.random.default_rng(0).standard_normal(len(curves))[:, None]
        runs = curves * np.exp(self.noise * normals)
        low, high = np.quantile(runs, [(1 - level) / 2, (1 + level) / 2], axis=0)
        below = (sizes < self.domain[0]) & (not self.base)
        return Prediction(law(main, sizes)[0], low, high, (sizes > self.domain[1]) | below)

    def curves(self, examples: ArrayLike, *, allow_far: bool = False) -> Array:
        """The bootstrap's curves at *examples* (m,): (replicates, m), without a run's noise."""
        sizes = np.atleast_1d(np.asarray(examples, dtype=float))
        limit = FAR * self.domain[1]
        if not allow_far and sizes.max(initial=0) > limit:
            raise NotEnoughDataError(
                f"asked for {sizes.max():,.0f} examples; the largest measured volume is "
                f"{self.domain[1]:,.0f} and the law is trusted up to {limit:,.0f}: "
                f"measure at least {sizes.max() / FAR:,.0f} examples, or allow far extrapolation"
            )
        return law(np.array(self.replicates), sizes)


class _Noise(NamedTuple):
    """Log noise of a run, its source, and its degrees of freedom where they are few."""

    log_sd: float
    source: NoiseSource
    spare: int | None


def fit_curve(
    examples: ArrayLike,
    values: ArrayLike,
    *,
    noise_sd: float | None = None,
    seed: int = 0,
    keys: Sequence[str] | None = None,
) -> FittedLaw:
    """Fit the law to runs at *examples* (n,) that measured *values* (n,), each run one point.

    *noise_sd* is the known standard deviation between runs, in units of the values. Intervals come
    from a parametric bootstrap: values are drawn anew about the fit, with log noise the larger of
    the robust residual scale (median of the residuals that the parameters did not absorb) and
    *noise_sd*. Resampling the runs themselves degenerates here: with one or two runs per size most
    resamples lose a size. Residual scales of few degrees of freedom are themselves drawn, so they
    widen the interval.

    Raises NotEnoughDataError below three sizes (the base D = 0 may be one of them), and InputError
    for values that have no logarithm.
    """
    sizes, y = np.asarray(examples, dtype=float), np.asarray(values, dtype=float)
    names = tuple(keys) if keys is not None else tuple(str(i) for i in range(len(y)))
    _check(sizes, y)
    order = np.lexsort((y, sizes))
    if len(np.unique(sizes[sizes > 0])) >= _ENOUGH:
        order = order[sizes[order] > 0]
    left_out = tuple(
        LeftOut(key=names[i], reason="the base joins only where volumes are too few")
        for i in sorted(set(range(len(y))) - set(order.tolist()))
    )
    sizes, y, names = sizes[order], y[order], tuple(names[i] for i in order)
    rng = np.random.default_rng(seed)

    floor = None if noise_sd is None else float(np.median(noise_sd / y))
    masks, distinct = _masks(sizes)
    first = _solve(sizes, y, masks[:1], floor or ASSUMED_NOISE)
    noise = _noise(sizes, np.log(y / law(first, sizes)[0]), floor)
    fits = _solve(sizes, y, masks, noise.log_sd)

    replicates = _bootstrap(sizes, fits[0], masks[:1], noise, _REPLICATES, rng)
    without = _without_each_size(sizes, y, fits, masks, distinct, noise, rng)
    bounds = np.quantile(replicates, [0.1, 0.9], axis=0)
    return FittedLaw(
        parameters={
            name: Parameter(value=fits[0, i], low=bounds[0, i], high=bounds[1, i])
            for i, name in enumerate(PARAMETERS)
        },
        domain=(float(sizes[sizes > 0].min()), float(sizes.max())),
        base=bool(sizes.min() == 0),
        noise=noise.log_sd,
        noise_source=noise.source,
        held_out_error=_held_out_error(sizes, y, without),
        used=names,
        left_out=left_out,
        glitches=_glitches(sizes, y, names, without),
        without=without,
        replicates=tuple(tuple(row) for row in replicates.tolist()),
    )


def _check(sizes: Array, y: Array) -> None:
    if sizes.shape != y.shape or sizes.ndim != 1:
        raise InputError(f"examples {sizes.shape} and values {y.shape} must be two equal lists")
    if not (np.isfinite(y).all() and (y > 0).all() and np.isfinite(sizes).all()):
        raise InputError("a law is fitted to logarithms: every value must be finite and above 0")
    if (sizes < 0).any():
        raise InputError(f"examples must be at least 0, found {sizes.min():g}")
    positive, base = len(np.unique(sizes[sizes > 0])), bool((sizes == 0).any())
    if positive + base < _ENOUGH:
        found = f"{positive} volumes above 0" + " and the base model" * base
        raise NotEnoughDataError(
            f"{found} measured; a law needs 3, or 2 and the base model: "
            f"run {_ENOUGH - positive - base} more volume(s) of this curve"
        )


def _masks(sizes: Array) -> tuple[Array, Array]:
    """Mask rows (1 + k, n): all points, then without each distinct size whose loss leaves three."""
    distinct = np.unique(sizes)
    if len(distinct) < 4:
        distinct = distinct[:0]
    masks = [np.ones(len(sizes)), *((sizes != size).astype(float) for size in distinct)]
    return np.array(masks), distinct


def _solve(sizes: Array, y: Array, masks: Array, log_sd: float) -> Array:
    """Fits (rows, 4) of the same values under each of *masks* (rows, n), from every start."""
    values = np.tile(y, (len(masks), 1))
    centre = np.tile(prior_centre(sizes), (len(masks), 1))
    return solve(Problem(sizes, values, masks, centre, log_sd), levels=16)


def _noise(sizes: Array, residuals: Array, floor: float | None) -> _Noise:
    """The larger of the residual scale and the floor; an assumption where there is neither.

    A fit that is nearly least absolute deviations passes through as many points as it has free
    parameters; the scale is taken from the others.
    """
    absorbed = min(len(PARAMETERS), len(np.unique(sizes)))
    spare = len(sizes) - absorbed
    if spare > 0:
        scale = 1.4826 * float(np.median(np.sort(np.abs(residuals))[absorbed:]))
        if floor is None or scale > floor:
            return _Noise(max(scale, 1e-6), "residuals", spare)
    if floor is not None:
        return _Noise(floor, "repeated runs", None)
    return _Noise(ASSUMED_NOISE, "assumed", None)


def _bootstrap(
    sizes: Array, main: Array, masks: Array, noise: _Noise, count: int, rng: np.random.Generator
) -> Array:
    """Refits (masks × count, 4) of values drawn about the fit *main* (4,); a mask's stay together."""
    rows = len(masks) * count
    scale = np.full((rows, 1), noise.log_sd)
    if noise.spare is not None:
        # Two more than counted, so that the draws have a variance even with one.
        scale *= np.sqrt((noise.spare + 2) / rng.chisquare(noise.spare + 2, (rows, 1)))
    values = law(main[None], sizes) * np.exp(scale * rng.standard_normal((rows, len(sizes))))
    centre = prior_centre(sizes) + PRIOR_SD * rng.standard_normal((rows, 2))
    problem = Problem(sizes, values, np.repeat(masks, count, axis=0), centre, noise.log_sd)
    return solve(problem, near=main, levels=6)


def _without_each_size(
    sizes: Array,
    y: Array,
    fits: Array,
    masks: Array,
    distinct: Array,
    noise: _Noise,
    rng: np.random.Generator,
) -> tuple[WithoutSize, ...]:
    """The fits without one size at that size, and how far such fits usually miss a run there.

    *fits* (1 + k, 4): of all points, then without each of the *distinct* sizes (k,).
    """
    if not len(distinct):
        return ()
    count = _REPLICATES_WITHOUT_ONE
    # If the law of all points held, this is how far the fits without a size would scatter.
    refits = _bootstrap(sizes, fits[0], masks[1:], noise, count, rng)
    found = []
    for i, size in enumerate(distinct):
        at = np.array([size])
        scatter = np.log(law(refits[i * count : (i + 1) * count], at)[:, 0])
        low, high = np.quantile(scatter, [0.16, 0.84])
        log_sd = float(np.hypot((high - low) / 2, noise.log_sd))
        value = float(law(fits[1 + i : 2 + i], at)[0, 0])
        missed = float(np.median(np.log(y[sizes == size] / value)))
        found.append(WithoutSize(examples=size, value=value, log_sd=log_sd, missed=missed))
    return tuple(found)


def _glitches(
    sizes: Array, y: Array, names: tuple[str, ...], without: tuple[WithoutSize, ...]
) -> tuple[Glitch, ...]:
    """Runs far from where the law fitted without their size expects them.

    Only between other sizes: what lies beyond an end is extrapolation, and an error there is the law's.
    """
    inner = (fit for fit in without if sizes.min() < fit.examples < sizes.max())
    expected = {fit.examples: fit for fit in inner}
    found = []
    for size, value, key in zip(sizes.tolist(), y.tolist(), names, strict=True):
        fit = expected.get(size)
        deviations = abs(np.log(value / fit.value)) / fit.log_sd if fit else 0.0
        if fit and deviations > GLITCH:
            found.append(
                Glitch(
                    key=key,
                    examples=size,
                    value=value,
                    expected=fit.value,
                    deviations=float(deviations),
                )
            )
    return tuple(found)


def _held_out_error(sizes: Array, y: Array, without: tuple[WithoutSize, ...]) -> float | None:
    if not without:
        return None
    measured = float(y[sizes == without[-1].examples].mean())
    return abs(without[-1].value / measured - 1)
