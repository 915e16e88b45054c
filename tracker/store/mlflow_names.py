"""Names in MLflow of a trial's run, its parameters, its metrics and its input files.

Pure functions of the types in :mod:`tracker.trial`, so that ``mlflow ui`` alone reads well:

- parameters: flat and dotted as in ``TrialSpec`` (``model.name``, ``train.epochs``)
- metrics of steps: ``train/<name>``; of the result: ``quality`` (the tasks by the objective's weights,
  larger is better) with ``quality_se``, ``quality_low`` and ``quality_high`` (80 % interval),
  ``final_train_loss``, ``eval/<task>/<name>``
  (``test/…`` for the test split), ``general/<suite>/before|after|after_se|forgetting``,
  ``cost/<name>``, ``cost/phases/<name>``
- tags to group by: ``sft.model``, ``sft.method``, ``sft.mix``, ``sft.volume``, ``sft.stage``

What is ``None`` has no entry. The whole spec and result travel as artifacts beside them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

from tracker.metrics import measures_of, normal_interval, weighted_quality, weighted_se
from tracker.task import FileRef, TaskScore, TaskSpec
from tracker.trial import Objective, TakenOver, TrialResult, TrialSpec

#: MLflow's comparison pages hang on very wide experiments.
MAX_PARAMETERS = 40
_TAG_CHARACTERS = 500

#: Tag of a trial that was taken over: its origin as JSON. Others name the origin's sweep and run.
ORIGIN = "sft.taken_over"
#: Where the metrics of single steps live; nothing else does.
STEP_PREFIX = "train/"

#: Identity, not measurement; replicates (for the paired tests) and counts live in result.json.
_NOT_METRICS = frozenset(
    {"task", "split", "score_name", "labels", "confidence", "figures", "replicates"}
)
_TRAIN_PARAMETERS = (
    "epochs",
    "batch_size",
    "accumulation",
    "max_length",
    "scheduler",
    "warmup",
    "weight_decay",
    "max_grad_norm",
    "dtype",
    "packing",
)


def run_name(spec: TrialSpec) -> str:
    """Name of a trial's run, with all that it was tuned by: ``pg-30k lora r=8 lr=0.003 n=400 even s0``.

    Of an untouched base ``pg-30k none``.
    """
    if spec.method.name == "none":
        return f"{spec.model.name} none"
    mix = f" {spec.mix.name}" if spec.mix else ""
    return f"{spec.model.name} {spec.method.label} n={spec.volume}{mix} s{spec.seed}"


def group_tags(spec: TrialSpec) -> dict[str, str]:
    """Tags of a trial's run by which MLflow's pages group runs."""
    tags = {"sft.model": spec.model.name, "sft.method": spec.method.name}
    if spec.method.name == "none":
        return tags
    return (
        tags | ({"sft.mix": spec.mix.name} if spec.mix else {}) | {"sft.volume": str(spec.volume)}
    )


def origin_tags(taken_over: TakenOver, run_id: str | None) -> dict[str, str]:
    """Tags of a trial that was taken over; *run_id*: of the origin's run, ``None`` where it is gone."""
    tags = {ORIGIN: taken_over.model_dump_json(), "sft.origin.sweep": taken_over.sweep}
    return tags | ({"sft.origin.run": run_id} if run_id else {})


def parameters(spec: TrialSpec) -> dict[str, str]:
    """Parameters of a trial's run, at most ``MAX_PARAMETERS``, with their values as text."""
    model, method = spec.model, spec.method
    values: dict[str, object] = {
        "model.name": model.name,
        "model.parameters": model.parameters,
        "model.family": model.family,
        "model.revision": model.revision,
        "method.name": method.name,
        **{f"method.{name}": value for name, value in method.settings.items()},
        "mix": spec.mix.name if spec.mix else None,
        "mix.replay": spec.mix.replay if spec.mix else None,
        "volume": spec.volume,
        "seed": spec.seed,
    }
    if spec.origin is None:
        values |= {f"train.{name}": getattr(spec.schedule, name) for name in _TRAIN_PARAMETERS}
    else:
        values["origin"] = spec.origin
    values |= {f"examples.{name_part(task)}": n for task, n in spec.examples.items()}
    present = {name: str(value) for name, value in values.items() if value is not None}
    return dict(list(present.items())[:MAX_PARAMETERS])


