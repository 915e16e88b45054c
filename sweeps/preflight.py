"""Preflight of a new sweep: models, methods and rows that cannot work are found before the first trial."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from sweeps.base_models import checked_folder
from sweeps.data.encoding import row_fields
from sweeps.data.examples import located_rows
from sweeps.data.mixes import replay_rows, split_volume
from sweeps.data.prompts import encode_examples, load_tokenizer
from sweeps.data.tokenizer_checks import RowsOf, closing_token, tokenizer_problems
from sweeps.finetune.architecture import Unfit, unfit
from sweeps.finetune.evaluate import position_limit
from sweeps.finetune.weights import (
    check_bitsandbytes,
    read_model_config,
    surplus_tensors,
    weight_problems,
)
from sweeps.resolve import Report, ResolvedSweep, TaskSettings, read_sweep
from sweeps.scores.score_function import function_values
from sweeps.search.space import methods_of
from sweeps.search.workspace import SweepFolder
from sweeps.spec import SweepSpec
from sweeps.task_entry import SETTLED_BY_SCORE, SETTLED_FIELDS, SuiteEntry, new_settings
from tracker.errors import InputError
from tracker.numbers import count, plural
from tracker.strict_yaml import YamlPath, read
from tracker.task import TaskSpec
from tracker.trial import MethodSpec, ModelSpec, RecordAnswers

#: Keys of the file that says how a sweep was begun: the models' end tokens, the settled fields of its tasks
#: by task, the digests of schemas and own functions by task, whether every training reaches its
#: learning rate (where some of this file would not), and, of an earlier release, the tasks whose
#: ``token_f1`` counts characters.
END_TOKENS = "end_tokens"
TASK_SETTINGS = "task_settings"
SCORE_FILES = "score_files"
FULL_RATE = "full_rate"
CHARACTERS = "character_tokens"


#: True answers on which a user's own function is tried.
TRIED_ROWS = 10


def read_checked(path: Path, workspace: Path) -> ResolvedSweep:
    """The sweep file at *path*, resolved, and a new one of *workspace* with its preflight.

    Raises InputError with every problem.
    """

    def begun_settings(spec: SweepSpec) -> TaskSettings:
        return _begun_settings(spec, SweepFolder(workspace, spec.name).identity)

    def begun_file(spec: SweepSpec) -> Mapping[str, Any] | None:
        return (SweepFolder(workspace, spec.name).identity or {}).get("file")

    sweep = read_sweep(
        path,
        lambda spec: SweepFolder(workspace, spec.name).begun,
        begun_settings,
        begun_file,
    )
    begun = SweepFolder(workspace, sweep.spec.name).identity
    if begun is None:
        return preflight(sweep, path)
    sweep = replace(sweep, spec=_with_begun_defaults(sweep.spec, begun))
    sweep = _with_ends(sweep, begun.get(END_TOKENS, {}))
    sweep = replace(sweep, full_rate=begun.get(FULL_RATE, False))
    return _preflight_of_new(sweep, path, begun)


def _with_begun_defaults(spec: SweepSpec, begun: Mapping[str, Any]) -> SweepSpec:
    """*spec* with the defaults that its sweep began with, where they have changed since.

    An earlier release took P-tuning without a ``variant`` for v1.
    """
    p_tuning = spec.methods.p_tuning
    was = (begun.get("file", {}).get("methods", {}).get("p_tuning") or {}).get("variant")
    if p_tuning is None or was is None or "variant" in p_tuning.model_fields_set:
        return spec
    settled = p_tuning.model_copy(update={"variant": tuple(was)})
    methods = spec.methods.model_copy(update={"p_tuning": settled})
    return spec.model_copy(update={"methods": methods})


def _preflight_of_new(sweep: ResolvedSweep, path: Path, begun: Mapping[str, Any]) -> ResolvedSweep:
    """*sweep*, begun with another file perhaps, with its preflight where models or methods are new."""
    old, before = begun.get("models", {}), begun.get("file", {}).get("methods", {})
    models = [name for name in sweep.models if name not in old]
    methods = {
        name: [m for m in _methods(sweep.spec, name) if not before.get(m.name)]
        for name in sweep.models
        if name in old
    }
    if not (models or any(methods.values())):
        return sweep
    only = replace(sweep, models={name: sweep.models[name] for name in models})
    checked = preflight(only, path) if models else sweep
    report = Report(read(path), begun=False)
    for index, (name, model) in enumerate(sweep.models.items()):
        if methods.get(name):
            folder, trust = Path(checked_folder(model)), model.trust_remote_code
            kind = read_model_config(folder, trust=trust).model_type
            tried = unfit(model, methods[name], sweep.spec.train)
            _note_unfit(model, kind, ("models", index), tried, report)
    if report.problems:
        raise InputError(dict.fromkeys(report.problems))
    found = {**sweep.models, **checked.models}
    warnings = dict.fromkeys([*sweep.warnings, *checked.warnings])
    return replace(sweep, models=found, warnings=tuple(warnings))


def settled(sweep: ResolvedSweep) -> dict[str, Any]:
    """What was settled for the whole sweep, by its key in the file that says how it was begun."""
    ends = {name: model.end_token for name, model in sweep.models.items() if model.end_token}
    characters = sorted({task.name for task in sweep.every_task if task.tokens == "characters"})
    tasks = {task.name: settings for task in sweep.every_task if (settings := _settings(task))}
    files = {
        task.name: [file.sha256 for file in task.score_files]
        for task in sweep.every_task
        if task.score_files
    }
    kept: dict[str, Any] = {END_TOKENS: ends, CHARACTERS: characters, TASK_SETTINGS: tasks}
    kept |= {SCORE_FILES: files, FULL_RATE: sweep.full_rate}
    return {key: value for key, value in kept.items() if value}


def _settings(task: TaskSpec) -> dict[str, Any]:
    """Settled fields of *task* that are not as in every earlier release."""
    values = task.model_dump(mode="json", include=set(SETTLED_FIELDS), exclude_defaults=True)
    return {} if values.get("tokens") == "characters" else values


def _begun_settings(spec: SweepSpec, begun: Mapping[str, Any] | None) -> TaskSettings:
    """Settings of the tasks that a sweep was begun with, by task; *begun*: the file that says how."""
    begun = begun or {}
    file, kept = begun.get("file", {}), begun.get(TASK_SETTINGS, {})
    characters = {key: {"tokens": "characters"} for key in begun.get(CHARACTERS, ())}
    found: dict[str, Mapping[str, Any]] = {}
    for part, entries in (("tasks", spec.tasks), ("general", spec.general)):
        for name, was in (file.get(part) or {}).items():
            entry = entries.get(name)
            held_out = entry.held_out if isinstance(entry, SuiteEntry) else entry
            if held_out is None:
                continue
            settings = characters.get(name, {}) | kept.get(name, {})
            if held_out.score != (was.get("task") or was).get("score"):
                settings = {k: v for k, v in settings.items() if k not in SETTLED_BY_SCORE}
                new = new_settings(held_out).items()
                settings |= {k: v for k, v in new if k in SETTLED_BY_SCORE}
            found[name] = settings
    return found


def _with_ends(sweep: ResolvedSweep, ends: Mapping[str, str]) -> ResolvedSweep:
    models = {
        name: model.model_copy(update={"end_token": ends[name]}) if name in ends else model
        for name, model in sweep.models.items()
    }
    return replace(sweep, models=models)


def preflight(sweep: ResolvedSweep, path: Path) -> ResolvedSweep:
    """*sweep*, of the file at *path*, with further warnings.

    Weights are compared with the architecture, methods are tried on a shrunken copy of it, and every row
    is rendered. A begun sweep needs none of it. Raises InputError with every problem.
    """
    report = Report(read(path), begun=False)
    files = list(_files(sweep))
    ends = {name: _template_end(model, files) for name, model in sweep.models.items()}
    sweep = _with_ends(sweep, {name: end for name, end in ends.items() if end})
    places = [model.label for model in sweep.spec.models]
    for model in sweep.models.values():
        where: YamlPath = ("models", places.index(model.name))
        report.attempt(lambda m=model, w=where: _check_model(m, w, sweep, files, report), where)  # type: ignore[misc]
    for file in files:
        if file.task.function is not None and file.path == file.task.validation.path:
            report.attempt(lambda f=file: _try_function(f, sweep.spec.record_answers, report))  # type: ignore[misc]
    if sweep.spec.train.optimizer == "adamw_8bit":
        place: YamlPath = ("train", "optimizer")
        report.attempt(lambda: check_bitsandbytes("adamw_8bit", "adamw"), place)
    short = list(_warmup_notes(sweep.spec))
    report.warnings += short
    if report.problems:
        raise InputError(dict.fromkeys(report.problems))
    warnings = tuple(dict.fromkeys([*sweep.warnings, *report.warnings]))
    return replace(sweep, warnings=warnings, full_rate=bool(short))


def _try_function(file: RowsOf, record: RecordAnswers, report: Report) -> None:
    """Try the user's own function on true answers; raises InputError where it fails on each."""
    scorer, rows = file.task.function, file.rows[:TRIED_ROWS]
    assert scorer is not None, "the task has a function"
    fields = row_fields(file.task, file.path, [item.example.row for item in rows])
    answers = [item.example.answer.strip() for item in rows]
    found = function_values(scorer, answers, fields)
    failed = [i for i, each in enumerate(found) if each.value is None]
    if not failed:
        return
    first = found[failed[0]]
    words = f"{first.error}: {first.words}" if record == "all" else first.error
    problem = (
        f"{file.path}:{rows[failed[0]].line}: {scorer.function} of {scorer.file.path} fails on "
        f"{count(len(failed))} of {count(len(rows))} true answers; the first: {words}"
    )
    if len(failed) == len(rows):
        raise InputError(f"{problem}; mend the function")
    report.warnings.append(f"{problem}; such rows have no score")


