"""Reading of a sweep file into a ``SweepSpec``: every problem at once, each with its line."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from sweeps.spec import MixEntry, ModelEntry, SweepSpec, lowered
from sweeps.task_entry import SuiteEntry, TaskEntry
from tracker.constraints import SHARES, allowed_names, bound_problem, task_and_label, unknown_name
from tracker.decision.target_quality import target_problem
from tracker.metrics import Measure
from tracker.strict_yaml import Document, YamlPath, read
from tracker.validation import Problem, found, options, unknown, validate

MAX_DESIGN_POINTS = 10_000


def load_sweep(file: Path | Document) -> SweepSpec:
    """The sweep file at a path, or already read. Raises ``InputError`` with every problem."""
    document = read(file) if isinstance(file, Path) else file
    return validate(document, SweepSpec, _contradictions)


def _contradictions(spec: SweepSpec) -> list[Problem]:
    """Every contradiction between parts of *spec*."""
    checks = (
        *(_models, _volumes, _names, _code, _mixes, _objective, _constraints, _target),
        *(_tuning, _limits, _memory, _size),
    )
    return [problem for check in checks for problem in check(spec)]


def _design_factors(spec: SweepSpec) -> dict[str, int]:
    """Factors of the design by what they count; a searched range counts once."""
    settings = [
        math.prod(map(len, _chosen_from(spec, name)))
        for name, method in spec.methods
        if method is not None
    ]
    return {
        "models": len(spec.models),
        "method settings": sum(settings),
        "volumes": len(spec.volumes),
        "mixes": len(spec.mixes),
    }


def _chosen_from(spec: SweepSpec, method: str) -> Iterator[tuple[object, ...]]:
    """Choices of the hyper-parameters of *method* that are counted, other than its learning rate."""
    settings = getattr(spec.methods, method)
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if name != "learning_rate" and isinstance(value, tuple):
            yield value
    if passes := spec.train.passes(method):
        yield passes


def _models(spec: SweepSpec) -> Iterator[Problem]:
    names = Counter(entry.label for entry in spec.models)
    for index, entry in enumerate(spec.models):
        if names[entry.label] > 1:
            yield Problem(
                ("models", index),
                f"found the name {entry.label!r} {names[entry.label]} times; allowed: once; "
                "give each a `name`",
            )
        there = [name for name, settings in spec.methods if settings is not None]
        if unknown := [name for name in entry.methods or () if name not in there]:
            yield Problem(
                ("models", index, "methods"),
                f"found {', '.join(unknown)}; allowed: {', '.join(there)}, the methods of this sweep",
            )
        yield from _base(spec, index, entry)


def _base(spec: SweepSpec, index: int, entry: ModelEntry) -> Iterator[Problem]:
    """Problems of how a model's frozen weights are stored with what trains on them."""
    here: YamlPath = ("models", index, *(("base",) if entry.base else ()))
    base = entry.base or spec.base
    if base == "bfloat16" and spec.train.dtype == "float32":
        wording = (
            "found base bfloat16 with train.dtype float32; allowed: train.dtype bfloat16 or auto"
        )
        yield Problem(here, wording)
    if base != "nf4":
        return
    methods = [name for name, settings in spec.methods if settings is not None]
    named = [name for name in methods if entry.methods is None or name in entry.methods]
    if "full" in named:
        others = ", ".join(name for name in methods if name != "full") or "lora"
        yield Problem(
            here,
            "found base nf4 with full tuning, which cannot train 4-bit weights; allowed: adapters; give the "
            f"model `methods: [{others}]`",
        )
    lora = spec.methods.lora
    if lora and "lora" in named and "pissa" in lora.variant:
        yield Problem(
            here,
            "found base nf4 with LoRA's variant pissa, which starts by changing the weights; allowed: plain, "
            "rslora, dora, lora_plus; take pissa out",
        )


