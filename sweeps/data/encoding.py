"""Encoded rows of data files, cached in a worker: a file is read once, a row tokenised once.

Only rows that a trial uses are tokenised: training sets are often a small part of their files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sweeps.data.examples import (
    EVALUATION_SEED,
    Example,
    digest,
    nested_order,
    read_examples,
    read_texts,
    whole_file,
)
from sweeps.data.mixes import StreamRow, stream
from sweeps.data.prompts import (
    Encoded,
    encode_examples,
    encode_texts,
    load_tokenizer,
    render,
    weight_of,
    written_answers,
)
from sweeps.data.readers import read_rows
from sweeps.scores.labels import labels_of
from tracker.errors import InputError
from tracker.export.recipe import Row
from tracker.task import LABEL_SCORES, FileRef, TaskSpec, Turns
from tracker.trial import ModelSpec, TrialSpec


class Rows(NamedTuple):
    """Encoded rows, true answers, and ``numbers`` in the file (from 0), in the order of evaluation.

    ``fields``: of a task scored by the user's own function alone, what the file holds of each row.
    """

    encoded: tuple[Encoded, ...]
    truth: tuple[str, ...]
    numbers: tuple[int, ...]
    fields: tuple[dict[str, Any], ...] | None = None


def training_stream(spec: TrialSpec) -> list[Encoded]:
    """Training rows of a trial in order, all passes included."""
    order = training_order(spec)
    length = spec.train.max_length
    sources: dict[str | None, _EncodedRows] = {
        name: _task_rows(task, train_file(task), spec.model, length, task.turns)
        for name, task in trained_tasks(spec).items()
    }
    if spec.replay is not None:
        sources[None] = _text_rows(spec.replay, spec.model, length)
    rows = {
        name: iter(source.rows([at.row for at in order if at.task == name]))
        for name, source in sources.items()
    }
    return [next(rows[at.task]) for at in order]


def training_order(spec: TrialSpec) -> list[StreamRow]:
    """Order of a trial's training rows by source and row number, all passes; empty for an untouched base."""
    nested = {
        name: list(_nested_rows(train_file(task), task, spec.seed))
        for name, task in trained_tasks(spec).items()
    }
    texts = len(_texts(spec.replay)) if spec.replay else 0
    replay = [int(i) for i in np.random.default_rng(spec.seed).permutation(texts)]
    return stream(spec, nested, replay)


def rows_as_text(spec: TrialSpec) -> list[Row]:
    """The rows of :func:`training_stream` as text, for other trainers."""
    tasks = trained_tasks(spec)
    examples = {name: read_examples(task, train_file(task)) for name, task in tasks.items()}
    texts = read_texts(spec.replay) if spec.replay else []
    rows = []
    for at in training_order(spec):
        if at.task is None:
            rows.append(Row(None, texts[at.row], "replay"))
            continue
        rows.append(_row_as_text(examples[at.task][at.row], tasks[at.task]))
    return rows


def _row_as_text(example: Example, task: TaskSpec) -> Row:
    content = {"content": "" if example.call else example.answer}
    answer = {"role": "assistant", **content, **json.loads(example.call or "{}")}
    turns = [*render(example), answer]
    tools = json.loads(example.tools) if example.tools else None
    weights = [weight_of(t.weight) if t.role == "assistant" else 0.0 for t in example.messages]
    last = weight_of(example.weight)
    return Row(turns, None, task.name, tools, (*weights, last) if task.turns == "all" else ())


def trained_tasks(spec: TrialSpec) -> dict[str, TaskSpec]:
    """Tasks that the trial's mix trains, by name."""
    return {task.name: task for task in spec.tasks if task.name in spec.examples}


def train_file(task: TaskSpec) -> FileRef:
    """Training file of a task; raises InputError for a task that has none."""
    if task.train is None:
        raise InputError(
            f"task {task.name}: has no training file; name one or leave it out of the mix"
        )
    return task.train


def evaluation_rows(task: TaskSpec, file: FileRef, spec: TrialSpec, *, whole: bool = False) -> Rows:
    """Rows of *file* that every trial is evaluated on: a stratified, seeded choice, or the *whole* file."""
    examples = _examples(task, file)
    chosen: Sequence[int] = range(len(examples))
    limit = None if whole else spec.evaluation.rows
    if limit is not None and limit < len(examples):
        chosen = _nested_rows(file, task, EVALUATION_SEED)[:limit]
    source = _task_rows(task, file, spec.model, spec.train.max_length)
    return Rows(
        tuple(source.rows(chosen)),
        tuple(written_answers(load_tokenizer(spec.model), [examples[i] for i in chosen])),
        tuple(examples[i].row for i in chosen),
        tuple(row_fields(task, file.path, [examples[i].row for i in chosen]))
        if task.function
        else None,
    )


