import math

import pytest

from dashboards.charts.wording import compact
from tracker.numbers import count, duration, percent, plural, quality, signed_percent, time_span


@pytest.mark.parametrize("write", [percent, signed_percent, compact, count, duration])
@pytest.mark.parametrize("absent", [None, math.nan, math.inf])
def test_absent_is_a_dash_and_never_zero(write, absent):
    assert write(absent) == "–"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (percent(0.6612), "66.1 %"),
        (percent(-0.0004, 1), "0.0 %"),
        (percent(-0.02), "−2.0 %"),
        (signed_percent(0.02), "+2.0 %"),
        (compact(317_000), "317k"),
        (compact(1.35e12, "FLOP"), "1.35 TFLOP"),
        (count(12000.0), "12,000"),
        (duration(3725), "1 h 2 min"),
        (duration(59.6), "1 min 0 s"),
        (plural(1, "trial"), "1 trial"),
        (plural(2000, "trial"), "2,000 trials"),
    ],
)
def test_numbers_read_as_people_write_them(written, expected):
    assert written == expected


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (912, 1230, "15 to 20 min"),
        (20, 100, "20 to 100 s"),
        (5000, 9000, "1.4 to 2.5 h"),
        (400_000, 900_000, "5 to 10 d"),
        (60, 60.2, "60 s"),
        (0, 0, "0 s"),
    ],
)
def test_spans_of_time_share_a_unit(low, high, expected):
    assert time_span(low, high) == expected


def test_a_score_is_a_share_and_what_lies_below_zero_a_loss():
    assert quality(0.0) == "0.0 %"
    assert quality(-0.0003) == "−0.0003"
    assert quality(-1.234567) == "−1.235"
