import json

import numpy as np
import plotly.graph_objects as go
import pytest

from dashboards.charts.crossover import (
    Critical,
    Strip,
    critical,
    draw_critical,
    even_at,
    in_words,
    pairs,
    turns,
)
from dashboards.charts.theme import DARK, LIGHT
from dashboards.charts.wording import about
from tests.dashboards.conftest import error_at

SIZES = np.geomspace(100, 1600, 65)
MODELS = {"en-0.1m": 110_000, "en-0.3m": 320_000, "en-1m": 1_040_000}


def asked(analysis, first="full", second="lora", mix="even"):
    fits = analysis.fits_by_task("score")["intent"]
    return critical(fits, task="intent", mix=mix, models=MODELS, first=first, second=second)


def sigmoid(centre: float, steepness: float) -> np.ndarray:
    """Falls through one half at *centre*; 90 and 10 % lie ln 9 / steepness away in ln D."""
    return 1 / (1 + np.exp(steepness * np.log(SIZES / centre)))


def strip_of(probability: np.ndarray, measured: int = 65) -> Strip:
    return Strip("m", 1000, tuple(SIZES), tuple(probability), measured, turns(SIZES, probability))


def test_a_known_probability_gives_its_turn_and_band():
    (turn,) = turns(SIZES, sigmoid(400, 4))
    assert turn.at == pytest.approx(400, rel=0.01)
    assert turn.low == pytest.approx(400 * 9 ** (-1 / 4), rel=0.02)
    assert turn.high == pytest.approx(400 * 9 ** (1 / 4), rel=0.02)
    assert turns(SIZES, 1 - sigmoid(400, 4))[0] == pytest.approx(turn)


def test_a_band_that_ends_nowhere_says_so():
    (turn,) = turns(SIZES, sigmoid(130, 4))
    assert turn.low is None
    assert turn.high is not None
    assert turns(SIZES, np.full(65, 0.7)) == ()
    assert turns(SIZES, np.full(65, 0.5)) == ()


def test_wavering_about_one_half_is_no_change_of_lead():
    wavers = np.concatenate([np.linspace(0.95, 0.5, 33), 0.5 + 0.05 * (-1.0) ** np.arange(32)])
    assert turns(SIZES, wavers) == ()
    words = in_words(strip_of(wavers), Critical("intent", "full", "lora", (), ()))
    assert words == (
        "Full tuning is better than LoRA with up to 95 % probability, but from about 220 to 1,600 "
        "examples the two cannot be told apart."
    )
    flat = in_words(strip_of(np.full(65, 0.52)), Critical("intent", "full", "lora", (), ()))
    assert flat.startswith("Full tuning and LoRA cannot be told apart at any size")


def test_the_band_of_one_turn_stops_at_the_next():
    twice = 0.5 + 0.35 * np.sin(np.linspace(0.5, 7.0, 65))
    found = turns(SIZES, twice)
    assert len(found) == 2
    assert found[0].at < found[1].at
    assert all(turn.low is None and turn.high is None for turn in found)


def test_where_the_made_up_laws_cross_lies_within_the_band(analysis):
    """Full tuning starts lower and ends higher; the truth is where the two error laws meet."""
    data = asked(analysis)
    assert [strip.model for strip in data.strips] == list(MODELS)
    grid = np.geomspace(250, 8000, 2000)
    for strip in data.strips:
        gap = [error_at("full", strip.model, v) - error_at("lora", strip.model, v) for v in grid]
        truth = grid[np.flatnonzero(np.diff(np.sign(gap)))]
        sure = np.interp(truth, strip.sizes, strip.probability)
        assert ((sure > 0.02) & (sure < 0.98)).all()


def test_sentences_name_the_leader_and_the_band():
    data = Critical("intent", "full", "lora", (), ())
    assert in_words(strip_of(1 - sigmoid(400, 4)), data) == (
        "LoRA is better below about 400 examples (80 %: 230 to 690), full tuning above."
    )
    assert "less than 100 to" in in_words(strip_of(sigmoid(130, 4)), data)
    assert "ahead of anything measured" in in_words(strip_of(sigmoid(400, 4), 20), data)
    sure = in_words(strip_of(np.linspace(0.77, 0.99, 65)), data)
    assert sure.startswith("Full tuning is better than LoRA at every size, 100 to 1,600")
    assert "77 % to 99 %" in sure
    twice = in_words(strip_of(0.5 + 0.35 * np.sin(np.linspace(0.5, 7.0, 65))), data)
    assert twice.startswith("Full tuning is better below about ")
    assert ", LoRA from there to about " in twice
    assert twice.endswith(", full tuning above.")


def test_where_nobody_surely_leads_the_even_point_is_said():
    data = Critical("intent", "full", "lora", (), ())
    faint = strip_of(np.interp(np.linspace(0, 1, 65), [0, 0.5, 1], [0.4, 0.5001, 0.62]))
    assert not faint.turns
    (at,) = even_at(faint)
    assert at == pytest.approx(400, rel=0.05)  # half way between 100 and 1,600 in ln D
    words = in_words(faint, data)
    assert "cannot be told apart at any size" in words
    assert words.endswith("As likely ahead as each other near 400 examples.")
    assert even_at(strip_of(np.linspace(0.77, 0.99, 65))) == ()


def test_a_turn_by_laws_that_missed_their_largest_volume_is_told_with_a_warning():
    data = Critical("intent", "full", "lora", (), ())
    strip = strip_of(sigmoid(400, 4))
    assert "take it with care" not in in_words(strip, data)
    assert in_words(strip._replace(doubtful=True), data).endswith("take it with care.")


def test_a_model_without_both_laws_is_said_to_lack_them(analysis):
    data = asked(analysis, mix="no such mix")
    assert data.strips == ()
    assert data.lacking == tuple(MODELS)


def test_pairs_are_those_some_model_has_laws_of(analysis):
    fits = analysis.fits_by_task("score")["intent"]
    methods = ("full", "lora", "p_tuning")
    assert pairs(fits, "even", methods) == [
        ("full", "lora"), ("full", "p_tuning"), ("lora", "p_tuning"),
    ]  # fmt: skip
    assert pairs(fits, "no such mix", methods) == []


@pytest.mark.parametrize("colours", [LIGHT, DARK])
def test_measured_and_ahead_are_drawn_apart(analysis, colours):
    data = asked(analysis)
    figure = go.Figure(draw_critical(data, colours, log_x=False))
    strong = [t.opacity for t in figure.data if t.type == "heatmap"]
    assert strong == [1.0, 0.4] * 3
    marks = [t.text[0] for t in figure.data if t.type == "scatter" and t.mode == "markers+text"]
    assert marks == [about(turn.at) for strip in data.strips for turn in strip.turns]
    json.dumps(figure.to_dict(), default=str)
