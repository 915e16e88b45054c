"""Forecast posterior for a search: quality of every configuration at its largest training-set size.

:mod:`tracker.decision.posterior` serves recommendations among measured configurations. This one also covers
configurations without a run: joint draws from the surrogate forecast.
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
    """Joint posterior of the quality of C configurations at their largest training-set size.

    ``draws`` (R, C), their ``mean`` and ``sd`` (C,). ``allowed`` (C,): probability that a configuration keeps
    the constraints. ``forecast``: the surrogate forecast it is made from.
    """

    draws: Array
    mean: Array
    sd: Array
    allowed: Array
    forecast: SurrogateForecast

    @property
    def value(self) -> Array:
        """Lower confidence value by which the choice is made; -inf where a constraint is likely broken.

        The best of many forecasts is more often lucky than good, so each is lowered by some deviations.
        """
        return np.where(self.allowed >= 0.5, self.mean - _CAUTION * self.sd, -np.inf)

    @property
    def expected_regret(self) -> float:
        """Expected loss of the choice against the best of the allowed configurations."""
        value = self.value
        among = np.flatnonzero(np.isfinite(value))
        return expected_regret(self.draws, int(value.argmax()), among) if len(among) else 0.0

    @property
    def noise_floor(self) -> float:
        """Standard deviation between runs of the choice, in units of quality."""
        typical = np.median(self.forecast.draws[:, self.value.argmax()])
        return float(abs(self.forecast.noise * typical))


def forecast_posterior(
    forecast: SurrogateForecast, curves: Sequence[CurveRuns], allowed: Array, *, perfect: float
) -> ForecastPosterior:
    """Posterior from the *forecast* of *curves*, whose values are the *perfect* quality less the quality.

    *allowed* (C,): the probability that a configuration keeps the constraints.
    """
    draws = perfect - measured_or_forecast(forecast, curves)
    return ForecastPosterior(draws, draws.mean(axis=0), draws.std(axis=0), allowed, forecast)


def measured_or_forecast(forecast: SurrogateForecast, curves: Sequence[CurveRuns]) -> Array:
    """Draws (R, C) of the forecast; of configurations run at the target size, of their runs alone."""
    draws = forecast.draws.copy()
    normals = np.random.default_rng(3).standard_normal(draws.shape)
    for c, curve in enumerate(curves):
        measured = curve.values[curve.sizes == forecast.size[c]]
        if len(measured):
            spread = forecast.noise / math.sqrt(len(measured)) * normals[:, c]
            draws[:, c] = np.exp(np.log(measured).mean() + spread)
    return draws
