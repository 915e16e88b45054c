from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq

from tests.factories import fit_curve
from tracker.laws.crossover import CrossoverFit, crossover_of_curves, p_ahead
from tracker.laws.fitted_law import FittedLaw, law

SIZES = np.array([125, 250, 500, 1000, 2000, 4000.0])
QUICK, DEEP = np.array([[0.3, 0.5, 150, 1.0]]), np.array([[0.1, 0.7, 400, 1.0]])


def _fit(truth: np.ndarray, seed: int = 0):  # type: ignore[no-untyped-def, type-arg]
    noise = 0.01 * np.random.default_rng(seed).standard_normal(len(SIZES))
    return fit_curve(SIZES, law(truth, SIZES)[0] * np.exp(noise))


def crossover(first: FittedLaw, second: FittedLaw) -> CrossoverFit:
    """Crossover of two laws over the measured sizes."""
    sizes = np.geomspace(SIZES[0], SIZES[-1], 257)
    return crossover_of_curves(first.curves(sizes), second.curves(sizes), sizes)


def test_finds_where_two_known_laws_cross() -> None:
    at = brentq(lambda d: (law(QUICK, np.array([d])) - law(DEEP, np.array([d])))[0, 0], 125, 4000)
    found = crossover(_fit(QUICK), _fit(DEEP, 1))
    assert found.probability > 0.95
    assert found.low is not None
    assert found.high is not None
    assert found.low * 0.9 <= at <= found.high * 1.1
    assert (found.start, found.end) == (125, 4000)


def test_no_crossing_gives_no_number() -> None:
    worse = DEEP + np.array([[0.2, 0, 0, 0]])
    found = crossover(_fit(DEEP), _fit(worse, 1))
    assert found.probability < 0.05
    assert found.median is None


def test_the_direction_counts() -> None:
    assert crossover(_fit(DEEP), _fit(QUICK, 1)).probability < 0.05


def test_size_is_interpolated_in_the_logarithm() -> None:
    sizes = np.array([1.0, 100.0])
    first, second = np.tile([1.0, 3.0], (20, 1)), np.tile([2.0, 2.0], (20, 1))
    assert crossover_of_curves(first, second, sizes).median == pytest.approx(10.0)


def test_who_is_ahead_turns_from_sure_to_sure_where_the_known_laws_cross() -> None:
    at = brentq(lambda d: (law(QUICK, np.array([d])) - law(DEEP, np.array([d])))[0, 0], 125, 4000)
    sure = p_ahead([_fit(QUICK)], [_fit(DEEP, 1)], np.array([at / 2, at, at * 2]))
    assert sure[0] > 0.95
    assert 0.05 < sure[1] < 0.95
    assert sure[2] < 0.05


def test_of_several_settings_the_best_stands_for_its_side() -> None:
    quick, deep = _fit(QUICK), _fit(DEEP, 1)
    worse = _fit(QUICK + np.array([[0.2, 0, 0, 0]]), 2)
    assert p_ahead([worse, quick], [deep], SIZES) == pytest.approx(p_ahead([quick], [deep], SIZES))
    assert p_ahead([quick], [quick], SIZES) == pytest.approx(0.5)


def test_where_no_value_can_be_larger_two_curves_are_level() -> None:
    """Both far above the largest error that there is: neither leads, whatever their laws say."""
    low, high = _fit(QUICK), _fit(DEEP, 1)
    assert p_ahead([low], [high], SIZES[:1]) != pytest.approx(0.5, abs=0.1)
    assert p_ahead([low], [high], SIZES[:1], most=1e-6) == pytest.approx(0.5)
