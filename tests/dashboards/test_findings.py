import pytest

from dashboards.findings import Findings
from tracker.errors import InputError, NotEnoughDataError
from tracker.select.recommend import recommend


def test_the_objective_is_the_sweep_file_s(findings):
    assert findings.objective.weights == {"intent": 2, "slots": 1}
    assert findings.objective.constraints == {"forgetting.english": 0.1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\n", "no objective"),
        ("objective: {weights: {intent: much}}\n", "objective.weights.intent"),
        ("- a\n", "no objective"),
    ],
)
def test_an_objective_that_cannot_be_read_says_why(records, text, message):
    findings = Findings("support", records, text)
    with pytest.raises(InputError, match=message):
        _ = findings.objective
    assert findings.weights == {}


@pytest.mark.parametrize(
    "text",
    [
        "tasks: {intent: {train: a}, slots: {train: b}, held: {}}\n",
        "tasks: {intent: {}, slots: {}, held: {}}\nmixes: {m: {intent: 1, slots: 1, replay: 0.1}}\n",
    ],
)
def test_without_an_objective_every_trained_task_counts_alike(records, text):
    assert Findings("support", records, text).weights == {"intent": 1, "slots": 1}


def test_the_recommendation_is_tracker_s_and_made_once(findings, records):
    assert findings.recommendation == recommend(records, findings.objective, sweep="support")
    assert findings.recommendation is findings.recommendation
    assert findings.fits("intent", "score") is findings.fits("intent", "score")


def test_nothing_measured_nothing_recommended():
    with pytest.raises(NotEnoughDataError):
        _ = Findings("support", [], "objective: {weights: {intent: 1}}\n").recommendation


def test_the_version_follows_the_records(records):
    text = "objective: {weights: {intent: 1}}\n"
    assert Findings("s", records, text).version == Findings("s", list(records), text).version
    assert Findings("s", records[:-1], text).version != Findings("s", records, text).version
