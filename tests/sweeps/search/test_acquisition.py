"""The knowledge gradient against known answers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sweeps.search.acquisition import knowledge_gradient
from tracker.decision.forecast_posterior import ForecastPosterior
from tracker.laws.surrogate import SurrogateForecast


def posterior(mean: list[float], allowed: list[float] | None = None) -> ForecastPosterior:
    means, nothing = np.array(mean), np.zeros(len(mean))
    seen = SurrogateForecast(nothing, nothing[None], nothing[None], nothing, 0.0)
    return ForecastPosterior(
        means[None], means, nothing, np.array(allowed or [1.0] * len(mean)), seen
    )


def test_between_equals_it_is_the_mean_of_a_half_normal() -> None:
    found = knowledge_gradient(posterior([0.5, 0.5]), 0, sd=0.1)
    assert found == pytest.approx(0.1 / math.sqrt(2 * math.pi))


def test_it_is_the_expected_rise_of_the_best() -> None:
    """Against draws: the challenger at 0.4 ± 0.2 overtakes the leader at 0.5 now and then."""
    learned = np.random.default_rng(0).normal(0.4, 0.2, 1_000_000)
    rise = float(np.maximum(learned, 0.5).mean()) - 0.5
    assert knowledge_gradient(posterior([0.4, 0.5]), 0, sd=0.2) == pytest.approx(rise, rel=0.01)


def test_what_cannot_win_is_worth_nothing() -> None:
    assert knowledge_gradient(posterior([0.1, 0.9]), 0, sd=0.02) == pytest.approx(0.0, abs=1e-12)
    assert knowledge_gradient(posterior([0.5, 0.5]), 0, sd=0.0) == 0.0


def test_it_counts_by_the_chance_to_keep_the_constraints() -> None:
    half = knowledge_gradient(posterior([0.5, 0.5], [0.5, 1.0]), 0, sd=0.1)
    assert half == pytest.approx(0.5 * knowledge_gradient(posterior([0.5, 0.5]), 0, sd=0.1))
