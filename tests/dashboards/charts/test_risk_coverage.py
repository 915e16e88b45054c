"""Risk-coverage curve: what is drawn is what was counted."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import pytest

from dashboards.charts.risk_coverage import RiskCoverage, draw_risk_coverage, risk_coverage
from dashboards.charts.theme import LIGHT
from tracker.abstention import confidence
from tracker.labels import share


@pytest.fixture
def data() -> RiskCoverage:
    nats = np.arange(100) / 100
    kept = confidence(nats, nats < 0.5, due=100)
    assert kept is not None
    return risk_coverage("intent", kept)


def test_points_go_from_the_likeliest_to_all(data: RiskCoverage) -> None:
    assert [point.kept for point in data.points] == list(range(5, 105, 5))
    assert data.overall.precision == share(50, 100)
    assert [each.kept for each in data.thresholds] == [50, 50, None], "1.0 of 50 is not surely 99 %"


def test_the_figure_has_the_curve_its_band_and_rings_where_a_threshold_is(
    data: RiskCoverage,
) -> None:
    figure = go.Figure(draw_risk_coverage(data, LIGHT))
    rings = figure.data[-1]
    assert rings.marker.symbol == "circle-open"
    assert list(rings.x) == [0.5, 0.5]
    assert list(rings.y) == [1, 1]
    assert any(trace.fill == "toself" for trace in figure.data)
    points = next(trace for trace in figure.data if trace.customdata is not None)
    assert points.y[-1] == 0.5
    assert "100 % of answers given<br>50.0 % of them right" in points.customdata[-1][0]


def test_without_a_threshold_there_is_no_ring() -> None:
    kept = confidence([0.1, 0.2], [0.0, 0.0], due=2)
    assert kept is not None
    figure = go.Figure(draw_risk_coverage(risk_coverage("t", kept), LIGHT))
    assert all(trace.marker.symbol != "circle-open" for trace in figure.data)
