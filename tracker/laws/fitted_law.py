"""Scaling law of a curve over data, L(D) = E + A / (1 + (D/D0)^beta), with its predictions.

Laws of all curves of a metric are fitted together (:mod:`tracker.laws.fitting`).

D is the number of fine-tuning examples, L a loss or an error (both > 0, smaller is better). D0 is
the pre-learned data size in units of examples: flat for D << D0, a power law A D0^beta D^-beta + E
for D >> D0. It equals the rectified law B / (D_l + D^beta) + E of Lin et al. (ICML 2024, arXiv
2402.02314) with D0 = D_l^(1/beta).

Curves are partially pooled over sizes, families, methods, mixes and tasks
(:mod:`tracker.laws.pooling`). Beyond a curve's largest size the law may bend as fitted or go on as
straight in log-log as it was last: the forecast weighs the one by BEND_WEIGHT and the other by the rest
(on published curves either alone does worse, see CHANGELOG). Its interval is widened by how far such
forecasts missed on recorded tables (:mod:`tracker.laws.prior`) and at the ends of the
sweep's own curves (:mod:`tracker.laws.backtest`).

The untouched base model, the point D = 0, joins a fit only where it must, below three measured
volumes. The first examples teach the format of the answer at once, a drop that is not of this form:
on the public curves of Lin et al. a fit through the base misses a loss at twice the data by 1.2 to
3.1 % (median), one without it by 0.8 to 2.8 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from tracker.errors import NotEnoughDataError
from tracker.frozen import Frozen
from tracker.laws import pooling
from tracker.laws.backtest import BacktestErrors
from tracker.laws.pooling import Array, Curves, Posterior
from tracker.laws.prior import widening
from tracker.metrics import LEVEL, interval, rounded

FORM = "E + A / (1 + (D/D0)^beta)"
PARAMETERS = ("E", "A", "D0", "beta")
#: Predictions beyond this multiple of the largest measured D are refused by default.
MAX_EXTRAPOLATION = 16.0
#: A point this many robust standard deviations off the law fitted without it is flagged as a glitch.
GLITCH_DEVIATIONS = 5.0
#: Weight of the fitted law against a straight continuation in log-log, beyond the largest size.
BEND_WEIGHT = 0.7

NoiseSource = Literal["repeated runs", "residuals", "assumed"]


class Prediction(NamedTuple):
    """Predicted values with an interval, arrays over sizes; ``extrapolates``: outside the measured sizes."""

    value: Array
    low: Array
    high: Array
    extrapolates: NDArray[np.bool_]


class Parameter(Frozen):
    """Parameter of a law with its 80 % interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, draws: NDArray[np.float64]) -> Self:
        """Parameter of *value* with the interval of its *draws* (n,), all rounded."""
        low, high = interval(draws)
        return cls(value=rounded(value), low=rounded(low), high=rounded(high))


class LeftOut(Frozen):
    """Run that a fit did not use, and why."""

    key: str
    reason: str


class Glitch(Frozen):
    """Outlier among a curve's runs: ``deviations`` robust deviations off the law fitted without its size.

    It stays in the fit, down-weighted.
    """

    key: str
    examples: float
    value: float
    expected: float
    deviations: float


class WithoutSize(Frozen):
    """Held-out prediction at one size, by the law fitted without it.

    ``log_sd``: expected standard deviation of ln(run / value) if the law of all points is right.
    ``missed``: the median of ln(run / value) over the runs of that size.
    """

    examples: float
    value: float
    log_sd: float
    missed: float


#: A law that missed its held-out largest size by more than this share is not extrapolated.
MAX_HELD_OUT_ERROR = 0.5


class Draws:
    """Immutable array of posterior draws, compared by value; a list of lists in JSON.

    As tuples the thousand draws of a law take 220 kB and most of the time of a prediction; as an array 40 kB.
    """

    __slots__ = ("rows",)

    def __init__(self, rows: ArrayLike) -> None:
        self.rows: Array = np.array(rows, dtype=float)
        self.rows.setflags(write=False)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Draws) and np.array_equal(self.rows, other.rows)

    def __hash__(self) -> int:
        return hash(self.rows.tobytes())

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, _source: Any, _handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        written = core_schema.plain_serializer_function_ser_schema(
            lambda draws: draws.rows.tolist()
        )
        return core_schema.no_info_plain_validator_function(cls._read, serialization=written)

    @classmethod
    def _read(cls, given: Any) -> Draws:
        return given if isinstance(given, Draws) else cls(given)


