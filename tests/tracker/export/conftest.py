from collections.abc import Callable
from typing import Any

import pytest

from tests.factories import (
    file_ref,
    method_spec,
    model_spec,
    recommend,
    suite_score,
    task_score,
    task_spec,
    trial_record,
    trial_spec,
)
from tracker.decision.recommendation import Recommendation
from tracker.export.config import Config
from tracker.export.recipe import Row
from tracker.task import SuiteSpec
from tracker.trial import Cost, Objective, TrainSpec, TrialRecord, TrialSpec

# A digest that YAML 1.2 reads as a number, if nobody quotes it.
DIGEST = "7e12345678901234" * 4


@pytest.fixture
def make_spec() -> Callable[..., TrialSpec]:
    """``make_spec(volume=200)``: two tasks of half the volume each."""

    def make(volume: int = 8, **changes: Any) -> TrialSpec:
        tasks = tuple(
            task_spec(
                name,
                train=file_ref(f"{name}/train.jsonl", DIGEST, rows=100),
                validation=file_ref(f"{name}/validation.jsonl", DIGEST, rows=100),
                answer="{label}",
            )
            for name in ("intent", "banking")
        )
        values: dict[str, Any] = {
            "model": model_spec("tiny", path="org/tiny", digest="1e5" * 21, parameters=30_000),
            "method": method_spec("lora", learning_rate=1e-5),
            "tasks": tasks,
            "general": (SuiteSpec(name="english", text=file_ref("english.jsonl", DIGEST, 100)),),
            "train": TrainSpec(epochs=2, batch_size=4, max_length=64, warmup=0.25),
        }
        return trial_spec(volume=volume, **(values | changes))

    return make


@pytest.fixture
def make_config(make_spec: Callable[..., TrialSpec]) -> Callable[..., Config]:
    """``make_config(seed=1)``: a configuration of that trial alone."""
    return lambda **changes: Config(sweep="support", trial=make_spec(**changes))


@pytest.fixture
def rows() -> list[Row]:
    """Both passes over the eight examples of ``make_spec()``."""
    return 2 * [
        Row(
            [
                {"role": "system", "content": "You route requests."},
                {"role": "user", "content": f"question {i}"},
                {"role": "assistant", "content": f"label {i}"},
            ],
            None,
            ("intent", "banking")[i % 2],
        )
        for i in range(8)
    ]


@pytest.fixture
def records(make_spec: Callable[..., TrialSpec]) -> list[TrialRecord]:
    """Two methods at three volumes with two seeds each; LoRA is the better one."""
    found = []
    for method, gain in (("lora", 0.1), ("full", 0.0)):
        for volume in (100, 200, 400):
            for seed in (0, 1):
                spec = make_spec(
                    volume,
                    method=method_spec(method, learning_rate=1e-3),
                    seed=seed,
                )
                found.append(_record(len(found), spec, 0.4 + volume / 2000 + gain + seed / 100))
    return found


def _record(number: int, spec: TrialSpec, score: float) -> TrialRecord:
    return trial_record(
        spec,
        number,
        "design",
        tasks=tuple(
            task_score(
                task.name,
                score,
                n=200,
                loss_nats=1 - score,
                score_se=0.03,
                valid_format=0.98,
                replicates=tuple(score + (i - 10) / 500 for i in range(21)),
            )
            for task in spec.tasks
        ),
        general=(suite_score(n=50, before=2.0, after=2.02, after_se=0.001),),
        cost=Cost(
            device="cpu",
            train_tokens=spec.volume * 60,
            flops=spec.volume * 1e7,
            device_seconds=1.25 + number,
            trained_parameters=3_000,
        ),
        environment={"python": "3.11.2", "threads": "1", "torch": "2.13.0"},
    )


@pytest.fixture
def answer(records: list[TrialRecord]) -> Recommendation:
    """What the package itself recommends from ``records``."""
    objective = Objective(
        weights={"intent": 2.0, "banking": 1.0}, constraints={"forgetting.english": 0.1}
    )
    return recommend(records, objective, sweep="support")