def row_fields(task: TaskSpec, path: str, numbers: Sequence[int]) -> list[dict[str, Any]]:
    """Fields of the rows of these *numbers* (from 0) in the file at *path*, for a user's own function."""
    rows = read_rows(Path(whole_file(path)), task.encoding)
    return [rows[number].fields for number in numbers]


def suite_text(file: FileRef, spec: TrialSpec) -> Rows:
    """Text rows of a general suite: the first ``evaluation.rows`` in a seeded order."""
    texts = _texts(file)
    chosen: Sequence[int] = range(len(texts))
    limit = spec.evaluation.rows
    if limit is not None and limit < len(texts):
        order = np.random.default_rng(EVALUATION_SEED).permutation(len(texts))
        chosen = [int(i) for i in order[:limit]]
    source = _text_rows(file, spec.model, spec.train.max_length)
    return Rows(tuple(source.rows(chosen)), tuple(texts[i] for i in chosen), tuple(chosen))


@lru_cache(maxsize=64)
def label_set(task: TaskSpec) -> frozenset[str] | None:
    """Labels of a task whose answers are labels: those defined, else those in train (else in validation).

    Without white space around them, as answers are compared.
    """
    labelled = task.score in LABEL_SCORES
    if task.labels and (labelled or task.score == "exact_match"):
        return frozenset(label.name for label in task.labels)
    if not labelled:
        return None
    answers = {example.answer for example in _examples(task, task.train or task.validation)}
    labels = {label for answer in answers for label in labels_of(task, answer)}
    return frozenset(labels | ({task.negative.strip()} if task.negative else set()))


class _EncodedRows:
    """Encoded rows of one file for one model; a row is encoded when it is first used."""

    def __init__(self, encode: Callable[[list[int]], list[Encoded]]) -> None:
        self._encode = encode
        self._encoded: dict[int, Encoded] = {}

    def rows(self, indices: Sequence[int]) -> list[Encoded]:
        """The rows at *indices*, in that order."""
        new = [i for i in dict.fromkeys(indices) if i not in self._encoded]
        self._encoded.update(zip(new, self._encode(new) if new else [], strict=True))
        return [self._encoded[i] for i in indices]


@lru_cache(maxsize=64)
def _task_rows(
    task: TaskSpec, file: FileRef, model: ModelSpec, max_length: int, turns: Turns = "last"
) -> _EncodedRows:
    """Rows of a task's *file*; *turns*: whose loss is marked, for evaluation the last."""
    examples, tokenizer = _examples(task, file), load_tokenizer(model)
    return _EncodedRows(
        lambda wanted: encode_examples(tokenizer, [examples[i] for i in wanted], max_length, turns)
    )


@lru_cache(maxsize=16)
def _text_rows(file: FileRef, model: ModelSpec, max_length: int) -> _EncodedRows:
    texts, tokenizer = _texts(file), load_tokenizer(model)
    return _EncodedRows(
        lambda wanted: encode_texts(tokenizer, [texts[i] for i in wanted], max_length)
    )


@lru_cache(maxsize=64)
def _examples(task: TaskSpec, file: FileRef) -> tuple[Example, ...]:
    _check_unchanged(file)
    return tuple(read_examples(task, file))


@lru_cache(maxsize=16)
def _texts(file: FileRef) -> tuple[str, ...]:
    _check_unchanged(file)
    return tuple(read_texts(file))


@lru_cache(maxsize=256)
def _nested_rows(file: FileRef, task: TaskSpec, seed: int) -> tuple[int, ...]:
    return tuple(nested_order(_examples(task, file), seed))


@lru_cache(maxsize=256)
def _check_unchanged(file: FileRef) -> None:
    """Raise InputError if the file has changed since the sweep was planned."""
    found = digest(file.path)
    if found != file.sha256:
        raise InputError(
            f"{file.path}: changed during the sweep: its SHA-256 is {found[:12]}…, the sweep was planned "
            f"with {file.sha256[:12]}…; put the file back or start a new sweep"
        )