class FittedLaw(Frozen):
    """Fitted scaling law of one curve.

    ``domain``: smallest (> 0) and largest measured D. ``base``: whether the base, D = 0, is a point of it.
    ``noise``: standard deviation of a run's log value about the law, at values from ``noise_at`` up. Below
    that it is constant in units of the value, so it grows in logs: an error of 0.1 is known to a smaller
    share of itself than one of 0.001. ``held_out_error``: |relative error| at the largest D of the law
    fitted without it (``None`` with too few sizes left). ``used``: keys of the runs fitted, the ``glitches``
    among them. ``backtest_errors``: how far the laws of this fit missed the ends of their curves when fitted
    without them; intervals beyond the domain are widened by it. ``replicates``: posterior draws, rows of
    (E, A, D0, beta, s), where s is the slope d ln L / d ln D of the draw beyond the domain.
    """

    form: str = FORM
    parameters: dict[str, Parameter]
    domain: tuple[float, float]
    base: bool
    noise: float
    noise_source: NoiseSource
    noise_at: float | None = None
    held_out_error: float | None
    used: tuple[str, ...]
    left_out: tuple[LeftOut, ...] = ()
    glitches: tuple[Glitch, ...] = ()
    without: tuple[WithoutSize, ...] = ()
    backtest_errors: BacktestErrors = BacktestErrors()
    replicates: Draws = Field(repr=False)

    @property
    def fails_held_out(self) -> bool:
        """Whether the held-out error at the largest size is above :data:`MAX_HELD_OUT_ERROR`."""
        return self.held_out_error is not None and self.held_out_error > MAX_HELD_OUT_ERROR

    def predict(
        self, examples: ArrayLike, level: float = LEVEL, *, allow_far: bool = False
    ) -> Prediction:
        """Prediction for one run at each of *examples*: the median and an interval of what it measures.

        Raises NotEnoughDataError beyond 16 times the largest measured size unless *allow_far*.
        """
        sizes = np.atleast_1d(np.asarray(examples, dtype=float))
        run = spread(self._logs(sizes, allow_far), self.noise, self.noise_at, (level,))
        wider, centre = self._widening(sizes, level), run.centre
        low, high = (centre + wider * (end[0] - centre) for end in (run.low, run.high))
        below = (sizes < self.domain[0]) & (not self.base)
        outside = (sizes > self.domain[1]) | below
        return Prediction(np.exp(centre), np.exp(low), np.exp(high), outside)

    def curves(self, examples: ArrayLike, *, allow_far: bool = False) -> Array:
        """Posterior draws of the curve (replicates, m) at *examples* (m,), without a run's noise.

        Beyond the domain they are spread about their median as 80 % intervals are widened.
        """
        return np.asarray(np.exp(self.log_curves(examples, allow_far=allow_far).curves))

    def log_curves(self, examples: ArrayLike, *, allow_far: bool = False) -> LogCurves:
        """Logs of :meth:`curves`, and their median."""
        sizes = np.atleast_1d(np.asarray(examples, dtype=float))
        logs = self._logs(sizes, allow_far)
        centre = np.median(logs, axis=0)
        logs -= centre
        logs *= self._widening(sizes, LEVEL)
        logs += centre
        return LogCurves(logs, centre)

    def _logs(self, sizes: Array, allow_far: bool) -> Array:
        limit = MAX_EXTRAPOLATION * self.domain[1]
        if not allow_far and sizes.max(initial=0) > limit:
            raise NotEnoughDataError(
                f"{sizes.max():,.0f} examples: the largest measured training set has "
                f"{self.domain[1]:,.0f} and the law is trusted up to {limit:,.0f}: "
                f"measure at least {sizes.max() / MAX_EXTRAPOLATION:,.0f} examples, or allow far "
                "extrapolation"
            )
        return log_forecast(self.replicates.rows, sizes, self.domain[1])

    def _widening(self, sizes: Array, level: float) -> Array:
        """Widening factor (m,) of an interval at *sizes*, by how far beyond the data they are."""
        doublings = np.log2(np.maximum(sizes / self.domain[1], 1.0))
        return np.asarray(widening(doublings, level) * self.backtest_errors.at(doublings, level))


