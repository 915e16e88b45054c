"""The verb answer: a trained model's answers to the rows of a file, scored where they have truths."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from sweeps.cli_options import WORKSPACE, Json, StoreUri, Workspace, has_store, open_store
from tracker.errors import InputError

if TYPE_CHECKING:
    from sweeps.finetune.trained_model import ModelCard
    from tracker.task import TaskScore, TaskSpec

REGISTERED = "models:/"
_SECONDS_BETWEEN_LINES = 5.0
_NOT_SHOWN = {"split", "replicates"}


def answer(
    model: Annotated[
        str,
        typer.Argument(
            help="Folder that `train` wrote, or models:/NAME/VERSION or models:/NAME@ALIAS.",
            show_default=False,
        ),
    ],
    rows: Annotated[
        Path, typer.Argument(help="File of rows, as for training.", show_default=False)
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="File of answers to write, JSON Lines, a row a line."),
    ],
    task: Annotated[
        str | None, typer.Option(help="Task of the rows, where the model has several.")
    ] = None,
    encoding: Annotated[
        str | None, typer.Option(help="Of the rows' text; default: that of the task's files.")
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="Where an adapter's base model is, if it was moved.")
    ] = None,
    workspace: Workspace = WORKSPACE,
    store: StoreUri = None,
    as_json: Json = False,
) -> None:
    """Answer the rows of a file with a trained model, and score those that have true answers.

    Prompts are rendered, and answers generated and scored, as in the evaluation of `train`.
    """
    from sweeps.data.readers import read_rows
    from sweeps.finetune.model import quieten
    from sweeps.finetune.trained_model import TrainedModel
    from tracker.files import json_lines, write_text

    quieten()
    _check(output, rows, encoding)
    with _folder(model, workspace, store) as folder:
        trained = TrainedModel.load(folder, base)
        chosen = trained.task(task)
        found = read_rows(rows, encoding or chosen.encoding)
        answered = trained.answer(chosen, str(rows), found, _Lines())
    write_text(output, json_lines(answered.records))
    score, reading = answered.score, _Reading(None)
    if score is not None and _is_test(chosen, rows):
        reading = _count_reading(trained.card, chosen, workspace, store)
    facts: dict[str, Any] = {"task": chosen.name, "rows": len(found), "output": str(output)}
    _say(facts, score, reading, as_json=as_json)


def _say(
    facts: dict[str, Any], score: TaskScore | None, reading: _Reading, *, as_json: bool
) -> None:
    """Print what was answered, its score, and how often test was read."""
    from sweeps.terminal import print_lines
    from tracker.numbers import plural
    from tracker.store.test_reads import reads_line

    if as_json:
        kept = None if score is None else score.model_dump(mode="json", exclude=_NOT_SHOWN)
        typer.echo(json.dumps(facts | {"score": kept, "test_reads": reading.reads}, indent=1))
        return
    rows = facts["rows"]
    first = f"answered {plural(rows, 'row')} of task {facts['task']}; wrote {facts['output']}"
    counted = reading.note if reading.reads is None else reads_line(reading.reads)
    print_lines([first, _score_line(score, rows), *([counted] if counted else [])])


@contextmanager
def _folder(model: str, workspace: Path, store: str | None) -> Iterator[Path]:
    """Folder of the *model* that a user named; one from a server is gone when the block is done."""
    if not model.startswith(REGISTERED):
        yield Path(model)
        return
    with tempfile.TemporaryDirectory() as into:
        yield open_store(workspace, store).model_folder(model, Path(into))


def _score_line(score: TaskScore | None, rows: int) -> str:
    """The score of the answers to so many *rows*, or that there is none."""
    from tracker.decision.explain import score_line
    from tracker.numbers import plural

    if score is None:
        return "no row has a true answer, so there is no score"
    unknown = rows - (score.n or 0)
    rest = f"; {plural(unknown, 'row')} without a true answer" if unknown else ""
    return f"{score.task}: {score_line(score)}{rest}"


class _Lines:
    """Progress in lines on stderr, one in a few seconds."""

    def __init__(self) -> None:
        self._said = time.monotonic()

    def __call__(self, done: int, of: int) -> None:
        now = time.monotonic()
        if now - self._said >= _SECONDS_BETWEEN_LINES:
            self._said = now
            typer.echo(f"answered {done:,} of {of:,} rows", err=True)


def _check(output: Path, rows: Path, encoding: str | None) -> None:
    """Raise InputError for what is wrong with the options, before a model is loaded."""
    from sweeps.task_entry import known_encoding

    try:
        known_encoding(encoding)
    except ValueError as error:
        raise InputError(f"--encoding: {error}") from None
    if output.is_dir():
        raise InputError(f"{output}: found a folder; allowed: a file; name one with -o")
    if output.exists() and rows.exists() and output.samefile(rows):
        raise InputError(f"{output}: holds the rows; name another file with -o")


class _Reading(NamedTuple):
    """How often test was read, this time included; ``note``: why it was not counted."""

    reads: int | None
    note: str = ""


def _is_test(task: TaskSpec, rows: Path) -> bool:
    from sweeps.data.examples import digest

    return task.test is not None and task.test.sha256 == digest(str(rows))


def _count_reading(card: ModelCard, task: TaskSpec, workspace: Path, store: str | None) -> _Reading:
    """Count this reading of the test file of *task* in the store, where there is one."""
    import secrets

    from tracker.store.test_reads import Reading

    if store is None and not has_store(workspace):
        why = f"no tracking store in {workspace}; name its --workspace"
        return _Reading(None, f"these are the task's test rows; this reading is not counted: {why}")
    opened = open_store(workspace, store)
    if not opened.is_writable:
        why = "the tracking store cannot be written"
        return _Reading(None, f"these are the task's test rows; this reading is not counted: {why}")
    assert task.test is not None
    reading = Reading(task.test.sha256, secrets.token_hex(8), f"answer {card.trial.key}")
    return _Reading(opened.read_test(card.sweep, [reading])[reading.sha256])
