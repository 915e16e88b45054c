"""Cost model: fitted to trials of known cost."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from sweeps.search.cost_model import learned_cost_model
from sweeps.search.space import untouched_base
from sweeps.search.strategies.strategy import Outcome, seconds_taken
from tracker.trial import Configuration, MethodSpec, Status

Took = list[tuple[Configuration, float]]
MILLIONS = {"small": 10.0, "medium": 40.0, "large": 160.0}
VOLUMES = (500, 2000, 8000, 32000)


def at(model: str, volume: int | None) -> Configuration:
    return Configuration(model, MethodSpec(name="full"), "even", volume)


def seconds(model: str, volume: int) -> float:
    """3 s to start, 1.5 ms an example, 0.2 s a million parameters, 0.05 s per 10^9 N D."""
    n, d = MILLIONS[model], volume / 1e3
    return 3.0 + 1.5 * d + 0.2 * n + 0.05 * n * d


def took(spread: float = 0.0) -> Took:
    rng = np.random.default_rng(0)
    return [
        (at(model, volume), seconds(model, volume) * np.exp(spread * rng.standard_normal()))
        for model, volume in itertools.product(MILLIONS, VOLUMES)
    ]


def test_known_terms_are_recovered() -> None:
    found = learned_cost_model(took(), MILLIONS)
    assert found[:4] == pytest.approx((3.0, 1.5, 0.2, 0.05))


def test_a_trial_nobody_ran_is_priced() -> None:
    cheap = [each for each in took(0.05) if each[0].model != "large"]
    price = learned_cost_model(cheap, MILLIONS).seconds(at("large", 64000))
    assert price == pytest.approx(seconds("large", 64000), rel=0.25)


def test_relative_errors_count() -> None:
    """The longest trials do not decide alone: the shortest are predicted as well."""
    found = learned_cost_model(took(0.1), MILLIONS)
    for model, volume in itertools.product(MILLIONS, VOLUMES):
        assert found.seconds(at(model, volume)) == pytest.approx(seconds(model, volume), rel=0.25)


def test_before_four_trials_it_is_parameters_times_examples() -> None:
    few = learned_cost_model(took()[:3], MILLIONS)
    small = few.seconds(at("small", 1000))
    assert few.seconds(at("large", 2000)) == pytest.approx(32 * small)
    assert learned_cost_model(took()[:4], MILLIONS) != few


def test_no_term_is_negative_and_no_price_is_0() -> None:
    """Seconds that fall with the size: least squares would have a negative slope."""
    odd = [(at(m, v), 1e3 / MILLIONS[m]) for m, v in itertools.product(MILLIONS, VOLUMES)]
    for found in (learned_cost_model(odd, MILLIONS), learned_cost_model([], MILLIONS)):
        assert min(found[:4]) >= 0
        assert found.seconds(at("small", None)) > 0
        assert found.seconds(at("large", 0)) > 0


def outcome(configuration: Configuration, seconds: float | None, status: Status) -> Outcome:
    return Outcome(0, "law", configuration, 0, status, 0.5, None, None, seconds)


def test_bases_and_what_took_no_time_say_nothing() -> None:
    silent = [
        outcome(untouched_base("small"), 1.0, Status.COMPLETE),
        outcome(at("small", 500), None, Status.COMPLETE),
        outcome(at("small", 500), 0.0, Status.COMPLETE),
    ]
    ran = outcome(at("small", 500), 2.0, Status.COMPLETE)
    assert seconds_taken([*silent, ran]) == [(at("small", 500), 2.0)]


@pytest.mark.parametrize("status", [s for s in Status if s is not Status.COMPLETE])
def test_what_a_trial_took_that_ended_early_is_no_price(status: Status) -> None:
    assert seconds_taken([outcome(at("large", 32000), 1.0, status)]) == []
