import plotly.graph_objects as go

from dashboards.charts.theme import LIGHT
from dashboards.charts.tradeoff import (
    Tradeoff,
    TradeoffPoint,
    beyond_words,
    draw_tradeoff,
    plot_window,
    tradeoff,
)


def test_the_front_holds_what_nothing_beats_in_both(analysis):
    chosen = analysis.recommendation.choice.label
    data = tradeoff(analysis.candidates, "english", chosen=chosen, limit=0.1)
    for point in data.points:
        beaten = any(
            o.quality >= point.quality and o.forgetting <= point.forgetting
            and (o.quality, o.forgetting) != (point.quality, point.forgetting)
            for o in data.points
        )  # fmt: skip
        assert point.front is not beaten
    assert [s.label for s in data.points if s.chosen] == [chosen]
    assert len(data.points) == len(analysis.candidates)


def test_what_was_not_measured_has_no_point(analysis):
    data = tradeoff(analysis.candidates, "no such suite", chosen="")
    assert data.points == ()
    go.Figure(draw_tradeoff(data, LIGHT))


def test_the_choice_and_the_limit_are_marked(analysis):
    chosen = analysis.recommendation.choice.label
    data = tradeoff(analysis.candidates, "english", chosen=chosen, limit=0.1)
    figure = go.Figure(draw_tradeoff(data, LIGHT))
    assert [text.strip() for text in figure.data[-1].text] == ["recommended"]
    assert figure.layout.annotations[0].text == "your limit"


def _spots(*places):
    """Spots at (forgetting, quality), the first the choice and the front."""
    return tuple(
        TradeoffPoint(f"run {i}", "full", quality, lost, i == 0, i == 0)
        for i, (lost, quality) in enumerate(places)
    )


BULK = [(0.01 * i, 0.7 - 0.01 * i) for i in range(20)]


def test_runs_gone_wrong_do_not_squeeze_the_others():
    data = Tradeoff("english", _spots(*BULK, (3.0, 0.1), (1.5, 0.2)), 0.1)
    shown = plot_window(data)
    assert shown.most == 0.19
    assert shown.worst == 0.1  # a score cannot run away
    figure = go.Figure(draw_tradeoff(data, LIGHT))
    low, high = figure.layout.xaxis.range
    assert low < 0 < 0.19 < high < 0.3
    (edge,) = (t for t in figure.data if t.marker.symbol == ("triangle-right",) * 2)
    assert all(0.19 < x < high for x in edge.x)
    assert [row[2] for row in edge.customdata] == ["300.0 %", "150.0 %"]
    xs = [x for t in figure.data if t.customdata is not None for x in t.x]
    assert len(xs) == len(data.points)
    assert figure.layout.annotations[-1].text == "2 lie beyond ▸, up to 300 %"


def test_the_front_the_choice_and_a_near_limit_are_within_the_range():
    far = _spots(*BULK, (3.0, 0.9))
    front = (*far[:-1], far[-1]._replace(front=True))
    assert plot_window(Tradeoff("english", front, None)).most == 3.0
    chosen = (*far[:-1], far[-1]._replace(chosen=True))
    assert plot_window(Tradeoff("english", chosen, None)).most == 3.0
    assert plot_window(Tradeoff("english", far, 0.25)).most == 0.25
    loose = Tradeoff("english", far, 5.0)
    assert plot_window(loose).most == 0.19
    assert "your limit, 500 %, lies beyond" in beyond_words(loose, plot_window(loose))


def test_a_loss_that_ran_away_is_set_at_the_lower_edge():
    losses = [(lost, quality - 3) for lost, quality in BULK]
    data = Tradeoff("english", _spots(*losses, (0.1, -40.0)), None, scored=False)
    shown = plot_window(data)
    assert shown.worst > -4
    assert beyond_words(data, shown) == ["1 lies below ▾, at −40"]
    figure = go.Figure(draw_tradeoff(data, LIGHT))
    assert any(t.marker.symbol == ("triangle-down",) for t in figure.data)
