"""Prices learned from trials whose prices are known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from sweeps.search.cost_model import learned_cost_model
from sweeps.search.strategies.strategy import Outcome
from tracker.trial import Status

MILLIONS = {"small": 10.0, "medium": 40.0, "large": 160.0}
VOLUMES = (500, 2000, 8000, 32000)


def outcome(
    model: str, volume: int, seconds: float | None, method: str = "full", number: int = 0
) -> Outcome:
    values = {"model": model, "method": method, "mix": "even", "volume": volume}
    return Outcome(number, "law", values, Status.COMPLETE, 0.5, None, None, seconds)


def seconds(model: str, volume: int) -> float:
    """3 s to start, 1.5 ms an example, 0.2 s a million parameters, 0.05 s per 10^9 N D."""
    n, d = MILLIONS[model], volume / 1e3
    return 3.0 + 1.5 * d + 0.2 * n + 0.05 * n * d


def told(spread: float = 0.0) -> list[Outcome]:
    rng = np.random.default_rng(0)
    return [
        outcome(model, volume, seconds(model, volume) * np.exp(spread * rng.standard_normal()))
        for model, volume in itertools.product(MILLIONS, VOLUMES)
    ]


def test_known_terms_are_recovered() -> None:
    found = learned_cost_model(told(), MILLIONS)
    assert found[:4] == pytest.approx((3.0, 1.5, 0.2, 0.05))


def test_a_trial_nobody_ran_is_priced() -> None:
    cheap = [o for o in told(0.05) if o.values["model"] != "large"]
    price = learned_cost_model(cheap, MILLIONS).seconds({"model": "large", "volume": 64000})
    assert price == pytest.approx(seconds("large", 64000), rel=0.25)


def test_relative_errors_count() -> None:
    """The longest trials do not decide alone: the shortest are foretold as well."""
    found = learned_cost_model(told(0.1), MILLIONS)
    for model, volume in itertools.product(MILLIONS, VOLUMES):
        price = found.seconds({"model": model, "volume": volume})
        assert price == pytest.approx(seconds(model, volume), rel=0.25)


def test_before_four_trials_it_is_parameters_times_examples() -> None:
    few = learned_cost_model(told()[:3], MILLIONS)
    small = few.seconds({"model": "small", "volume": 1000})
    assert few.seconds({"model": "large", "volume": 2000}) == pytest.approx(32 * small)
    assert learned_cost_model(told()[:4], MILLIONS) != few


def test_bases_and_what_took_no_time_say_nothing() -> None:
    silent = [
        outcome("small", 0, 1.0, method="none"),
        outcome("small", 500, None),
        outcome("small", 500, 0.0),
    ]
    assert learned_cost_model([*told(), *silent], MILLIONS) == learned_cost_model(told(), MILLIONS)


def test_no_term_is_negative_and_no_price_is_0() -> None:
    """Seconds that fall with the size: least squares would have a negative slope."""
    odd = [outcome(m, v, 1e3 / MILLIONS[m]) for m, v in itertools.product(MILLIONS, VOLUMES)]
    for found in (learned_cost_model(odd, MILLIONS), learned_cost_model([], MILLIONS)):
        assert min(found[:4]) >= 0
        assert found.seconds({"model": "small"}) > 0
        assert found.seconds({"model": "large", "volume": 0}) > 0


def test_what_a_stopped_trial_took_until_then_is_no_price() -> None:
    stopped = outcome("large", 32000, 1.0)._replace(status=Status.PRUNED)
    assert learned_cost_model([*told(), stopped], MILLIONS) == learned_cost_model(told(), MILLIONS)
