import pytest

from dashboards.charts.axes import difference_axis, examples_axis, quality_ticks, share_ticks


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


def test_losses_are_written_in_their_unit():
    assert quality_ticks(-2.5, -1.0, scored=False) == "~g"
    assert quality_ticks(0.0, 1.0, scored=True) == ".0%"


def test_differences_of_scores_are_in_points_and_of_losses_in_their_unit():
    axis = difference_axis("With minus without", (-0.031, 0.052), scored=True)
    assert axis["title"] == "With minus without (points)"
    assert axis["ticktext"] == ["−2", "0", "+2", "+4"]
    assert axis["tickvals"] == pytest.approx([-0.02, 0, 0.02, 0.04])
    assert difference_axis("x", (-0.3, 0.5), scored=False) == {"title": "x", "tickformat": "+~g"}
    assert difference_axis("x", (0.0, 0.0), scored=True)["ticktext"] == ["0"]


def test_a_phone_has_room_for_the_training_set_sizes():
    axis = examples_axis([100 * 2**i for i in range(10)], log_x=True, ends=(100, 51_200))
    assert axis["ticktext"] == ["100", "400", "1,600", "6,400", "25,600"]
    assert axis["range"] == pytest.approx([2, 4.709], abs=1e-3)
    assert examples_axis([100], log_x=False, ends=(100, 400))["range"] == [0, 400]
