"""Distances from what was measured."""

import pytest

from tracker.laws.distance import doublings


@pytest.mark.parametrize(
    ("asked", "far"),
    [(10, 0), (40, 0), (80, 1), (160, 2), (5, 1), (0, float("inf"))],
)
def test_a_distance_is_in_doublings_either_way(asked: float, far: float) -> None:
    assert doublings(asked, (10, 40)) == far


def test_beyond_nothing_everything_is_far() -> None:
    assert doublings(0.01, (0, 0)) == float("inf")
    assert doublings(0, (0, 0)) == 0
