from collections.abc import Callable

import pytest

from tracker.store import mlflow_names
from tracker.task import FileRef, TaskScore, TaskSpec
from tracker.trial import MethodSpec, MixSpec, Objective, Status, TrialRecord, TrialSpec

Specs = Callable[..., TrialSpec]
Records = Callable[..., TrialRecord]


def test_runs_are_named_for_people(make_spec: Specs) -> None:
    assert mlflow_names.run_name(make_spec(seed=2)) == "pg-30k lora r=8 lr=0.001 n=400 even s2"
    base = make_spec(method=MethodSpec(name="none"), mix=None, volume=0, examples={})
    assert mlflow_names.run_name(base) == "pg-30k none"


def test_parameters_stay_few_however_many_tasks(make_spec: Specs) -> None:
    examples = {f"task {i}": 10 for i in range(99)}
    found = mlflow_names.parameters(make_spec(examples=examples))
    assert len(found) == mlflow_names.MAX_PARAMETERS
    assert found["method.rank"] == "8"
    assert found["train.epochs"] == "3"


def test_absent_values_have_no_name(make_spec: Specs, make_record: Records) -> None:
    assert "method.variant" not in mlflow_names.parameters(make_spec())
    failed = mlflow_names.metrics(make_record(0, status=Status.FAILED).result)
    assert set(failed) == {"cost/train_tokens", "cost/flops", "cost/phases/train"}


def test_metrics_by_split_task_and_suite(make_record: Records) -> None:
    result = make_record(0).result
    test = TaskScore(task="in/tent", split="test", n=4, score_name="exact_match", score=1.0)
    found = mlflow_names.metrics(result.model_copy(update={"tasks": (*result.tasks, test)}))
    assert found["eval/intent/score"] == 0.75
    assert found["test/in_tent/score"] == 1.0
    assert found["test/in_tent/n"] == 4.0
    assert found["general/language/after"] == 2.1
    assert found["final_train_loss"] == 0.4
    assert all(isinstance(value, float) for value in found.values())


@pytest.mark.parametrize("name", ["loss", "train/loss"])
def test_steps_have_one_prefix(name: str) -> None:
    assert mlflow_names.step_metric(name) == "train/loss"


@pytest.mark.parametrize("path", ["/a/b/clinc150/train.jsonl", "clinc150/train.jsonl"])
def test_data_sets_are_named_by_the_end_of_their_path(path: str) -> None:
    file = FileRef(path=path, sha256="0" * 64, rows=1)
    assert mlflow_names.dataset_name(file) == "clinc150/train.jsonl"


def test_only_files_that_are_read_are_inputs(make_spec: Specs) -> None:
    def file(name: str) -> FileRef:
        return FileRef(path=name, sha256="0" * 64, rows=1)

    held_out = TaskSpec(name="slots", train=file("s/train"), validation=file("s/validation"))
    replay = file("replay")
    spec = make_spec(tasks=(*make_spec().tasks, held_out), replay=replay)
    found = [(f.path, context) for f, context in mlflow_names.input_files(spec)]
    assert found == [
        ("data/intent/train.jsonl", "training"),
        ("data/intent/validation.jsonl", "validation"),
        ("s/validation", "validation"),
        ("data/language.jsonl", "general"),
    ]
    mix = MixSpec(name="replay", weights={"intent": 1.0}, replay=0.02)
    assert (replay, "replay") in list(mlflow_names.input_files(make_spec(replay=replay, mix=mix)))


def test_quality_is_the_weighted_objective_with_its_interval(make_record: Records) -> None:
    result = make_record(0).result
    wanted = Objective(weights={"intent": 2.0})
    found = mlflow_names.metrics(result, wanted)
    assert found["quality"] == 0.75
    assert found["quality_low"] < 0.75 < found["quality_high"] < 1
    assert not [n for n in mlflow_names.metrics(result) if n.startswith("quality")]
    unmeasured = Objective(weights={"intent": 2.0, "other": 1.0})
    assert "quality" not in mlflow_names.metrics(result, unmeasured), "half of it is not measured"
    failed = make_record(0, status=Status.FAILED).result
    assert "quality" not in mlflow_names.metrics(failed, wanted)


def test_a_task_that_is_better_the_smaller_has_a_quality_below_0(make_record: Records) -> None:
    result = make_record(0).result
    rate = TaskScore(task="wer", n=50, score_name="wer", error=0.4, error_se=0.05)
    found = mlflow_names.metrics(
        result.model_copy(update={"tasks": (rate,)}), Objective(weights={"wer": 1.0})
    )
    assert found["quality"] == -0.4
    assert found["quality_low"] == pytest.approx(-0.4 - 1.2816 * 0.05)
