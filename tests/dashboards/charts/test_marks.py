from dashboards.charts.chart import Chart
from dashboards.charts.marks import error_bars, name_rows
from dashboards.charts.theme import LIGHT
from tracker.metrics import Estimate


def test_a_long_name_takes_two_lines_and_brings_no_markup():
    chart = Chart()
    name_rows(
        chart, ["pg-800k lora plain r=8 lr=0.00548, even, 1,600 <b>examples</b>", "short"], LIGHT
    )
    first, second = (a["text"] for a in chart["layout"]["annotations"])
    assert first == "pg-800k lora plain r=8 lr=0.00548, even, 1,600<br>&lt;b>examples&lt;/b>"
    assert second == "short"


def test_an_interval_may_end_at_zero_and_an_unknown_end_has_no_bar():
    values = [
        Estimate(value=0.1, low=0.0, high=0.3),
        Estimate(value=-0.1, low=None, high=0.0),
        Estimate(value=0.2, low=0.1, high=None),
    ]
    bars = error_bars(values, "#000", width=3)
    assert bars["arrayminus"] == [0.1, 0, 0.1]
    assert bars["array"] == [0.3 - 0.1, 0.1, 0]
    assert bars["width"] == 3
