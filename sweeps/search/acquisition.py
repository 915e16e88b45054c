"""What the strategy ``law`` believes of every configuration, and what learning more of one is worth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import norm

from tracker.laws.points import CurveRuns
from tracker.laws.pooling import Array
from tracker.laws.surrogate import SurrogateForecast

_CAUTION = 0.7  # deviations


class ForecastPosterior(NamedTuple):
    """Quality at the largest volume: ``draws`` (R, C), their ``mean`` and ``sd`` (C,), ``allowed`` (C,)
    the probability that a configuration keeps the constraints; ``outlook``: where it comes from.
    """

    draws: Array
    mean: Array
    sd: Array
    allowed: Array
    outlook: SurrogateForecast

    @property
    def value(self) -> Array:
        """What is chosen by; a configuration that is likely to break a constraint is out.

        The best of many forecasts is more often lucky than good, so a forecast counts less its caution.
        """
        return np.where(self.allowed >= 0.5, self.mean - _CAUTION * self.sd, -np.inf)

    @property
    def expected_regret(self) -> float:
        """Mean over draws of what the choice loses against the best of the allowed."""
        draws = self.draws[:, np.isfinite(self.value)]
        chosen = self.draws[:, self.value.argmax()]
        return float((draws.max(axis=1) - chosen).mean()) if draws.size else 0.0

    @property
    def noise_floor(self) -> float:
        """Deviation between runs of the choice, in units of quality."""
        return float(
            abs(self.outlook.noise * np.median(self.outlook.draws[:, self.value.argmax()]))
        )


def as_measured(seen: SurrogateForecast, curves: Sequence[CurveRuns]) -> Array:
    """The outlook's draws (R, C); of what was run at the target its own runs alone speak."""
    draws = seen.draws.copy()
    normals = np.random.default_rng(3).standard_normal(draws.shape)
    for c, curve in enumerate(curves):
        own = curve.values[curve.sizes == seen.size[c]]
        if len(own):
            spread = seen.noise / math.sqrt(len(own)) * normals[:, c]
            draws[:, c] = np.exp(np.log(own).mean() + spread)
    return draws


def knowledge_gradient(belief: ForecastPosterior, config: int, sd: float) -> float:
    """By how much the best expected quality should rise once *config*'s is known *sd* better."""
    if sd <= 0:
        return 0.0
    others = np.delete(belief.mean, config)[np.delete(belief.allowed, config) >= 0.5]
    if not len(others):
        return float(sd)
    z = -abs(belief.mean[config] - others.max()) / sd
    return float(belief.allowed[config] * sd * (norm.pdf(z) + z * norm.cdf(z)))
