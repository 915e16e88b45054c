"""The verb answer: a trained model's answers to the rows of a file, scored where they have truths."""

from __future__ import annotations

import json
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sweeps.cli_options import WORKSPACE, Json, StoreUri, Workspace, has_store, open_store
from tracker.errors import InputError

if TYPE_CHECKING:
    from sweeps.finetune.trained_model import ModelCard
    from tracker.task import TaskScore, TaskSpec

REGISTERED = "models:/"
_SECONDS_BETWEEN_LINES = 5.0


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
    from sweeps.data.examples import digest
    from sweeps.data.readers import read_rows
    from sweeps.finetune.model import quieten
    from sweeps.finetune.trained_model import TrainedModel
    from sweeps.terminal import print_lines
    from tracker.files import json_lines, write_text
    from tracker.numbers import plural
    from tracker.store.test_reads import reads_line

    quieten()
    _check_output(output, rows)
    with ExitStack() as stack:
        folder = Path(model)
        if model.startswith(REGISTERED):
            into = stack.enter_context(tempfile.TemporaryDirectory())
            folder = open_store(workspace, store).model_folder(model, Path(into))
        trained = TrainedModel.load(folder, base)
        asks = trained.task(task)
        found = read_rows(rows)
        answered = trained.answer(asks, str(rows), found, _Lines())
    write_text(output, json_lines(answered.records))
    score = answered.score
    reads: int | None = None
    notes: list[str] = []
    if score is not None:
        sha256 = digest(str(rows))
        if asks.test is not None and asks.test.sha256 == sha256:
            reads, notes = _count_reading(trained.card, asks, workspace, store)
    if as_json:
        facts: dict[str, Any] = {"task": asks.name, "rows": len(found), "output": str(output)}
        scored = None if score is None else score.model_dump(mode="json", exclude={"replicates"})
        typer.echo(json.dumps(facts | {"score": scored, "test_reads": reads}, indent=1))
        return
    first = f"answered {plural(len(found), 'row')} of task {asks.name}; wrote {output}"
    counted = [reads_line(reads)] if reads is not None else []
    print_lines([first, _score_line(score, len(found)), *counted, *notes])


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


def _check_output(output: Path, rows: Path) -> None:
    """Raise InputError for a place that answers cannot be written to, before they are made."""
    if output.is_dir():
        raise InputError(f"{output}: found a folder; allowed: a file; name one with -o")
    if output.exists() and rows.exists() and output.samefile(rows):
        raise InputError(f"{output}: holds the rows; name another file with -o")


def _count_reading(
    card: ModelCard, task: TaskSpec, workspace: Path, store: str | None
) -> tuple[int | None, list[str]]:
    """Count this reading of the test file of *task* in the store, where there is one; a line says if not."""
    import secrets

    from tracker.store.test_reads import Reading

    if store is None and not has_store(workspace):
        why = f"no tracking store in {workspace}; name its --workspace"
        return None, [f"these are the task's test rows; this reading is not counted: {why}"]
    opened = open_store(workspace, store)
    if not opened.is_writable:
        return None, ["this reading of test is not counted: the tracking store cannot be written"]
    assert task.test is not None
    reading = Reading(task.test.sha256, secrets.token_hex(8), f"answer {card.trial.key}")
    return opened.read_test(card.sweep, [reading])[reading.sha256], []
