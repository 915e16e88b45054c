"""The command line: the verbs that make results and show them; parse, call one function, print.

Heavy imports stay inside the verbs.
"""

from __future__ import annotations

import getpass
import json
import os
import shlex
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from sweeps.cli_answers import export, import_, laws, predict, recommend, replay
from sweeps.cli_options import (
    WORKSPACE,
    Bounds,
    Json,
    StoreUri,
    SweepFile,
    SweepName,
    TargetQuality,
    Weights,
    Workspace,
    dashboards_command,
    open_store,
    pairs,
    print_lines,
    records_if_any,
    sweep_name,
)
from tracker.errors import InputError, SftSelectError

if TYPE_CHECKING:
    from tracker.store.control import ControlRecord, Request
    from tracker.store.store import Store

app = typer.Typer(
    name="sft-select",
    help="Choose base model size, tuning method, data volume and task mix by measurement.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"sft-select {version('sft-select')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Options that stand before a verb."""


def demo(
    folder: Annotated[Path, typer.Option(help="Where the demo's files go.")] = Path("demo"),
    serve: Annotated[bool, typer.Option(help="Open the dashboard's server at the end.")] = True,
    port: Annotated[int, typer.Option(help="The dashboard's port.")] = 8050,
) -> None:
    """Run the embedded playground: a real sweep in minutes on two CPU cores."""
    from sweeps.playground.write import prepare_demo

    sweep_file, workspace = prepare_demo(folder), folder / "runs"
    run(sweep_file, workspace=workspace)
    typer.echo("")
    # `make demo` leaves it where the next command is given; a folder that was named holds everything.
    beside = Path() if folder == Path("demo") else folder
    recommend(str(sweep_file), output=beside / "recommended.yaml", workspace=workspace)
    if serve:
        dashboard(workspace=workspace, sweep="playground", port=port)


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
    from sweeps.search.bounds import SearchBounds
    from sweeps.search.plan import make_plan
    from sweeps.search.run import worker_devices
    from sweeps.search.schedule import expected_schedule, too_large
    from sweeps.search.study import begun_before_bounds
    from sweeps.search.workspace import SweepFolder

    quieten()
    resolved = read_sweep(sweep)
    records = records_if_any(workspace, store, resolved.spec.name)
    study = SweepFolder(workspace, resolved.spec.name).study_file
    bounds = SearchBounds(resolved, begun=begun_before_bounds(study, resolved.spec))
    made = make_plan(resolved, records, len(worker_devices(resolved.spec.engine)), bounds)
    schedule = expected_schedule(resolved, records, made, bounds)
    for warning in [*resolved.warnings, *filter(None, [too_large(resolved)])]:
        _note(warning)
    if as_json:
        shown = schedule.as_json(resolved.spec) if schedule else None
        typer.echo(json.dumps(made.as_json() | {"schedule": shown}, indent=1))
    else:
        print_plan(made, schedule, Console(highlight=False, markup=False))


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
    if done.unsent:
        why = f" ({done.problem})" if done.problem else ""
        typer.echo(
            f"{done.unsent} deliveries are left for the store{why}; to deliver them: {again}",
            err=True,
        )
    if as_json:
        typer.echo(json.dumps([_trial_json(record) for record in done.records], indent=1))
    else:
        typer.echo(summary(done.records))


def status(
    sweep: Annotated[str | None, typer.Argument(help="Name of a sweep; default: all.")] = None,
    workspace: Workspace = WORKSPACE,
    store: StoreUri = None,
    as_json: Json = False,
) -> None:
    """Say how far sweeps are and what runs now."""
    from sweeps.console import status_lines

    opened = open_store(workspace, store)
    name = sweep_name(sweep) if sweep else None
    infos = [info for info in opened.sweeps() if name in (None, info.name)]
    if name and not infos:
        opened.records(name)  # says which sweeps there are
    if as_json:
        typer.echo(json.dumps([info._asdict() for info in infos], indent=1))
        return
    for info in infos:
        for line in status_lines(info, opened.running(info.name)):
            typer.echo(line)


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
    from tracker.export.config import evidence_beside, read_config
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
        evidence=evidence_beside(config),
        show=lambda step, values: typer.echo(
            f"step {step}: loss {values['train/loss']:.4f}", err=True
        ),
    )
    if as_json:
        facts = {"model": final.name, "version": final.version, "folder": str(final.folder)}
        typer.echo(json.dumps(facts | {"result": final.result.model_dump(mode="json")}, indent=1))
    else:
        print_lines(final_lines(final, loaded))


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


def report(
    sweep: SweepName,
    output: Annotated[Path, typer.Option("--output", "-o", help="The HTML file to write.")] = Path(
        "report.html"
    ),
    weight: Weights = None,
    constraint: Bounds = None,
    target_quality: TargetQuality = None,
    workspace: Workspace = WORKSPACE,
    store: StoreUri = None,
) -> None:
    """Write the dashboard's pages of a sweep to one HTML file to send around."""
    command = [*dashboards_command("dashboards.report"), "--workspace", str(workspace)]
    command += ["--store", store] if store else []
    command += [f"--sweep={sweep_name(sweep)}", f"--output={output}"]
    command += [f"--weight={text}" for text in weight or ()]
    command += [f"--constraint={text}" for text in constraint or ()]
    command += [] if target_quality is None else [f"--target-quality={target_quality!r}"]
    os.execv(command[0], command)  # noqa: S606 - our own module, no shell


_ACTIONS = ("pause", "resume", "stop", "stop-trial", "clone", "raise-budget", "log")
_LOOK_SECONDS = 0.5

Action = Annotated[
    str, typer.Argument(help=f"{', '.join(_ACTIONS)} (what was asked so far).", show_default=False)
]
Number = Annotated[
    int | None, typer.Argument(help="The trial, for stop-trial and clone.", show_default=False)
]
Changes = Annotated[
    list[str] | None, typer.Option("--set", help="NAME=VALUE in the clone; repeatable.")
]


def control(
    sweep: SweepName,
    action: Action,
    trial: Number = None,
    set_: Changes = None,
    trials: Annotated[int | None, typer.Option(help="raise-budget: trials in all.")] = None,
    gpu_hours: Annotated[
        float | None, typer.Option(help="raise-budget: hours on a device, over all workers.")
    ] = None,
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds to wait for the driver's answer; 0: do not wait.")
    ] = 20.0,
    workspace: Workspace = WORKSPACE,
    store: StoreUri = None,
    as_json: Json = False,
) -> None:
    """Pause, resume or stop a running sweep, stop or clone one of its trials, raise its budget.

    The driver sees it within seconds and answers; `log` shows everything that was asked, with the answers.
    """
    from tracker.store.control import ControlRecord

    asked = None if action == "log" else _request(action, trial, set_, trials, gpu_hours)
    opened, name = open_store(workspace, store), sweep_name(sweep)
    if asked is None:
        _print_log(opened.control_log(name), as_json)
        return
    opened.ask(name, asked)
    found = _answered(opened, name, asked, wait) if wait else ControlRecord(asked, None)
    _print_log([found], as_json)
    if found.answer is not None and not found.answer.accepted:
        raise typer.Exit(2)


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


def _request(
    action: str,
    trial: int | None,
    changes: list[str] | None,
    trials: int | None,
    gpu_hours: float | None,
) -> Request:
    """What the command line asks. Raises InputError with what is allowed."""
    from tracker.store.control import new_request
    from tracker.validation import unknown

    if action not in _ACTIONS:
        raise InputError(f"ACTION: {unknown(action, _ACTIONS)}")
    fields: dict[str, Any] = {"trial": trial}
    fields["changes"] = pairs("--set", changes, "NAME=VALUE, such as volume=800")
    if action == "raise-budget":
        fields["budget"] = {"trials": trials, "gpu_hours": gpu_hours}
    elif trials is not None or gpu_hours is not None:
        option = "--trials" if trials is not None else "--gpu-hours"
        raise InputError(f"{option}: found with {action}; allowed with raise-budget alone")
    by = f"{getpass.getuser()} at {socket.gethostname()}"[:100]
    return new_request(action.replace("-", "_"), by=by, **fields)


def _answered(store: Store, sweep: str, asked: Request, wait: float) -> ControlRecord:
    """The request with its answer, if it comes in time."""
    until = time.monotonic() + wait
    while True:
        found = next(each for each in store.control_log(sweep) if each.request.id == asked.id)
        if found.answer is not None or time.monotonic() >= until:
            return found
        time.sleep(_LOOK_SECONDS)


def _print_log(log: list[ControlRecord], as_json: bool) -> None:
    from tracker.store.control import request_text

    if as_json:
        shown = [
            {
                "request": each.request.model_dump(mode="json"),
                "answer": each.answer.model_dump(mode="json") if each.answer else None,
            }
            for each in log
        ]
        typer.echo(json.dumps(shown, indent=1))
        return
    for each in log:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(each.request.requested_at))
        if each.answer is None:
            said = "no answer yet; it stays in the store until the sweep's driver takes it"
        else:
            said = each.answer.words if each.answer.accepted else f"refused: {each.answer.words}"
        typer.echo(f"{at}  {request_text(each.request)}: {said}")


#: In the order in which ``--help`` lists them.
_VERBS: dict[str, Callable[..., None]] = {
    "demo": demo,
    "init": init,
    "doctor": doctor,
    "plan": plan,
    "run": run,
    "status": status,
    "recommend": recommend,
    "train": train,
    "export": export,
    "dashboard": dashboard,
    "import": import_,
    "predict": predict,
    "laws": laws,
    "replay": replay,
    "report": report,
    "control": control,
}
for _name, _verb in _VERBS.items():
    app.command(_name)(_verb)


def main() -> None:
    """The command line; errors are one line each, interruptions exit 130 and 143."""
    try:
        app()
    except SftSelectError as error:
        for line in error.for_command_line().splitlines():
            typer.echo(line, err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
