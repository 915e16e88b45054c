import plotly.graph_objects as go

from dashboards.figures.theme import LIGHT
from dashboards.figures.tradeoff import draw_tradeoff, tradeoff


def test_the_front_holds_what_nothing_beats_in_both(findings):
    chosen = findings.recommendation.choice.label
    data = tradeoff(findings.candidates, "english", chosen=chosen, limit=0.1)
    for spot in data.spots:
        beaten = any(
            o.quality >= spot.quality and o.forgetting <= spot.forgetting
            and (o.quality, o.forgetting) != (spot.quality, spot.forgetting)
            for o in data.spots
        )  # fmt: skip
        assert spot.front is not beaten
    assert [s.label for s in data.spots if s.chosen] == [chosen]
    assert len(data.spots) == len(findings.candidates)


def test_what_was_not_measured_is_not_drawn(findings):
    data = tradeoff(findings.candidates, "no such suite", chosen="")
    assert data.spots == ()
    go.Figure(draw_tradeoff(data, LIGHT))


def test_the_choice_and_the_limit_are_marked(findings):
    chosen = findings.recommendation.choice.label
    data = tradeoff(findings.candidates, "english", chosen=chosen, limit=0.1)
    figure = go.Figure(draw_tradeoff(data, LIGHT))
    assert figure.data[-1].text == ("recommended",)
    assert figure.layout.annotations[0].text == "your limit"
