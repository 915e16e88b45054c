"""Builders of specs, results and records for tests: one a type, every field with a default.

``trial_spec(volume=200, seed=1)`` is a valid trial; a model, method, task or suite may be given by its
name alone. The sweep of known laws that several rooms test on is here too (:func:`scored_record`,
:func:`law_score`), and so is the text of a sweep file.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import ArrayLike

from tracker.decision import predict as predict_module
from tracker.decision import recommend as recommend_module
from tracker.decision.analysis import Analysis
from tracker.decision.predict import Forecast
from tracker.decision.recommendation import Recommendation
from tracker.errors import NotEnoughDataError
from tracker.laws.fitted_law import FittedLaw
from tracker.laws.fitting import fit_curves
from tracker.laws.points import CurveRuns
from tracker.store.store import Store
from tracker.task import FileRef, SuiteScore, SuiteSpec, TaskScore, TaskSpec
from tracker.trial import (
    Cost,
    MethodSpec,
    MixSpec,
    ModelSpec,
    Objective,
    Status,
    Target,
    TrialRecord,
    TrialResult,
    TrialSpec,
)

ROWS, REPLICATES = 400, 200
SIZES = {"small": 100_000, "large": 800_000}
RATES = {"full": 1e-3, "lora": 1e-2, "p_tuning": 3e-2}


# -- one builder a type --------------------------------------------------------------------------


def file_ref(path: str = "rows.jsonl", sha256: str = "0" * 64, rows: int = ROWS) -> FileRef:
    return FileRef(path=path, sha256=sha256, rows=rows)


def task_spec(name: str = "intent", **fields: Any) -> TaskSpec:
    """A task whose training and validation rows are one file, named after it."""
    rows = file_ref(f"{name}.jsonl")
    return TaskSpec(**({"name": name, "train": rows, "validation": rows} | fields))


def model_spec(name: str = "small", **fields: Any) -> ModelSpec:
    """A model that is where it is called; of :data:`SIZES`, else of a thousand parameters."""
    known = {"path": name, "digest": name, "parameters": SIZES.get(name, 1_000)}
    return ModelSpec(**({"name": name} | known | fields))


def method_spec(name: str = "full", **fields: Any) -> MethodSpec:
    """A method at its rate of :data:`RATES`; LoRA at rank 8."""
    known = {"learning_rate": RATES.get(name), "rank": 8 if name == "lora" else None}
    return MethodSpec(**({"name": name} | known | fields))


def trial_spec(
    model: ModelSpec | str = "small",
    method: MethodSpec | str = "full",
    *,
    tasks: Sequence[TaskSpec | str] = ("intent",),
    general: Sequence[SuiteSpec | str] = ("english",),
    mix: MixSpec | str | None = "even",
    volume: int = 1000,
    examples: Mapping[str, int] | None = None,
    **fields: Any,
) -> TrialSpec:
    """A trial; of the untouched base (``none``) without mix, volume and examples.

    A mix given by name, and *examples* unless given, are even over the tasks.
    """
    model = model_spec(model) if isinstance(model, str) else model
    method = method_spec(method) if isinstance(method, str) else method
    known = tuple(task_spec(task) if isinstance(task, str) else task for task in tasks)
    names = [task.name for task in known]
    if method.name == "none":
        mix, volume, examples = None, 0, {}
    elif isinstance(mix, str):
        mix = MixSpec(name=mix, weights=dict.fromkeys(names, 1.0))
    if examples is None:
        examples = {name: volume // len(names) for name in names}
    return TrialSpec(
        model=model,
        method=method,
        mix=mix,
        volume=volume,
        examples=dict(examples),
        tasks=known,
        general=tuple(SuiteSpec(name=s) if isinstance(s, str) else s for s in general),
        **fields,
    )


def replicates(task: str, score: float) -> tuple[float, ...]:
    """Resamples of one fixed set of rows, whose easiest are right: paired between trials."""
    rng = np.random.default_rng(zlib.crc32(task.encode()))
    picks = rng.integers(ROWS, size=(REPLICATES, ROWS))
    right = np.arange(ROWS) < round(score * ROWS)
    return tuple(right[picks].mean(axis=1).tolist())


def task_score(task: str = "intent", score: float | None = 0.8, **fields: Any) -> TaskScore:
    """A score without resamples; *fields* such as ``replicates=replicates(task, score)``."""
    known = {"n": ROWS, "score_name": "exact_match", "score": score}
    return TaskScore(**({"task": task} | known | fields))


def suite_score(suite: str = "english", lost: float | None = 0.02, **fields: Any) -> SuiteScore:
    """A suite whose base scores 1 bit per byte, of which *lost* was forgotten; ``None``: unmeasured."""
    after = {} if lost is None else {"after": 1.0 + lost, "after_se": 0.002}
    known = {"measure": "bits_per_byte", "n": ROWS, "before": 1.0} | after
    return SuiteScore(**({"suite": suite} | known | fields))


def trial_result(
    spec: TrialSpec | None = None, status: Status = Status.COMPLETE, **fields: Any
) -> TrialResult:
    """How a trial ended; complete ones have scores of every task and suite unless *fields* give them."""
    spec = trial_spec() if spec is None else spec
    done = status is Status.COMPLETE
    known = {
        "tasks": tuple(task_score(task.name) for task in spec.tasks) if done else (),
        "general": tuple(suite_score(suite.name) for suite in spec.general) if done else (),
        "cost": Cost(device="cpu"),
    }
    return TrialResult(**({"spec": spec, "status": status} | known | fields))


def trial_record(
    result: TrialResult | TrialSpec | None = None,
    number: int = 0,
    stage: str = "grid",
    **fields: Any,
) -> TrialRecord:
    """A numbered result; *fields* go to :func:`trial_result` where only a spec is given."""
    if not isinstance(result, TrialResult):
        result = trial_result(result, **fields)
    return TrialRecord(number=number, stage=stage, result=result)


def numbered(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    return [r.model_copy(update={"number": i}) for i, r in enumerate(records)]


def store_sweep(
    store: Store, name: str, records: Sequence[TrialRecord], objective: Objective
) -> None:
    """Write *records* into *store* as the ended trials of the sweep *name*."""
    store.begin_sweep(
        name,
        spec_text=f"name: {name}\n",
        spec_digest="0" * 64,
        planned=len(records),
        datasets=(),
        objective=objective,
    )
    store.end_trials(name, numbered(records))


# -- a sweep of known laws -----------------------------------------------------------------------


def law_score(model: str, method: str, volume: int) -> float:
    """1 - (E + A / (1 + D/D0)): the larger model and full tuning have the lower floor."""
    floor = {"small": 0.25, "large": 0.10}[model]
    floor += {"full": 0.0, "lora": 0.05, "p_tuning": 0.3}[method]
    return 1 - floor - 0.5 / (1 + volume / {"full": 400, "lora": 200, "p_tuning": 100}[method])


def scored_record(
    *,
    model: str = "small",
    method: str = "full",
    volume: int = 1000,
    scores: Mapping[str, float | None] | None = None,
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
    """One trial with paired resamples; *fields* go to every TaskScore (such as ``valid_format``)."""
    scores = {"intent": 0.8} if scores is None else scores
    tuned = method != "none"
    chosen = method_spec(method, learning_rate=rate or RATES[method]) if tuned else method
    spec = trial_spec(model, chosen, tasks=tuple(scores), mix=mix, volume=volume, seed=seed)
    tokens = volume * 20
    result = trial_result(
        spec,
        status,
        tasks=tuple(
            task_score(
                name,
                score,
                replicates=() if score is None else replicates(name, score),
                **fields,
            )
            for name, score in scores.items()
        )
        if status is Status.COMPLETE
        else (),
        general=(suite_score(lost=forgetting),) if status is Status.COMPLETE else (),
        cost=Cost(
            device="cpu",
            train_tokens=tokens if tuned else 0,
            flops=flops or 6.0 * SIZES[model] * tokens,
            device_seconds=seconds,
        ),
    )
    return trial_record(result, number, stage)


# -- a sweep file --------------------------------------------------------------------------------


def sweep_text(model: Path, data: Path, **changes: object) -> str:
    """A sweep of two models (one folder under two names), three methods, three volumes, two mixes."""
    content: dict[str, object] = {
        "name": "tiny",
        "models": [{"path": str(model), "name": "a"}, {"path": str(model), "name": "b"}],
        "methods": {
            "full": {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}},
            "lora": {"rank": [4, 8], "learning_rate": {"low": 1e-3, "high": 3e-2, "log": True}},
            "p_tuning": {"virtual_tokens": 4, "learning_rate": 1e-2},
        },
        "tasks": {
            "intent": {
                "train": str(data / "train.jsonl"),
                "prompt": {"instruction": "name the intent", "input": "{text}"},
                "answer": "{label}",
                "score": "macro_f1",
                "negative": "out_of_scope",
            }
        },
        "general": {"language": {"text": str(data / "general.jsonl")}},
        "replay": {"text": str(data / "replay.jsonl")},
        "volumes": [40, 80, 160],
        "mixes": {"plain": {"intent": 1}, "replay": {"intent": 1, "replay": 0.1, "volumes": [80]}},
        "train": {"epochs": 1, "batch_size": 8, "max_length": 96},
        "evaluation": {"rows": 24, "batch_size": 24, "max_new_tokens": 8},
        "seeds": 2,
        "search": {"strategy": "grid", "tuning": {"trials": 2}, "window": 4},
        "engine": {"kind": "local", "workers": 2},
    }
    return yaml.safe_dump(content | changes, sort_keys=False)


def fit_curve(
    examples: ArrayLike,
    values: ArrayLike,
    *,
    noise_sd: float | None = None,
    keys: Sequence[str] | None = None,
) -> FittedLaw:
    """The law of one curve by itself: runs at *examples* (n,) that measured *values* (n,).

    Raises NotEnoughDataError below three sizes (the base D = 0 may be one of them), and InputError
    for values that have no logarithm.
    """
    sizes, y = np.asarray(examples, dtype=float), np.asarray(values, dtype=float)
    names = tuple(keys) if keys is not None else tuple(str(i) for i in range(len(y)))
    fit = fit_curves([CurveRuns(sizes, y, names, {}, noise_sd=noise_sd)])
    found = fit.laws[0]
    if found is None:
        raise NotEnoughDataError(fit.refused[0])
    return found


def recommend(
    records: Sequence[TrialRecord],
    objective: Objective,
    *,
    target_quality: Target | None = None,
    sweep: str = "",
    notes: Sequence[str] = (),
) -> Recommendation:
    """Recommend a configuration of *records* for *objective*."""
    objective = objective.model_copy(update={"target": target_quality or objective.target})
    analysis = Analysis(records, objective, sweep=sweep, notes=notes)
    return recommend_module.recommend(analysis)


def predict(
    records: Sequence[TrialRecord],
    task: str,
    examples: int,
    *,
    model_params: int | None = None,
    allow_far: bool = False,
    sweep: str = "",
    notes: Sequence[str] = (),
) -> Forecast:
    """Predict *task* at *examples* from *records*."""
    analysis = Analysis(records, Objective(weights={task: 1.0}), sweep=sweep, notes=notes)
    return predict_module.predict(
        analysis, task, examples, model_params=model_params, allow_far=allow_far
    )
