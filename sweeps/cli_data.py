"""Verbs on models and data: ``init`` drafts a sweep file, ``doctor`` checks one, ``import`` takes a table."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from sweeps.cli_options import (
    WORKSPACE,
    Columns,
    Json,
    OneMetric,
    StoreUri,
    Workspace,
    check_name,
    open_store,
    pairs,
    place,
)
from tracker.errors import InputError, SftSelectError, one_line

if TYPE_CHECKING:
    from sweeps.guess import Question
    from tracker.importing.metric_names import Direction
    from tracker.importing.trials import OutsideTable
    from tracker.trial import TrialRecord


def init(
    data: Annotated[
        list[Path],
        typer.Argument(
            help="Train files, or folders with one: JSON, JSONL, CSV, TSV, Parquet, .gz."
        ),
    ],
    model: Annotated[list[str], typer.Option(help="Base model folder or hub id; repeatable.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Sweep file to write.")] = Path(
        "sweep.yaml"
    ),
    answer: Annotated[
        list[str] | None,
        typer.Option(
            help="Field, or template over fields, of the answer; TASK=FIELD for one task."
        ),
    ] = None,
    input_: Annotated[
        list[str] | None,
        typer.Option("--input", help="Field, or template over fields, of the input; likewise."),
    ] = None,
    format_: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            help="fields, or the layout that the rows have (chat, sharegpt …); likewise.",
        ),
    ] = None,
) -> None:
    """Draft a commented sweep file from your data.

    Validation and test files are found beside the train files. Where two readings are possible you are
    asked; in a script, --answer, --input and --format say it.
    """
    from sweeps.guess import Wanted
    from sweeps.init import draft_sweep, guessed_lines
    from tracker.files import write_text

    if output.exists():
        raise InputError(f"{output}: exists; name another file with -o, or move it away")
    options = {"answer": answer, "input": input_, "format": format_}
    wanted = Wanted(**{option: _stated(option, values or ()) for option, values in options.items()})
    ask = _user_choice if sys.stdin.isatty() and sys.stdout.isatty() else None
    draft = draft_sweep(data, model, output.parent, wanted, ask)
    write_text(output, draft.text)
    for guess in draft.guesses:
        for line in guessed_lines(guess):
            typer.echo(line)
    typer.echo(f"wrote {output}; read it, then: sft-select doctor {shlex.quote(str(output))}")


def _stated(option: str, values: Sequence[str]) -> dict[str | None, str]:
    """An option's values by task, of ``TASK=VALUE``; of ``None`` for every task."""
    stated: dict[str | None, str] = {}
    for value in values:
        task, equals, rest = value.partition("=")
        key, what = (task, rest) if equals and "{" not in task else (None, value)
        if not what or key == "" or key in stated:
            raise InputError(
                f"--{option}: found {value!r}; allowed: FIELD, or TASK=FIELD once a task"
            )
        stated[key] = what
    return stated


def _user_choice(question: Question) -> str:
    """The user's answer to a question, in one line with its default."""
    choices = " / ".join(choice.replace("\n", " + ") for choice in question.choices)
    text = f"{question.path.name}: which is {question.wording}: {choices}?"
    while (said := str(typer.prompt(text, default=question.default))) not in question.choices:
        typer.echo(f"found {said!r}; allowed: {choices}", err=True)
    return said


def doctor(
    sweep: Annotated[Path | None, typer.Argument(help="Sweep file to check too.")] = None,
    fix_data: Annotated[
        Path | None,
        typer.Option(
            help="New folder for the sweep's training files without rows that leak, contradict, repeat "
            "or do not fit; nothing is overwritten."
        ),
    ] = None,
    workspace: Workspace = WORKSPACE,
    store: StoreUri = None,
    as_json: Json = False,
) -> None:
    """Check devices, versions, store, disk and, where given, a sweep's models and data.

    Of each task of the sweep the first row is shown as each model is given it, with what is trained marked.
    """
    from sweeps.doctor import examine, row_lines

    if fix_data is not None:
        _fix_data(sweep, fix_data, as_json)
        return
    checks, rows = examine(workspace, store, sweep)
    if as_json:
        shown = [{"topic": "row", "fine": None} | row.as_data() for row in rows]
        typer.echo(json.dumps([*(check._asdict() for check in checks), *shown], indent=1))
    else:
        marks = {True: "ok", False: "PROBLEM", None: ""}
        for check in checks:
            text = "\n".join(map(one_line, check.text.split("\n")))
            typer.echo(f"{check.topic:9} {marks[check.fine]:8} {text}")
        for line in row_lines(rows, _coloured if _in_colour() else None):
            typer.echo(line)
    if any(check.fine is False for check in checks):
        raise typer.Exit(2)


