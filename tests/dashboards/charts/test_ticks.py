import pytest

from dashboards.charts.ticks import quality_axis, share_ticks


def _labels(low, high, form):
    """What plotly writes at ticks a twelfth of the range apart, rounded to 1, 2 or 5."""
    digits = int(form.strip("+%~").removeprefix("."))
    return [f"{100 * (low + i * (high - low) / 12):.{digits}f}" for i in range(13)]


@pytest.mark.parametrize("span", [0.00012, 0.0012, 0.012, 0.03, 0.12, 0.9, 4.0])
def test_no_two_ticks_of_an_axis_read_the_same(span):
    labels = _labels(0.5, 0.5 + span, share_ticks(0.5, 0.5 + span))
    assert len(set(labels)) == len(labels)


def test_a_wide_axis_has_whole_per_cents_and_a_narrow_one_no_needless_zeros():
    assert share_ticks(0, 1) == ".0%"
    assert share_ticks(-0.01, 0.01) == ".1~%"
    assert share_ticks(0, 0.001) == ".3~%"
    assert share_ticks(-0.3, 0.1, signed=True) == "+.0%"
    assert share_ticks(0.2, 0.2) == ".1~%"


def test_losses_are_written_in_their_own_unit():
    assert quality_axis(-2.5, -1.0, scored=False) == "~g"
    assert quality_axis(0.0, 1.0, scored=True) == ".0%"
