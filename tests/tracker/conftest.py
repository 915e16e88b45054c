"""A synthetic sweep: results drawn from a known law, with paired row replicates; and a real store."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.factories import (
    RATES,
    SIZES,
    law_score,
    method_spec,
    model_spec,
    numbered,
    scored_record,
    suite_score,
    task_score,
    task_spec,
    trial_record,
    trial_spec,
)
from tests.factories import file_ref as any_file
from tracker.store.store import Store
from tracker.task import FileRef, SuiteSpec
from tracker.trial import Cost, MixSpec, Status, TrialRecord, TrialSpec

_PROJECTS = itertools.count()


@pytest.fixture
def record() -> Callable[..., TrialRecord]:
    return scored_record


@pytest.fixture(scope="session")
def sweep() -> list[TrialRecord]:
    """Those of :func:`sweep_records`."""
    return sweep_records()


def sweep_records() -> list[TrialRecord]:
    """2 models × 3 methods × 5 volumes on two tasks, seeds at the largest, the bases, a divergence."""
    rng, found = np.random.default_rng(3), []
    for model in SIZES:
        base = {"intent": 0.1, "slots": 0.05}
        found.append(scored_record(model=model, method="none", scores=base, forgetting=0.0))
        for method in RATES:
            for volume in (125, 250, 500, 1000, 2000):
                for seed in range(3 if volume == 2000 else 1):
                    score = law_score(model, method, volume) + 0.004 * rng.standard_normal()
                    found.append(
                        scored_record(
                            model=model,
                            method=method,
                            volume=volume,
                            seed=seed,
                            scores={"intent": score, "slots": score - 0.03},
                            forgetting={"full": 0.2, "lora": 0.05, "p_tuning": 0.01}[method]
                            * volume
                            / 2000,
                        )
                    )
    both = {"intent": 0.0, "slots": 0.0}
    found.append(scored_record(rate=0.1, scores=both, status=Status.DIVERGED))
    return numbered(found)


def file_ref(path: str) -> FileRef:
    return any_file(path, (path.encode().hex() + "0" * 64)[:64], rows=100)


@pytest.fixture
def make_spec() -> Callable[..., TrialSpec]:
    """``make_spec(volume=200, seed=1)``: a small but complete spec."""
    files = {name: file_ref(f"data/intent/{name}.jsonl") for name in ("train", "validation")}
    values: dict[str, Any] = {
        "model": model_spec("pg-30k", path="models/pg-30k", digest="d" * 64, parameters=30_000),
        "method": method_spec("lora", learning_rate=1e-3),
        "mix": MixSpec(name="even", weights={"intent": 1.0}),
        "volume": 400,
        "examples": {"intent": 400},
        "tasks": (task_spec("intent", **files),),
        "general": (SuiteSpec(name="language", text=file_ref("data/language.jsonl")),),
    }
    return lambda **changes: trial_spec(**(values | changes))


@pytest.fixture
def make_record(make_spec: Callable[..., TrialSpec]) -> Callable[..., TrialRecord]:
    """``make_record(3, seed=1)``: trial 3, complete, with scores; changes go to its spec."""

    def make(number: int = 0, status: Status = Status.COMPLETE, **changes: Any) -> TrialRecord:
        scores: dict[str, Any] = {"reason": "loss became infinite"}
        if status is Status.COMPLETE:
            score = task_score(
                score=0.75,
                n=80,
                loss_nats=0.5 + number / 7,
                score_name="macro_f1",
                score_se=0.03,
                replicates=(0.7, 0.8),
            )
            suite = suite_score("language", n=50, before=2.0, after=2.1, after_se=0.01)
            scores = {"tasks": (score,), "general": (suite,), "final_train_loss": 0.4}
        return trial_record(
            make_spec(**changes),
            number,
            "design",
            status=status,
            cost=Cost(device="cpu", train_tokens=12_000, flops=2.16e9, phases={"train": 1.5}),
            started_at=1_700_000_000.0,
            ended_at=1_700_000_002.5,
            **scores,
        )

    return make


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One database for the module, with a blank in its path: creating its tables takes seconds."""
    return tmp_path_factory.mktemp("work space")


@pytest.fixture
def store(workspace: Path) -> Store:
    """A project of its own in the module's database."""
    return Store.open(workspace, project=f"project-{next(_PROJECTS)}")
