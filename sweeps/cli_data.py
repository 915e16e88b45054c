"""Verbs before a sweep, on models and data: ``init`` drafts a sweep file, ``doctor`` checks one."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated

import typer

from sweeps.cli_options import WORKSPACE, Json, StoreUri, Workspace
from tracker.errors import InputError


def init(
    data: Annotated[list[Path], typer.Argument(help="Training files: JSONL, CSV or Parquet.")],
    model: Annotated[list[str], typer.Option(help="Base model folder or hub id; repeatable.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Sweep file to write.")] = Path(
        "sweep.yaml"
    ),
) -> None:
    """Draft a commented sweep file from your data."""
    from sweeps.init import draft_sweep
    from tracker.files import write_text

    if output.exists():
        raise InputError(f"{output}: exists; name another file with -o, or move it away")
    write_text(output, draft_sweep(data, model, output.parent))
    typer.echo(f"wrote {output}; read it, then: sft-select plan {shlex.quote(str(output))}")


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
    """Check devices, versions, store, disk and, where given, a sweep's models and data."""
    from sweeps.doctor import examine

    if fix_data is not None:
        _fix_data(sweep, fix_data, as_json)
        return
    checks = examine(workspace, store, sweep)
    if as_json:
        typer.echo(json.dumps([check._asdict() for check in checks], indent=1))
    else:
        marks = {True: "ok", False: "PROBLEM", None: ""}
        for check in checks:
            typer.echo(f"{check.topic:9} {marks[check.fine]:8} {check.text}")
    if any(check.fine is False for check in checks):
        raise typer.Exit(2)


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
