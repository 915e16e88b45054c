"""What is recorded of other people's fine-tunes, and how it is read."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tracker.laws.prior import FILE, doublings_outside, prior, widening

RECORDED = json.loads(FILE.read_text(encoding="utf-8"))["widening"]
LEVELS, DOUBLINGS = RECORDED["levels"], RECORDED["doublings"]
FACTORS = np.array(RECORDED["factors"])


def factor(doublings: float, level: float) -> float:
    (found,) = widening(np.array([doublings]), level)
    return float(found)


def test_recorded_levels_and_doublings_are_given_back() -> None:
    for level, row in zip(LEVELS, FACTORS, strict=True):
        assert widening(np.array(DOUBLINGS, dtype=float), level) == pytest.approx(row)


def test_between_doublings_it_is_linear() -> None:
    for level, row in zip(LEVELS, FACTORS, strict=True):
        halfway = np.array(DOUBLINGS[:-1]) + 0.5
        assert widening(halfway, level) == pytest.approx((row[1:] + row[:-1]) / 2)


def test_between_levels_it_is_linear() -> None:
    for i in range(len(LEVELS) - 1):
        level = 0.75 * LEVELS[i] + 0.25 * LEVELS[i + 1]
        want = 0.75 * FACTORS[i] + 0.25 * FACTORS[i + 1]
        assert widening(np.array(DOUBLINGS, dtype=float), level) == pytest.approx(want)


def test_outside_the_records_the_nearest_counts() -> None:
    assert factor(DOUBLINGS[-1] + 30, LEVELS[0]) == FACTORS[0][-1]
    assert factor(1, 0.01) == pytest.approx(FACTORS[0][1])
    assert factor(1, 0.999) == pytest.approx(FACTORS[-1][1])


def test_an_interval_is_never_narrowed_and_widens_with_distance() -> None:
    far = np.linspace(0, 12, 49)
    for level in np.linspace(0.05, 0.99, 20):
        found = widening(far, float(level))
        assert found[0] == pytest.approx(1.0), "within the data nothing is widened"
        assert (np.diff(found) >= -1e-12).all()


@pytest.mark.parametrize("measure", ["loss", "bits_per_byte", "loss_nats", "score"])
def test_priors_are_populations(measure: str) -> None:
    start = prior(measure)
    assert start.mean.shape == (2, 4)
    assert start.cov == pytest.approx(start.cov.T)
    assert (np.linalg.eigvalsh(start.cov) > 0).all()


@pytest.mark.parametrize(
    ("value", "far"),
    [(10, 0), (40, 0), (80, 1), (160, 2), (5, 1), (0, float("inf"))],
)
def test_a_distance_is_in_doublings_either_way(value: float, far: float) -> None:
    assert doublings_outside(value, (10, 40)) == far


def test_beyond_nothing_everything_is_far() -> None:
    assert doublings_outside(0.01, (0, 0)) == float("inf")
    assert doublings_outside(0, (0, 0)) == 0
