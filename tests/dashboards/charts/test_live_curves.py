import plotly.graph_objects as go

from dashboards.charts.loss_curves import MAX_PANELS, draw_live_curves, live_curves
from dashboards.charts.theme import LIGHT
from tracker.store.store import LiveTrial


def trial(number: int, points: int) -> LiveTrial:
    curve = tuple((10 * n, 3.0 - n) for n in range(points))
    return LiveTrial(str(number), number, "cover", "m", "lora", "even", 40, 0.0, None, None, curve)


def test_a_panel_per_trial_that_took_steps():
    data = live_curves([trial(3, 3), trial(4, 1), trial(5, 0)])
    assert [(p.number, p.steps, p.losses) for p in data.panels] == [(3, (0, 10, 20), (3, 2, 1))]
    assert data.not_shown == 2


def test_of_many_running_trials_some_have_no_panel():
    data = live_curves([trial(n, 2) for n in range(MAX_PANELS + 3)])
    assert len(data.panels) == MAX_PANELS
    assert data.not_shown == 3
    figure = go.Figure(draw_live_curves(data, LIGHT))
    assert len(figure.data) == MAX_PANELS


def test_nothing_runs():
    data = live_curves([])
    assert data == ((), 0)
    assert len(go.Figure(draw_live_curves(data, LIGHT)).data) == 0


def test_titles_are_shown_as_they_are():
    odd = trial(1, 2)._replace(model="<b>%{x}")
    figure = go.Figure(draw_live_curves(live_curves([odd]), LIGHT))
    assert figure.layout.annotations[0].text.startswith("#1 &lt;b>% {x}")
