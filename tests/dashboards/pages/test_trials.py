import json

import plotly.graph_objects as go
import pytest

from dashboards.charts.loss_curves import draw_loss_curves, loss_curve, smoothed
from dashboards.charts.theme import LIGHT
from dashboards.pages import compare, trial
from dashboards.pages.sweep import running_in_short
from dashboards.pages.trials import bar, details, numbers_in, requested_records
from dashboards.state import Query
from dashboards.trials.fields import (
    Measured,
    Weighing,
    distinguishable,
    fields,
    interval,
    tasks_not_measured,
    with_interval,
)
from dashboards.trials.reader import TrialDetails
from tracker.store.mlflow_names import metrics
from tracker.store.store import LiveTrial
from tracker.store.worst_answers import worst_of
from tracker.trial import Fitted, PassResult

HARM = "<script>alert(1)</script>"
WEIGHING = Weighing({"slots": 1, "intent": 2}, {"intent": "score", "slots": "score"})


def test_one_trial_shows_scores_with_intervals_and_its_configuration(view_of, records, words):
    text = words(details(view_of(records), Query.of(trial="45")))
    assert text.index("Trial 45") < text.index("Quality") < text.index("Device time")
    assert "80 % interval" in text
    assert "Learning rate" in text
    assert "Peak memory" in text


def test_a_cost_that_is_not_known_has_no_tile(view_of, records, words):
    cost = records[45].result.cost.model_copy(update={"device_seconds": None, "peak_bytes": None})
    result = records[45].result.model_copy(update={"cost": cost})
    bare = [*records[:45], records[45].model_copy(update={"result": result})]
    text = words(details(view_of(bare), Query.of(trial="45")))
    assert "counted operations" in text
    assert "on cpu" not in text
    assert "Peak memory" not in text


def test_what_memory_made_of_its_batches_is_said(view_of, records, words):
    used = Fitted(batch_size=2, accumulation=8, gradient_checkpointing=True)
    passes = [
        PassResult(number=n, step=n, scores={}, loss_nats={}, value=0.0, kept=n == 1)
        for n in (1, 2)
    ]
    changed = {"fitted": used, "passes": tuple(passes)}
    result = records[45].result.model_copy(update=changed)
    fitted = [*records[:45], records[45].model_copy(update={"result": result})]
    text = words(details(view_of(fitted), Query.of(trial="45")))
    assert "Rows at a time, for want of memory" in text
    assert "Gradient checkpointing, for want of memory" in text
    assert "Rows at a time in evaluation" not in text
    assert "Pass kept" in text
    assert "1 of 2" in text
    assert "for want of memory" not in words(details(view_of(records), Query.of(trial="45")))
    assert metrics(result)["fitted/batch_size"] == 2
    assert "fitted/evaluation_batch_size" not in metrics(result)


def test_a_number_that_is_no_ended_trial_is_said(view_of, records, words):
    assert "no such ended trial" in words(details(view_of(records), Query.of(trial="999")))


def test_the_address_names_at_most_five_trials_each_once(view_of, records):
    query = Query.of(compare="3,9,3,x,1,2,4,5")
    assert numbers_in(query, "compare") == (3, 9, 1, 2, 4, 5)
    assert [r.number for r in requested_records(view_of(records), query)] == [3, 9, 1, 2, 4]


def test_only_what_differs_is_marked(records):
    rows = {row.name: row for row in compare.side_by_side([records[33], records[45]], WEIGHING)}
    assert rows["Seed"].differs
    assert not rows["Model"].differs
    same = compare.side_by_side([records[33], records[33]], WEIGHING)
    assert not any(row.differs for row in same)


def test_two_scores_differ_where_paired_rows_tell_them_apart():
    base = tuple(0.5 + i / 100 for i in range(20))
    higher = tuple(value + 0.01 for value in base)
    assert distinguishable([Measured(0.6, 0.06, base), Measured(0.61, 0.06, higher)])
    assert not distinguishable([Measured(0.60, 0.06), Measured(0.61, 0.06)])
    low, high = interval(Measured(0.5, 0.1)) or (0, 0)
    assert (round(low, 3), round(high, 3)) == (0.372, 0.628)
    assert with_interval(Measured(0.5, None)) == "50.0 %"


def rescored(record, **changes):
    """*record* with each of its task scores changed."""
    tasks = tuple(score.model_copy(update=changes) for score in record.result.tasks)
    return record.model_copy(update={"result": record.result.model_copy(update={"tasks": tasks})})


def test_the_quality_is_the_grid_s_with_an_interval_from_the_tasks_replicates(analysis, records):
    grid = analysis.trials.set_index("number")["quality"]
    weighing = Weighing(analysis.objective.weights, analysis.measures)
    found = weighing.quality(records[45].result)
    assert found is not None
    assert found.value == pytest.approx(grid[45])
    low, high = interval(found) or (0, 0)
    assert low < found.value < high
    assert len(found.replicates) == len(records[45].result.tasks[0].replicates)
    alone = weighing.quality(rescored(records[45], replicates=()).result)
    assert alone is not None
    assert interval(alone) is not None
    assert not alone.replicates
    bare = weighing.quality(rescored(records[45], replicates=(), score_se=None).result)
    assert bare is not None
    assert interval(bare) is None
    assert weighing.quality(rescored(records[45], score=None).result) is None
    assert weighing.quality(records[-1].result) is None, "it failed"


def test_a_quality_of_losses_is_a_number(records, words, view_of):
    lost = [rescored(r, score=None, replicates=(), score_se=None) for r in records[:46]]
    text = words(details(view_of(lost), Query.of(trial="45")))
    assert "Quality −0." in text
    first = compare.side_by_side(lost[44:46], Weighing({"intent": 1}, {"intent": "bits_per_byte"}))[
        0
    ]
    assert (first.group, first.texts[0][:3]) == ("Quality", "−0.")


