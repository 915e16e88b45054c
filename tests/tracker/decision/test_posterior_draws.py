"""What is read from joint draws of the candidates' qualities: shares, ties and paired gaps."""

from __future__ import annotations

import numpy as np
import pytest

from tracker.decision.posterior import Posterior, p_best


def posterior(draws: np.ndarray, floor: float | None = None) -> Posterior:
    """A posterior of (R, C) *draws* without any noise but a *floor*."""
    count, none = draws.shape[1], np.zeros_like(draws)
    return Posterior(
        mean=draws.mean(axis=0),
        measured=draws.mean(axis=0),
        draws=draws,
        rows=none,
        other_rows=none,
        seed_sd=np.zeros(count),
        sources=("measured",) * count,
        noise_floor=floor,
        unpaired=(),
    )


def test_a_tie_is_shared_and_all_shares_are_one() -> None:
    draws = np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 0.5]])
    assert p_best(draws).tolist() == [0.25, 0.75, 0.0]


def test_a_gap_is_paired() -> None:
    """Both vary by much, and together: their difference is sure."""
    common = np.random.default_rng(0).normal(0, 1, 4000)
    found = posterior(np.column_stack([common + 0.1, common])).gap(0, 1)
    assert (found.low, found.high) == pytest.approx((0.1, 0.1))


def test_a_gap_within_noise_is_a_tie() -> None:
    draws = np.tile([0.8, 0.79], (4000, 1))
    assert posterior(draws).distinguishable(0, 1)
    assert not posterior(draws, floor=0.03).distinguishable(0, 1)
    assert posterior(draws, floor=0.01).distinguishable(0, 1)
