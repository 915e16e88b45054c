import math

import pytest

from tracker.numbers import interval, number, points, probability, regret_text, work


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.0, "0"),
        (7.5e-05, "0.000075"),
        (0.0025, "0.0025"),
        (0.12345, "0.123"),
        (-1.139, "-1.14"),
        (0.9999, "1"),
        (100.0, "100"),
        (311.4, "311"),
        (12_345.0, "12,300"),
        (999_999.0, "1 million"),
        (1.2345e12, "1.23 trillion"),
        (-4.2e8, "-420 million"),
        (2.5e14, "250 trillion"),
        (3.14159e18, "3.14 × 10^18"),
        (2.5e-9, "2.5 × 10^-9"),
        (math.inf, "inf"),
    ],
)
def test_a_number_has_three_digits_and_no_exponent_of_a_machine(value, said):
    assert number(value) == said


@pytest.mark.parametrize("power", range(-12, 19))
def test_what_is_said_is_the_number(power):
    value = 2.46 * 10.0**power
    words = {"million": 1e6, "billion": 1e9, "trillion": 1e12}
    text, _, word = number(value).replace(" × 10^", "e").replace(",", "").partition(" ")
    assert float(text) * words.get(word, 1.0) == pytest.approx(value)
    assert number(value, 2).count("4") == 0  # 2.5 at two digits


def test_small_differences_and_counted_work():
    assert regret_text(2e-05, scored=True) == "less than 0.01 points"
    assert regret_text(0.0123, scored=True) == "1.23 points"
    assert regret_text(7.5e-05, scored=False) == "0.000075"
    assert work(1.26e12) == "1.26 TFLOP of training"
    assert work(12) == "12 FLOP of training"


def test_an_interval_names_its_unit_once():
    assert interval(0.696, 0.735) == "80 % interval 69.6 to 73.5 %"
    assert interval(-0.004, 0.03, points) == "80 % interval −0.4 to +3.0 points"
    assert interval(2.1, 2.25, "{:.2f}".format) == "80 % interval 2.10 to 2.25"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.803, "80 %"),
        (0.994, "99 %"),
        (0.9998, ">99 %"),
        (0.0002, "<1 %"),
        (1.0, "100 %"),
        (0.0, "0 %"),
    ],
)
def test_a_probability_is_certain_only_where_it_is_exact(value: float, text: str) -> None:
    assert probability(value) == text
