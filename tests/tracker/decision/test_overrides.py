import pytest

from tracker.decision.overrides import (
    ObjectiveOverrides,
    number_text,
    parse_number,
    parse_overrides,
    target_texts,
)
from tracker.errors import InputError
from tracker.trial import Objective

SWEEP_OBJECTIVE = Objective(
    weights={"intent": 2.0, "slots": 1.0}, constraints={"forgetting.english": 0.1}
)


def test_no_override_is_the_sweep_s_objective():
    assert parse_overrides().objective(SWEEP_OBJECTIVE) == SWEEP_OBJECTIVE


def test_weights_replace_and_bounds_stand_beside():
    found = parse_overrides(["slots=1"], ["peak_bytes=8e9", "min.slots=0.5"], ["0.9"])
    assert found.target_quality == 0.9
    assert found.objective(SWEEP_OBJECTIVE) == Objective(
        weights={"slots": 1.0},
        constraints={"forgetting.english": 0.1, "peak_bytes": 8e9, "min.slots": 0.5},
        target=0.9,
    )


def test_a_target_is_a_number_or_one_by_task_and_can_be_dropped():
    aimed = SWEEP_OBJECTIVE.model_copy(update={"target": 0.8})
    assert parse_overrides().objective(aimed).target == 0.8
    assert parse_overrides((), (), ["none"]).objective(aimed).target is None
    by_task = parse_overrides((), (), ["a=b=0.5", "订票.x=1"]).objective(aimed).target
    assert by_task == {"a=b": 0.5, "订票.x": 1.0}
    assert target_texts(by_task) == ["a=b=0.5", "订票.x=1"]
    for texts, problem in (
        (["0.5", "intent=0.5"], "found '0.5', 'intent=0.5'; allowed: one NUMBER"),
        (["intent=0.5", "intent=0.6"], r"target_quality\['intent'\]: found twice"),
        (["much"], "target_quality: found 'much'; allowed: a number"),
    ):
        with pytest.raises(InputError, match=problem):
            parse_overrides((), (), texts)


def test_a_bound_of_the_sweep_can_be_dropped_and_changed():
    assert (
        parse_overrides((), ["forgetting.english=none"]).objective(SWEEP_OBJECTIVE).constraints
        == {}
    )
    assert parse_overrides((), ["forgetting.english=0.2"]).objective(
        SWEEP_OBJECTIVE
    ).constraints == {"forgetting.english": 0.2}


def test_every_problem_is_in_one_error():
    with pytest.raises(InputError) as error:
        parse_overrides(
            ["intent", "slots=much", "slots=-1"],
            ["peak_bytes=0", "over_reach.intent=2", "examples=-1", "flops=nan", "a=1", "a=2"],
        )
    assert error.value.problems == (
        "weights: found 'intent'; allowed: TASK=NUMBER, such as intent=2",
        "weights['slots']: found 'much'; allowed: a number, such as 0.5",
        "weights['slots']: found -1; allowed: 0 or more",
        "constraints['peak_bytes']: found 0; allowed: above 0",
        "constraints['over_reach.intent']: found 2; allowed: 0 to 1",
        "constraints['examples']: found -1; allowed: 0 or more",
        "constraints['flops']: found 'nan'; allowed: a number, such as 0.5",
        "constraints['a']: found twice; allowed: once",
    )
    on_the_command_line = error.value.for_command_line().splitlines()
    assert on_the_command_line[1] == "--weight slots: found 'much'; allowed: a number, such as 0.5"
    assert on_the_command_line[3] == "--constraint peak_bytes: found 0; allowed: above 0"


def test_a_task_may_have_an_equals_sign_in_its_name():
    assert parse_overrides(["a=b=2"]).weights == (("a=b", 2.0),)


def test_a_question_can_be_a_key():
    assert {ObjectiveOverrides(): 1}[parse_overrides()] == 1


@pytest.mark.parametrize(
    ("value", "text"), [(0.1, "0.1"), (2e9, "2000000000"), (1 / 3, "0.3333333333333333"), (0, "0")]
)
def test_a_number_is_written_short_and_read_back_the_same(value, text):
    assert number_text(value) == text
    assert parse_number(text) == value
