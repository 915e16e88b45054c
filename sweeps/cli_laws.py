"""The verb ``laws``: every law of a sweep, with how well it foretells and what it was fitted on.

And those beside the curves for ``recommend --laws``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sweeps import lookup
from sweeps.cli_options import WORKSPACE, Json, StoreUri, SweepName, Weights, Workspace

if TYPE_CHECKING:
    from tracker.trial import Objective, TrialRecord


def laws(
    sweep: SweepName,
    metric: Annotated[
        str | None,
        typer.Option(help="score, bits_per_byte or loss_nats; default: what a task is decided on."),
    ] = None,
    weight: Weights = None,
    workspace: Workspace = WORKSPACE,
    store: StoreUri = None,
    as_json: Json = False,
) -> None:
    """List every law of a sweep: over data, of forgetting, of mixes, from loss to score."""
    from tracker.decision import law_report

    opened, name = lookup.open_store(workspace, store), lookup.sweep_name(sweep)
    known = lookup.analysis_of(opened, name, lookup.objective_of(opened, name, weight, None))
    found = law_report.every_law(known, metric)  # type: ignore[arg-type]
    if as_json:
        typer.echo(json.dumps({"sweep": name, **law_report.as_json(found)}, indent=1))
        return
    from rich.console import Console

    console = Console(highlight=False, markup=False, soft_wrap=not sys.stdout.isatty())
    for line in law_report.lines(found):
        console.print(line)


def further_lines(records: Sequence[TrialRecord], objective: Objective) -> list[str]:
    """The laws of forgetting, of mixes and from loss to score in words, a line each."""
    from tracker.laws.auxiliary import auxiliary_laws
    from tracker.laws.auxiliary_text import lines

    return lines(auxiliary_laws(records, objective))


def further_json(records: Sequence[TrialRecord], objective: Objective) -> dict[str, Any]:
    """The same as ``laws --json`` gives them."""
    from tracker.decision.law_report import further_as_json
    from tracker.laws.auxiliary import auxiliary_laws

    return further_as_json(auxiliary_laws(records, objective))
