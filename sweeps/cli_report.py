"""The verb ``report``: a sweep's findings as one file that needs neither server nor network."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from sweeps import lookup
from sweeps.cli_options import (
    WORKSPACE,
    Bounds,
    Reach,
    StoreUri,
    SweepName,
    Weights,
    Workspace,
    dashboards_command,
)


def report(
    sweep: SweepName,
    output: Annotated[Path, typer.Option("--output", "-o", help="The HTML file to write.")] = Path(
        "report.html"
    ),
    weight: Weights = None,
    constraint: Bounds = None,
    reach: Reach = None,
    workspace: Workspace = WORKSPACE,
    store: StoreUri = None,
) -> None:
    """Write the dashboard's pages of a sweep to one HTML file to send around."""
    command = [*dashboards_command("dashboards.report"), "--workspace", str(workspace)]
    command += ["--store", store] if store else []
    command += [f"--sweep={lookup.sweep_name(sweep)}", f"--output={output}"]
    command += [f"--weight={text}" for text in weight or ()]
    command += [f"--constraint={text}" for text in constraint or ()]
    command += [] if reach is None else [f"--reach={reach!r}"]
    os.execv(command[0], command)  # noqa: S606 - our own module, no shell