def _template_end(model: ModelSpec, files: list[RowsOf]) -> str | None:
    """Control token with which the chat template ends an answer; ``None`` where it is the end token."""
    first = next((file.rows[0].example for file in files if file.rows), None)
    try:
        return first and closing_token(load_tokenizer(model), first)
    except InputError:
        return None  # a folder that has changed or a template that refuses: said by the checks


def _check_model(
    model: ModelSpec, where: YamlPath, sweep: ResolvedSweep, files: list[RowsOf], report: Report
) -> None:
    folder, trust = Path(checked_folder(model)), model.trust_remote_code
    problems = weight_problems(folder, trust=trust)
    if problems:
        raise InputError(problems)
    report.warnings += surplus_tensors(folder, trust=trust)
    if (folder / "adapter_config.json").is_file():
        report.warnings.append(
            f"{folder}: found an adapter beside the weights; the base is the weights without it; merge it "
            "into them if it should be part of the base"
        )
    config = read_model_config(folder, trust=trust)
    tokenizer = load_tokenizer(model)
    _check_vocabulary(tokenizer, config)
    found = tokenizer_problems(model.name, tokenizer, files, sweep.spec.record_answers)
    report.problems += found.problems
    report.warnings += found.notes
    if not found.problems:
        report.problems += _too_many_positions(model, tokenizer, config, sweep.spec, files)
    if model.base == "nf4":
        report.attempt(lambda: check_bitsandbytes("base nf4", "base bfloat16 or float32"), where)
    tried = unfit(model, _methods(sweep.spec, model.name), sweep.spec.train)
    _note_unfit(model, config.model_type, where, tried, report)


