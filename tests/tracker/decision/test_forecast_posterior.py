"""Forecast posterior on draws with known answers."""

from __future__ import annotations

import numpy as np
import pytest

from tracker.decision.forecast_posterior import ForecastPosterior, forecast_posterior
from tracker.laws.points import CurveRuns
from tracker.laws.surrogate import SurrogateForecast

RUNS = 4000


def forecast(errors: list[float], noise: float) -> SurrogateForecast:
    """Log-normal draws of errors with deviation 0.1, all at 100 examples."""
    normals = np.random.default_rng(0).standard_normal((RUNS, len(errors)))
    draws = np.array(errors) * np.exp(0.1 * normals)
    nothing = np.zeros(len(errors))
    return SurrogateForecast(nothing + 100.0, draws, nothing[None], nothing, noise)


def curve(*values: float, size: float = 100.0) -> CurveRuns:
    keys = tuple(str(i) for i in range(len(values)))
    return CurveRuns(np.full(len(values), size), np.array(values), keys, {})


def posterior(allowed: list[float] | None = None) -> ForecastPosterior:
    curves = [curve(), curve(0.18, 0.18, 0.18, 0.18), curve(0.5, size=50.0)]
    seen = forecast([0.2, 0.2, 0.4], noise=0.02)
    chances = np.array(allowed or [1.0, 1.0, 1.0])
    return forecast_posterior(seen, curves, chances, perfect=1.0)


def test_runs_at_the_target_size_replace_the_forecast() -> None:
    found = posterior()
    assert found.mean == pytest.approx([0.8, 0.82, 0.6], abs=0.005)
    assert found.sd == pytest.approx([0.02, 0.18 * 0.02 / 2, 0.04], rel=0.1)


def test_a_sure_configuration_comes_before_an_unsure_one_of_equal_quality() -> None:
    found = posterior()
    assert int(found.value.argmax()) == 1
    assert found.noise_floor == pytest.approx(0.02 * 0.2, rel=0.05), "in units of quality"
    assert 0 < found.expected_regret < 0.02


def test_what_is_likely_to_break_a_constraint_is_out() -> None:
    found = posterior([1.0, 0.4, 1.0])
    assert int(found.value.argmax()) == 0
    assert found.value[1] == -np.inf
    assert found.expected_regret < 1e-3, "only the allowed count"


def test_losses_are_better_the_lower_they_are() -> None:
    seen = forecast([2.0, 1.0], noise=0.02)
    found = forecast_posterior(seen, [curve(), curve()], np.ones(2), perfect=0.0)
    assert found.mean == pytest.approx([-2.0, -1.0], rel=0.02)
    assert int(found.value.argmax()) == 1
