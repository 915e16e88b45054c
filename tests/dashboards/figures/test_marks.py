from dashboards.figures.marks import error_bars


def test_an_interval_that_ends_at_zero_is_drawn_and_an_unknown_end_is_not():
    bars = error_bars([0.1, -0.1, 0.2], [0.0, None, 0.1], [0.3, 0.0, None], "#000", width=3)
    assert bars["arrayminus"] == [0.1, 0, 0.1]
    assert bars["array"] == [0.3 - 0.1, 0.1, 0]
    assert bars["width"] == 3
