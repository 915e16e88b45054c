"""Response surface on sweeps of a known shape."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tracker.decision.response_surface import factors, fit_surface, leave_one_out, log_evidence
from tracker.results import by_configuration
from tracker.trial import TrialRecord

Make = Callable[..., TrialRecord]
VOLUMES = (125, 250, 500, 1000, 2000)


def _grid(record: Make, score: Callable[[str, str, int], float]) -> list[TrialRecord]:
    return [
        record(
            model=model,
            method=method,
            volume=volume,
            scores={"intent": score(model, method, volume)},
        )
        for model in ("small", "large")
        for method in ("full", "lora")
        for volume in VOLUMES
    ]


def _smooth(model: str, method: str, volume: int) -> float:
    """Additive over model, method and volume: every configuration is predicted by the others."""
    shift = {"small": 0.0, "large": 0.1}[model] + {"full": 0.05, "lora": 0.0}[method]
    return 0.4 + shift + 0.06 * VOLUMES.index(volume)


def test_leave_one_out_is_the_refit_without_it() -> None:
    rng = np.random.default_rng(0)
    root = rng.normal(size=(5, 8))
    covariance = root @ root.T
    y = rng.normal(size=5)
    y -= y.mean()
    found = leave_one_out(covariance, y)
    rest = np.arange(1, 5)
    weights = np.linalg.solve(covariance[np.ix_(rest, rest)], covariance[rest, 0])
    assert found.expected[0] == pytest.approx(weights @ y[rest])
    variance = covariance[0, 0] - weights @ covariance[rest, 0]
    assert found.sd[0] == pytest.approx(np.sqrt(variance))


def test_configurations_with_neighbours_are_predicted_closely(record: Make) -> None:
    configurations = by_configuration(_grid(record, _smooth))
    y = np.array(
        [_smooth(c.spec.model.name, c.spec.method.name, c.spec.volume) for c in configurations]
    )
    noise = np.eye(len(y)) * 0.01**2
    surface = fit_surface(factors(configurations), y, noise)
    missed = leave_one_out(surface.covariance + noise, y, surface.mean)
    assert np.abs(y - missed.expected).max() < 0.03
    assert np.sqrt(surface.nugget.max()) < 0.02


def test_errors_that_multiply_above_a_floor_are_likelier_on_the_log_scale(record: Make) -> None:
    """Each factor does less where the others have done much: on the plain scale all have to interact."""

    def score(model: str, method: str, volume: int) -> float:
        size = {"small": 1.0, "large": 0.5}[model] * {"full": 0.6, "lora": 1.0}[method]
        return 1 - 0.1 - 0.6 * size * float((125 / volume) ** 0.5)

    configurations = by_configuration(_grid(record, score))
    truth = np.array(
        [score(c.spec.model.name, c.spec.method.name, c.spec.volume) for c in configurations]
    )
    y = truth + 0.01 * np.random.default_rng(2).normal(size=len(truth))
    similarities, noise = factors(configurations), np.eye(len(y)) * 0.01**2
    assert (
        log_evidence(similarities, y, noise, ceiling=1.0) > log_evidence(similarities, y, noise) + 2
    )
    surface = fit_surface(similarities, y, noise, ceiling=1.0, robust=False)
    centre = surface.mean + surface.covariance @ np.linalg.solve(
        surface.covariance + noise, y - surface.mean
    )
    assert np.sqrt(np.mean((centre - truth) ** 2)) < 0.008


def test_a_perfect_score_keeps_its_place(record: Make) -> None:
    """An error of 0 has no logarithm: it is taken for what the noise could have made of none."""
    configurations = by_configuration(_grid(record, _smooth))
    y = np.array(
        [_smooth(c.spec.model.name, c.spec.method.name, c.spec.volume) for c in configurations]
    )
    y += 1 - y.max()
    noise = np.eye(len(y)) * 0.01**2
    surface = fit_surface(factors(configurations), y, noise, ceiling=1.0, robust=False)
    assert np.isfinite(surface.mean).all()
    off = np.linalg.solve(surface.covariance + noise, y - surface.mean)
    assert np.abs(surface.mean + surface.covariance @ off - y).max() < 0.03


def test_the_values_of_a_law_are_likelier_than_with_two_exchanged(record: Make) -> None:
    configurations = by_configuration(_grid(record, _smooth))
    y = np.array(
        [_smooth(c.spec.model.name, c.spec.method.name, c.spec.volume) for c in configurations]
    )
    noise = np.eye(len(y)) * 0.01**2
    other = y.copy()
    best, worst = y.argmax(), y.argmin()
    other[[best, worst]] = y[[worst, best]]
    similarities = factors(configurations)
    assert (
        log_evidence(similarities, y, noise, ceiling=1.0)
        > log_evidence(similarities, other, noise, ceiling=1.0) + 5
    )


def test_variation_unrelated_to_neighbours_goes_to_the_nugget(record: Make) -> None:
    """Values without any pattern: each cell's own variance takes them, or a surface as rough."""
    configurations = by_configuration(_grid(record, _smooth))
    y = 0.6 + 0.1 * np.random.default_rng(1).normal(size=len(configurations))
    noise = np.eye(len(y)) * 0.001**2
    surface = fit_surface(factors(configurations), y, noise)
    assert np.median(leave_one_out(surface.covariance + noise, y).sd) > 0.05


def test_factors_in_which_all_are_equal_are_left_out(record: Make) -> None:
    configurations = by_configuration([record(volume=volume) for volume in VOLUMES])
    similarities = factors(configurations)
    assert not similarities.similarity
    assert similarities.volume is not None
    assert similarities.volume[0, 1] == pytest.approx(-similarities.volume[1, 0])


def test_a_learning_rate_is_compared_with_rates_of_the_same_method(record: Make) -> None:
    """LoRA at ten times the rates of full tuning: the middle ones are alike in this factor."""
    rates = {"full": (1e-4, 1e-3, 1e-2), "lora": (1e-3, 1e-2, 1e-1)}
    configurations = by_configuration(
        [record(method=m, rate=r) for m, all_of in rates.items() for r in all_of]
    )
    position = {
        (c.spec.method.name, c.spec.method.learning_rate): i for i, c in enumerate(configurations)
    }
    similarity = factors(configurations).similarity["rate"]
    middle = position["full", 1e-3]
    assert similarity[middle, position["lora", 1e-2]] == pytest.approx(1.0)
    assert similarity[middle, position["lora", 1e-1]] < 0.5
