"""Cleaned training files of a sweep, without rows that leak, contradict, repeat or do not fit."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from sweeps.base_models import model_spec
from sweeps.data.checks import Splits, conflicts, repeated_rows
from sweeps.data.examples import (
    Example,
    LocatedExample,
    is_part,
    prompt_text,
    read_located,
    read_texts,
    similar_text,
    source_file,
)
from sweeps.data.prompts import load_tokenizer, misfits
from sweeps.data.readers import read_rows
from sweeps.resolve import by_tokenizer, split_paths, unread_task
from sweeps.spec import SweepSpec
from sweeps.sweep_file import load_sweep
from tracker.errors import InputError
from tracker.files import absolute, json_lines, whole_folder, write_text, yaml_text
from tracker.numbers import count, plural
from tracker.task import LABEL_SCORES, FileRef, TaskSpec
from tracker.trial import ModelSpec

MAX_LINES_SHOWN = 5

LEAKS = "its prompt is an evaluation row's, but for case, spaces, punctuation and width"
TOO_LONG = "it does not fit into train.max_length"
CONFLICTS = "its prompt has another label more often, or as often"
REPEATS = "an earlier row is the same"
SUITE = "it is a general suite's text"

#: Where a row is left out for two reasons, the first counts.
_ORDER = (LEAKS, SUITE, TOO_LONG, CONFLICTS, REPEATS)


class Cleaned(NamedTuple):
    """A training file (``key`` of the sweep file) less some rows.

    ``left_out``: lines of the file by reason. ``changes``: keys of the sweep file and the new files they
    name, relative to it.
    """

    key: str
    path: str
    rows: int
    left_out: dict[str, list[int]]
    changes: dict[str, str]


class _File(NamedTuple):
    """A file to write: its name within the folder, the rows' fields, and its encoding."""

    name: str
    rows: list[dict[str, Any]]
    encoding: str | None


def clean_data(sweep_file: Path, folder: Path) -> list[Cleaned]:
    """Write the cleaned training files of a sweep into a new *folder*; files without a fault are left alone.

    Evaluation files are never changed, nor is any file of the user's. A conflict keeps the rows of the label
    that its prompt has most often, and none on a tie; free answers may differ and are kept. ``changes.yaml``
    holds the lines to change. Raises InputError for a bad sweep file or data, and where *folder* exists.
    """
    if folder.exists():
        raise InputError(f"{folder}: exists; name a new folder, for no file is overwritten")
    spec, base = load_sweep(sweep_file), sweep_file.parent
    place = os.path.relpath(folder.resolve(), base.resolve())
    done: list[Cleaned] = []
    files: list[_File] = []
    for each, written in [*_tasks(spec, base, place), *_replay(spec, base, place)]:
        done.append(each)
        files += written
    if files:
        with whole_folder(folder) as new:
            for file in files:
                place_of = new / file.name
                place_of.parent.mkdir(parents=True, exist_ok=True)
                place_of.write_bytes(json_lines(file.rows).encode(file.encoding or "utf-8"))
            write_text(new / "changes.yaml", changed_lines(done))
    return done


def changed_lines(cleaned: Sequence[Cleaned]) -> str:
    """Lines of the sweep file that name the new files, as YAML."""
    data: dict[str, Any] = {}
    for each in cleaned:
        for key, file in each.changes.items():
            *parents, last = key.split("/")
            inner = data
            for parent in parents:
                inner = inner.setdefault(parent, {})
            inner[last] = file
    return yaml_text(data)


def report_lines(cleaned: Sequence[Cleaned]) -> Iterator[str]:
    """What was left out of each file and why, with counts and lines."""
    for each in cleaned:
        left = sum(map(len, each.left_out.values()))
        kept = f"{count(each.rows - left)} of {plural(each.rows, 'row')} kept"
        yield f"{each.key}: {kept}{'' if left else ', nothing to leave out'}"
        for why, lines in each.left_out.items():
            shown = ", ".join(map(str, lines[:MAX_LINES_SHOWN]))
            rest = len(lines) - MAX_LINES_SHOWN
            more = f" and {rest} more" if rest > 0 else ""
            yield f"  {count(len(lines))} left out: {why} (line {shown}{more} of {each.path})"


