"""The verbs about results: recommend, predict and laws of a sweep, import, replay of a table, export."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sweeps.cli_options import (
    WORKSPACE,
    Bounds,
    Columns,
    Json,
    OneMetric,
    StoreUri,
    SweepName,
    TargetQuality,
    Weights,
    Workspace,
    analysis_of,
    check_name,
    dashboards_command,
    keep_model,
    objective_of,
    open_store,
    pairs,
    print_lines,
    sweep_name,
)
from tracker.errors import InputError

if TYPE_CHECKING:
    from sweeps.search.replay.table import CostKind
    from tracker.decision.predict import Forecast
    from tracker.importing.trials import OutsideTable
    from tracker.trial import TrialRecord

#: Of a table that goes to a file or a pipe.
_WIDTH = 120
_SHOWN = "80"

Table = Annotated[Path, typer.Argument(help="A results table (CSV, also gzipped).")]
Strategies = Annotated[list[str], typer.Option("--strategy", help="Repeatable; default: all.")]
Fractions = Annotated[
    list[float], typer.Option("--budget-fraction", help="Budget as a share of the full cost.")
]


def recommend(
    sweep: SweepName,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the configuration here.")
    ] = None,
    weight: Weights = None,
    constraint: Bounds = None,
    target_quality: TargetQuality = None,
    laws: Annotated[
        bool,
        typer.Option("--laws", help="Also the laws of forgetting, of mixes, of loss and score."),
    ] = False,
    workspace: Workspace = WORKSPACE,
    store: StoreUri = None,
    as_json: Json = False,
) -> None:
    """Recommend a configuration: why, how sure, and what the runner-up was."""
    from tracker.decision.explain import lines
    from tracker.decision.law_report import auxiliary_as_json, auxiliary_lines
    from tracker.decision.recommend import recommendation
    from tracker.export.config import config_of, write_config
    from tracker.laws.auxiliary import auxiliary_laws

    opened, name = open_store(workspace, store), sweep_name(sweep)
    objective = objective_of(opened, name, weight, constraint)
    analysis = analysis_of(opened, name, objective)
    records, answer = analysis.records, recommendation(analysis, target_quality)
    if output is not None:
        write_config(config_of(answer, records), output)
        kept = keep_model(opened, workspace, name, answer)
    if as_json:
        text = answer.model_dump_json(indent=1)
        if laws:
            found = {"laws": auxiliary_as_json(auxiliary_laws(records, objective))}
            text = json.dumps(json.loads(text) | found, indent=1, ensure_ascii=False)
        typer.echo(text)
        return
    print_lines(lines(answer))
    if laws:
        print_lines(["", *auxiliary_lines(auxiliary_laws(records, objective))])
    if output is not None:
        typer.echo(f"\nwrote {output}; to train it: sft-select train {shlex.quote(str(output))}")
        typer.echo(kept)


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

    opened, name = open_store(workspace, store), sweep_name(sweep)
    forecast = forecast_of(
        analysis_of(opened, name),
        task,
        examples,
        model_params=model_params,
        allow_far=allow_far or as_json,
    )
    if as_json:
        typer.echo(forecast.model_dump_json(indent=1))
    else:
        _print_forecast(forecast)


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

    opened, name = open_store(workspace, store), sweep_name(sweep)
    analysis = analysis_of(opened, name, objective_of(opened, name, weight, None))
    found = law_report.every_law(analysis, metric)  # type: ignore[arg-type]
    if as_json:
        typer.echo(json.dumps({"sweep": name, **law_report.laws_as_json(found)}, indent=1))
        return
    print_lines(law_report.law_lines(found))


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
    from tracker.importing.readers import read_runs
    from tracker.importing.trials import outside_table, read_table, write_sweep
    from tracker.store.store import Store

    check_name("--sweep", sweep)
    form = "OURS=THEIRS, such as model=base_model"
    named = pairs("--map", columns, form)
    if (table is None) == (mlflow is None):
        raise InputError("import: give either a table's path or --mlflow EXPERIMENT")
    # The table is read whole before the store is opened: one that does not fit leaves no trace.
    if table is not None:
        found = read_table(table, named, metric)
        opened = Store.open(workspace, store)
    else:
        opened = Store.open(workspace, store, create=False)
        runs = opened.finished_runs(str(mlflow))
        found = outside_table(read_runs(runs, str(mlflow), named, metric), named, metric)
    write_sweep(opened, sweep, found, _counted)
    taken = _taken(sweep, found)
    if as_json:
        typer.echo(json.dumps(taken, indent=1))
        return
    for line in _taken_lines(taken):
        typer.echo(line)


def replay(
    table: Table,
    strategy: Strategies = [],  # noqa: B006 - typer copies it
    budget_fraction: Fractions = [0.25],  # noqa: B006
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each, differently seeded.")] = 20,
    factor: Annotated[int, typer.Option(min=2, max=4, help="Of halving.")] = 2,
    start: Annotated[int | None, typer.Option(help="Volume of halving's first rung.")] = None,
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
    """Let a recorded table stand in for training, and compare strategies: regret against cost.

    Full cost: every model, method and mix at the largest volume. Regret: what the configuration chosen
    at the end lacks of the best one there, in percent of a loss or in points of a score.
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
    recorded = read_table(table, named, metric)
    for note in recorded.notes:
        typer.echo(f"note: {note}", err=True)
    known = RecordedTable(recorded.records, recorded.objective, kind)
    if start is not None and start not in known.volumes:
        volumes = ", ".join(map(str, known.volumes))
        raise InputError(f"--start: found {start}; allowed: {volumes}")
    runs = [
        run(known, name, fraction=fraction, seed=seed, halving=Halving(factor=factor, start=start))
        for name in strategies
        for fraction in budget_fraction
        for seed in range(seeds)
    ]
    found = report(table.name, known, seeds, runs)
    if output is not None:
        _write_replay(found, output)
    for line in [json.dumps(found, indent=1)] if as_json else lines(found):
        typer.echo(line)


