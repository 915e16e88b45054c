"""The verb relocate: record in the store where a moved or copied workspace lies now."""

from __future__ import annotations

import json
from contextlib import ExitStack

import typer

from sweeps.cli_options import WORKSPACE, Json, StoreUri, Workspace, open_store


def relocate(
    workspace: Workspace = WORKSPACE, store: StoreUri = None, as_json: Json = False
) -> None:
    """Record where a moved or copied workspace lies now, for MLflow's own pages."""
    from sweeps.search.workspace import sweep_folders
    from tracker.store.relocation import relocate as relocated

    if store is None:
        open_store(workspace, store)  # says what to type where there is none
    with ExitStack() as locks:
        for folder in sweep_folders(workspace):
            locks.enter_context(folder.locked())
        moves = relocated(workspace, store)
    if as_json:
        typer.echo(json.dumps([move._asdict() for move in moves], indent=1, default=str))
        return
    for move in moves:
        rows = ", ".join(f"{count} {what}" for what, count in move.rows.items())
        typer.echo(f"{rows}: recorded in {move.recorded}, now in {move.present}")
    if not moves:
        typer.echo(f"nothing to change: the store records what is in {workspace.resolve()}")
