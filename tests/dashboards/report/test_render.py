from html import escape

import pytest
from dash import dcc, html

from dashboards.charts.forest import draw_gaps
from dashboards.charts.theme import palette
from dashboards.components import Choice, behind, card, data_table, graph, picker
from dashboards.report.render import Renderer, without_folders


def rendered(node):
    return Renderer().html(node)


def test_words_tables_and_attributes_are_kept():
    made = card("Laws", data_table(("Model", "Value"), [("en-1m", "1 %")]), lead="All of them.")
    assert rendered(made) == (
        '<section class="card" aria-label="Laws"><header><h2>Laws</h2><p>All of them.</p></header>'
        '<div class="scroll" tabindex="0"><table><thead><tr><th class="" scope="col">Model</th>'
        '<th class="number" scope="col">Value</th></tr></thead><tbody><tr><td class="">en-1m</td>'
        '<td class="number">1 %</td></tr></tbody></table></div></section>'
    )


def test_data_never_becomes_html():
    evil = '<script>alert(1)</script>"onload="x'
    made = rendered(html.P([evil, html.Span("x", title=evil, **{"aria-label": evil})]))
    assert "<script" not in made
    assert '"onload' not in made


@pytest.mark.parametrize(
    "node",
    [
        html.Script("alert(1)"),
        html.Iframe(src="https://example.org"),
        html.Img(src="https://example.org/a.png"),
        html.Button("Ask"),
        dcc.Input(value="x"),
        dcc.Store(id="x", data={}),
        html.Div("press", className="actions"),
        picker("Task", [Choice("a", "/x", True), Choice("b", "/y", False)]),
        None,
        True,
    ],
)
def test_what_needs_the_dashboard_is_left_out(node):
    assert rendered(node) == ""


def test_a_link_keeps_its_words_alone():
    assert rendered(html.A("the run", href="https://example.org")) == "<span>the run</span>"


def test_ids_and_what_refers_to_them_are_left_out():
    assert rendered(html.P("x", id="a", **{"aria-labelledby": "b"})) == "<p>x</p>"


def test_styles_are_written_as_css():
    style = {"--strength": "40%", "marginTop": 4, "opacity": 0.5, "width": "1px;color:red"}
    assert rendered(html.P("x", style=style)) == (
        '<p style="--strength:40%;margin-top:4px;opacity:0.5;width:1pxcolor:red">x</p>'
    )


def test_a_table_behind_a_chart_stays_folded_and_code_keeps_its_first_line():
    assert rendered(behind("Show", html.Pre("\na <b>"))) == (
        '<details class="data"><summary>Show</summary><pre>\n\na &lt;b&gt;</pre></details>'
    )
    assert rendered(html.Details("x", open=True)) == '<details open="">x</details>'


def test_charts_are_collected_in_their_order():
    renderer = Renderer()
    made = renderer.html(graph(draw_gaps((), palette("light")), "Gaps", height=120))
    assert made == (
        '<figure role="img" aria-label="Gaps">'
        '<div class="chart" data-figure="0" style="height:120px"></div></figure>'
    )
    assert renderer.figures[0].startswith('{"data":')


def test_an_unknown_thing_is_a_fault():
    with pytest.raises(TypeError, match="found a dict in a report"):
        rendered({"type": "P"})


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("path: /srv/a-b/data/train.jsonl", "path: train.jsonl"),
        ("'/srv/x/model', read", "'model', read"),
        ("see https://example.org/a/b and data/a/b.csv", None),
        ("24 rows/s, 3/4, org/model, ./a/b, ~/a/b", None),
    ],
)
def test_of_absolute_paths_the_last_name_stays(said, shown):
    assert without_folders(said) == (shown or said)
    assert Renderer().html(html.P(said)) == f"<p>{escape(shown or said)}</p>"


def test_a_user_s_rows_stay_as_they_are():
    said = "look into /etc/app/settings"
    rows = html.Dl([html.Dt("user"), html.Dd(said)], className="data-turns")
    page = Renderer().html([rows, html.P(said)])
    assert f"<dd>{said}</dd>" in page
    assert "<p>look into settings</p>" in page
