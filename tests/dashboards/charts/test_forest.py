import plotly.graph_objects as go

from dashboards.charts.forest import draw_gaps, runner_up_gaps
from dashboards.charts.theme import LIGHT


def test_gaps_are_those_of_the_recommendation_the_closest_first(analysis):
    answer = analysis.recommendation
    data = runner_up_gaps(answer)
    assert {g.label for g in data} == {r.candidate.label for r in answer.runners_up}
    assert [g.value for g in data] == sorted(g.value for g in data)
    for gap, runner in zip(data, sorted(answer.runners_up, key=lambda r: r.gap.value), strict=True):
        assert (gap.value, gap.low, gap.high) == (runner.gap.value, runner.gap.low, runner.gap.high)
        assert gap.distinguishable is runner.distinguishable


def test_ties_are_hollow_and_every_row_is_named(analysis):
    data = runner_up_gaps(analysis.recommendation)
    first = data[0]._replace(distinguishable=False, low=-0.01, high=0.02, label="<i>a</i>")
    second = data[0]._replace(distinguishable=True, low=None, high=None)
    figure = go.Figure(draw_gaps((first, second), LIGHT))
    markers = [t for t in figure.data if t.mode == "markers"]
    assert [m.marker.color == LIGHT.surface for m in markers] == [True, False]
    assert len(figure.data) == 3  # no line where the interval is unknown
    assert figure.layout.annotations[0].text == "&lt;i>a&lt;/i>"


def test_gaps_of_a_hair_have_ticks_that_differ(analysis):
    gap = runner_up_gaps(analysis.recommendation)[0]
    near = gap._replace(value=0.001, low=-0.002, high=0.004, scored=True)
    figure = draw_gaps((near,), LIGHT)
    ticks = figure["layout"]["xaxis"]["ticktext"]
    assert ticks == ["−0.2", "−0.1", "0", "+0.1", "+0.2", "+0.3", "+0.4"]
    far = near._replace(low=-0.2, high=0.5)
    assert draw_gaps((far,), LIGHT)["layout"]["xaxis"]["ticktext"] == ["−20", "0", "+20", "+40"]


def test_an_untouched_base_is_seen_on_its_interval(analysis):
    base = runner_up_gaps(analysis.recommendation)[0]._replace(method="none", low=-0.01, high=0.02)
    marks = [t for t in draw_gaps((base,), LIGHT).traces if t["mode"] == "markers"]
    assert not marks[0]["marker"]["symbol"].startswith("line")