def metrics(result: TrialResult, wanted: Objective | None = None) -> dict[str, float]:
    """Metrics of a trial's run: everything measured at its end, and its quality by the objective *wanted*."""
    values: dict[str, float | None] = {"final_train_loss": result.final_train_loss}
    if wanted is not None:
        values |= _quality(result, wanted)
    for score in result.tasks:
        values |= _task_metrics(score)
    for suite in result.general:
        prefix = f"general/{name_part(suite.suite)}"
        for name in ("before", "after", "after_se", "forgetting"):
            values[f"{prefix}/{name}"] = getattr(suite, name)
    for name, cost in result.cost.model_dump(exclude={"device", "phases"}).items():
        values[f"cost/{name}"] = cost
    for name, seconds in result.cost.phases.items():
        values[f"cost/phases/{name_part(name)}"] = seconds
    if result.fitted is not None:
        values |= {f"fitted/{name}": value for name, value in result.fitted.model_dump().items()}
    return {name: float(value) for name, value in values.items() if value is not None}


def _quality(result: TrialResult, wanted: Objective) -> dict[str, float | None]:
    """Weighted quality of a complete trial with its standard error and 80 % interval; empty without one."""
    measures = measures_of([result])
    quality = weighted_quality(result, wanted.weights, measures)
    if quality is None:
        return {}
    error = weighted_se(result, wanted.weights, measures)
    scored = all(measures.get(task) == "score" for task, w in wanted.weights.items() if w > 0)
    interval = normal_interval(quality, error, *((0.0, 1.0) if scored else ()))
    low, high = interval or (None, None)
    return {"quality": quality, "quality_se": error, "quality_low": low, "quality_high": high}


def objective(wanted: Objective) -> str:
    """Objective in one line, as much as a tag takes."""
    parts = [f"{task} {weight:g}" for task, weight in wanted.weights.items()]
    parts += [f"{name} bound {bound:g}" for name, bound in wanted.constraints.items()]
    targets = wanted.target if isinstance(wanted.target, dict) else {"": wanted.target}
    parts += [
        f"target {task} {value:g}".replace("  ", " ") for task, value in targets.items() if value
    ]
    return ", ".join(parts)[:_TAG_CHARACTERS]


def step_metric(name: str) -> str:
    """Name of a step's metric: ``loss`` and ``train/loss`` are both ``train/loss``."""
    return f"{STEP_PREFIX}{name.removeprefix(STEP_PREFIX)}"


def dataset_name(file: FileRef) -> str:
    """Name of a data file: the last two parts of its path, ``clinc150/train.jsonl``."""
    return "/".join(file.path.replace("\\", "/").rstrip("/").split("/")[-2:])


def input_files(spec: TrialSpec) -> Iterator[tuple[FileRef, str]]:
    """Files that the trial reads, each with its use."""
    tuned = [task for task in spec.tasks if spec.examples.get(task.name)]
    yield from ((task.train, "training") for task in tuned if task.train)
    if spec.replay and spec.mix and spec.mix.replay:
        yield spec.replay, "replay"
    suites: list[TaskSpec] = [suite.task for suite in spec.general if suite.task]
    yield from ((task.validation, "validation") for task in (*spec.tasks, *suites))
    yield from ((suite.text, "general") for suite in spec.general if suite.text)


def digest_of(text: str) -> str:
    """SHA-256 of *text* in hex, as tags state it."""
    return hashlib.sha256(text.encode()).hexdigest()


def name_part(text: str) -> str:
    """*text* with what MLflow refuses in a key, and the separator ``/``, as ``_``."""
    return re.sub(r"[^\w.\- ]", "_", text)


def _task_metrics(score: TaskScore) -> dict[str, float | None]:
    prefix = f"{'eval' if score.split == 'validation' else 'test'}/{name_part(score.task)}"
    values = {
        name: getattr(score, name) for name in TaskScore.model_fields if name not in _NOT_METRICS
    }
    return {f"{prefix}/{name}": value for name, value in (values | score.figures).items()}
