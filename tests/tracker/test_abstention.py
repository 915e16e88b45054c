"""Risk-coverage curve and threshold, against counting by hand and known curves."""

from __future__ import annotations

import numpy as np
import pytest

from tracker.abstention import POINTS, at_recall, confidence, curve, threshold
from tracker.labels import share

NATS, RIGHT = [0.1, 0.9, 0.2, 0.2, 2.0], [1, 0, 1, 1, 1]


def test_points_are_counted_by_hand() -> None:
    kept = confidence(NATS, RIGHT, due=6)
    assert kept is not None
    assert kept.nats == (0.1, 0.2, 0.9, 2.0), "two answers as likely are kept together"
    assert kept.kept == (1, 3, 4, 5)
    assert kept.right == (1, 3, 3, 4)
    points = curve(kept)
    assert [p.coverage for p in points] == [0.2, 0.6, 0.8, 1]
    assert points[2].precision == share(3, 4)
    assert points[-1].recall == share(4, 6)


def test_precision_at_a_fixed_recall_is_that_of_the_fewest_answers() -> None:
    kept = confidence(NATS, RIGHT, due=6)
    assert kept is not None
    found = at_recall(curve(kept), 0.5)
    assert found is not None
    assert (found.kept, found.precision.value) == (3, 1)
    assert at_recall(curve(kept), 0.7) is None


def test_nothing_claimed_has_no_curve_and_nothing_due_no_recall() -> None:
    assert confidence([], [], due=3) is None
    kept = confidence([0.5], [0.0], due=0)
    assert kept is not None
    assert curve(kept)[0].recall is None


def test_a_curve_has_a_bounded_number_of_points() -> None:
    kept = confidence(np.linspace(0, 1, 5000), np.ones(5000), due=5000)
    assert kept is not None
    assert len(kept.kept) == POINTS
    assert kept.kept[0] == 250


def test_a_threshold_keeps_the_most_answers_that_are_surely_right() -> None:
    nats = np.arange(200) / 100
    kept = confidence(nats, nats < 1, due=200)
    assert kept is not None
    found = threshold("t", kept, 0.9)
    assert (found.kept, found.nats, found.coverage) == (100, 0.99, 0.5)
    assert found.found == share(100, 100)
    assert threshold("t", kept, 0.4).kept == 200, "all answers are right as often"
    assert threshold("t", kept, 0.999).nats is None


@pytest.mark.parametrize("wanted", [0.9, 0.95])
def test_a_threshold_holds_on_other_rows_in_nine_sweeps_of_ten(wanted: float) -> None:
    """Right with probability .99 exp(-.8 nats); the best point itself is wrong in half of them."""
    rng, false, naive, sweeps = np.random.default_rng(0), 0, 0, 200

    def right(nats: np.ndarray) -> np.ndarray:
        return np.asarray(rng.random(len(nats)) < 0.99 * np.exp(-0.8 * nats))

    many = np.sort(rng.exponential(0.5, 100_000))
    true = np.cumsum(right(many)) / np.arange(1, len(many) + 1)
    for _ in range(sweeps):
        nats = rng.exponential(0.5, 300)
        kept = confidence(nats, right(nats), due=300)
        assert kept is not None
        best = [p.nats for p in curve(kept) if p.precision.value >= wanted]
        for limit, surely in (
            (threshold("t", kept, wanted).nats, True),
            (max(best, default=None), False),
        ):
            if limit is not None and true[np.searchsorted(many, limit) - 1] < wanted:
                false += surely
                naive += not surely
    assert false / sweeps <= 0.15
    assert naive > 2 * false