def _check_vocabulary(tokenizer: PreTrainedTokenizerBase, config: Any) -> None:
    rows = config.get_text_config(decoder=True).vocab_size
    if len(tokenizer) > rows:
        raise InputError(
            f"found a tokenizer of {len(tokenizer):,} tokens; allowed: {rows:,}, the rows of the model's "
            "embeddings (vocab_size); resize them or take the tokenizer that came with the model"
        )


def _files(sweep: ResolvedSweep) -> Iterator[RowsOf]:
    """Every task's rows, by file."""
    for task in sweep.every_task:
        for file in (task.train, task.validation, task.test):
            if file is not None:
                yield RowsOf(task, file.path, located_rows(task, file))


def _methods(spec: SweepSpec, model: str) -> list[MethodSpec]:
    """Every method that tunes *model*, with each of its variants."""
    return [
        MethodSpec(name=name, variant=variant)
        for name in methods_of(spec, model)
        for variant in getattr(getattr(spec.methods, name), "variant", (None,))
    ]


def _note_unfit(model: ModelSpec, kind: str, where: YamlPath, tried: Unfit, report: Report) -> None:
    if tried.sees_ahead:
        report.at(
            where,
            f"found {model.name} ({kind}), whose tokens see the ones after them, as an encoder's do, and so "
            "the answer itself; allowed: a decoder, or is_decoder: true in config.json if it is one",
        )
        return
    if tried.mixes_packed_rows:
        report.at(
            ("train", "packing"),
            f"found true; the rows of a packed sequence see each other in {model.name} ({kind}); "
            "allowed: false for this model",
        )
    for name, variant, reason in tried.methods:
        report.at(
            ("methods", name, *(("variant",) if variant else ())),
            f"found {variant or name}, which does not work with {model.name} ({kind}): {reason}; "
            "take it out, or the model",
        )


