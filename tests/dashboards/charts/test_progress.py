import pandas as pd
import plotly.graph_objects as go
import pytest

from dashboards.charts.progress import best_so_far, draw_best_so_far, trial_label
from dashboards.charts.theme import LIGHT
from tracker.decision.analysis import Analysis
from tracker.trial import Objective

WEIGHTS = {"intent": 2.0, "slots": 1.0}


def test_quality_is_the_weighted_mean_of_the_task_scores(analysis, records):
    quality = analysis.trial_quality["value"]
    intent, slots = (s.score for s in records[10].result.tasks)
    assert quality[records[10].result.spec.key] == pytest.approx((2 * intent + slots) / 3)


def test_the_best_never_falls_and_cost_adds_up(analysis, records):
    data = best_so_far(analysis)
    assert list(data.best) == sorted(data.best)
    assert data.best[-1] == max(t.quality for t in data.trials) == data.best_trial.quality
    flops = [r.result.cost.flops for r in records if r.result.spec.method.name != "none"]
    assert data.trials[-1].spent == pytest.approx(sum(f for f in flops if f))
    assert data.trials[0].spent == 0  # the untouched base is not trained
    assert data.uncounted == 0


def test_a_trial_without_one_of_the_weighted_scores_is_left_out_and_counted(analysis):
    data = best_so_far(analysis.with_objective(Objective(weights={"intent": 1.0, "missing": 1.0})))
    assert data.trials == ()
    assert data.best_trial is None
    assert data.uncounted == 47


def test_no_trials_draw_an_empty_chart():
    data = best_so_far(Analysis([], Objective(weights=WEIGHTS)))
    assert data.trials == ()
    assert len(go.Figure(draw_best_so_far(data, LIGHT)).data) == 1


def test_labels_name_what_was_trained(analysis, records):
    tuned = analysis.table[analysis.table["key"] == records[10].result.spec.key].iloc[0]
    assert trial_label(tuned.to_dict()) == "en-0.1m · LoRA rslora r8 · 250 examples · even"
    assert trial_label({"model": "m", "method": "none"}) == "m · Untouched base"


def test_one_trace_per_method_and_one_for_the_best(analysis):
    figure = go.Figure(draw_best_so_far(best_so_far(analysis), LIGHT))
    assert len(figure.data) == 1 + 4
    assert isinstance(analysis.table, pd.DataFrame)