def _volumes(spec: SweepSpec) -> Iterator[Problem]:
    lists: dict[YamlPath, tuple[int, ...]] = {("volumes",): spec.volumes}
    lists |= {("mixes", name, "volumes"): mix.volumes or () for name, mix in spec.mixes.items()}
    for here, volumes in lists.items():
        if list(volumes) != sorted(set(volumes)):
            listed = ", ".join(map(str, volumes))
            yield Problem(here, f"found {listed}; allowed: ascending, each once")


def _names(spec: SweepSpec) -> Iterator[Problem]:
    """Suites and tasks share the columns of one table."""
    for name in spec.general.keys() & spec.tasks.keys():
        wording = f"found {name!r}, also a task; allowed: another name"
        yield Problem(("general", name), wording)


def _code(spec: SweepSpec) -> Iterator[Problem]:
    """A score of one's own runs only where the file says that it may."""
    if spec.allow_code:
        return
    for part, entries in (("tasks", spec.tasks), ("general", spec.general)):
        for name, entry in entries.items():
            inner = isinstance(entry, SuiteEntry) and entry.task is not None
            held_out = entry.held_out if isinstance(entry, SuiteEntry) else entry
            if held_out is not None and held_out.written_function:
                wording = (
                    f"found {held_out.score}, Python code that would run in every worker; allowed: with "
                    "allow_code: true at the top of this file, if you trust it"
                )
                yield Problem((part, name, *(("task",) if inner else ()), "score"), wording)


def _mixes(spec: SweepSpec) -> Iterator[Problem]:
    for name, mix in spec.mixes.items():
        here = ("mixes", name)
        for task in mix.weights:
            if task not in spec.tasks:
                yield Problem((*here, task), unknown(task, [*spec.tasks, *MixEntry.model_fields]))
            elif not spec.tasks[task].train:
                wording = f"found task {task!r} without a train file; give tasks.{task}.train"
                yield Problem((*here, task), wording)
        for task in mix.extra_epochs.keys() - mix.weights.keys():
            yield Problem((*here, "extra_epochs", task), unknown(task, mix.weights))
        for volume in mix.volumes or ():
            if volume not in spec.volumes:
                wording = f"found {volume}; allowed: {options(map(str, spec.volumes))}"
                yield Problem((*here, "volumes"), wording)
        if mix.replay and spec.replay is None:
            wording = f"found {mix.replay:g} without a replay file; give `replay: {{text: FILE}}`"
            yield Problem((*here, "replay"), wording)


def _objective(spec: SweepSpec) -> Iterator[Problem]:
    weights = spec.objective.weights
    trained = {task for mix in spec.mixes.values() for task in mix.weights}
    for task in weights:
        if task not in spec.tasks:
            yield Problem(("objective", "weights", task), unknown(task, spec.tasks))
        elif task not in trained:
            wording = f"found {task!r}, which no mix trains; allowed: {options(sorted(trained))}"
            yield Problem(("objective", "weights", task), wording)
    if not any(weights.values()):
        yield Problem(("objective", "weights"), "found no weight above 0; allowed: at least one")


def _constraints(spec: SweepSpec) -> Iterator[Problem]:
    negative = [task for task, entry in spec.tasks.items() if _has_negative(entry)]
    allowed = allowed_names(spec.tasks, spec.general, negative, lowered(spec))
    for written, bound in spec.objective.constraints.items():
        name, here = written, ("objective", "constraints", written)
        kind, _, task = name.partition(".")
        label = None
        if kind in SHARES:
            task, label = task_and_label(task, spec.tasks)
        if label and spec.record_answers != "all":
            wording = (
                f"found {name!r} with record_answers: {spec.record_answers}, so that no label is recorded by "
                f"its name; allowed: {kind}.{task}, or record_answers: all"
            )
            yield Problem(here, wording)
        if label and task in spec.tasks:  # against the data, once they are read
            name = f"{kind}.{task}"
        if kind == "over_reach" and task in spec.tasks and name not in allowed:
            wording = f"found {name!r}, which no task produces; give tasks.{task}.negative"
            yield Problem(here, wording)
        elif name not in allowed:
            yield Problem(here, unknown_name(name, allowed))
        elif kind == "min" and not 0 <= bound <= 1:  # a file's tasks are scored
            yield Problem(here, f"found {bound:g}; allowed: 0 to 1")
        elif problem := bound_problem(name, bound):
            yield Problem(here, problem)


