"""Verbs on what is kept: exclude a trial from the answers, delete sweeps and trials, collect garbage."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from sweeps.cli_options import (
    WORKSPACE,
    Json,
    StoreUri,
    Workspace,
    open_store,
    place,
    sweep_name,
)
from tracker.errors import InputError
from tracker.numbers import memory, plural

if TYPE_CHECKING:
    from sweeps.search.upkeep import Garbage
    from tracker.store.store import Store
    from tracker.trial import TrialRecord

_KEY = re.compile(r"[0-9a-f]{16}")
Target = Annotated[
    str,
    typer.Argument(
        metavar="SWEEP|TRIAL",
        help="Name of a sweep, or its file; or a trial as SWEEP/NUMBER, or by its key.",
        show_default=False,
    ),
]
Trial = Annotated[
    str,
    typer.Argument(
        metavar="TRIAL", help="A trial as SWEEP/NUMBER, or by its key.", show_default=False
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def exclude(
    trial: Trial,
    why: Annotated[
        str | None, typer.Option(help="The reason, which pages and status show.")
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Count it again.")] = False,
    workspace: Workspace = WORKSPACE,
    store: StoreUri = None,
) -> None:
    """Exclude a trial from table, laws and recommendation; --undo counts it again.

    Its result stays. For a search that goes on it stays an outcome: nothing
    is run again, and no later choice of the search changes.
    """
    from tracker.store.exclusion import reason

    opened = open_store(workspace, store)
    sweep, record = _trial(opened, trial)
    named = f"trial {record.number} of {sweep}"
    if undo:
        opened.include(sweep, record)
        typer.echo(f"{named} counts again")
        return
    opened.exclude(sweep, record, reason(why))
    again = f"sft-select exclude {shlex.quote(f'{sweep}/{record.number}')} --undo"
    typer.echo(
        f"{named} is excluded from table, laws and recommendation; its result stays, and for the search it "
        f"stays an outcome: nothing runs again. To count it again: {again}{place(workspace, store)}"
    )


def delete(
    target: Target,
    yes: Yes = False,
    study_uri: Annotated[
        str | None,
        typer.Option(help="Where the sweep's study is, if `run` was given a --study-uri."),
    ] = None,
    workspace: Workspace = WORKSPACE,
    store: StoreUri = None,
) -> None:
    """Delete a sweep or a trial: its files, its runs in MLflow, its study.

    A running sweep is refused. Registered models, the untouched bases that
    sweeps share, and trials that other sweeps took over stay. A deleted trial
    is run again when its sweep is; to leave it out of the answers, exclude it.
    """
    from sweeps.search.upkeep import delete as delete_found
    from sweeps.search.upkeep import deletion

    opened = open_store(workspace, store)
    sweep, key, named = _named(opened, target)
    found = deletion(opened, workspace, sweep, key)
    folder = found.folder
    lacks_study = key is None and folder.begun and not (study_uri or folder.study_file.exists())
    what = (
        f"{named}: {plural(len(found.stored.runs), 'run')} in MLflow, {memory(found.bytes)} on disk"
    )
    if not yes:
        if not sys.stdin.isatty():
            raise InputError(f"delete asks at a terminal; here, give --yes to delete {what}")
        typer.confirm(f"Delete {what}?", abort=True)
    delete_found(opened, found, study_uri)
    typer.echo(f"deleted {what}")
    if lacks_study:
        typer.echo(
            f"note: the study of {sweep} is in a database of its own, and stays: give the --study-uri that "
            "`run` was given to delete it too",
            err=True,
        )


def gc(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be removed; remove nothing.")
    ] = False,
    workspace: Workspace = WORKSPACE,
    store: StoreUri = None,
    as_json: Json = False,
) -> None:
    """Remove what nothing needs: models not kept, leftovers, artifacts of deleted runs.

    What a sweep needs to go on, a recommended configuration or a registered
    model stays. Runs that were deleted in MLflow cannot be restored after it.
    """
    from sweeps.search.upkeep import collect

    found = collect(open_store(workspace, store), workspace, remove=not dry_run)
    kinds = list(dict.fromkeys(each.kind for each in found.garbage))
    if as_json:
        removed = [each._asdict() for each in found.garbage]
        shown = {"dry_run": dry_run, "removed": removed, "skipped": found.skipped}
        typer.echo(json.dumps(shown, indent=1, default=str))
        return
    for kind in kinds:
        typer.echo(_line(kind, [each for each in found.garbage if each.kind == kind]))
    for line in found.skipped:
        typer.echo(line)
    total = memory(sum(each.bytes for each in found.garbage))
    if not kinds:
        typer.echo("nothing to remove: every file is needed")
    elif dry_run:
        typer.echo(f"{total} in all; nothing was removed (--dry-run)")
    else:
        typer.echo(f"{total} freed")


def _line(kind: str, garbage: Sequence[Garbage]) -> str:
    return f"{kind}: {len(garbage):,}, {memory(sum(each.bytes for each in garbage))}"


def _named(store: Store, target: str) -> tuple[str, str | None, str]:
    """Sweep and key of *target*, the key ``None`` for a whole sweep; and how it is called."""
    if ("/" in target and not target.endswith((".yaml", ".yml"))) or _KEY.fullmatch(target):
        sweep, record = _trial(store, target)
        return sweep, record.result.spec.key, f"trial {record.number} of {sweep}"
    name = sweep_name(target)
    return name, None, f"sweep {name}"


def _trial(store: Store, text: str) -> tuple[str, TrialRecord]:
    """The finished trial that *text* names, and its sweep; InputError where none is, or several are."""
    from tracker.store.exclusion import finished

    sweep, slash, number = text.rpartition("/")
    if slash:
        return sweep, finished(store, sweep, number)
    if not _KEY.fullmatch(text):
        raise InputError(
            f"found {text!r}; allowed: a trial as SWEEP/NUMBER, such as playground/12, or its key, which is "
            "16 hex digits; `sft-select status` lists sweeps"
        )
    holders = []
    for info in store.sweeps():
        records = [*store.records(info.name), *store.excluded(info.name)]
        holders += [(info.name, record) for record in records if record.result.spec.key == text]
    if len({name for name, _ in holders}) > 1:
        names = ", ".join(f"{name}/{record.number}" for name, record in holders)
        raise InputError(f"trial {text}: found in several sweeps; give one of {names}")
    if not holders:
        raise InputError(f"trial {text}: no sweep of this store has an ended one of that key")
    return holders[0]
