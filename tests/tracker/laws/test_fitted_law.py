"""Scaling law of a curve: known laws are recovered, with the coverage stated."""

from __future__ import annotations

import numpy as np
import pytest

from tests.factories import fit_curve
from tracker.errors import InputError, NotEnoughDataError
from tracker.laws.fitted_law import PARAMETERS, FittedLaw, law

SIZES = np.array([125, 250, 500, 1000, 2000, 4000.0])
TRUTH = np.array([[0.2, 0.6, 500.0, 0.8]])


def _value(fit: FittedLaw, name: str) -> float:
    return fit.parameters[name].value


def test_exact_rows_give_the_law_back() -> None:
    """Within the data to what the form may drift, beyond it as near as six points tell."""
    fit = fit_curve(SIZES, law(TRUTH, SIZES)[0], noise_sd=1e-5)
    assert fit.predict(SIZES).value == pytest.approx(law(TRUTH, SIZES)[0], rel=6e-3)
    assert fit.predict(8000).value == pytest.approx(law(TRUTH, np.array([8000.0]))[0], rel=0.03)
    for name, true in zip(PARAMETERS, TRUTH[0].tolist(), strict=True):
        assert _value(fit, name) == pytest.approx(true, rel=0.3)
    assert fit.held_out_error == pytest.approx(0, abs=0.03)
    assert fit.domain == (125, 4000)


def test_interval_covers_a_new_run_as_often_as_it_says() -> None:
    """80 % intervals within and 4 times beyond the data, over 100 laws with 2 % noise."""
    rng, noise, new = np.random.default_rng(7), 0.02, np.array([1000.0, 16000.0])
    covered = []
    for _ in range(100):
        truth = np.array(
            [[rng.uniform(0.02, 0.3), rng.uniform(0.3, 0.7), 0, rng.uniform(0.3, 1.5)]]
        )
        truth[0, 2] = np.exp(rng.uniform(np.log(100), np.log(3000)))
        values = law(truth, SIZES)[0] * np.exp(noise * rng.standard_normal(len(SIZES)))
        found = fit_curve(SIZES, values).predict(new)
        run = law(truth, new)[0] * np.exp(noise * rng.standard_normal(len(new)))
        covered.append((found.low <= run) & (run <= found.high))
    share = np.mean(covered, axis=0)
    # Binomial: 0.8 ± 2 × 0.04; conservative is allowed, certain is not.
    assert (share >= 0.72).all()
    assert (share <= 0.97).all()


def test_interval_narrows_with_noise() -> None:
    rng = np.random.default_rng(0)
    width = []
    for noise in (0.005, 0.05):
        values = law(TRUTH, SIZES)[0] * np.exp(noise * rng.standard_normal(len(SIZES)))
        found = fit_curve(SIZES, values, noise_sd=noise * 0.4).predict(8000)
        width.append(float(found.high[0] / found.low[0]))
    assert width[0] < width[1]


def test_one_glitch_neither_moves_the_law_nor_hides() -> None:
    sizes = np.array([63, 125, 250, 500, 1000, 2000, 4000, 8000.0])
    rng = np.random.default_rng(1)
    values = law(TRUTH, sizes)[0] * np.exp(0.01 * rng.standard_normal(len(sizes)))
    values[4] *= 1.8
    fit = fit_curve(sizes, values, keys=[f"run{i}" for i in range(len(sizes))])
    assert [g.key for g in fit.glitches] == ["run4"]
    assert fit.glitches[0].deviations > 5
    assert "run4" in fit.used
    expected = law(TRUTH, np.array([8000.0]))[0, 0]
    assert fit.predict(8000).value[0] == pytest.approx(expected, rel=0.04)


def test_no_glitch_is_seen_where_there_is_none() -> None:
    rng = np.random.default_rng(5)
    flags = 0
    for _ in range(20):
        values = law(TRUTH, SIZES)[0] * np.exp(0.02 * rng.standard_normal(len(SIZES)))
        flags += len(fit_curve(SIZES, values).glitches)
    assert flags <= 1  # of 120 points


def test_a_law_that_errs_beyond_its_end_blames_no_run() -> None:
    """Error that falls late and steeply: the other sizes do not predict the last."""
    sizes = np.array([250, 500, 1000, 2000.0])
    fit = fit_curve(sizes, np.array([0.99, 0.98, 0.95, 0.45]), noise_sd=0.01)
    assert fit.held_out_error is not None
    assert fit.held_out_error > 0.5
    assert fit.glitches == ()


def test_refuses_beyond_sixteen_times_the_data() -> None:
    fit = fit_curve(SIZES, law(TRUTH, SIZES)[0])
    assert fit.predict(64_000).extrapolates.tolist() == [True]
    with pytest.raises(NotEnoughDataError, match=r"64,001.*4,000.*64,000"):
        fit.predict([1000, 64_001])
    far = fit.predict([4000, 400_000], allow_far=True)
    assert far.extrapolates.tolist() == [False, True]
    assert far.low[1] <= far.value[1] <= far.high[1]


def test_the_base_joins_only_where_it_must() -> None:
    values = law(TRUTH, np.array([0, 250, 500, 1000.0]))[0]
    few = fit_curve([0, 250, 500], values[:3])
    assert few.base
    assert not few.predict(10).extrapolates[0]
    enough = fit_curve([0, 250, 500, 1000], values, keys=["base", "a", "b", "c"])
    assert not enough.base
    assert enough.predict(10).extrapolates[0]
    assert [out.key for out in enough.left_out] == ["base"]


def test_too_few_sizes_say_what_to_run() -> None:
    with pytest.raises(
        NotEnoughDataError, match=r"2 training-set sizes above 0 measured.*run 1 more"
    ):
        fit_curve([250, 500, 500], [0.5, 0.4, 0.41])
    fit = fit_curve([0, 250, 500], [0.8, 0.5, 0.4])
    assert fit.noise_source == "assumed"
    assert fit.held_out_error is None


def test_values_without_a_logarithm_are_refused() -> None:
    with pytest.raises(InputError, match="above 0"):
        fit_curve([0, 250, 500], [0.8, 0.5, 0.0])


def test_flat_and_rising_curves_stay_within_the_form() -> None:
    flat = fit_curve(SIZES, np.full(len(SIZES), 0.5))
    assert flat.predict(8000).value[0] == pytest.approx(0.5, rel=5e-3)
    rising = fit_curve(SIZES, np.linspace(0.4, 0.5, len(SIZES)))
    assert 0.4 <= rising.predict(8000).value[0] <= 0.5


def test_neither_order_nor_repetition_changes_a_fit() -> None:
    rng = np.random.default_rng(2)
    values = law(TRUTH, SIZES)[0] * np.exp(0.02 * rng.standard_normal(len(SIZES)))
    keys = [f"run{i}" for i in range(len(SIZES))]
    order = rng.permutation(len(SIZES))
    one = fit_curve(SIZES, values, keys=keys)
    other = fit_curve(SIZES[order], values[order], keys=[keys[i] for i in order])
    assert one.model_dump_json() == other.model_dump_json()
    assert FittedLaw.model_validate_json(one.model_dump_json()) == one