def _tasks(spec: SweepSpec, base: Path, place: str) -> Iterator[tuple[Cleaned, list[_File]]]:
    models = by_tokenizer([model_spec(entry, base) for entry in spec.models])
    too_long = partial(_too_long, models=models, max_length=spec.train.max_length)
    for name, entry in spec.tasks.items():
        if entry.train is None:
            continue
        task = unread_task(name, entry)
        paths = split_paths(entry, base)
        splits = {split: (path, read_located(task, path)) for split, path in paths.items()}
        train = splits["train"][1]
        out = left_out(task, splits, too_long)
        source = source_file(paths["train"])
        lines = {why: [item.line for item in rows] for why, rows in out.items()}
        cleaned = Cleaned(f"tasks.{name}.train", source, len(train), lines, {})
        if not out:
            yield cleaned, []
            continue
        fields = [row.fields for row in read_rows(Path(source), task.encoding)]
        gone = {item.line for rows in out.values() for item in rows}
        kept = [fields[item.example.row] for item in train if item.line not in gone]
        if not kept:
            raise InputError(f"{source}:1: found no row to keep; look at it by hand")
        files, key = [_File(f"{name}/train.jsonl", kept, task.encoding)], f"tasks/{name}"
        changes = {f"{key}/train": f"{place}/{files[0].name}"}
        if is_part(paths["train"]):
            aside = [fields[item.example.row] for item in splits["validation"][1]]
            files.append(_File(f"{name}/validation.jsonl", aside, task.encoding))
            changes[f"{key}/validation"] = f"{place}/{files[-1].name}"
        elif entry.validation is None:  # found beside train, where it no longer is
            changes[f"{key}/validation"] = os.path.relpath(paths["validation"], base.resolve())
        if entry.test is None and "test" in paths:
            changes[f"{key}/test"] = os.path.relpath(paths["test"], base.resolve())
        yield cleaned._replace(changes=changes), files


def left_out(
    task: TaskSpec, splits: Splits, too_long: Callable[[list[Example]], set[int]]
) -> dict[str, list[LocatedExample]]:
    """Training rows to leave out, by reason; *too_long* tells which of some examples do not fit."""
    train = splits["train"][1]
    held_out = {
        similar_text(prompt_text(item.example))
        for split, (_, examples) in splits.items()
        if split != "train"
        for item in examples
    }
    reasons: dict[int, set[str]] = {}

    def leave(item: LocatedExample, why: str) -> None:
        reasons.setdefault(item.line, set()).add(why)

    for item in train:
        if similar_text(prompt_text(item.example)) in held_out:
            leave(item, LEAKS)
    for index in too_long([item.example for item in train]):
        leave(train[index], TOO_LONG)
    if task.score in LABEL_SCORES:
        for rows in conflicts([item for item in train if item.line not in reasons]):
            for item in _minority(rows):
                leave(item, CONFLICTS)
    for item, _ in repeated_rows([item for item in train if item.line not in reasons]):
        leave(item, REPEATS)
    found: dict[str, list[LocatedExample]] = {}
    for item in train:
        if item.line in reasons:
            why = min(reasons[item.line], key=_ORDER.index)
            found.setdefault(why, []).append(item)
    return found


def _minority(rows: list[LocatedExample]) -> list[LocatedExample]:
    """Rows whose label is not the one that most of them have; all, where two have as many."""
    counts = Counter(item.example.answer.strip() for item in rows).most_common()
    most = counts[0][0] if counts[0][1] > counts[1][1] else None
    return [item for item in rows if item.example.answer.strip() != most]


def _too_long(examples: list[Example], models: list[ModelSpec], max_length: int) -> set[int]:
    return {
        index
        for model in models
        for index, _ in misfits(load_tokenizer(model), examples, max_length)
    }


def _replay(spec: SweepSpec, base: Path, place: str) -> Iterator[tuple[Cleaned, list[_File]]]:
    """The replay file less the texts of general suites."""
    if spec.replay is None:
        return
    held_out: set[str] = set()
    for suite in spec.general.values():
        if suite.text is not None:
            held_out_texts = read_texts(_file(absolute(suite.text, base), suite.encoding))
            held_out |= set(map(similar_text, held_out_texts))
    path, encoding = absolute(spec.replay.text, base), spec.replay.encoding
    texts = read_texts(_file(path, encoding))
    rows = read_rows(path, encoding)
    gone = [index for index, text in enumerate(texts) if similar_text(text) in held_out]
    lines = {SUITE: [rows[index].line for index in gone]} if gone else {}
    cleaned = Cleaned("replay.text", str(path), len(texts), lines, {})
    if not gone:
        yield cleaned, []
        return
    kept = [row.fields for index, row in enumerate(rows) if index not in set(gone)]
    if not kept:
        raise InputError(f"{path}:1: found no text to keep; look at it by hand")
    file = _File("replay.jsonl", kept, encoding)
    yield cleaned._replace(changes={"replay/text": f"{place}/{file.name}"}), [file]


def _file(path: Path, encoding: str | None) -> FileRef:
    return FileRef(path=str(path), sha256="", rows=0, encoding=encoding)
