import plotly.graph_objects as go
import pytest

from dashboards.charts.scaling import scaling
from dashboards.charts.size import (
    SizeComparison,
    contradicts_measurements,
    draw_size,
    size,
    sizes_to_predict,
)
from dashboards.charts.theme import DARK, LIGHT
from tests.dashboards.conftest import MODELS, error_at
from tracker.laws.curves import CurveFits
from tracker.metrics import se_of
from tracker.results import results_table


@pytest.fixture(scope="module")
def made(analysis):
    """Builds the figure's data at a volume."""
    fits = analysis.fits_by_task("score")["intent"]
    data = scaling(analysis.table, fits, task="intent", mix="even", metric="score")
    sizes = sizes_to_predict(MODELS.values())
    laws = analysis.size_laws("score", sizes)["intent", "even"]

    def build(volume: int) -> SizeComparison:
        return size(data, fits, laws, mix="even", volume=volume, sizes=sizes)

    return build


def test_the_sizes_predicted_go_one_step_past_those_measured():
    sizes = list(sizes_to_predict([100, None, 300, 1200]).values())
    assert sizes == sorted(sizes)
    assert (sizes[0], sizes[-1]) == (25, 4800)
    assert {100, 1200} <= set(sizes)
    assert sizes_to_predict([100, 100, None]) == {}


def test_the_law_between_sizes_is_near_the_truth(made):
    """The made-up error at 1,000 examples, for each size that was run."""
    data = made(1000)
    for curve in data.curves:
        for model, parameters in MODELS.items():
            at = min(range(len(curve.line.x)), key=lambda i: abs(curve.line.x[i] - parameters))
            truth = 1 - error_at(curve.method, model, 1000)
            assert curve.line.low[at] - 0.02 <= truth <= curve.line.high[at] + 0.02


def test_runs_are_averaged_and_keep_the_rows_error(made, records):
    curve = next(c for c in made(2000).curves if c.method == "full")
    mark = next(m for m in curve.marks if m.model == "en-1m")
    runs = [
        r.result.tasks[0]
        for r in records
        if r.result.spec.model.name == "en-1m"
        and (r.result.spec.method.name, r.result.spec.volume) == ("full", 2000)
    ]
    assert mark.runs == len(runs) == 2
    assert mark.value == pytest.approx(sum(t.score for t in runs) / 2)
    errors = [1.2816 * se_of(t, "score") for t in runs]
    assert mark.high - mark.value == pytest.approx(sum(errors) / 2)


def test_a_volume_nobody_ran_is_predicted_and_said_to_be(made):
    data = made(4000)
    assert data.ahead
    assert all(mark.runs == 0 and mark.low is not None for c in data.curves for mark in c.marks)
    figure = go.Figure(draw_size(data, LIGHT))
    hollow = [t for t in figure.data if t.mode == "markers"]
    assert all(t.marker.color == "rgba(0,0,0,0)" for t in hollow)


def test_outside_the_sizes_measured_the_line_is_dashed(made):
    data = made(1000)
    figure = go.Figure(draw_size(data, DARK, log_x=False))
    for curve in data.curves:
        assert curve.line.first > 0
        assert curve.line.last < len(curve.line.x) - 1
    dashes = [t.line.dash for t in figure.data if t.mode == "lines" and t.line.dash]
    assert dashes == ["dash", "solid", "dash"] * 3


def test_one_run_and_none_make_charts(records):
    for some in ([records[6]], []):
        data = scaling(
            results_table(some), CurveFits({}, {}), task="intent", mix="even", metric="score"
        )
        found = size(data, CurveFits({}, {}), {}, mix="even", volume=250, sizes={})
        assert found.unsized == ()
        go.Figure(draw_size(found, LIGHT))


def test_a_law_that_contradicts_the_measurements_is_withheld(made):
    curve = next(c for c in made(1000).curves if c.method == "full")
    line = curve.line
    assert not curve.withheld
    assert not contradicts_measurements(curve.marks, line)
    lifted = [mark._replace(value=mark.value + 1.0) for mark in curve.marks]
    assert contradicts_measurements(lifted, line)
    assert not contradicts_measurements(
        [mark._replace(runs=0) for mark in lifted], line
    )  # nothing was measured
    wide = line._replace(low=(0.0,) * 14, high=(1.0,) * 14)
    level = [mark._replace(value=0.05, low=None, high=None) for mark in curve.marks]
    assert contradicts_measurements(level, wide), "one value for all sizes lies nearer"
    assert not contradicts_measurements(level[:1], wide), "of one size nothing can be said"
    narrow = line._replace(value=(0.997,) * 14, low=(0.98,) * 14, high=(1.0,) * 14)
    full = [mark._replace(value=1.0, low=1.0, high=1.0) for mark in curve.marks]
    assert not contradicts_measurements(full, narrow), "alike, and well within the band"