class LogCurves(NamedTuple):
    """Log draws of a curve: ``curves`` (replicates, m) and their ``median`` (m,)."""

    curves: Array
    median: Array


class Spread(NamedTuple):
    """Interval of one run's log value before widening: ``centre`` (m,), ``low``, ``high`` (levels, m)."""

    centre: Array
    low: Array
    high: Array

    def needed(self, logs: Array) -> Array:
        """Factor (levels, m) at which each interval would just cover *logs* (m,)."""
        off = logs - self.centre
        side = np.where(off < 0, self.centre - self.low, self.high - self.centre)
        return np.asarray(np.abs(off) / side)


def spread(logs: Array, noise: float, noise_at: float | None, levels: Sequence[float]) -> Spread:
    """Interval of one run's log value, from posterior draws *logs* (R, m); noises as in FittedLaw."""
    # The same standard normals on every machine and call: the interval has no noise of its own.
    normals = np.random.default_rng(0).standard_normal(len(logs))[:, None]
    centre = np.median(logs, axis=0)
    grown = 1.0 if noise_at is None else np.maximum(noise_at / np.exp(centre), 1.0)
    runs = logs + noise * grown * normals
    tails = [*((1 - p) / 2 for p in levels), *((1 + p) / 2 for p in levels)]
    low, high = np.split(np.quantile(runs, tails, axis=0), 2)
    return Spread(centre, low, high)


def law(parameters: Array, sizes: Array) -> Array:
    """Values (rows, m) of the law for parameter rows (E, A, D0, beta, ...) at *sizes* (m,); E + A at 0."""
    e, a, d0, beta = (parameters[..., i, None] for i in range(4))
    with np.errstate(divide="ignore", over="ignore"):
        rise = np.exp(beta * (np.log(sizes) - np.log(d0)))
    return np.asarray(e + a / (1 + rise))


def log_forecast(replicates: Array, sizes: Array, end: float) -> Array:
    """Log forecast (R, m) of the replicates (R, 5) at *sizes* (m,): the law up to *end*, less bent beyond."""
    logs = np.log(law(replicates, np.minimum(sizes, end)))
    beyond = sizes > end
    if beyond.any():
        ahead = sizes[beyond]
        bent = np.log(law(replicates, ahead)) - logs[:, beyond]
        straight = replicates[:, 4:] * np.log(ahead / end)
        logs[:, beyond] += BEND_WEIGHT * bent + (1 - BEND_WEIGHT) * straight
    return np.asarray(logs)


def replicates(data: Curves, posterior: Posterior, c: int) -> Array:
    """Posterior draws (R, 5) of curve *c* in the layout of :class:`FittedLaw`."""
    features = posterior.draws[c]
    return np.column_stack([parameters(features), _end_slopes(data, features, c)])


def parameters(features: Array) -> Array:
    """Parameters (E, A, D0, beta) of rows of features."""
    a = np.exp(features[:, 3])
    return np.column_stack(
        [a * np.exp(features[:, 2]), a, np.exp(features[:, 0]), np.exp(features[:, 1])]
    )


def _end_slopes(data: Curves, features: Array, c: int) -> Array:
    """Slopes d ln L / d ln D (R,) at the curve's end: tangent and measured slope, weighted by precision.

    The measured slope is that of the last two sizes. A tangent may be off by the drift of one doubling.
    """
    measured = np.flatnonzero(np.isfinite(data.sd[c]) & (data.sizes > 0))
    end = data.sizes[measured[-1] if len(measured) else -1]
    tangents = pooling.log_slope(features, end)
    if len(measured) < 2:
        return tangents
    last, before = measured[-1], measured[-2]
    gap = np.log(end / data.sizes[before])
    # The form never rises.
    measured_slope = min((data.logs[c, last] - data.logs[c, before]) / gap, 0.0)
    measured_var = (data.sd[c, last] ** 2 + data.sd[c, before] ** 2) / gap**2
    tangent_var = tangents.var() + (pooling.DRIFT / np.log(2)) ** 2
    share = tangent_var / (tangent_var + measured_var)
    normals = np.random.default_rng(2).standard_normal(len(tangents))
    return np.asarray(
        tangents + share * (measured_slope + np.sqrt(measured_var) * normals - tangents)
    )
