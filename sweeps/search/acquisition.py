"""Acquisition value of a further trial: what learning more of one configuration is worth."""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from tracker.decision.forecast_posterior import ForecastPosterior


def knowledge_gradient(posterior: ForecastPosterior, config: int, sd: float) -> float:
    """By how much the best expected quality should rise once *config*'s is known *sd* better.

    Frazier, Powell and Dayanik, INFORMS J. Computing 21, 2009, for one configuration at a time.
    """
    if sd <= 0:
        return 0.0
    others = np.delete(posterior.mean, config)[np.delete(posterior.allowed, config) >= 0.5]
    if not len(others):
        return float(sd)
    z = -abs(posterior.mean[config] - others.max()) / sd
    return float(posterior.allowed[config] * sd * (norm.pdf(z) + z * norm.cdf(z)))
