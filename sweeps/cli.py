"""The verbs: parse, call one function, print. Heavy imports stay inside the verbs."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from sweeps import cli_control, cli_laws, cli_replay, cli_report, cli_tables, lookup
from sweeps.cli_options import (
    WORKSPACE,
    Bounds,
    Json,
    Reach,
    StoreUri,
    SweepFile,
    SweepName,
    Weights,
    Workspace,
    dashboards_command,
)
from tracker.errors import InputError, SftSelectError

if TYPE_CHECKING:
    pass

app = typer.Typer(
    name="sft-select",
    help="Choose base model size, tuning method, data volume and task mix by measurement.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="Where the demo's files go.")] = Path("demo"),
    serve: Annotated[bool, typer.Option(help="Open the dashboard's server at the end.")] = True,
    port: Annotated[int, typer.Option(help="The dashboard's port.")] = 8050,
) -> None:
    """Run the embedded playground: a real sweep in minutes on two CPU cores."""
    from sweeps.demo import prepare_demo

    sweep_file, workspace = prepare_demo(folder), folder / "runs"
    run(sweep_file, workspace=workspace)
    typer.echo("")
    # `make demo` leaves it where the next command is given; a folder that was named holds everything.
    beside = Path() if folder == Path("demo") else folder
    recommend(str(sweep_file), output=beside / "recommended.yaml", workspace=workspace)
    if serve:
        dashboard(workspace=workspace, sweep="playground", port=port)


@app.command()
def init(
    data: Annotated[list[Path], typer.Argument(help="Training files: JSONL, CSV or Parquet.")],
    model: Annotated[list[str], typer.Option(help="Base model folder or hub id; repeatable.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")] = Path(
        "sweep.yaml"
    ),
) -> None:
    """Write a commented sweep file for your data, its fields guessed from the rows."""
    from sweeps.init import draft_sweep
    from tracker.files import write_text

    if output.exists():
        raise InputError(f"{output}: exists; name another file with -o, or move it away")
    write_text(output, draft_sweep(data, model, output.parent))
    typer.echo(f"wrote {output}; read it, then: sft-select plan {shlex.quote(str(output))}")


@app.command()
def doctor(
    sweep: Annotated[Path | None, typer.Argument(help="A sweep file to check too.")] = None,
    workspace: Workspace = WORKSPACE,
    store: StoreUri = None,
    as_json: Json = False,
) -> None:
    """Look at devices, versions, store, disk and, where given, a sweep's models and data."""
    from sweeps.doctor import examine

    findings = examine(workspace, store, sweep)
    if as_json:
        typer.echo(json.dumps([finding._asdict() for finding in findings], indent=1))
    else:
        marks = {True: "ok", False: "PROBLEM", None: ""}
        for finding in findings:
            typer.echo(f"{finding.topic:9} {marks[finding.fine]:8} {finding.text}")
    if any(finding.fine is False for finding in findings):
        raise typer.Exit(2)


@app.command()
def plan(
    sweep: SweepFile,
    workspace: Workspace = WORKSPACE,
    store: StoreUri = None,
    as_json: Json = False,
) -> None:
    """Show what every cell takes and, of a strategy that decides as it goes, what it would run."""
    from rich.console import Console

    from sweeps.finetune.model import quieten
    from sweeps.plan_text import print_plan
    from sweeps.resolve import read_sweep
    from sweeps.search.plan import make_plan
    from sweeps.search.run import worker_devices
    from sweeps.search.schedule import expected_schedule, too_large

    quieten()
    resolved = read_sweep(sweep)
    records = lookup.records_if_any(workspace, store, resolved.spec.name)
    made = make_plan(resolved, records, len(worker_devices(resolved.spec.engine)))
    schedule = expected_schedule(resolved, records, made)
    for warning in [*resolved.warnings, *filter(None, [too_large(resolved)])]:
        _note(warning)
    if as_json:
        shown = schedule.as_json(resolved.spec) if schedule else None
        typer.echo(json.dumps(made.as_json() | {"schedule": shown}, indent=1))
    else:
        print_plan(made, schedule, Console(highlight=False, markup=False))


