"""What several verbs share: their options, and how the dashboards' room is started."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

WORKSPACE = Path("runs")

Workspace = Annotated[
    Path, typer.Option(envvar="SFT_SELECT_WORKSPACE", help="Folder of sweeps, store and models.")
]
StoreUri = Annotated[
    str | None,
    typer.Option("--store", envvar="MLFLOW_TRACKING_URI", help="MLflow tracking URI."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
SweepFile = Annotated[Path, typer.Argument(help="Sweep file (YAML).", show_default=False)]
SweepName = Annotated[str, typer.Argument(help="Name of a sweep, or its file.", show_default=False)]
Weights = Annotated[
    list[str] | None, typer.Option("--weight", help="TASK=WEIGHT, in place of the sweep's.")
]
Columns = Annotated[
    list[str] | None, typer.Option("--map", help="OURS=THEIRS, a column's name; repeatable.")
]
OneMetric = Annotated[
    str | None, typer.Option(help="The metric to take where a task has several of one kind.")
]
Bounds = Annotated[
    list[str] | None,
    typer.Option(
        "--constraint",
        help="NAME=BOUND, beside the sweep's (examples=1000: as much data is on hand); "
        "NAME=none drops its own.",
    ),
]
Reach = Annotated[
    float | None, typer.Option(help="Ask for the smallest model that reaches this score.")
]


def dashboards_command(module: str) -> list[str]:
    """The start of a command that runs *module* of the dashboards' room in a process of its own.

    ``-P``: a user's file that happens to be called like a library, as ``dash.py`` or ``yaml.py``,
    must not run in its place.
    """
    return [sys.executable, "-P", "-m", module]
