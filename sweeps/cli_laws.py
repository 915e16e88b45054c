"""The verb ``laws``: every law of a sweep, with how well it foretells and what it was fitted on."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from sweeps import lookup


def laws(
    sweep: Annotated[str, typer.Argument(help="Name of a sweep, or its file.")],
    metric: Annotated[
        str | None,
        typer.Option(help="score, bits_per_byte or loss_nats; default: what a task is decided on."),
    ] = None,
    weight: Annotated[
        list[str] | None, typer.Option("--weight", help="TASK=WEIGHT, in place of the sweep's.")
    ] = None,
    workspace: Annotated[
        Path,
        typer.Option(envvar="SFT_SELECT_WORKSPACE", help="Folder of sweeps, store and models."),
    ] = Path("runs"),
    store: Annotated[
        str | None,
        typer.Option("--store", envvar="MLFLOW_TRACKING_URI", help="MLflow tracking URI."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """List every law of a sweep: over data, of forgetting, of mixes, from loss to score."""
    from tracker.select import law_report

    opened, name = lookup.open_store(workspace, store), lookup.sweep_name(sweep)
    objective = lookup.objective_of(opened, name, weight, None)
    found = law_report.every_law(opened.records(name), objective, metric)  # type: ignore[arg-type]
    if as_json:
        typer.echo(json.dumps({"sweep": name, **law_report.as_json(found)}, indent=1))
        return
    from rich.console import Console

    console = Console(highlight=False, markup=False, soft_wrap=not sys.stdout.isatty())
    for line in law_report.lines(found):
        console.print(line)
