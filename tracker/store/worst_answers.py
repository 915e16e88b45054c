"""Worst answers of a trial, read from its files of answers: ``<task>.<split>.jsonl``, a row a line.

Bounded in files, bytes, rows and characters: the files were written by any version, with any data.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any, NamedTuple

from tracker.numbers import count
from tracker.store.runs import Runs

#: Per trial: files read, bytes of each, rows of each, worst rows kept, characters of each text.
MAX_FILES, MAX_BYTES, MAX_ROWS, MAX_WORST, MAX_CHARACTERS = 40, 16_000_000, 20_000, 20, 2000
#: Confused pairs kept of each task.
MAX_CONFUSIONS = 10


class Example(NamedTuple):
    """Model's answer to one row. ``score`` in [0, 1]; ``nats``: of the true answer, summed.

    Of a user's own function: ``score`` is ``None`` where it gives an ``error`` instead, smaller the better,
    or where it ``failed``, with its reason.

    ``prompt`` as the model read it; ``None`` where it was not kept. ``valid``: the answer has the task's
    format; ``over_reach``: it claims something where nothing is to be claimed; ``None`` where not known.
    ``file_row``: the row's number in its data file, from 1; ``None`` where it was not kept.
    """

    row: int
    prompt: str | None
    answer: str
    truth: str
    score: float | None
    nats: float | None
    valid: bool | None
    over_reach: bool | None
    file_row: int | None = None
    error: float = 0.0
    failed: str | None = None


class Confusion(NamedTuple):
    """An answer given in place of the truth, in ``rows`` rows ``of`` those with this truth."""

    truth: str
    answer: str
    rows: int
    of: int


class TaskExamples(NamedTuple):
    """Worst answers to a task, the lowest score first, then the highest loss; none that is right.

    ``rows``: how many were looked at; ``wrong``: how many of them score below 1; ``left_out``: why not
    all of the file was read, in words, or ``None``. ``confusions``: the wrong answers that recur, the most
    frequent first.
    """

    task: str
    split: str
    rows: int
    wrong: int
    worst: tuple[Example, ...]
    left_out: str | None = None
    confusions: tuple[Confusion, ...] = ()


def read_examples(runs: Runs, run_id: str) -> tuple[TaskExamples, ...]:
    """Read the worst answers of the trial with *run_id*, per task and split, as far as they were kept."""
    run = runs.client.get_run(run_id)
    kept = [
        file
        for file in runs.artifacts.list(run)
        if not file.is_folder and len(file.path.split(".")) > 2 and file.path.endswith(".jsonl")
    ]
    kept = sorted(kept, key=lambda file: file.path)[:MAX_FILES]
    found = []
    for file in kept:
        task, split, _ = file.path.rsplit(".", 2)
        if (file.bytes or 0) > MAX_BYTES:
            words = f"its file of {count(file.bytes or 0)} bytes is too large to read here"
            found.append(TaskExamples(task, split, 0, 0, (), words))
        else:
            found.append(worst_of(task, split, runs.text(run, file.path)))
    return tuple(found)


def worst_of(task: str, split: str, text: str) -> TaskExamples:
    """Worst wrong answers among the lines of *text*; other lines are skipped."""
    lines = text.split("\n")
    examples = [e for line in lines[:MAX_ROWS] if (e := _example(line)) is not None]
    wrong = [example for example in examples if _badness(example) > 0]
    worst = sorted(wrong, key=lambda e: (-_badness(e), -(e.nats or 0.0)))[:MAX_WORST]
    left_out = (
        f"only the first {count(MAX_ROWS)} rows were read" if len(lines) > MAX_ROWS + 1 else None
    )
    found = _confusions(examples)
    return TaskExamples(task, split, len(examples), len(wrong), tuple(worst), left_out, found)


def _confusions(examples: list[Example]) -> tuple[Confusion, ...]:
    truths = Counter(example.truth.strip() for example in examples)
    pairs = Counter(
        (example.truth.strip(), example.answer.strip())
        for example in examples
        if 0 < _badness(example) < math.inf
    )
    ranked = sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0]))[:MAX_CONFUSIONS]
    return tuple(Confusion(*pair, rows, truths[pair[0]]) for pair, rows in ranked if rows > 1)


def _badness(example: Example) -> float:
    """How far an answer is from right; an answer whose scoring failed comes before all."""
    if example.failed is not None:
        return math.inf
    return example.error if example.score is None else 1 - example.score


def _example(line: str) -> Example | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    if not isinstance(record, dict) or not {"answer", "truth"} <= record.keys():
        return None
    answer, truth = _text(record["answer"]), _text(record["truth"])
    score, row = _number(record.get("score")), _number(record.get("row"))
    error = _number(record.get("error"))
    failed = _text(record["failed"]) if record.get("failed") else None
    if score is None and error is None and failed is None:
        score = float(answer == truth)  # of before scores were kept
    file_row = _number(record.get("file_row"))
    return Example(
        row=-1 if row is None else int(row),
        prompt=_text(record["prompt"]) if "prompt" in record else None,
        answer=answer,
        truth=truth,
        score=score,
        error=error or 0.0,
        failed=failed,
        nats=_number(record.get("nats")),
        valid=_flag(record.get("valid")),
        over_reach=_flag(record.get("over_reach")),
        file_row=None if file_row is None else int(file_row),
    )


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]}…"


def _number(value: Any) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < float("inf") else None


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None
