import json

import plotly.graph_objects as go
import pytest
from dash import dcc

from dashboards.charts.chart import Chart
from dashboards.pages import data, generalisation, mix, recommend, scaling, sweep
from dashboards.state import Query


def test_titles_become_what_plotly_reads():
    chart = Chart()
    chart.update_layout(xaxis={"title": "Examples"}, yaxis={"title": {"text": "Score"}})
    assert chart["layout"]["xaxis"] == {"title": {"text": "Examples"}}
    assert chart["layout"]["yaxis"] == {"title": {"text": "Score"}}


def test_lines_span_the_chart_and_bear_their_words():
    chart = Chart()
    chart.add_vline(2, {"width": 1}, {"text": "limit"})
    chart.add_hline(3, {"width": 1})
    shapes = go.Figure(chart).layout.shapes
    assert [(s.x0, s.x1, s.xref, s.y0, s.y1, s.yref) for s in shapes] == [
        (2, 2, None, 0, 1, "paper"),
        (0, 1, "paper", 3, 3, None),
    ]
    assert json.loads(chart.to_json())["layout"]["annotations"][0]["text"] == "limit"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("page", [scaling, generalisation, mix, recommend, data])
def test_plotly_knows_every_property_of_every_chart(view_of, records, page, theme):
    charts = _charts(page.content(view_of(records), Query(), theme))
    assert charts or page is data
    for chart in charts:
        go.Figure(chart)


def test_plotly_knows_every_property_of_the_live_charts(view_of, records):
    content = sweep.content(view_of(records), "dark")
    go.Figure(content.figure)
    go.Figure(content.curves)


def _charts(node):
    if isinstance(node, dcc.Graph):
        return [node.figure]
    if isinstance(node, (list, tuple)):
        return [chart for child in node for chart in _charts(child)]
    return _charts(node.children) if getattr(node, "children", None) is not None else []