@app.command()
def run(
    sweep: SweepFile,
    workspace: Workspace = WORKSPACE,
    store: StoreUri = None,
    study_uri: Annotated[
        str | None, typer.Option(help="Optuna storage; default: SQLite in the workspace.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run a sweep, or go on with it where it stopped."""
    from sweeps.console import progress, summary
    from sweeps.search.run import run_sweep

    signal.signal(signal.SIGTERM, _terminated)
    again = f"sft-select run {shlex.quote(str(sweep))} --workspace {shlex.quote(str(workspace))}"
    try:
        with progress(sys.stderr) as watch:
            done = run_sweep(
                sweep, workspace, store_uri=store, study_uri=study_uri, watch=watch, note=_note
            )
    except (KeyboardInterrupt, _Terminated) as stop:
        typer.echo(f"stopped; what has ended is kept. To go on: {again}", err=True)
        raise typer.Exit(143 if isinstance(stop, _Terminated) else 130) from None
    if done.stopped:
        typer.echo(f"stopped on request; what has ended is kept. To go on: {again}", err=True)
    if done.undelivered:
        why = f" ({done.problem})" if done.problem else ""
        typer.echo(
            f"{done.undelivered} deliveries are left for the store{why}; to deliver them: {again}",
            err=True,
        )
    if as_json:
        typer.echo(json.dumps([_trial_json(record) for record in done.records], indent=1))
    else:
        typer.echo(summary(done.records))


@app.command()
def status(
    sweep: Annotated[str | None, typer.Argument(help="Name of a sweep; default: all.")] = None,
    workspace: Workspace = WORKSPACE,
    store: StoreUri = None,
    as_json: Json = False,
) -> None:
    """Say how far sweeps are and what runs now."""
    from sweeps.console import status_lines

    opened = lookup.open_store(workspace, store)
    name = lookup.sweep_name(sweep) if sweep else None
    infos = [info for info in opened.sweeps() if name in (None, info.name)]
    if name and not infos:
        opened.records(name)  # says which sweeps there are
    if as_json:
        typer.echo(json.dumps([info._asdict() for info in infos], indent=1))
        return
    for info in infos:
        for line in status_lines(info, opened.running(info.name)):
            typer.echo(line)


@app.command()
def recommend(
    sweep: SweepName,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the configuration here.")
    ] = None,
    weight: Weights = None,
    constraint: Bounds = None,
    reach: Reach = None,
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
    from tracker.decision.recommend import recommendation
    from tracker.export.config import config_of, write_config

    opened, name = lookup.open_store(workspace, store), lookup.sweep_name(sweep)
    objective = lookup.objective_of(opened, name, weight, constraint)
    known = lookup.analysis_of(opened, name, objective)
    records, answer = known.records, recommendation(known, reach)
    if output is not None:
        write_config(config_of(answer, records), output)
        kept = lookup.keep_model(opened, workspace, name, answer)
    if as_json:
        text = answer.model_dump_json(indent=1)
        if laws:
            found = {"laws": cli_laws.further_json(records, objective)}
            text = json.dumps(json.loads(text) | found, indent=1, ensure_ascii=False)
        typer.echo(text)
        return
    _print_lines(lines(answer))
    if laws:
        _print_lines(["", *cli_laws.further_lines(records, objective)])
    if output is not None:
        typer.echo(f"\nwrote {output}; to train it: sft-select train {shlex.quote(str(output))}")
        typer.echo(kept)


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="A configuration that `recommend` wrote.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the model; default: beside.")
    ] = None,
    workspace: Workspace = WORKSPACE,
    store: StoreUri = None,
    as_json: Json = False,
) -> None:
    """Train a recommended configuration, evaluate it on test, register the model."""
    from sweeps.console import final_lines
    from sweeps.finetune.final import train_config
    from sweeps.finetune.model import quieten
    from tracker.export.config import read_config
    from tracker.store.store import Store

    quieten()
    loaded = read_config(config)
    folder = output or config.with_suffix("").with_name(f"{config.stem}-model")
    opened = Store.open(workspace, store)
    final = train_config(
        loaded,
        config.read_text(encoding="utf-8"),
        folder,
        opened,
        show=lambda step, values: typer.echo(
            f"step {step}: loss {values['train/loss']:.4f}", err=True
        ),
    )
    if as_json:
        facts = {"model": final.name, "version": final.version, "folder": str(final.folder)}
        typer.echo(json.dumps(facts | {"result": final.result.model_dump(mode="json")}, indent=1))
    else:
        _print_lines(final_lines(final, loaded))


@app.command()
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


@app.command()
def dashboard(
    workspace: Workspace = WORKSPACE,
    store: StoreUri = None,
    sweep: Annotated[str | None, typer.Option(help="The sweep to open with.")] = None,
    port: Annotated[int, typer.Option(help="Port on this machine.")] = 8050,
    host: Annotated[
        str, typer.Option(help="Address to listen on; beyond this machine a token is asked for.")
    ] = "127.0.0.1",
    allow_name: Annotated[
        list[str] | None, typer.Option(help="A further name this machine is reached by.")
    ] = None,
    control: Annotated[
        bool, typer.Option("--control", help="Visitors may pause, stop, clone, raise the budget.")
    ] = False,
    mlflow_url: Annotated[
        str | None, typer.Option(help="Where `mlflow ui` answers, to link trials to their runs.")
    ] = None,
) -> None:
    """Serve the dashboard on this machine, or with a token to others."""
    command = dashboards_command("dashboards")
    command += ["--workspace", str(workspace), "--port", str(port)]
    command += ["--store", store] if store else []
    command += ["--sweep", sweep] if sweep else []
    command += ["--control"] if control else []
    command += ["--mlflow-url", mlflow_url] if mlflow_url else []
    command += ["--host", host, *(f"--allow-name={name}" for name in allow_name or ())]
    os.execv(command[0], command)  # noqa: S606 - our own module, no shell


app.command("import")(cli_tables.import_)
app.command()(cli_tables.predict)
app.command()(cli_laws.laws)
app.command()(cli_replay.replay)
app.command()(cli_report.report)
app.command()(cli_control.control)


def _note(warning: str) -> None:
    typer.echo(f"note: {warning}", err=True)


class _Terminated(BaseException):
    """SIGTERM arrived."""


def _terminated(_number: int, _frame: FrameType | None) -> NoReturn:
    raise _Terminated


def _trial_json(record: Any) -> dict[str, Any]:
    result = record.result
    scores = {score.task: score.score for score in result.tasks}
    spec = {"key": result.spec.key, "number": record.number, "stage": record.stage}
    return spec | {"status": result.status.value, "reason": result.reason, "scores": scores}


def _print_lines(lines: list[str]) -> None:
    from rich.console import Console

    console = Console(highlight=False, markup=False, soft_wrap=not sys.stdout.isatty())
    for line in lines:
        console.print(line)


def main() -> None:
    """The command line; errors are one line each, interruptions exit 130 and 143."""
    try:
        app()
    except SftSelectError as error:
        for line in str(error).splitlines():
            typer.echo(line, err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
