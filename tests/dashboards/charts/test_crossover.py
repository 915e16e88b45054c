import json

import numpy as np
import plotly.graph_objects as go
import pytest

from dashboards.charts.crossover import (
    ModelComparison,
    compare_methods,
    comparison_sentence,
    crossings,
    draw_comparison,
    even_sizes,
)
from dashboards.charts.scaling import scaling_state
from dashboards.charts.theme import DARK, LIGHT
from dashboards.charts.wording import about
from dashboards.state import Query
from tests.dashboards.conftest import error_at

SIZES = np.geomspace(100, 1600, 65)
MODELS = {"en-0.1m": 110_000, "en-0.3m": 320_000, "en-1m": 1_040_000}


def comparison(analysis, mix="even"):
    fits = analysis.fits_by_task("score")["intent"]
    state = scaling_state(analysis.table, Query.of(task="intent", pair="full~lora"))
    return compare_methods(fits, state._replace(mix=mix), MODELS)


def sigmoid(centre: float, steepness: float) -> np.ndarray:
    """Falls through one half at *centre*; 90 and 10 % lie ln 9 / steepness away in ln D."""
    return 1 / (1 + np.exp(steepness * np.log(SIZES / centre)))


def model_of(probability: np.ndarray, measured: int = 65) -> ModelComparison:
    return ModelComparison(
        "m", 1000, tuple(SIZES), tuple(probability), measured, crossings(SIZES, probability)
    )


def test_a_known_probability_gives_its_crossing_and_interval():
    (crossing,) = crossings(SIZES, sigmoid(400, 4))
    assert crossing.at == pytest.approx(400, rel=0.01)
    assert crossing.low == pytest.approx(400 * 9 ** (-1 / 4), rel=0.02)
    assert crossing.high == pytest.approx(400 * 9 ** (1 / 4), rel=0.02)
    assert crossings(SIZES, 1 - sigmoid(400, 4))[0] == pytest.approx(crossing)


def test_a_band_that_ends_nowhere_says_so():
    (crossing,) = crossings(SIZES, sigmoid(130, 4))
    assert crossing.low is None
    assert crossing.high is not None
    assert crossings(SIZES, np.full(65, 0.7)) == ()
    assert crossings(SIZES, np.full(65, 0.5)) == ()


def test_wavering_about_one_half_is_no_change_of_lead():
    wavers = np.concatenate([np.linspace(0.95, 0.5, 33), 0.5 + 0.05 * (-1.0) ** np.arange(32)])
    assert crossings(SIZES, wavers) == ()
    words = comparison_sentence(model_of(wavers), "full", "lora")
    assert words == (
        "Full tuning is better than LoRA with up to 95 % probability, but from about 220 to 1,600 "
        "examples the two are statistically tied."
    )
    flat = comparison_sentence(model_of(np.full(65, 0.52)), "full", "lora")
    assert flat.startswith("Full tuning and LoRA are statistically tied at every size")


def test_the_interval_of_one_crossing_stops_at_the_next():
    twice = 0.5 + 0.35 * np.sin(np.linspace(0.5, 7.0, 65))
    found = crossings(SIZES, twice)
    assert len(found) == 2
    assert found[0].at < found[1].at
    assert all(crossing.low is None and crossing.high is None for crossing in found)


def test_where_the_made_up_laws_cross_lies_within_the_band(analysis):
    """Full tuning starts lower and ends higher; the truth is where the two error laws meet."""
    data = comparison(analysis)
    assert [found.model for found in data.models] == list(MODELS)
    grid = np.geomspace(250, 8000, 2000)
    for found in data.models:
        gap = [error_at("full", found.model, v) - error_at("lora", found.model, v) for v in grid]
        truth = grid[np.flatnonzero(np.diff(np.sign(gap)))]
        sure = np.interp(truth, found.sizes, found.p_first)
        assert ((sure > 0.02) & (sure < 0.98)).all()


def test_sentences_name_the_better_method_and_the_interval():
    assert comparison_sentence(model_of(1 - sigmoid(400, 4)), "full", "lora") == (
        "LoRA is better below about 400 examples (80 % interval 230 to 690), full tuning above."
    )
    assert "less than 100 to" in comparison_sentence(model_of(sigmoid(130, 4)), "full", "lora")
    assert "beyond anything measured" in comparison_sentence(
        model_of(sigmoid(400, 4), 20), "full", "lora"
    )
    sure = comparison_sentence(model_of(np.linspace(0.77, 0.99, 65)), "full", "lora")
    assert sure.startswith("Full tuning is better than LoRA at every size, 100 to 1,600")
    assert "77 to 99 %" in sure
    twice = comparison_sentence(
        model_of(0.5 + 0.35 * np.sin(np.linspace(0.5, 7.0, 65))), "full", "lora"
    )
    assert twice.startswith("Full tuning is better below about ")
    assert ", LoRA from there to about " in twice
    assert twice.endswith(", full tuning above.")


def test_where_nobody_surely_leads_the_even_point_is_said():
    even = model_of(np.interp(np.linspace(0, 1, 65), [0, 0.5, 1], [0.4, 0.5001, 0.62]))
    assert not even.crossings
    (at,) = even_sizes(even)
    assert at == pytest.approx(400, rel=0.05)  # half way between 100 and 1,600 in ln D
    words = comparison_sentence(even, "full", "lora")
    assert "are statistically tied at every size" in words
    assert words.endswith("Both are equally likely to be ahead near 400 examples.")
    assert even_sizes(model_of(np.linspace(0.77, 0.99, 65))) == ()


def test_a_crossing_by_doubtful_laws_carries_a_warning():
    found = model_of(sigmoid(400, 4))
    assert "take it with care" not in comparison_sentence(found, "full", "lora")
    assert comparison_sentence(found._replace(doubtful=True), "full", "lora").endswith(
        "take it with care."
    )


def test_a_model_without_both_laws_is_said_to_lack_them(analysis):
    data = comparison(analysis, mix="no such mix")
    assert data.models == ()
    assert data.without_laws == tuple(MODELS)


@pytest.mark.parametrize("colours", [LIGHT, DARK])
def test_sizes_beyond_the_measurements_are_paler(analysis, colours):
    data = comparison(analysis)
    figure = go.Figure(draw_comparison(data, colours, log_x=False))
    strong = [t.opacity for t in figure.data if t.type == "heatmap"]
    assert strong == [1.0, 0.4] * 3
    marks = [t.text[0] for t in figure.data if t.type == "scatter" and t.mode == "markers+text"]
    assert marks == [about(crossing.at) for found in data.models for crossing in found.crossings]
    json.dumps(figure.to_dict(), default=str)
