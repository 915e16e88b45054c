"""Every constraint a user may set: what it is about, whom it rejects, how surely it is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.factories import recommend, task_score
from tracker.constraints import bound_problem, could_keep, judge, task_and_label
from tracker.decision.explain import lines
from tracker.decision.recommendation import Recommendation
from tracker.errors import InputError, NotEnoughDataError, NothingAdmittedError
from tracker.results import by_configuration
from tracker.task import LabelCounts, TaskScore
from tracker.trial import Objective, TrialRecord

Make = Callable[..., TrialRecord]


def test_what_was_not_measured_breaks_a_bound(record: Make) -> None:
    among = by_configuration([record(forgetting=0.05), record(model="large", forgetting=None)])
    verdict = judge(among, np.array([0.5, 0.9]), {"forgetting.english": 0.1})
    assert [among[index].spec.model.name for index in verdict.admitted] == ["small"]
    (rejection,) = verdict.rejected
    assert (rejection.count, rejection.unmeasured) == (1, 1)


def test_of_those_below_a_minimum_the_highest_is_the_nearest(record: Make) -> None:
    scores = {"small": 0.7, "large": 0.8}
    among = by_configuration([record(model=m, scores={"intent": s}) for m, s in scores.items()])
    (rejection,) = judge(among, np.array([0.9, 0.1]), {"min.intent": 0.95}).rejected
    assert rejection.nearest_value == 0.8
    (rejection,) = judge(among, np.array([0.9, 0.1]), {"forgetting.english": 0.01}).rejected
    assert rejection.nearest_value == 0.02


def test_training_on_more_costs_more(record: Make) -> None:
    (results,) = by_configuration([record(flops=1e12)])
    for bound, times, could in ((2e12, 2.0, True), (1.9e12, 2.0, False), (1.9e12, 1.0, True)):
        assert could_keep(results, {"flops": bound}, times) is could


def test_a_share_is_at_most_one() -> None:
    assert bound_problem("over_reach.intent", 1.5) == "found 1.5; allowed: 0 to 1"
    assert bound_problem("over_reach.intent", 1.0) is None


def _costing(record: TrialRecord, **cost: Any) -> TrialRecord:
    changed = record.result.cost.model_copy(update=cost)
    return record.model_copy(update={"result": record.result.model_copy(update={"cost": changed})})


def _two(record: Make) -> list[TrialRecord]:
    """The better one costs more in every respect and has more false positives."""
    good = record(
        model="large",
        scores={"intent": 0.9, "slots": 0.5},
        over_reach=0.3,
        forgetting=0.2,
        flops=2e12,
    )
    plain = record(
        scores={"intent": 0.7, "slots": 0.6}, over_reach=0.1, forgetting=0.05, flops=1e12
    )
    costs = {
        "peak_bytes": 2000,
        "device_seconds": 7200.0,
        "adapter_bytes": 400,
        "seconds_per_1k_tokens": 2.0,
    }
    return [
        _costing(good, **costs),
        _costing(
            plain,
            **{name: value / 2 for name, value in costs.items()}
            | {"peak_bytes": 1000, "adapter_bytes": 200},
        ),
    ]


def _recommend(record: Make, **constraints: float) -> Recommendation:
    named = {name.replace("__", "."): bound for name, bound in constraints.items()}
    return recommend(_two(record), Objective(weights={"intent": 1}, constraints=named))


@pytest.mark.parametrize(
    ("name", "bound", "value"),
    [
        ("forgetting__english", 0.1, 0.2),
        ("min__slots", 0.55, 0.5),
        ("over_reach__intent", 0.2, 0.3),
        ("parameters", 500_000, 800_000),
        ("flops", 1.5e12, 2e12),
        ("adapter_bytes", 300, 400),
        ("peak_bytes", 1500, None),
        ("device_seconds", 4000, None),
        ("gpu_hours", 1.5, None),
        ("seconds_per_1k_tokens", 1.5, None),
    ],
)
def test_each_constraint_rejects_the_better_and_says_what_it_cost(
    record: Make, name: str, bound: float, value: float | None
) -> None:
    assert _recommend(record).choice.model == "large"
    found = _recommend(record, **{name: bound})
    assert found.choice.model == "small"
    (rejection,) = found.rejected
    assert rejection.constraint == name.replace("__", ".")
    assert (rejection.count, rejection.unmeasured) == (1, 0)
    assert rejection.best_value == (None if value is None else pytest.approx(value))
    (constraint,) = found.satisfied
    assert constraint.limit == bound
    assert (constraint.value is None) == (value is None)


def test_gpu_hours_are_device_seconds_by_3600(record: Make) -> None:
    assert _recommend(record, gpu_hours=2.0).choice.model == "large"
    assert _recommend(record, gpu_hours=1.999).choice.model == "small"
    with pytest.raises(NotEnoughDataError, match="measured on the clock"):
        _recommend(record, gpu_hours=0.5)


def test_forgetting_is_kept_with_a_probability(record: Make) -> None:
    """0.05 measured with a standard error of 0.002: .05 is a coin flip, .054 two deviations off."""
    for bound, probability in ((0.05, 0.5), (0.054, 0.977), (0.06, 1.0)):
        found = _recommend(record, forgetting__english=bound)
        (constraint,) = found.satisfied
        assert constraint.probability == pytest.approx(probability, abs=0.002)
        assert f"Keeps forgetting.english <= {bound:g} with probability" in " ".join(lines(found))


def test_a_minimum_is_kept_with_a_probability(record: Make) -> None:
    """.6 of 400 rows has a standard error of .0245."""
    rows = [
        r.model_copy(
            update={
                "result": r.result.model_copy(
                    update={
                        "tasks": tuple(
                            t.model_copy(update={"score_se": 0.0245}) for t in r.result.tasks
                        )
                    }
                )
            }
        )
        for r in _two(record)
    ]
    objective = Objective(weights={"intent": 1}, constraints={"min.slots": 0.5755})
    (constraint,) = recommend(rows, objective).satisfied
    assert constraint.probability == pytest.approx(0.841, abs=0.01)


def test_what_is_exact_or_unknown_has_no_probability(record: Make) -> None:
    assert _recommend(record, parameters=1e9).satisfied[0].probability is None
    assert _recommend(record, over_reach__intent=0.5).satisfied[0].probability is None


def test_weights_decide_between_tasks(record: Make) -> None:
    rows = _two(record)
    for weights, model in (
        ({"intent": 1}, "large"),
        ({"slots": 1}, "small"),
        ({"intent": 1, "slots": 1.5}, "large"),
    ):
        assert recommend(rows, Objective(weights=weights)).choice.model == model


def test_an_unknown_bound_names_the_nearest(record: Make) -> None:
    with pytest.raises(InputError, match="did you mean 'gpu_hours'"):
        _recommend(record, gpu_hour=1)


def test_what_needs_more_examples_than_are_on_hand_is_left_out(record: Make) -> None:
    few = record(volume=400, scores={"intent": 0.7, "slots": 0.6})
    many = record(volume=1600, scores={"intent": 0.9, "slots": 0.6})
    weights = {"intent": 1.0}
    for bounds, volume in (
        ({}, 1600),
        ({"examples": 1600.0}, 1600),
        ({"examples": 1599.0}, 400),
        ({"examples.intent": float(many.result.spec.examples["intent"])}, 1600),
        ({"examples.intent": float(few.result.spec.examples["intent"])}, 400),
    ):
        found = recommend([few, many], Objective(weights=weights, constraints=bounds))
        assert found.choice.volume == volume
        assert [r.best_value for r in found.rejected] == (
            []
            if volume == 1600
            else [float(many.result.spec.volume)]
            if "examples" in bounds
            else [float(many.result.spec.examples["intent"])]
        )


# -- precision, recall, and those of one label -------------------------------------------------------


def _scored(made: TrialRecord, *scores: TaskScore) -> TrialRecord:
    result = made.result.model_copy(update={"tasks": scores})
    return made.model_copy(update={"result": result})


def _labelled(record: Make) -> list[TrialRecord]:
    """The better one has the lower recall, of 退款.申请 a half; each answers 天气 never."""

    def counts(hits: int, answers: int) -> LabelCounts:
        names = ("退款.申请", "other", "天气")
        return LabelCounts(
            names=names, truths=(40, 55, 5), answers=(answers, 60, 0), hits=(hits, 50, 0)
        )

    return [
        _scored(
            record(model="large"),
            task_score(score=0.9, n=100, precision=0.9, recall=0.6, labels=counts(20, 25)),
        ),
        _scored(
            record(),
            task_score(score=0.8, n=100, precision=0.7, recall=0.8, labels=counts(32, 64)),
        ),
    ]


@pytest.mark.parametrize(
    ("constraints", "model"),
    [
        ({}, "large"),
        ({"recall.intent": 0.7}, "small"),
        ({"precision.intent": 0.8}, "large"),
        ({"recall.intent.退款.申请": 0.75}, "small"),
        ({"recall.intent.退款.申请": 0.5, "precision.intent.退款.申请": 0.8}, "large"),
    ],
)
def test_precision_and_recall_are_bounded_from_below(
    record: Make, constraints: dict[str, float], model: str
) -> None:
    found = recommend(_labelled(record), Objective(weights={"intent": 1}, constraints=constraints))
    assert found.choice.model == model
    for kept in found.satisfied:
        assert kept.probability is not None
        assert 0 < kept.probability < 1
    rejecting = [
        name for name in sorted(constraints) if name.startswith("precision") or model == "small"
    ]
    assert [r.constraint for r in found.rejected] == rejecting


def test_a_share_is_kept_with_the_probability_of_its_rows(record: Make) -> None:
    """32 of 40 right is 0.8 with a standard error of 0.063; of 64 answers 32 right is 0.5 of 0.062."""
    for name, bound, probability in (
        ("recall.intent.退款.申请", 0.8 - 0.063, 0.841),
        ("precision.intent.退款.申请", 0.5 - 0.062, 0.841),
        ("recall.intent", 0.8 - 0.04, 0.841),  # of 100 rows
    ):
        rows = _labelled(record)[1:]
        objective = Objective(weights={"intent": 1}, constraints={name: bound})
        (kept,) = recommend(rows, objective).satisfied
        assert kept.probability == pytest.approx(probability, abs=0.03)


def test_a_label_that_is_never_answered_has_no_precision(record: Make) -> None:
    objective = Objective(weights={"intent": 1}, constraints={"precision.intent.天气": 0.1})
    with pytest.raises(NothingAdmittedError, match=r"rejects 2 \(2 not measured\)"):
        recommend(_labelled(record), objective)
    objective = Objective(weights={"intent": 1}, constraints={"recall.intent.天气": 0.1})
    with pytest.raises(NothingAdmittedError, match=r"the nearest is small .* with 0"):
        recommend(_labelled(record), objective)


def test_an_unknown_label_names_the_nearest(record: Make) -> None:
    for wrong, nearest in (
        ("recall.intent.退款申请", "recall.intent.退款.申请"),
        ("recall.intend", "recall.intent"),
        ("precision.intent.othr", "precision.intent.other"),
    ):
        objective = Objective(weights={"intent": 1}, constraints={wrong: 0.5})
        with pytest.raises(InputError, match=f"did you mean '{nearest}'"):
            recommend(_labelled(record), objective)
    assert bound_problem("recall.intent", 90) == "found 90; allowed: 0 to 1"


def test_of_names_with_dots_the_longest_task_is_meant() -> None:
    tasks = ["a", "a.b", "意图"]
    assert task_and_label("a.b", tasks) == ("a.b", None)
    assert task_and_label("a.b.c.d", tasks) == ("a.b", "c.d")
    assert task_and_label("a.c", tasks) == ("a", "c")
    assert task_and_label("意图.a.b", tasks) == ("意图", "a.b")
    assert task_and_label("ab", tasks) == ("ab", None)


def test_an_error_is_bounded_from_above(record: Make) -> None:
    def spoken(error: float) -> TaskScore:
        return task_score("spoken", None, score_name="wer", error=error, error_se=0.01)

    rows = [
        _scored(record(model="large"), task_score(score=0.9), spoken(0.3)),
        _scored(record(), task_score(score=0.8), spoken(0.1)),
    ]
    objective = Objective(weights={"intent": 1}, constraints={"max.spoken": 0.11})
    found = recommend(rows, objective)
    assert found.choice.model == "small"
    assert found.satisfied[0].probability == pytest.approx(0.841, abs=0.01)
    assert "Rejected by max.spoken <= 0.11: 1; the best was" in " ".join(lines(found))
    # As objectives of before wrote it: minus the error.
    assert (
        recommend(
            rows, Objective(weights={"intent": 1}, constraints={"min.spoken": -0.11})
        ).choice.model
        == "small"
    )
    for wrong, hint in (
        ("min.spoken", "allowed: max.spoken"),
        ("max.intent", "allowed: min.intent"),
    ):
        with pytest.raises(InputError, match=hint):
            recommend(rows, Objective(weights={"intent": 1}, constraints={wrong: 0.2}))
    (large,) = (c for c in by_configuration(rows) if c.spec.model.name == "large")
    assert could_keep(large, {"max.spoken": 0.11}, 4.0), "more data may yet reach it"
