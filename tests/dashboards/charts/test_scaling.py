import json

import numpy as np
import plotly.graph_objects as go
import pytest

from dashboards.charts.scaling import AHEAD, MAX_RUNS, MeasuredRun, draw_scaling, sampled, scaling
from dashboards.charts.theme import DARK, LIGHT
from tracker.laws.curves import CurveFits, fit_table
from tracker.results import results_table


@pytest.fixture(scope="module")
def data(analysis):
    fits = analysis.fits_by_task("score")["intent"]
    return scaling(analysis.table, fits, task="intent", mix="even", metric="score")


def test_one_main_curve_per_model_and_method_the_smallest_model_first(data):
    assert [(c.model, c.method) for c in data.curves if c.main] == [
        (model, method)
        for model in ("en-0.1m", "en-0.3m", "en-1m")
        for method in ("full", "lora", "p_tuning")
    ]
    assert next(iter(data.models.items())) == ("en-0.1m", 110_000)


def test_a_score_is_one_minus_the_law_of_its_error(data, analysis):
    curve = next(c for c in data.curves if (c.model, c.method) == ("en-1m", "full"))
    fits = analysis.fits_by_task("score")["intent"].laws
    law = next(v for k, v in fits.items() if (k.model, k.method.name) == ("en-1m", "full"))
    assert np.allclose(curve.line.value, 1 - law.predict(curve.line.x).value)
    low, value, high = (np.array(x) for x in (curve.line.low, curve.line.value, curve.line.high))
    assert (low <= value + 1e-9).all()
    assert (value <= high + 1e-9).all()


def test_the_law_is_cut_where_measurement_ends(data):
    for curve in data.curves:
        assert curve.line.x[curve.line.last] == pytest.approx(2000)
        assert curve.line.x[-1] == pytest.approx(AHEAD * 2000)
        assert curve.held_out_error is not None


def test_runs_that_looked_for_a_learning_rate_lie_under_no_law(data):
    assert {(model, method) for model, method, _ in data.unfitted} == {
        ("en-0.3m", "full"), ("en-0.3m", "lora"), ("en-0.3m", "p_tuning"),
    }  # fmt: skip
    assert not any(point.used for _, _, point in data.unfitted)
    assert all(point.used for curve in data.curves for point in curve.runs)


def test_error_bars_are_80_per_cent_intervals(data, records):
    point = data.curves[0].runs[0]
    error = next(r for r in records if r.number == point.number).result.tasks[0].score_se
    assert point.high - point.value == pytest.approx(1.2816 * error)


def test_too_few_volumes_give_points_and_the_reason(analysis):
    """One volume, and no untouched base fitted with it: not even other curves make a law of that."""
    tuned = analysis.table[analysis.table["method"] != "none"]
    fits = fit_table(tuned, "score", ["intent"])
    data = scaling(analysis.table, fits, task="intent", mix="intent", metric="score")
    assert [c.line for c in data.curves] == [None] * 3
    assert all("needs 3" in c.why_not for c in data.curves)
    assert len(go.Figure(draw_scaling(data, LIGHT, models=["en-1m"])).data) == 1 + 3


def test_bits_per_byte_are_not_turned_round(analysis):
    fits = analysis.fits_by_task("bits_per_byte")["intent"]
    data = scaling(analysis.table, fits, task="intent", mix="even", metric="bits_per_byte")
    assert "lower is better" in data.title
    curve = data.curves[0]
    assert curve.line.value[0] > curve.line.value[-1]


def test_models_can_be_picked_and_share_a_chart(analysis):
    fits = analysis.fits_by_task("score")["intent"]
    data = scaling(
        analysis.table, fits, task="intent", mix="even", metric="score", models=("en-0.1m", "en-1m")
    )
    assert list(data.models) == ["en-0.1m", "en-1m"]
    figure = go.Figure(draw_scaling(data, DARK, models=list(data.models), log_x=False))
    assert figure.layout.xaxis.type == "linear"
    lines = {t.line.color for t in figure.data if t.mode == "lines" and t.line.dash == "solid"}
    assert len(lines) == 6  # three methods, two shades each


def test_many_runs_at_one_size_are_sampled():
    def point(number: int, examples: int, value: float) -> MeasuredRun:
        return MeasuredRun(number, examples, value, None, None, 0, None, used=True)

    few = [point(i, 100, 0.1) for i in range(MAX_RUNS)]
    many = [point(10 + i, 200, (7 * i % 50) / 50) for i in range(50)]
    found = sampled([*many, *few])
    values = [p.value for p in found if p.examples == 200]
    assert len(found) == 2 * MAX_RUNS
    assert values == sorted(values)
    assert (values[0], values[-1]) == (0.0, 0.98)


def test_one_trial_and_no_trial_make_charts(records):
    for some in ([records[6]], []):
        table = results_table(some)
        fits = fit_table(table, "score", ["intent"]) if some else CurveFits({}, {})
        data = scaling(table, fits, task="intent", mix="even", metric="score")
        assert len(data.curves) == len(some)
        go.Figure(draw_scaling(data, LIGHT, models=list(data.models)))


def test_names_cannot_bring_markup_into_a_chart(record_of, spec_of):
    spec = spec_of("en-1m", "full", 500)
    evil = spec.model.model_copy(update={"name": "<b>x</b>%{y}"})
    record = record_of(1, spec)
    result = record.result.model_copy(update={"spec": spec.model_copy(update={"model": evil})})
    table = results_table([record.model_copy(update={"result": result})])
    fits = fit_table(table, "score", ["intent"])
    data = scaling(table, fits, task="intent", mix="even", metric="score")
    text = json.dumps(
        go.Figure(draw_scaling(data, LIGHT, models=[evil.name])).to_dict(), default=str
    )
    assert "<b>x" not in text
    assert "%{y}" not in text
