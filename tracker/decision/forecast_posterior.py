"""Posterior of every configuration's quality at its largest training-set size, as a search has it.

:mod:`tracker.decision.posterior` recommends among what was measured; this one says what a search may expect,
also of a configuration without a run: joint draws from the surrogate forecast.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tracker.decision.posterior import expected_regret
from tracker.laws.points import CurveRuns
from tracker.laws.pooling import Array
from tracker.laws.surrogate import SurrogateForecast

_CAUTION = 0.7  # deviations


class ForecastPosterior(NamedTuple):
    """Quality at the largest volume: ``draws`` (R, C), their ``mean`` and ``sd`` (C,), ``allowed`` (C,)
    the probability that a configuration keeps the constraints; ``forecast``: where it comes from.
    """

    draws: Array
    mean: Array
    sd: Array
    allowed: Array
    forecast: SurrogateForecast

    @property
    def value(self) -> Array:
        """What is chosen by; a configuration that is likely to break a constraint is out.

        The best of many forecasts is more often lucky than good, so a forecast counts less its caution.
        """
        return np.where(self.allowed >= 0.5, self.mean - _CAUTION * self.sd, -np.inf)

    @property
    def expected_regret(self) -> float:
        """Mean over draws of what the choice loses against the best of the allowed."""
        value = self.value
        among = np.flatnonzero(np.isfinite(value))
        return expected_regret(self.draws, int(value.argmax()), among) if len(among) else 0.0

    @property
    def noise_floor(self) -> float:
        """Deviation between runs of the choice, in units of quality."""
        typical = np.median(self.forecast.draws[:, self.value.argmax()])
        return float(abs(self.forecast.noise * typical))


def forecast_posterior(
    forecast: SurrogateForecast, curves: Sequence[CurveRuns], allowed: Array, *, scores: bool
) -> ForecastPosterior:
    """The posterior that *forecast* of *curves* comes to; *scores*: their values are errors of scores.

    *allowed* (C,): the probability that a configuration keeps the constraints.
    """
    errors = as_measured(forecast, curves)
    draws = 1 - errors if scores else -errors
    return ForecastPosterior(draws, draws.mean(axis=0), draws.std(axis=0), allowed, forecast)


def as_measured(forecast: SurrogateForecast, curves: Sequence[CurveRuns]) -> Array:
    """The forecast's draws (R, C); of what was run at the target its own runs alone speak."""
    draws = forecast.draws.copy()
    normals = np.random.default_rng(3).standard_normal(draws.shape)
    for c, curve in enumerate(curves):
        own = curve.values[curve.sizes == forecast.size[c]]
        if len(own):
            spread = forecast.noise / math.sqrt(len(own)) * normals[:, c]
            draws[:, c] = np.exp(np.log(own).mean() + spread)
    return draws
