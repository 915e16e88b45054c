"""Backtest errors at the ends of a sweep's curves, and the widening of its intervals by them."""

from __future__ import annotations

import numpy as np
import pytest

from tracker.laws import pooling
from tracker.laws.backtest import BacktestErrors, CurveEnds
from tracker.laws.fitted_law import spread
from tracker.laws.fitting import JointFit, fit_curves
from tracker.laws.points import CurveRuns
from tracker.laws.pooling import Array
from tracker.laws.prior import LEVELS, widening

SIZES = 200.0 * 2.0 ** np.arange(7)
FEATURES = np.array([7.0, np.log(0.5), np.log(0.3), 0.5])
SCATTER = np.array([0.4, 0.1, 0.15, 0.05])
NOISE = 0.01


def ends(times: float, doublings: float, count: int) -> CurveEnds:
    """Ends at a half-normal's quantiles, in units of *times* the recorded widening."""
    far = np.full(count, doublings)
    shares = np.arange(1, count + 1) / (count + 1)
    recorded = np.array([widening(far, p) for p in LEVELS])
    return CurveEnds(times * recorded * shares / np.array(LEVELS)[:, None], far)


def log_losses(count: int = 24, seed: int = 0) -> Array:
    """ln L (count, 7) of curves of one population, runs' noise included."""
    rng = np.random.default_rng(seed)
    features = FEATURES + SCATTER * rng.standard_normal((count, 4))
    return pooling.log_law(features, SIZES) + NOISE * rng.standard_normal((count, len(SIZES)))


def fitted(logs: Array, noise: float) -> JointFit:
    """Fitted to all sizes but the last two; *noise*: what the fit takes a run's log noise for."""
    cut = SIZES[:-2]
    values = [np.exp(row[:-2]) for row in logs]
    return fit_curves(
        [
            CurveRuns(cut, y, tuple(map(str, cut)), {}, noise_sd=noise * float(np.median(y)))
            for y in values
        ]
    )


@pytest.mark.parametrize("times", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("doublings", [1.0, 3.0])
def test_the_ratio_is_that_at_which_the_ends_would_have_been_covered(
    times: float, doublings: float
) -> None:
    backtest_errors = BacktestErrors.of(ends(times, doublings, 39))
    assert backtest_errors.count == 39
    assert backtest_errors.ratios == pytest.approx([times] * len(LEVELS))


def test_few_ends_are_not_used() -> None:
    assert BacktestErrors.of(ends(3.0, 1.0, 7)) == BacktestErrors()
    assert BacktestErrors.of(CurveEnds.none()) == BacktestErrors()
    assert BacktestErrors().at(np.array([0.0, 1.0, 9.0]), 0.8) == pytest.approx(1.0)


def test_backtest_errors_count_most_near_the_data() -> None:
    backtest_errors = BacktestErrors.of(ends(2.0, 1.0, 30))
    within, near, farther, far = backtest_errors.at(np.array([0.0, 1.0, 3.0, 60.0]), 0.8)
    assert within == 1.0
    assert near == pytest.approx(2.0 ** (30 / 31))
    assert 1.0 < far < farther < near
    assert far == pytest.approx(1.0, abs=0.01)


def test_overstated_noise_narrows_the_intervals() -> None:
    """Four times the true noise: intervals still cover as often as they say."""
    logs = log_losses()
    fit = fitted(logs, 4 * NOISE)
    covered = []
    for law, row in zip(fit.laws, logs, strict=True):
        assert law is not None
        assert max(law.backtest_errors.ratios) < 0.7
        predicted = law.predict(SIZES[-2])
        covered.append(bool(predicted.low[0] <= np.exp(row[-2]) <= predicted.high[0]))
    assert 0.6 <= np.mean(covered) <= 0.96


def test_a_bend_off_the_law_widens_the_intervals() -> None:
    """Half the curves stop falling, the others fall faster, at the last size that is known."""
    logs = log_losses()
    turned = np.where(np.arange(len(logs)) % 2, 0.15, -0.15)
    logs[:, -3] += turned
    plain, bent = (fitted(rows, NOISE).laws[0] for rows in (log_losses(), logs))
    assert plain is not None
    assert bent is not None
    assert min(bent.backtest_errors.ratios) > 1.5 * max(plain.backtest_errors.ratios)


def test_noise_known_in_units_of_the_value_grows_in_logs_as_values_fall() -> None:
    """A run's deviation of 0.01 is 5 % of 0.2 and 50 % of 0.02; above where it is known it stays."""
    for value, log_sd in ((0.2, 0.05), (0.02, 0.5), (0.8, 0.05)):
        draws = np.full((4000, 1), np.log(value))
        predicted = spread(draws, noise=0.05, noise_at=0.2, levels=(0.6827,))
        assert (predicted.high - predicted.low)[0, 0] / 2 == pytest.approx(log_sd, rel=0.05)
    constant = spread(draws, noise=0.05, noise_at=None, levels=(0.6827,))
    assert (constant.high - constant.low)[0, 0] / 2 == pytest.approx(0.05, rel=0.05)


def test_fits_without_held_out_points_take_the_recorded_widening() -> None:
    logs = log_losses()
    curves = [CurveRuns(SIZES, np.exp(row), tuple(map(str, SIZES)), {}) for row in logs]
    fit = fit_curves(curves, held_out=False)
    assert all(law is not None and law.backtest_errors == BacktestErrors() for law in fit.laws)
    assert not len(fit.ends.doublings)
