"""Surrogate forecast at a size without a run, from curves of a known law."""

from __future__ import annotations

import numpy as np
import pytest

from tracker.laws.points import CurveRuns
from tracker.laws.surrogate import surrogate_forecast

VOLUMES = [200.0 * 2**i for i in range(6)]
TARGET = VOLUMES[-1]
NONE = np.zeros(0)


def loss(model: int, method: int, size: float) -> float:
    return float((0.5 + 1.5 / (1 + (size / 800) ** (0.5 - 0.1 * method))) * 0.9**model)


def curve(
    model: int, method: int, count: int, noise: float = 0.005, sd: float | None = None
) -> CurveRuns:
    """The runs of one configuration at the first *count* volumes; *sd*: known deviation of a run."""
    rng = np.random.default_rng([model, method])
    sizes = np.array(VOLUMES[:count]) if count else NONE
    true = np.array([loss(model, method, size) for size in sizes])
    groups = {"model": f"m{model}", "method": f"x{method}", "run": f"m{model} x{method}"}
    values = true * np.exp(noise * rng.standard_normal(len(sizes)))
    keys = tuple(f"{model}/{method}/{i}" for i in range(len(sizes)))
    return CurveRuns(sizes, values, keys, groups, 1e6 * 4.0**model, sd)


def sweep(count: int = 4, **options: float) -> list[CurveRuns]:
    """Three models by two methods; the last configuration has no run."""
    configurations = [(model, method) for model in range(3) for method in range(2)]
    return [
        curve(*configuration, count if configuration != (2, 1) else 0, **options)
        for configuration in configurations
    ]


def test_draws_are_where_the_truth_is() -> None:
    forecast = surrogate_forecast(sweep(), TARGET, VOLUMES)
    assert forecast.draws.shape[1] == 6
    true = [loss(model, method, TARGET) for model in range(3) for method in range(2)]
    assert forecast.draws.mean(axis=0)[:5] == pytest.approx(true[:5], rel=0.05)
    assert abs(forecast.draws[:, 5].mean() - true[5]) < 2 * forecast.draws[:, 5].std()
    assert forecast.draws[:, 5].std() > forecast.draws[:, :5].std(axis=0).max()


def test_doublings_are_infinite_without_a_run() -> None:
    forecast = surrogate_forecast(sweep(4), TARGET, VOLUMES)
    assert forecast.doublings.tolist() == [2.0] * 5 + [np.inf]


def test_a_run_on_more_data_resolves_more() -> None:
    resolved = surrogate_forecast(sweep(3), TARGET, VOLUMES).resolved
    assert resolved.shape == (6, 6)
    beyond = resolved[2:]  # from the largest measured size on
    assert (np.diff(beyond, axis=0) > -0.02).all()
    assert (beyond[-1] > beyond[0]).all()
    assert resolved.min() >= 0
    assert resolved.max() <= 1


def test_a_noisier_run_resolves_less() -> None:
    quiet, loud = (surrogate_forecast(sweep(3, sd=sd), TARGET, VOLUMES) for sd in (0.002, 0.1))
    assert loud.noise > 10 * quiet.noise
    assert (loud.resolved[-1] < quiet.resolved[-1]).all()


def test_errors_of_scores_have_a_forecast_too() -> None:
    forecast = surrogate_forecast(sweep(4), TARGET, VOLUMES, "score")
    true = [loss(model, method, TARGET) for model in range(3) for method in range(2)]
    assert forecast.draws.mean(axis=0)[:5] == pytest.approx(true[:5], rel=0.07)


def test_the_same_bytes_twice() -> None:
    first, again = (surrogate_forecast(sweep(2), TARGET, VOLUMES) for _ in range(2))
    assert first.draws.tobytes() == again.draws.tobytes()
    assert first.resolved.tobytes() == again.resolved.tobytes()