def _in_colour() -> bool:
    return (
        sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    )


def _coloured(text: str) -> str:
    """*text* in colour, line by line: a terminal's pager ends a colour with its line."""
    return "\n".join(typer.style(line, fg="green", bold=True) for line in text.split("\n"))


def _fix_data(sweep: Path | None, folder: Path, as_json: bool) -> None:
    from sweeps.cleaning import changed_lines, clean_data, report_lines

    if sweep is None:
        raise InputError("--fix-data: found no sweep file; name the sweep whose data to clean")
    cleaned = clean_data(sweep, folder)
    if as_json:
        typer.echo(json.dumps([each._asdict() for each in cleaned], indent=1))
        return
    for line in report_lines(cleaned):
        typer.echo(line)
    if any(each.changes for each in cleaned):
        typer.echo(
            f"wrote {folder}; change these lines of {sweep} (also in {folder}/changes.yaml):"
        )
        typer.echo(changed_lines(cleaned), nl=False)


def import_(
    sweep: Annotated[str, typer.Option(help="Name of the new sweep.")],
    table: Annotated[
        Path | None, typer.Argument(help="Results table (CSV, also gzipped).", show_default=False)
    ] = None,
    columns: Columns = None,
    metric: OneMetric = None,
    direction: Annotated[
        str | None,
        typer.Option(help="maximize or minimize: of metrics that are not known by their names."),
    ] = None,
    mlflow: Annotated[
        str | None, typer.Option(help="Take the finished runs of this MLflow experiment instead.")
    ] = None,
    workspace: Workspace = WORKSPACE,
    store: StoreUri = None,
    as_json: Json = False,
) -> None:
    """Import a results table, or an MLflow experiment, as a sweep.

    Columns: model, method, task, metric, examples, value. Where known:
    model_params, family, variant, rank, learning_rate, epochs, seed, run,
    n (rows scored), value_se, direction, status and costs.

    Metrics: scores in [0, 1], larger is better (accuracy, f1 …); errors of
    0 or more, smaller is better (wer, cer, mse …); losses. A metric of
    another name needs the column direction, or --direction.

    Mixes: mix (a name); mix:TASK (the share of TASK in the examples, as
    mix:intent 0.75 beside mix:slots 0.25; they sum to 1); replay (general
    text rows added, as a fraction of the examples). Laws of mixes need the
    shares; laws of forgetting take replay.
    """
    from sweeps.terminal import import_lines, imported, print_lines
    from tracker.importing.metric_names import Direction as Directions

    check_name("--sweep", sweep)
    form = "OURS=THEIRS, such as model=base_model"
    named = pairs("--map", columns, form)
    if direction not in (None, *get_args(Directions)):
        raise InputError(f"--direction: found {direction!r}; allowed: maximize, minimize")
    if (table is None) == (mlflow is None):
        raise InputError("import: give either a table's path or --mlflow EXPERIMENT")
    outside = _taken_in(
        sweep, table, mlflow, workspace, store, named, metric, cast("Direction | None", direction)
    )
    taken = imported(sweep, outside)
    if as_json:
        typer.echo(json.dumps(taken, indent=1))
        return
    print_lines(import_lines(taken, place(workspace, store)))


def _taken_in(
    sweep: str,
    table: Path | None,
    experiment: str | None,
    workspace: Path,
    store: str | None,
    columns: dict[str, str],
    metric: str | None,
    direction: Direction | None,
) -> OutsideTable:
    """Read the table or the MLflow experiment and write its sweep, or leave nothing behind."""
    from tracker.importing.readers import read_runs
    from tracker.importing.trials import outside_table, read_table, write_sweep
    from tracker.store.store import Store

    # The table is read whole before the store is opened: one that does not fit leaves no trace.
    fresh = table is not None and store is None and not workspace.exists()
    if table is not None:
        outside = read_table(table, columns, metric, direction)
        opened = Store.open(workspace, store)
    else:
        opened = open_store(workspace, store)
        runs = read_runs(opened.finished_runs(str(experiment)), str(experiment), columns, metric)
        outside = outside_table(runs, columns, metric, direction)
    try:
        write_sweep(opened, sweep, outside, _counted)
    except BaseException:
        with contextlib.suppress(SftSelectError):
            if fresh and not opened.sweeps():
                shutil.rmtree(workspace, ignore_errors=True)
        raise
    return outside


def _counted(records: Sequence[TrialRecord]) -> Iterator[TrialRecord]:
    """*records* one by one, with their number on a terminal: writing them takes a while."""
    for number, record in enumerate(records, start=1):
        yield record
        if sys.stderr.isatty():
            end = "\n" if number == len(records) else ""
            typer.echo(f"\rwriting trial {number} of {len(records)}{end}", err=True, nl=False)
