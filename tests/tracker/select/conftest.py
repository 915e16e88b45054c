"""A synthetic sweep: results drawn from a known law, with paired row replicates."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

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

ROWS, REPLICATES = 400, 200
SIZES = {"small": 100_000, "large": 800_000}
RATES = {"full": 1e-3, "lora": 1e-2, "p_tuning": 3e-2}


def task_spec(name: str) -> TaskSpec:
    rows = FileRef(path=f"{name}.jsonl", sha256="0" * 64, rows=ROWS)
    return TaskSpec(name=name, train=rows, validation=rows)


def replicates(task: str, score: float) -> tuple[float, ...]:
    """Resamples of one fixed set of rows, whose easiest are right: paired between trials."""
    rng = np.random.default_rng(zlib.crc32(task.encode()))
    picks = rng.integers(ROWS, size=(REPLICATES, ROWS))
    right = np.arange(ROWS) < round(score * ROWS)
    return tuple(right[picks].mean(axis=1).tolist())


def make_record(
    *,
    model: str = "small",
    method: str = "full",
    volume: int = 1000,
    scores: dict[str, float | None] | None = None,
    seed: int = 0,
    rate: float | None = None,
    mix: str = "even",
    forgetting: float | None = 0.02,
    status: Status = Status.COMPLETE,
    number: int = 0,
    stage: str = "scale",
    seconds: float | None = 10.0,
    flops: float | None = None,
    **fields: Any,
) -> TrialRecord:
    """One trial; *fields* go to every TaskScore (such as ``valid_format``)."""
    scores = {"intent": 0.8} if scores is None else scores
    tuned = method != "none"
    spec = TrialSpec(
        model=ModelSpec(name=model, path=model, digest=model, parameters=SIZES[model]),
        method=MethodSpec(
            name=method,  # type: ignore[arg-type]
            rank=8 if method == "lora" else None,
            learning_rate=(rate or RATES[method]) if tuned else None,
        ),
        mix=MixSpec(name=mix, weights=dict.fromkeys(scores, 1.0)) if tuned else None,
        volume=volume if tuned else 0,
        examples=dict.fromkeys(scores, volume // len(scores)) if tuned else {},
        tasks=tuple(task_spec(name) for name in scores),
        general=(SuiteSpec(name="english"),),
        seed=seed,
    )
    done = status is Status.COMPLETE
    tasks = [
        TaskScore(
            task=name,
            n=ROWS,
            score_name="exact_match",
            score=score,
            replicates=() if score is None else replicates(name, score),
            **fields,
        )
        for name, score in scores.items()
    ]
    suite = SuiteScore(suite="english", measure="bits_per_byte", n=ROWS, before=1.0)
    if forgetting is not None:
        suite = suite.model_copy(update={"after": 1.0 + forgetting, "after_se": 0.002})
    return TrialRecord(
        number=number,
        stage=stage,
        result=TrialResult(
            spec=spec,
            status=status,
            tasks=tuple(tasks) if done else (),
            general=(suite,) if done else (),
            cost=Cost(
                device="cpu",
                train_tokens=volume * 20 if tuned else 0,
                flops=flops or 6.0 * SIZES[model] * volume * 20,
                device_seconds=seconds,
            ),
        ),
    )


def law_score(model: str, method: str, volume: int) -> float:
    """1 - (E + A / (1 + D/D0)): the larger model and full tuning have the lower floor."""
    floor = {"small": 0.25, "large": 0.10}[model]
    floor += {"full": 0.0, "lora": 0.05, "p_tuning": 0.3}[method]
    return 1 - floor - 0.5 / (1 + volume / {"full": 400, "lora": 200, "p_tuning": 100}[method])


@pytest.fixture
def record() -> Callable[..., TrialRecord]:
    return make_record


@pytest.fixture(scope="session")
def sweep() -> list[TrialRecord]:
    """Those of :func:`sweep_records`."""
    return sweep_records()


def sweep_records() -> list[TrialRecord]:
    """2 models × 3 methods × 5 volumes on two tasks, seeds at the largest, the bases, a divergence."""
    rng, found = np.random.default_rng(3), []
    for model in SIZES:
        base = {"intent": 0.1, "slots": 0.05}
        found.append(make_record(model=model, method="none", scores=base, forgetting=0.0))
        for method in RATES:
            for volume in (125, 250, 500, 1000, 2000):
                for seed in range(3 if volume == 2000 else 1):
                    score = law_score(model, method, volume) + 0.004 * rng.standard_normal()
                    found.append(
                        make_record(
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
    found.append(make_record(rate=0.1, scores=both, status=Status.DIVERGED))
    return numbered(found)


def numbered(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    return [r.model_copy(update={"number": i}) for i, r in enumerate(records)]
