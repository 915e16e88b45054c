"""The verbs ``import`` and ``predict``: outside results come in, and what the laws say of more data."""

from __future__ import annotations

import json
import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sweeps import lookup
from sweeps.cli_options import WORKSPACE, Columns, Json, OneMetric, StoreUri, Workspace
from tracker.errors import InputError

if TYPE_CHECKING:
    from tracker.decision.predict import Forecast
    from tracker.importing.build import OutsideTable
    from tracker.trial import TrialRecord

#: Of a table that goes to a file or a pipe.
_WIDTH = 120
_SHOWN = "80"


def import_(
    sweep: Annotated[str, typer.Option(help="What the sweep is to be called.")],
    table: Annotated[
        Path | None, typer.Argument(help="Results table, CSV, also gzipped.", show_default=False)
    ] = None,
    columns: Columns = None,
    metric: OneMetric = None,
    mlflow: Annotated[
        str | None, typer.Option(help="Take the finished runs of this MLflow experiment instead.")
    ] = None,
    workspace: Workspace = WORKSPACE,
    store: StoreUri = None,
    as_json: Json = False,
) -> None:
    """Turn a results table that others measured into a sweep like any other.

    Columns: model, method, task, metric, examples, value. Where known:
    model_params, family, variant, rank, learning_rate, epochs, seed, run,
    n (rows scored), value_se, direction, status and costs.

    Mixes: mix (a name); mix:TASK (the share of TASK in the examples, as
    mix:intent 0.75 beside mix:slots 0.25; they sum to 1); replay (general
    text rows added, as a fraction of the examples). Laws of mixes need the
    shares; laws of forgetting take replay.
    """
    from tracker.importing.build import outside_table, read_table, write_sweep
    from tracker.store.store import Store

    lookup.check_name("--sweep", sweep)
    form = "OURS=THEIRS, such as model=base_model"
    named = lookup.pairs("--map", columns, form)
    if (table is None) == (mlflow is None):
        raise InputError("import: give either a table's path or --mlflow EXPERIMENT")
    # The table is read whole before the store is opened: one that does not fit leaves no trace.
    if table is not None:
        found = read_table(table, named, metric)
        opened = Store.open(workspace, store)
    else:
        opened = Store.open(workspace, store, create=False)
        found = outside_table(opened.experiment_rows(str(mlflow), named, metric), named, metric)
    write_sweep(opened, sweep, found, _counted)
    taken = _taken(sweep, found)
    if as_json:
        typer.echo(json.dumps(taken, indent=1))
        return
    for line in _taken_lines(taken):
        typer.echo(line)


def predict(
    sweep: Annotated[str, typer.Argument(help="Name of a sweep, or its file.", show_default=False)],
    task: Annotated[str, typer.Option(help="The task to predict.", show_default=False)],
    examples: Annotated[int, typer.Option(help="Training examples, N.", show_default=False)],
    model_params: Annotated[
        int | None, typer.Option(help="Predict a model of so many parameters instead.")
    ] = None,
    allow_far: Annotated[
        bool, typer.Option(help="Also where N is beyond 16 times what was measured.")
    ] = False,
    workspace: Workspace = WORKSPACE,
    store: StoreUri = None,
    as_json: Json = False,
) -> None:
    """Predict every configuration at N examples; with --json far ones too, each with its factor."""
    from tracker.decision.predict import forecast as forecast_of

    opened, name = lookup.open_store(workspace, store), lookup.sweep_name(sweep)
    forecast = forecast_of(
        lookup.analysis_of(opened, name),
        task,
        examples,
        model_params=model_params,
        allow_far=allow_far or as_json,
    )
    if as_json:
        typer.echo(forecast.model_dump_json(indent=1))
    else:
        _print_forecast(forecast)


def _taken(sweep: str, table: OutsideTable) -> dict[str, Any]:
    """What was taken, as ``import --json`` prints it. Read off the table: reading thousands of trials
    back takes MLflow longer than it took to write them.
    """
    from tracker.metrics import measures_of

    results = [record.result for record in table.records]
    return {
        "sweep": sweep,
        "origin": table.origin,
        "trials": len(results),
        "by_status": Counter(result.status.value for result in results),
        "models": len({result.spec.model.name for result in results}),
        "methods": sorted({result.spec.method.name for result in results}),
        "examples": sorted({result.spec.volume for result in results}),
        "tasks": measures_of(results),
        "suites": sorted({score.suite for result in results for score in result.general}),
        "notes": list(table.notes),
    }


def _taken_lines(taken: dict[str, Any]) -> list[str]:
    words = {"score": "its score", "bits_per_byte": "bits per byte", "loss_nats": "loss in nats"}
    tasks = ", ".join(f"{task} (by {words[m]})" for task, m in taken["tasks"].items())
    counts = ", ".join(f"{count} {status}" for status, count in taken["by_status"].items())
    name = shlex.quote(taken["sweep"])
    volumes = taken["examples"]
    lines = [
        f"imported {taken['origin']} as sweep {taken['sweep']}: {taken['trials']} trials ({counts})",
        f"models: {taken['models']}; methods: {', '.join(taken['methods'])}; "
        f"examples: {volumes[0]:,} to {volumes[-1]:,}",
        f"tasks: {tasks}",
    ]
    if taken["suites"]:
        lines.append(f"general suites: {', '.join(taken['suites'])}")
    lines += [f"note: {note}" for note in taken["notes"]]
    return [*lines, f"next: sft-select recommend {name}"]


def _print_forecast(forecast: Forecast) -> None:
    """The table in a terminal's width; the other intervals and the measured range are in the JSON."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    words = {"score": "score", "bits_per_byte": "bits per byte", "loss_nats": "loss, nats"}
    wide = None if sys.stdout.isatty() else _WIDTH
    console = Console(highlight=False, markup=False, width=wide)
    shown = Table(
        title=f"{forecast.task} at {forecast.examples:,} examples ({words[forecast.measure]})",
        box=box.SIMPLE_HEAD,
        title_justify="left",
    )
    shown.add_column("configuration", overflow="fold", min_width=24)
    for heading in ("value", "80 % interval", "P(best)", "beyond"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for p in forecast.predictions:
        middle = p.intervals[_SHOWN]
        shown.add_row(
            p.label,
            f"{p.value:.4g}",
            f"{middle.low:.4g} to {middle.high:.4g}",
            f"{p.p_best:.0%}",
            f"{p.extrapolation:,.3g}×" if p.extrapolation > 1 else "",
        )
    console.print(shown)
    lines = []
    if forecast.outside:
        lines.append(
            f"{forecast.outside} of {len(forecast.predictions)} are extrapolated: beyond is N over "
            "the largest N measured, or under the smallest."
        )
    lines += [f"No prediction for {r.label}: {r.reason}" for r in forecast.refused]
    for line in [*lines, *(f"Note: {note}" for note in forecast.notes)]:
        console.print(line, soft_wrap=wide is not None)


def _counted(records: Sequence[TrialRecord]) -> Iterator[TrialRecord]:
    """*records*, with a line on a terminal that says how far their writing is."""
    for number, record in enumerate(records, start=1):
        yield record
        if sys.stderr.isatty():
            end = "\n" if number == len(records) else ""
            typer.echo(f"\rwriting trial {number} of {len(records)}{end}", err=True, nl=False)
