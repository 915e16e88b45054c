"""Data files → encoded rows, kept in memory by a worker, so that a file is read and tokenised once."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from sweeps.finetune.data import digest, nested_order, read_examples, read_texts
from sweeps.finetune.evaluate import Rows
from sweeps.finetune.mix import StreamRow, stream
from sweeps.finetune.model import load_tokenizer
from sweeps.finetune.prompt import Encoded, encode_examples, encode_texts
from tracker.errors import InputError
from tracker.record.trial import FileRef, ModelSpec, TaskSpec, TrialSpec

_EVALUATION_ORDER_SEED = 0  # every trial of a sweep is evaluated on the same rows


def training_stream(spec: TrialSpec) -> list[Encoded]:
    """Every row the trial trains on, in order, all passes included."""
    length = spec.train.max_length
    rows = {
        name: _encoded(task, train_file(task), spec.model, length).encoded
        for name, task in trained_tasks(spec).items()
    }
    texts = _texts(spec.replay, spec.model, length).encoded if spec.replay else ()
    return [
        texts[at.index] if at.task is None else rows[at.task][at.index]
        for at in training_order(spec)
    ]


def training_order(spec: TrialSpec) -> list[StreamRow]:
    """Which row of which source comes when, all passes included; nothing for the untouched base."""
    nested = {
        name: list(_nested(train_file(task), task, spec.seed))
        for name, task in trained_tasks(spec).items()
    }
    texts = len(read_texts(spec.replay)) if spec.replay else 0
    replay = [int(i) for i in np.random.default_rng(spec.seed).permutation(texts)]
    return stream(spec, nested, replay)


def trained_tasks(spec: TrialSpec) -> dict[str, TaskSpec]:
    """The tasks that the trial's mix trains, by name."""
    return {task.name: task for task in spec.tasks if task.name in spec.examples}


def train_file(task: TaskSpec) -> FileRef:
    """The task's training file; InputError for a task that has none."""
    if task.train is None:
        raise InputError(
            f"task {task.name}: has no training file; name one or leave it out of the mix"
        )
    return task.train


def evaluation_rows(task: TaskSpec, file: FileRef, spec: TrialSpec) -> Rows:
    """The rows of *file* that every trial is evaluated on: a stratified, seeded choice."""
    rows = _encoded(task, file, spec.model, spec.train.max_length)
    limit = spec.evaluation.rows
    if limit is None or limit >= len(rows.truth):
        return rows
    chosen = _nested(file, task, _EVALUATION_ORDER_SEED)[:limit]
    return Rows(tuple(rows.encoded[i] for i in chosen), tuple(rows.truth[i] for i in chosen))


def suite_text(file: FileRef, spec: TrialSpec) -> Rows:
    """The text rows a suite is measured on: the first ``evaluation.rows`` of a seeded order."""
    rows = _texts(file, spec.model, spec.train.max_length)
    limit = spec.evaluation.rows
    if limit is None or limit >= len(rows.truth):
        return rows
    chosen = np.random.default_rng(_EVALUATION_ORDER_SEED).permutation(len(rows.truth))[:limit]
    return Rows(tuple(rows.encoded[i] for i in chosen), tuple(rows.truth[i] for i in chosen))


@lru_cache(maxsize=64)
def label_set(task: TaskSpec) -> frozenset[str] | None:
    """The labels seen in training (else in validation), for tasks whose answers are labels."""
    if task.score != "macro_f1":
        return None
    answers = {example.answer for example in read_examples(task, task.train or task.validation)}
    return frozenset(answers | ({task.negative} if task.negative else set()))


@lru_cache(maxsize=64)
def _encoded(task: TaskSpec, file: FileRef, model: ModelSpec, max_length: int) -> Rows:
    _check_unchanged(file)
    examples = read_examples(task, file)
    encoded = encode_examples(load_tokenizer(model), examples, max_length)
    return Rows(tuple(encoded), tuple(example.answer for example in examples))


@lru_cache(maxsize=16)
def _texts(file: FileRef, model: ModelSpec, max_length: int) -> Rows:
    _check_unchanged(file)
    texts = read_texts(file)
    return Rows(tuple(encode_texts(load_tokenizer(model), texts, max_length)), tuple(texts))


@lru_cache(maxsize=256)
def _nested(file: FileRef, task: TaskSpec, seed: int) -> tuple[int, ...]:
    return tuple(nested_order(read_examples(task, file), seed))


@lru_cache(maxsize=256)
def _check_unchanged(file: FileRef) -> None:
    """Raise InputError if the file is no longer the one the sweep was planned with."""
    found = digest(file.path)
    if found != file.sha256:
        raise InputError(
            f"{file.path}: changed during the sweep: its SHA-256 is {found[:12]}…, the sweep was planned "
            f"with {file.sha256[:12]}…; put the file back or start a new sweep"
        )
