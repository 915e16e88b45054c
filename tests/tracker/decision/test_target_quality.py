"""Targets: met, not met or unknown; of the weighted quality, of tasks, of errors; what would reach them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.factories import numbered, recommend, task_score
from tracker.decision.explain import not_reached, question, summary
from tracker.decision.recommendation import (
    ExamplesNeeded,
    Recommendation,
    TargetQuality,
    TargetState,
)
from tracker.errors import ArgumentError, NoRecommendationError
from tracker.export.config import config_of
from tracker.metrics import Estimate
from tracker.trial import Objective, Target, TrialRecord

Make = Callable[..., TrialRecord]
WEIGHTS = {"intent": 1.0, "slots": 1.0}


def _sweep(record: Make) -> list[TrialRecord]:
    """A small model that is good on intent alone, and a large one that is good on both; three seeds each."""
    rows = []
    for model, scores in (
        ("small", {"intent": 0.9, "slots": 0.4}),
        ("large", {"intent": 0.95, "slots": 0.8}),
    ):
        for seed in range(3):
            near = {task: score + 0.002 * seed for task, score in scores.items()}
            rows.append(record(model=model, scores=near, seed=seed))
    return numbered(rows)


def _answer(rows: list[TrialRecord], target: Target) -> Recommendation:
    return recommend(rows, Objective(weights=WEIGHTS, target=target))


@pytest.mark.parametrize(
    ("target", "model", "state"),
    [
        (0.6, "small", "met"),
        (0.8, "large", "met"),
        (0.99, "large", "not met"),
        ({"intent": 0.85}, "small", "met"),
        ({"slots": 0.7}, "large", "met"),
        ({"intent": 0.85, "slots": 0.7}, "large", "met"),
        ({"intent": 0.99}, "large", "not met"),
    ],
)
def test_the_objective_s_target_decides_the_choice(
    record: Make, target: Target, model: str, state: TargetState
) -> None:
    found = _answer(_sweep(record), target)
    assert found.target_quality is not None
    assert (found.choice.model, found.target_quality.state) == (model, state)
    assert found.target_quality.reached is (state == "met")
    assert f"target {state}: " in summary(found)[1]


def test_between_met_and_not_met_it_is_unknown(record: Make) -> None:
    rows = [record(scores={"intent": s, "slots": s}, seed=i) for i, s in enumerate((0.68, 0.72))]
    found = _answer(rows, 0.7)
    assert found.target_quality is not None
    assert found.target_quality.state == "unknown"
    assert 0.1 < (found.target_quality.probability or 0) < 0.9
    assert summary(found)[0].startswith(
        "Target met or not is unknown: nothing measured reaches 0.7 "
    )
    assert "run more seeds of the closest" in summary(found)[-1]
    with pytest.raises(NoRecommendationError):
        config_of(found, rows)


def test_a_task_without_weight_that_was_not_measured_leaves_it_unknown(record: Make) -> None:
    rows = [record(scores={"intent": 0.9}, seed=i) for i in range(2)]
    rows.append(record(model="large", scores={"intent": 0.5, "slots": 0.9}))
    found = recommend(
        numbered(rows), Objective(weights={"intent": 1}, target={"slots": 0.95, "intent": 0.8})
    )
    assert found.target_quality is not None
    assert found.target_quality.state == "unknown"


def test_a_target_by_task_takes_the_likeliest_where_nothing_reaches_it(record: Make) -> None:
    """The best by weighted quality is not what comes closest to the target of one task."""
    rows = [record(scores={"intent": 0.55, "slots": 0.70}, seed=i) for i in range(2)]
    rows += [record(model="large", scores={"intent": 0.95, "slots": 0.4}, seed=i) for i in range(2)]
    found = _answer(numbered(rows), {"slots": 0.72})
    assert found.target_quality is not None
    assert not found.target_quality.reached
    assert found.choice.model == "small"


def test_of_an_error_the_target_is_the_most_it_may_be(record: Make) -> None:
    def with_error(made: TrialRecord, error: float) -> TrialRecord:
        spoken = task_score("spoken", None, score_name="wer", error=error, error_se=0.004)
        result = made.result.model_copy(update={"tasks": (*made.result.tasks, spoken)})
        return made.model_copy(update={"result": result})

    rows = [
        with_error(record(model=m, scores={"intent": 0.8}, seed=s), e)
        for m, e in (("small", 0.3), ("large", 0.1))
        for s in range(2)
    ]
    weights = {"intent": 1.0, "spoken": 1.0}
    objective = Objective(weights=weights, target={"spoken": 0.2})
    found = recommend(numbered(rows), objective)
    assert (found.choice.model, found.missed) == ("large", False)
    assert "spoken wer 0.100" in summary(found)[2]
    assert "lower is better" in summary(found)[2]
    assert found.question == "smallest and cheapest with spoken <= 0.2"
    assert question(Objective(weights=weights), {"spoken": "error"}) == (
        "highest weighted score, minus the error of a task without a score (intent 1, spoken 1)"
    )
    for wrong, problem in (({"spoken": -1}, "0 or more"), ({"intent": 2}, "at most 1")):
        with pytest.raises(ArgumentError, match=problem):
            recommend(numbered(rows), Objective(weights=weights, target=wrong))


def test_a_target_names_tasks_of_the_sweep(record: Make) -> None:
    with pytest.raises(ArgumentError, match="did you mean 'intent'"):
        _answer(_sweep(record), {"intend": 0.5})
    with pytest.raises(ArgumentError, match="above 0 and at most 1"):
        _answer(_sweep(record), 80)


def test_no_target_stays_out_of_an_objective_s_text() -> None:
    assert "target" not in Objective(weights=WEIGHTS).model_dump_json()
    kept = Objective(weights=WEIGHTS, target={"intent": 0.5})
    assert Objective.model_validate_json(kept.model_dump_json()) == kept


@pytest.mark.parametrize(
    ("probability", "said"),
    [
        (
            0.04,
            "No law is likely to reach it within 16 times the data measured: a does with probability",
        ),
        (
            0.7,
            "By their laws these reach it within 16 times the data measured: a with probability 70 %",
        ),
    ],
)
def test_a_law_that_rarely_reaches_the_target_is_not_said_to(probability: float, said: str) -> None:
    needed = ExamplesNeeded(
        label="a",
        probability=probability,
        examples=Estimate(value=900, low=800, high=1000),
        largest_measured=500,
    )
    fields: dict[str, Any] = {"reached": False, "probability": 0.01, "state": "not met"}
    assert said in not_reached(TargetQuality(quality=0.9, needed=(needed,), **fields), "b")


def test_a_quality_of_a_score_and_an_error_is_no_share(record: Make) -> None:
    """0.8 less 0.2, by equal weights, is 0.3 and not 30 %; what the weights mean is a caveat."""
    spoken = task_score("spoken", None, score_name="wer", error=0.2, error_se=0.01)
    rows = []
    for seed in range(2):
        made = record(scores={"intent": 0.8}, seed=seed)
        result = made.result.model_copy(update={"tasks": (*made.result.tasks, spoken)})
        rows.append(made.model_copy(update={"result": result}))
    found = recommend(numbered(rows), Objective(weights={"intent": 1, "spoken": 1}))
    assert not found.scored
    assert found.choice.quality.value == pytest.approx(0.3, abs=0.02)
    assert "quality (scores, minus what is no score) 0.3" in summary(found)[1]
    (rate,) = (caveat for caveat in found.caveats if "exchange rate" in caveat)
    assert "1 less of spoken (error) counts as much as 1 more of intent" in rate
    assert recommend(rows, Objective(weights={"intent": 1})).scored
