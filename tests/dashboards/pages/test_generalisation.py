import pytest

from dashboards.charts.generalisation import generalisation_state
from dashboards.pages.generalisation import content
from dashboards.state import Query
from tracker.cache import SingleFlightCache


def test_wishes_that_exist_are_kept_and_others_fall_back(view_of, records):
    view = view_of(records)
    state = generalisation_state(
        view.analysis, Query.of(task="slots", cost="transfer", model="en-0.1m", volume="500")
    )
    assert (state.task, state.cost, state.model, state.volume) == (
        "slots",
        "transfer",
        "en-0.1m",
        500,
    )
    fallback = generalisation_state(
        view.analysis, Query.of(task="x", cost="x", model="x", volume="7", mix="x")
    )
    assert (fallback.task, fallback.cost, fallback.mix) == ("all", "english", "even")
    assert (fallback.model, fallback.volume) == ("en-1m", 2000)


@pytest.mark.parametrize(
    "state",
    [Query(), Query.of(model="all", task="slots"), Query.of(model="together", axis="linear")],
)
def test_the_page_says_what_each_method_costs(view_of, records, words, state):
    text = words(content(view_of(records), state, "dark"))
    assert "Full tuning: quality from" in text
    assert "Pareto front" in text
    assert "Forgetting against training examples" in text
    assert "Valid format" in text


def test_transfer_is_shown_where_a_mix_leaves_tasks_out_and_else_said_to_be_absent(
    view_of, records, words
):
    query = Query.of(cost="transfer", mix="intent")
    assert "tasks it was not trained on" in words(content(view_of(records), query, None))
    query = Query.of(cost="transfer", task="slots")
    built = content(view_of(records), query, None)
    assert "Mix even leaves no task untrained" in words(built)
    assert "Show mix intent , which was not trained on slots." in words(built)
    assert "/generalisation?cost=transfer&mix=intent&task=slots" in str(built)


def test_laws_that_are_not_known_yet_are_said_to_come(view_of, records, words):
    view, background = view_of(records), SingleFlightCache()
    first = words(content(view, Query(), None, background))
    for _ in range(200):
        if background.ready(("support", "forgetting"), view.analysis.version):
            break
        background.get_in_background(
            ("support", "forgetting"), view.analysis.version, lambda: None, wait=0.5
        )
    assert "Show the laws" in words(content(view, Query(), None, background))
    assert "Fitting the laws" in first or "Show the laws" in first


def test_no_trials_and_one_trial(view_of, records, words):
    assert "No trials yet" in words(content(view_of([]), Query(), None))
    assert "No tuned trial has a score" in words(content(view_of(records[:3]), Query(), None))
    one = words(content(view_of(records[6:7]), Query(), None))
    assert "Full tuning" in one
    assert "No law of forgetting here" in one


def test_without_a_general_suite_that_is_said(view_of, records, words):
    def bare(record):
        result = record.result.model_copy(update={"general": ()})
        return record.model_copy(update={"result": result})

    view = view_of([bare(r) for r in records])
    text = words(content(view, Query(), None))
    assert "Show mix intent" in text
    assert "Not measured" not in text, "rates of answers need no general suite"
    for query in (Query(), Query.of(model="all"), Query.of(task="slots")):
        text = words(content(view, query, None))
        for rate in ("recall", "precision", "over-reach", "valid format"):
            assert f"{rate} " in text.partition("Right and wrong answers")[2]


def test_rates_of_a_task_are_shown_wherever_some_trial_measured_them(view_of, records, words):
    """Also where the task and mix in sight have none: a table holds every task's."""

    def blind(record):
        unknown = dict.fromkeys(("precision", "recall", "over_reach", "valid_format"))
        tasks = (
            s.model_copy(update=unknown) if s.task == "intent" else s for s in record.result.tasks
        )
        result = record.result.model_copy(update={"tasks": tuple(tasks)})
        return record.model_copy(update={"result": result})

    text = words(content(view_of([blind(r) for r in records]), Query.of(task="intent"), None))
    assert "was measured for this task" in text
    assert "Show every task and model" in text


def test_where_every_mix_trains_every_task_the_page_says_which_mix_to_add(view_of, records, words):
    even = [r for r in records if r.result.spec.mix is None or r.result.spec.mix.name == "even"]
    text = words(content(view_of(even), Query.of(cost="transfer"), None))
    assert "No task was left untrained" in text
    assert "list a mix that leaves a task out" in text


def test_the_link_goes_to_a_model_that_was_run_with_that_mix(view_of, records, words):
    small = {"cost": "transfer", "model": "en-0.3m"}
    view = view_of(records)
    built = content(view, Query.of(**small), None)
    assert "Show mix intent on en-1m" in words(built)
    assert "/generalisation?cost=transfer&mix=intent&model=en-1m" in str(built)
    there = words(content(view, Query.of(**small, mix="intent"), None))
    assert "no trial of it on this model" in there
    assert "Show mix intent on en-1m" in there
