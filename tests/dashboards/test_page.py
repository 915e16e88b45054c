"""A page's content as it is sent to the browser."""

import json

import orjson
import pytest
from dash import html
from plotly.io.json import to_json_plotly

from dashboards.charts.chart import Chart
from dashboards.components import behind, card, data_table
from dashboards.page import encoded


def test_what_is_sent_is_what_dash_would_send():
    page = html.Div(
        [card("Laws", data_table(("Model", "Value"), [("en-1m", "1 %")])), None, Chart(), 1.5],
        className="stack",
    )
    assert json.loads(orjson.dumps(encoded(page))) == json.loads(to_json_plotly(page))


def test_a_table_behind_something_is_sent_as_its_rows():
    rows = [("en-1m", "1 %"), ("<script>", "2 %")]
    folded = behind("Show", html.Div([data_table(("Model", "Value"), rows), html.P("note")]))
    place = json.loads(orjson.dumps(encoded(folded)))["props"]["children"][1]["props"]["children"]
    sent = place[0]["props"]
    assert "children" not in sent
    head, body, kinds = json.loads(sent["data-table"])
    assert (head, kinds) == (["Model", "Value"], ["", "number"])
    assert [tuple(row) for row in body] == rows


def test_what_no_browser_could_show_is_said():
    with pytest.raises(TypeError):
        encoded({"what": object()})
