import copy
import json
import math
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tracker.task import FileRef, SuiteScore, TaskSpec
from tracker.trial import (
    Cost,
    MethodSpec,
    MixSpec,
    ModelSpec,
    Status,
    TrainSpec,
    TrialRecord,
    TrialResult,
    TrialSpec,
)

Specs = Callable[..., TrialSpec]


def moved(spec: TrialSpec) -> TrialSpec:
    """*spec* with every file and model somewhere else."""

    def move(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: "/elsewhere" if k == "path" else move(v) for k, v in value.items()}
        return [move(v) for v in value] if isinstance(value, list) else value

    return TrialSpec.model_validate(move(spec.model_dump(mode="json")))


def test_where_files_lie_does_not_change_the_key(make_spec: Specs) -> None:
    spec = make_spec()
    assert moved(spec) != spec
    assert moved(spec).key == spec.key


def test_a_known_key_is_seen_nowhere_else(make_spec: Specs) -> None:
    spec, fresh = make_spec(), make_spec()
    key = spec.key
    assert spec.key is key
    assert spec == fresh
    assert fresh == spec
    assert (repr(spec), dict(spec)) == (repr(fresh), dict(fresh))
    assert spec.model_dump_json() == fresh.model_dump_json()
    assert pickle.dumps(spec) == pickle.dumps(fresh)
    assert pickle.loads(pickle.dumps(spec)).key == key
    assert TrialSpec.model_validate(spec) == spec
    assert (copy.copy(spec).key, copy.deepcopy(spec).key) == (key, key)


@pytest.mark.parametrize("deep", [False, True])
def test_a_changed_spec_has_another_key(make_spec: Specs, deep: bool) -> None:
    spec = make_spec()
    key = spec.key
    assert spec.model_copy(update={"seed": 1}, deep=deep).key == make_spec(seed=1).key != key
    assert spec.model_copy(deep=deep).key == spec.key == key


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"volume": 401},
        {"examples": {"intent": 399}},
        {"method": MethodSpec(name="lora", rank=16, learning_rate=1e-3)},
        {"method": MethodSpec(name="lora", rank=8, learning_rate=1.0000001e-3)},
        {"mix": MixSpec(name="even", weights={"intent": 1.0}, replay=0.02)},
        {"train": TrainSpec(epochs=4)},
        {"train": TrainSpec(diverged_above=None)},
        {"replay": FileRef(path="data/intent/train.jsonl", sha256="0" * 64, rows=1)},
    ],
)
def test_whatever_else_changes_changes_the_key(make_spec: Specs, change: dict[str, Any]) -> None:
    assert make_spec(**change).key != make_spec().key


def test_keys_of_before_runs_could_end_early_stay() -> None:
    """A known answer, from before ``diverged_above`` was a setting."""
    task = TaskSpec(name="t", validation=FileRef(path="x", sha256="0" * 64, rows=3))
    model = ModelSpec(name="a", path="p", digest="0", parameters=3)
    method = MethodSpec(name="full", learning_rate=1e-3)
    spec = TrialSpec(model=model, method=method, tasks=(task,), volume=3)
    assert spec.key == "e7c4ebbb21fefbc3"


OF_ANY: dict[str, Any] = {"epochs": 10, "batch_size": 8, "weight_decay": 0.1}
OF_LORA: dict[str, Any] = {"alpha": 64.0, "dropout": 0.05, "target_modules": "q_proj,v_proj"}


@pytest.mark.parametrize("name", [*OF_ANY, *OF_LORA])
def test_a_hyperparameter_changes_key_and_label_only_where_it_is_said(
    make_spec: Specs, name: str
) -> None:
    plain = MethodSpec(name="lora", rank=8, learning_rate=1e-3)
    said = plain.model_copy(update={name: (OF_ANY | OF_LORA)[name]})
    assert name not in plain.model_dump()
    assert make_spec(method=said).key != make_spec(method=plain).key
    assert said.label != plain.label == "lora r=8 lr=0.001"
    assert MethodSpec.model_validate_json(said.model_dump_json()) == said


