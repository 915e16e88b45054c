"""Views are drawn once, for however many, and few are kept."""

import json
import threading
import time

import orjson
import pytest
from dash import html
from plotly.io.json import to_json_plotly

from dashboards.charts.chart import Chart
from dashboards.components import behind, card, data_table
from dashboards.render_cache import RenderCache, encoded


def test_the_same_view_is_drawn_once():
    drawn, made = RenderCache(), []
    views = [drawn.get("a", lambda: made.append(1) or object()) for _ in range(3)]
    assert made == [1]
    assert views[0] is views[1] is views[2]
    assert drawn.get("b", lambda: "other") == "other"


def test_many_at_once_share_one_drawing():
    drawn, made, found = RenderCache(), [], []

    def draw():
        made.append(1)
        time.sleep(0.05)
        return object()

    threads = [
        threading.Thread(target=lambda: found.append(drawn.get("a", draw))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert len(found) == 8
    assert len(set(map(id, found))) == 1
    assert made == [1]


def test_an_error_is_raised_and_asked_again():
    drawn = RenderCache()
    with pytest.raises(ZeroDivisionError):
        drawn.get("a", lambda: 1 / 0)
    assert drawn.get("a", lambda: 2) == 2


def test_the_view_unused_for_longest_is_dropped():
    drawn = RenderCache(limit=2)
    for view in ("a", "b", "a", "c"):
        drawn.get(view, lambda view=view: view)
    made = []
    drawn.get("a", lambda: made.append("a"))
    drawn.get("b", lambda: made.append("b"))
    assert made == ["b"]
    assert not drawn._drawing


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
