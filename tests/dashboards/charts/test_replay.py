import json

import plotly.graph_objects as go
import pytest

from dashboards.charts.replay import draw_regret_curves, regret_curves
from dashboards.charts.theme import LIGHT
from dashboards.replay_plot import main, write_plot
from tracker.errors import InputError


def summary(strategy, budget, median, worst):
    curve = [
        {"share": budget * part, "median": median / part, "worst": worst / part}
        for part in (0.5, 1.0)
    ]
    return {
        "strategy": strategy,
        "budget": budget,
        "cost": budget * 0.5,
        "median": median,
        "worst": worst,
        "curve": curve,
    }


@pytest.fixture
def report():
    summaries = [
        summary("law", 0.1, 1.0, 2.0),
        summary("law", 0.25, 0.5, 0.8),
        summary("tpe", 0.1, 3.0, 9.0),
    ]
    return {"table": "flan <b>", "unit": "%", "seeds": 20, "summaries": summaries}


def test_each_strategy_shows_its_largest_budget_and_every_end(report):
    data = regret_curves(report)
    law, tpe = data.curves
    assert (law.strategy, law.shares, law.median) == ("law", (0.125, 0.25), (1.0, 0.5))
    assert tpe.worst == (18.0, 9.0)
    assert data.ends == {"law": ((0.05, 1.0), (0.125, 0.5)), "tpe": ((0.05, 3.0),)}


def test_three_traces_per_strategy_on_a_logarithmic_cost(report):
    figure = go.Figure(draw_regret_curves(regret_curves(report), LIGHT))
    assert len(figure.data) == 2 * 3
    assert figure.layout.xaxis.type == "log"
    assert [trace.name for trace in figure.data if trace.name] == ["law", "tpe"]
    assert "<b>" not in figure.layout.title.text


def test_page_needs_no_network(report, tmp_path):
    data = tmp_path / "replay.json"
    data.write_text(json.dumps(report))
    assert main([str(data)]) == 0
    page = (tmp_path / "replay.html").read_text()
    assert "Plotly.newPlot" in page
    assert 'src="http' not in page


def test_other_files_are_refused(tmp_path, capsys):
    data = tmp_path / "other.json"
    data.write_text("{}")
    with pytest.raises(InputError, match="no replay"):
        write_plot(data)
    assert main([str(data)]) == 2
    assert "no replay" in capsys.readouterr().err