def _too_many_positions(
    model: ModelSpec,
    tokenizer: PreTrainedTokenizerBase,
    config: Any,
    spec: SweepSpec,
    files: list[RowsOf],
) -> Iterator[str]:
    """A line for each file with a row that takes more positions than the model has."""
    limit = position_limit(config)
    virtual = max(spec.methods.p_tuning.virtual_tokens) if spec.methods.p_tuning else 0
    if limit is None or spec.train.max_length + virtual <= limit:
        return
    for file in files:
        try:
            rows = encode_examples(
                tokenizer, [item.example for item in file.rows], spec.train.max_length
            )
        except InputError:
            continue  # rows that cannot be cut to fit are said elsewhere
        long = [i for i, row in enumerate(rows) if len(row) + virtual > limit]
        if long:
            length, line = len(rows[long[0]]), file.rows[long[0]].line
            with_virtual = f" and {virtual} virtual ones" if virtual else ""
            yield (
                f"{file.path}:{line}: found a row of {length} tokens{with_virtual} ({len(long)} such rows); "
                f"allowed: {limit}, the positions of {model.name}; set train.max_length to at most "
                f"{limit - virtual}"
            )


def _warmup_notes(spec: SweepSpec) -> Iterator[str]:
    """Notes on training sets so small that warm-up would take every step: it ends before the last."""
    for name in spec.mixes:
        for volume in sorted(spec.volumes_of(name)):
            steps = _least_steps(spec, name, volume)
            warm = math.ceil(spec.train.warmup * steps)
            if steps and warm >= steps:
                what = (
                    "it has the full learning rate, without warm-up"
                    if steps == 1
                    else "all but the last are warm-up"
                )
                yield (
                    f"volumes: found {volume} for mix {name!r}, {plural(steps, 'step')} of training; {what}; "
                    "raise it or train.epochs, lower train.batch_size, or set train.warmup: 0"
                )


def _least_steps(spec: SweepSpec, name: str, volume: int) -> int:
    """Optimiser steps of the shortest training on *volume* examples of the mix *name*, by any method."""
    mix, train = spec.mixes[name].named(name), spec.train.of_trials
    batch, steps = train.batch_size * train.accumulation, []
    for method, settings in spec.methods:
        if settings is None:
            continue
        epochs = min(spec.train.passes(method) or (train.epochs,))
        rows = replay_rows(mix, volume) * epochs
        for task, number in split_volume(mix, volume).items():
            rows += number * (epochs + mix.extra_epochs.get(task, 0))
        steps.append(math.ceil(rows / max(settings.batch_size or (batch,))))
    return min(steps)