def test_the_schedule_of_a_trial_is_its_method_s_where_it_says_so(make_spec: Specs) -> None:
    train = TrainSpec(epochs=3, batch_size=4, accumulation=4)
    spec = make_spec(train=train)
    assert spec.schedule is spec.train
    schedule = make_spec(
        train=train, method=MethodSpec(name="full", learning_rate=1e-3, **OF_ANY)
    ).schedule
    assert schedule == train.model_copy(
        update={"epochs": 10, "accumulation": 2, "weight_decay": 0.1}
    )


@pytest.mark.parametrize(
    ("batch", "at_once", "forward"), [(2, 2, 1), (4, 4, 1), (6, 3, 2), (7, 1, 7), (64, 4, 16)]
)
def test_a_method_s_batch_is_made_in_equal_forward_passes(
    make_spec: Specs, batch: int, at_once: int, forward: int
) -> None:
    method = MethodSpec(name="full", learning_rate=1e-3, batch_size=batch)
    schedule = make_spec(train=TrainSpec(batch_size=4, accumulation=4), method=method).schedule
    assert (schedule.batch_size, schedule.accumulation) == (at_once, forward)


def test_a_changed_data_file_changes_the_key(make_spec: Specs) -> None:
    spec = make_spec()
    task = spec.tasks[0]
    changed = task.model_copy(
        update={"validation": task.validation.model_copy(update={"sha256": "f" * 64})}
    )
    assert spec.model_copy(update={"tasks": (changed,)}).key != spec.key


def test_the_key_is_the_same_in_another_process(make_spec: Specs) -> None:
    spec = make_spec()
    script = (
        "import sys; from tracker.trial import TrialSpec\n"
        "print(TrialSpec.model_validate_json(sys.stdin.read()).key)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=spec.model_dump_json(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == spec.key
    assert len(spec.key) == 16
    int(spec.key, 16)


def test_the_order_of_a_mapping_does_not_change_the_key(make_spec: Specs) -> None:
    ways = ({"intent": 1, "slots": 2}, {"slots": 2, "intent": 1})
    assert len({make_spec(examples=examples).key for examples in ways}) == 1


@given(rate=st.floats(min_value=1e-8, max_value=1.0), seed=st.integers(0, 2**31))
def test_json_gives_back_the_same_trial(rate: float, seed: int) -> None:
    method = MethodSpec(name="full", learning_rate=rate)
    text = json.dumps(method.model_dump(mode="json") | {"variant": str(seed)})
    assert MethodSpec.model_validate_json(text).learning_rate == rate


def test_a_record_survives_json(make_record: Callable[..., TrialRecord]) -> None:
    for status in Status:
        record = make_record(3, status=status)
        assert TrialRecord.model_validate_json(record.model_dump_json()) == record


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_are_no_measurements(bad: float) -> None:
    with pytest.raises(ValidationError, match="finite number"):
        Cost(device="cpu", flops=bad)


def test_unknown_keys_and_changes_are_refused(make_spec: Specs) -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        MethodSpec.model_validate({"name": "lora", "rnak": 8})
    with pytest.raises(ValidationError, match="frozen"):
        make_spec().seed = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("measure", "before", "after", "lost"),
    [
        ("bits_per_byte", 2.0, 2.2, 0.1),
        ("bits_per_byte", 2.0, 1.9, -0.05),
        ("score", 0.8, 0.6, 0.2),
        ("score", 0.6, 0.8, -0.2),
        ("score", None, 0.6, None),
        ("bits_per_byte", 2.0, None, None),
    ],
)
def test_forgetting_is_what_was_lost(
    measure: Any, before: float | None, after: float | None, lost: float | None
) -> None:
    score = SuiteScore(suite="english", measure=measure, n=9, before=before, after=after)
    assert score.forgetting == (None if lost is None else pytest.approx(lost))


def test_what_was_not_measured_is_none(make_spec: Specs) -> None:
    result = TrialResult(spec=make_spec(), status=Status.FAILED, cost=Cost(device="cpu"))
    measured = result.cost.model_dump(exclude={"device", "phases"})
    assert set(measured.values()) == {None}
    assert result.final_train_loss is None
