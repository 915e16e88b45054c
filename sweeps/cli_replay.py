"""The verb ``replay``: compare search strategies on a recorded results table."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sweeps.cli_options import Columns, Json, OneMetric, dashboards_command, pairs
from tracker.errors import InputError

if TYPE_CHECKING:
    from sweeps.search.replay.table import CostKind

Table = Annotated[Path, typer.Argument(help="Results table (CSV, also gzipped).")]
Strategies = Annotated[list[str], typer.Option("--strategy", help="Repeatable; default: all.")]
Fractions = Annotated[
    list[float], typer.Option("--budget-fraction", help="Budget as a share of the full cost.")
]


def replay(
    table: Table,
    strategy: Strategies = [],  # noqa: B006 - typer copies it
    budget_fraction: Fractions = [0.25],  # noqa: B006
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of each strategy.")] = 20,
    factor: Annotated[int, typer.Option(min=2, max=4, help="Factor of halving.")] = 2,
    start: Annotated[
        int | None, typer.Option(help="Training-set size of halving's first rung.")
    ] = None,
    cost: Annotated[
        str | None,
        typer.Option(help="seconds, flops or examples (× parameters); default: as recorded."),
    ] = None,
    columns: Columns = None,
    metric: OneMetric = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for replay.json and its plot.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare search strategies on a recorded table instead of training: regret against cost.

    Full cost: every model, method and mix at the largest training-set size. Regret: how far the chosen
    configuration is from the best one there, in per cent of a loss or in points of a score.
    """
    from sweeps.search.replay.replay import replay as run
    from sweeps.search.replay.report import lines, report
    from sweeps.search.replay.table import RecordedTable
    from sweeps.search.strategies import STRATEGIES
    from sweeps.spec import Halving
    from tracker.importing.trials import read_table

    strategies = strategy or list(STRATEGIES)
    kind = _cost_kind(strategies, budget_fraction, cost)
    named = pairs("--map", columns, "OURS=THEIRS, such as model=base_model")
    outside = read_table(table, named, metric)
    for note in outside.notes:
        typer.echo(f"note: {note}", err=True)
    recorded = RecordedTable(outside.records, outside.objective, kind)
    if start is not None and start not in recorded.volumes:
        volumes = ", ".join(map(str, recorded.volumes))
        raise InputError(f"--start: found {start}; allowed: {volumes}")
    runs = [
        run(
            recorded,
            name,
            fraction=fraction,
            seed=seed,
            halving=Halving(factor=factor, start=start),
        )
        for name in strategies
        for fraction in budget_fraction
        for seed in range(seeds)
    ]
    comparison = report(table.name, recorded, seeds, runs)
    if output is not None:
        _write_replay(comparison, output)
    for line in [json.dumps(comparison, indent=1)] if as_json else lines(comparison):
        typer.echo(line)


def _cost_kind(
    strategies: Sequence[str], fractions: Sequence[float], cost: str | None
) -> CostKind | None:
    """The kind of cost that *cost* names; raises InputError with every problem of the options."""
    from sweeps.search.replay.table import COST_KINDS
    from sweeps.search.strategies import STRATEGIES
    from tracker.validation import unknown

    problems = [f"--strategy: {unknown(s, STRATEGIES)}" for s in strategies if s not in STRATEGIES]
    problems += [
        f"--budget-fraction: found {fraction:g}; allowed: above 0, 1 is the full cost"
        for fraction in fractions
        if fraction <= 0
    ]
    kind = next((allowed for allowed in COST_KINDS if allowed == cost), None)
    problems += [f"--cost: {unknown(cost, COST_KINDS)}"] if cost and kind is None else []
    if problems:
        raise InputError(problems)
    return kind


def _write_replay(comparison: dict[str, Any], folder: Path) -> None:
    """Write ``replay.json``, and its plot by the dashboards' code in a process of its own."""
    from tracker.files import write_text

    data = write_text(folder / "replay.json", json.dumps(comparison, indent=1))
    command = [*dashboards_command("dashboards.replay_plot"), str(data)]
    subprocess.run(command, check=True)  # noqa: S603 - our own module, no shell
    typer.echo(f"wrote {data} and {data.with_suffix('.html')}", err=True)