def _target(spec: SweepSpec) -> Iterator[Problem]:
    target, here = spec.objective.target, ("objective", "target")
    falling = lowered(spec)
    weighted = [task for task, weight in spec.objective.weights.items() if weight > 0]
    measure: Measure | None = None if any(task in falling for task in weighted) else "score"
    if isinstance(target, float) and (problem := target_problem(target, measure)):
        yield Problem(here, problem)
    for task, value in target.items() if isinstance(target, dict) else ():
        if task not in spec.tasks:
            yield Problem((*here, task), unknown(task, spec.tasks))
        elif problem := target_problem(value, "error" if task in falling else "score"):
            yield Problem((*here, task), problem)
    if target == {}:
        yield Problem(here, "found no task; allowed: a number, or a number by task")


def _has_negative(entry: TaskEntry) -> bool:
    """Whether rows of the task may claim nothing: of several labels, one may have none."""
    return entry.negative is not None or entry.score == "multilabel_f1"


def _tuning(spec: SweepSpec) -> Iterator[Problem]:
    tuning, here = spec.search.tuning, ("search", "tuning")
    mix = tuning.mix or next(iter(spec.mixes))
    volumes = spec.volumes_of(mix) if mix in spec.mixes else spec.volumes
    if tuning.volume is not None and tuning.volume not in volumes:
        listed = options(map(str, volumes))
        listed += f", the volumes of mix {mix!r}" if volumes != spec.volumes else ""
        yield Problem((*here, "volume"), f"found {tuning.volume}; allowed: {listed}")
    if tuning.mix is not None and tuning.mix not in spec.mixes:
        yield Problem((*here, "mix"), unknown(tuning.mix, spec.mixes))
    start = spec.search.halving.start
    if start is not None and start not in spec.volumes:
        wording = f"found {start}; allowed: {options(map(str, spec.volumes))}"
        yield Problem(("search", "halving", "start"), wording)


def _limits(spec: SweepSpec) -> Iterator[Problem]:
    """Limits that the schema states of a sweep file alone: an outside table may have other values."""
    for part, fields in (("train", spec.train), ("evaluation", spec.evaluation)):
        for key, field in type(fields).model_fields.items():
            stated = field.json_schema_extra
            value = getattr(fields, key)
            if not isinstance(stated, dict) or not isinstance(value, int):
                continue
            low, high = (cast("int | None", stated.get(end)) for end in ("minimum", "maximum"))
            if low is not None and value < low:
                yield Problem((part, key), f"{found(value)}; allowed: at least {low}")
            if high is not None and value > high:
                yield Problem((part, key), f"{found(value)}; allowed: at most {high}")


def _memory(spec: SweepSpec) -> Iterator[Problem]:
    """peft's prefix tuning keeps its tokens in the cache, which recomputing activations discards."""
    p_tuning = spec.methods.p_tuning
    if spec.train.gradient_checkpointing and p_tuning and "v2" in p_tuning.variant:
        wording = "found true with p_tuning variant v2, which cannot run so; allowed: v1, or false"
        yield Problem(("train", "gradient_checkpointing"), wording)


def _size(spec: SweepSpec) -> Iterator[Problem]:
    factors = _design_factors(spec)
    total = math.prod(factors.values())
    if total > MAX_DESIGN_POINTS and not spec.search.confirm_large:
        product = " × ".join(f"{count} {factor}" for factor, count in factors.items())
        wording = (
            f"found {total:,} design points ({product}), up to {total * spec.seeds:,} trials; allowed: "
            f"{MAX_DESIGN_POINTS:,}; narrow the design or set search.confirm_large: true"
        )
        yield Problem((), wording)