def export(
    config: Annotated[Path, typer.Argument(help="A configuration that `recommend` wrote.")],
    to: Annotated[str, typer.Option(help="trl, llamafactory or axolotl.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to write; default: beside.")
    ] = None,
) -> None:
    """Write the configuration and its data for another trainer."""
    from sweeps.data.encoding import rows_as_text
    from tracker.export import export_config
    from tracker.export.config import read_config

    loaded = read_config(config)
    folder = output or config.with_name(f"{config.stem}-{to}")
    for line in export_config(loaded, to, lambda: rows_as_text(loaded.trial), folder):
        typer.echo(line)


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


def _cost_kind(
    strategies: Sequence[str], fractions: Sequence[float], cost: str | None
) -> CostKind | None:
    """The kind of cost that *cost* names; raises InputError with all that is wrong in what was asked."""
    from sweeps.search.replay.table import COST_KINDS
    from sweeps.search.strategies import STRATEGIES
    from tracker.validation import unknown

    problems = [f"--strategy: {unknown(s, STRATEGIES)}" for s in strategies if s not in STRATEGIES]
    problems += [
        f"--budget-fraction: found {fraction:g}; allowed: above 0, 1 is the full cost"
        for fraction in fractions
        if fraction <= 0
    ]
    kind = next((known for known in COST_KINDS if known == cost), None)
    problems += [f"--cost: {unknown(cost, COST_KINDS)}"] if cost and kind is None else []
    if problems:
        raise InputError(problems)
    return kind


def _write_replay(found: dict[str, Any], folder: Path) -> None:
    """``replay.json``, and the plot that the dashboards' room draws of it."""
    from tracker.files import write_text

    data = write_text(folder / "replay.json", json.dumps(found, indent=1))
    command = [*dashboards_command("dashboards.replay_plot"), str(data)]
    subprocess.run(command, check=True)  # noqa: S603 - our own module, no shell
    typer.echo(f"wrote {data} and {data.with_suffix('.html')}", err=True)
