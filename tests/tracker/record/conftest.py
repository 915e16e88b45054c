import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tracker.record.store import Store
from tracker.record.trial import (
    Cost,
    FileRef,
    MethodSpec,
    MixSpec,
    ModelSpec,
    Status,
    SuiteScore,
    SuiteSpec,
    TaskScore,
    TaskSpec,
    TrialRecord,
    TrialResult,
    TrialSpec,
)

_PROJECTS = itertools.count()


def file_ref(path: str) -> FileRef:
    return FileRef(path=path, sha256=(path.encode().hex() + "0" * 64)[:64], rows=100)


@pytest.fixture
def make_spec() -> Callable[..., TrialSpec]:
    """``make_spec(volume=200, seed=1)``: a small but complete spec."""

    def make(**changes: Any) -> TrialSpec:
        values: dict[str, Any] = {
            "model": ModelSpec(
                name="pg-30k", path="models/pg-30k", digest="d" * 64, parameters=30_000
            ),
            "method": MethodSpec(name="lora", rank=8, learning_rate=1e-3),
            "mix": MixSpec(name="even", weights={"intent": 1.0}),
            "volume": 400,
            "examples": {"intent": 400},
            "tasks": (
                TaskSpec(
                    name="intent",
                    train=file_ref("data/intent/train.jsonl"),
                    validation=file_ref("data/intent/validation.jsonl"),
                ),
            ),
            "general": (SuiteSpec(name="language", text=file_ref("data/language.jsonl")),),
        }
        return TrialSpec(**(values | changes))

    return make


@pytest.fixture
def make_record(make_spec: Callable[..., TrialSpec]) -> Callable[..., TrialRecord]:
    """``make_record(3, seed=1)``: trial 3, complete, with scores; changes go to its spec."""

    def make(number: int = 0, status: Status = Status.COMPLETE, **changes: Any) -> TrialRecord:
        complete = status is Status.COMPLETE
        score = TaskScore(
            task="intent",
            n=80,
            loss_nats=0.5 + number / 7,
            score_name="macro_f1",
            score=0.75,
            score_se=0.03,
            replicates=(0.7, 0.8),
        )
        suite = SuiteScore(
            suite="language", measure="bits_per_byte", n=50, before=2.0, after=2.1, after_se=0.01
        )
        result = TrialResult(
            spec=make_spec(**changes),
            status=status,
            reason=None if complete else "loss became infinite",
            tasks=(score,) if complete else (),
            general=(suite,) if complete else (),
            cost=Cost(device="cpu", train_tokens=12_000, flops=2.16e9, phases={"train": 1.5}),
            final_train_loss=0.4 if complete else None,
            started_at=1_700_000_000.0,
            ended_at=1_700_000_002.5,
        )
        return TrialRecord(number=number, stage="design", result=result)

    return make


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One database for the module, with a blank in its path: creating its tables takes seconds."""
    return tmp_path_factory.mktemp("work space")


@pytest.fixture
def store(workspace: Path) -> Store:
    """A project of its own in the module's database."""
    return Store.open(workspace, project=f"project-{next(_PROJECTS)}")