def test_the_comparison_begins_with_the_quality_and_keeps_the_objective_s_order(records):
    rows = compare.side_by_side([records[47], records[45]], WEIGHING)
    assert rows[0].name == "Weighted mean of the tasks"
    assert rows[0].texts[0] == "–", "it diverged"
    base = [row.name for row in compare.side_by_side([records[0], records[34]], WEIGHING)]
    assert base.index("Variant") < base.index("Seed"), "as a tuned trial has them"
    names = [row.name for row in rows if row.name.endswith(": score")]
    assert names == ["slots: score", "intent: score"]


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_rows_that_all_came_out_alike_are_bounded_by_their_number(records, words, view_of, score):
    """With Jeffreys' prior, as in the recommendation; on few rows the bootstrap is too narrow as well."""
    same = rescored(records[45], score=score, score_se=0.0, replicates=(score,) * 20, n=12)
    assert tasks_not_measured(same.result, WEIGHING) == []
    ends = "0.0 to 10.5" if score == 0 else "89.5 to 100.0"
    texts = {field.name: field.text for field in fields(same, WEIGHING)}
    assert texts["intent: score"] == f"{100 * score:.1f} % (80 % interval {ends} %)"
    assert "no interval" not in words(details(view_of([*records[:45], same]), Query.of(trial="45")))


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_rows_of_unknown_number_that_all_came_out_alike_tell_no_interval(
    records, words, view_of, score
):
    same = rescored(records[45], score=score, score_se=0.0, replicates=(score,) * 20, n=None)
    assert tasks_not_measured(same.result, WEIGHING) == ["slots", "intent"]
    assert interval(Measured(score, 0.0)) is None
    texts = {field.name: field.text for field in fields(same, WEIGHING)}
    assert texts["intent: score"] == f"{100 * score:.1f} % (no interval)"
    text = words(details(view_of([*records[:45], same]), Query.of(trial="45")))
    assert "give no interval" in text
    assert "0.0 to" not in text
    both = words(details(view_of([*records[:45], same]), Query.of(compare="44,45")))
    assert "give no interval" in both


def test_worst_answers_are_text_and_marked_in_words(records, words):
    rows = [{"row": 0, "answer": HARM, "truth": "none", "nats": 2.0, "score": 0.0, "valid": False,
             "over_reach": True, "prompt": HARM}]  # fmt: skip
    task = worst_of("intent", "validation", "\n".join(map(json.dumps, rows)))
    reading = TrialDetails(
        ((1, 3.0), (2, 2.0)), (task,), "http://localhost:5000/#/experiments/1/runs/a"
    )
    parts = trial.readings(records[45], reading, LIGHT, WEIGHING)
    text = words(parts)
    assert text.count(HARM) == 2
    assert "over-reach" in text
    assert "not in the task's format" in text
    assert "Open its run in MLflow" in text


def test_only_wrong_answers_are_listed_and_prompts_that_were_not_kept_are_said_once(records, words):
    rows = [{"row": i, "answer": "a", "truth": "ab"[i % 2], "score": float(i % 2 == 0)}
            for i in range(8)]  # fmt: skip
    task = worst_of("intent", "validation", "\n".join(map(json.dumps, rows)))
    other = worst_of("slots", "validation", "")
    text = words(trial.readings(records[45], TrialDetails((), (task, other)), LIGHT, WEIGHING))
    assert text.index("answers: slots") < text.index("answers: intent"), "the objective's order"
    assert "4 of 8 answers are not fully right" in text
    assert text.count("Truth") == 5, "four wrong answers, and the table of what is confused"
    assert text.count("prompts were not kept") == 1
    assert "Prompt " not in text
    right = worst_of("intent", "validation", "\n".join(json.dumps(row) for row in rows[::2]))
    text = words(trial.readings(records[45], TrialDetails((), (right,)), LIGHT, WEIGHING))
    assert "Every kept answer is right" in text
    assert "Truth" not in text


def test_a_running_mean_does_not_lag_and_keeps_the_ends():
    line = [10.0 - i for i in range(100)]
    assert smoothed(line) == pytest.approx(line)
    assert loss_curve("a", "lora", []) is None
    one = loss_curve("Trial 1", "lora", [(5, 2.0)])
    assert one is not None
    assert one.smooth == (2.0,)
    assert len(go.Figure(draw_loss_curves([one, one], LIGHT)).data) == 4


def test_trials_under_way_stand_above_the_grid_and_lead_to_the_sweep(view_of, records, words):
    live = [
        LiveTrial("k", 50 + i, "grid", "en-1m", "lora", "even", 2000, 100.0, 120, 1.25)
        for i in range(9)
    ]
    found = running_in_short(view_of(records, running=tuple(live)), 160.0, "/?sweep=support")
    text = words(found)
    assert "#50 en-1m · LoRA · 2,000 examples · even 1 min 0 s step 120, loss 1.250" in text
    assert "#57" in text
    assert "#58" not in text
    assert "1 more trial under way" in text
    assert "href='/?sweep=support'" in str(found)
    assert running_in_short(view_of(records), 160.0, "/") is None


def test_ticks_lead_to_one_or_to_a_comparison(words):
    assert bar([], Query()) == []
    assert "See trial 3" in words(bar([3], Query()))
    assert "Compare 3 and 9" in words(bar([3, 9], Query()))
    assert "the first 5" in words(bar([1, 2, 3, 4, 5, 6], Query()))
    assert len(str(bar(list(range(1000)), Query()))) < 2000
