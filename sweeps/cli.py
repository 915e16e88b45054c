"""The command line: a verb is a function that parses its options, calls one function and prints.

Heavy imports stay inside the verbs.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.exceptions import TyperException

from sweeps.cli_answer import answer
from sweeps.cli_control import control
from sweeps.cli_data import doctor, import_, init
from sweeps.cli_keep import delete, exclude, gc
from sweeps.cli_options import (
    WORKSPACE,
    All,
    Bounds,
    DataPlace,
    Json,
    ModelPlace,
    StoreUri,
    SweepFile,
    SweepName,
    TargetQuality,
    Weights,
    Workspace,
    analysis_of,
    config_here,
    dashboards_command,
    keep_model,
    objective_of,
    open_store,
    place,
    price_of,
    records_if_any,
    sweep_name,
    usage_line,
)
from sweeps.cli_relocate import relocate
from sweeps.cli_replay import replay
from tracker.errors import (
    NoRecommendationError,
    NotEnoughDataError,
    SftSelectError,
    one_line,
)

if TYPE_CHECKING:
    from sweeps.search.run import SweepRun

#: Exit code of a run whose trials ended, but are not all in the tracking store.
_UNDELIVERED = 4

app = typer.Typer(
    name="sft-select",
    help="Choose base model size, tuning method, training-set size and task mix by measurement.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
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
    folder: Annotated[Path, typer.Option(help="Folder of the demo's files.")] = Path("demo"),
    serve: Annotated[bool, typer.Option(help="Serve the dashboard at the end.")] = True,
    port: Annotated[int, typer.Option(help="Port of the dashboard.")] = 8050,
) -> None:
    """Run the embedded playground: a real sweep in minutes on two CPU cores."""
    from sweeps.playground.write import prepare_demo
    from sweeps.terminal import ended_line

    sweep_file, workspace = prepare_demo(folder), folder / "runs"
    typer.echo(ended_line(_run(sweep_file, workspace).records))
    # `make demo` leaves it where the next command is given; a folder that was named holds everything.
    parent = Path() if folder == Path("demo") else folder
    recommend(str(sweep_file), output=parent / "recommended.yaml", workspace=workspace)
    if serve:
        dashboard(workspace=workspace, sweep="playground", port=port)
    typer.echo(f"next: sft-select dashboard{place(workspace, None)}")


def plan(
    sweep: SweepFile,
    workspace: Workspace = WORKSPACE,
    store: StoreUri = None,
    as_json: Json = False,
) -> None:
    """Show what a sweep will run and its expected cost; runs nothing."""
    from sweeps.finetune.model import quieten
    from sweeps.plan_table import print_plan
    from sweeps.preflight import read_checked
    from sweeps.search.bounds import SearchBounds
    from sweeps.search.devices import devices
    from sweeps.search.fit import unfit_points
    from sweeps.search.plan import free_bytes, make_plan
    from sweeps.search.schedule import expected_schedule, too_large
    from sweeps.search.study import begun_bounds
    from sweeps.search.takeover import equal_trials
    from sweeps.search.timing import timed_speed
    from sweeps.search.workspace import SweepFolder

    quieten()
    resolved = read_checked(sweep, workspace)
    records = records_if_any(workspace, store, resolved.spec.name)
    folder = SweepFolder(workspace, resolved.spec.name)
    bounds = begun_bounds(folder.study_file, resolved)
    bounds = bounds or SearchBounds(resolved, unfit=unfit_points(resolved))
    among = devices(resolved.spec.engine)
    workers = sum(device.workers for device in among)
    speed = timed_speed(resolved, records, bounds, workspace)
    made = make_plan(resolved, records, workers, bounds, among=among, speed=speed)
    made = made._replace(free_bytes=free_bytes(workspace))
    made = made._replace(equal=len(equal_trials(resolved, folder)))
    schedule = expected_schedule(resolved, records, made, bounds)
    for warning in [*resolved.warnings, *filter(None, [too_large(resolved), made.takeover_line])]:
        _note(warning)
    if as_json:
        shown = schedule.as_json(resolved.spec) if schedule else None
        price = resolved.spec.price
        cost = price and price.as_json(schedule.extent.seconds if schedule else made.seconds)
        typer.echo(json.dumps(made.as_json() | {"schedule": shown, "cost": cost}, indent=1))
    else:
        following = f"sft-select run {shlex.quote(str(sweep))}{place(workspace, store)}"
        print_plan(made, schedule, following, resolved.spec.price)


def run(
    sweep: SweepFile,
    workspace: Workspace = WORKSPACE,
    store: StoreUri = None,
    study_uri: Annotated[
        str | None,
        typer.Option(
            help="Optuna storage: sqlite:///FILE or postgresql://…; default: in the workspace."
        ),
    ] = None,
    retry_failed: Annotated[
        bool,
        typer.Option(
            "--retry-failed",
            help="Run trials again that failed, by an error or as their workers died.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Run a sweep, or resume it where it stopped; exit 4 where the store took not all of it."""
    from sweeps.terminal import ended_line, print_lines

    done = _run(sweep, workspace, store, study_uri, retry_failed=retry_failed)
    if as_json:
        typer.echo(json.dumps([_trial_json(record) for record in done.records], indent=1))
    else:
        print_lines([ended_line(done.records), *_recommended(sweep, done)])
        where = place(workspace, store)
        typer.echo(
            f"next: sft-select recommend {shlex.quote(str(sweep))} -o recommended.yaml{where}"
        )
    if done.undelivered:
        raise typer.Exit(_UNDELIVERED)


def _run(
    sweep: Path,
    workspace: Path,
    store: str | None = None,
    study_uri: str | None = None,
    *,
    retry_failed: bool = False,
) -> SweepRun:
    """A sweep that was run to its end; progress and how it ended go to stderr."""
    from sweeps.progress import progress
    from sweeps.search.run import Interruption, Terminated, run_sweep
    from sweeps.terminal import failed_lines, undelivered_lines

    again = f"sft-select run {shlex.quote(str(sweep))}{place(workspace, store, study_uri)}"
    try:
        with Interruption() as interruption, progress(sys.stderr) as show:
            watch = interruption.checked(show)
            done = run_sweep(
                sweep,
                workspace,
                store_uri=store,
                study_uri=study_uri,
                retry_failed=retry_failed,
                watch=watch,
                note=_note,
            )
    except (KeyboardInterrupt, Terminated) as stop:
        typer.echo(f"stopped; ended trials are kept. To resume: {again}", err=True)
        raise typer.Exit(143 if isinstance(stop, Terminated) else 130) from None
    if done.stopped:
        typer.echo(f"stopped on request; ended trials are kept. To resume: {again}", err=True)
    for line in [
        *failed_lines(done.records, again),
        *undelivered_lines(done.undelivered, again),
    ]:
        typer.echo(line, err=True)
    return done


def _recommended(sweep: Path, done: SweepRun) -> list[str]:
    """The recommendation of a sweep's ended trials in three lines, or why there is none yet."""
    from sweeps.sweep_file import load_sweep
    from tracker.decision.analysis import Analysis
    from tracker.decision.explain import summary
    from tracker.decision.recommend import recommend

    try:
        counted = [record for record in done.records if record.excluded is None]
        objective = load_sweep(sweep).objective
        return summary(recommend(Analysis(counted, objective, notes=done.notes)))
    except NotEnoughDataError as error:
        return [str(error)]


def status(
    sweep: Annotated[str | None, typer.Argument(help="Name of a sweep; default: all.")] = None,
    workspace: Workspace = WORKSPACE,
    store: StoreUri = None,
    as_json: Json = False,
) -> None:
    """Show the progress of sweeps, what runs now, what failed and the next command."""
    from sweeps.standing import standing_of
    from sweeps.terminal import print_lines, status_lines

    opened = open_store(workspace, store)
    name = sweep_name(sweep) if sweep else None
    infos = [info for info in opened.sweeps() if name in (None, info.name)]
    if name and not infos:
        opened.records(name)  # says which sweeps there are
    shown = []
    for info in infos:
        standing = standing_of(opened, info)
        if as_json:
            failed = [_trial_json(record) for record in standing.failed]
            shown.append(info.as_json() | standing.as_json() | {"failed": failed})
        else:
            print_lines(status_lines(info, standing, place(workspace, store)))
    if as_json:
        typer.echo(json.dumps(shown, indent=1))


def recommend(
    sweep: SweepName,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write, for `train` and `export`.")
    ] = None,
    weight: Weights = None,
    constraint: Bounds = None,
    target_quality: TargetQuality = None,
    why: Annotated[
        bool,
        typer.Option("--why", help="Also reasons, runners-up, next experiments and caveats."),
    ] = False,
    laws: Annotated[
        bool,
        typer.Option("--laws", help="Also the laws of forgetting, of mixes, from loss to score."),
    ] = False,
    workspace: Workspace = WORKSPACE,
    store: StoreUri = None,
    as_json: Json = False,
) -> None:
    """Recommend a configuration: the choice, how sure it is, what to do next.

    Exit code 4, and no file: there is no recommendation yet, or nothing
    measured reaches the target (of the sweep file, or --target-quality),
    or whether it does is unknown; the line says what would give one.
    """
    from sweeps.terminal import print_lines, recommendation_lines
    from tracker.decision.law_report import auxiliary_as_json, auxiliary_lines
    from tracker.decision.recommend import recommend
    from tracker.export.config import config_of, write_config
    from tracker.laws.auxiliary import auxiliary_laws

    opened, name = open_store(workspace, store), sweep_name(sweep)
    objective = objective_of(opened, name, weight, constraint, target_quality)
    analysis = analysis_of(opened, name, objective)
    try:
        records, answer = analysis.records, recommend(analysis)
    except NoRecommendationError as error:
        if as_json:
            none = {"sweep": name, "recommendation": None, "why": error.why, "needed": error.needed}
            typer.echo(json.dumps(none, indent=1, ensure_ascii=False))
        raise
    train = None
    if output is not None:
        write_config(config_of(answer, records), output)
        kept = keep_model(opened, workspace, name, answer)
        train = f"sft-select train {shlex.quote(str(output))}{place(workspace, store)}"
    auxiliary = auxiliary_laws(records, objective) if laws else None
    if as_json:
        shown = answer.model_dump(mode="json")
        fitted = {"laws": auxiliary_as_json(auxiliary)} if auxiliary else {}
        typer.echo(json.dumps(shown | fitted, indent=1, ensure_ascii=False))
    else:
        price = price_of(opened, name)
        print_lines(recommendation_lines(answer, why=why, train=train, price=price))
        print_lines(["", *auxiliary_lines(auxiliary)] if auxiliary else [])
        if output is not None:
            typer.echo(f"wrote {output}; {kept}")
    if answer.missed:
        raise typer.Exit(NoRecommendationError.exit_code)


def train(
    config: Annotated[Path, typer.Argument(help="File that `recommend -o` wrote.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder of the model; default: beside the file."),
    ] = None,
    model: ModelPlace = None,
    data: DataPlace = None,
    merge: Annotated[
        bool,
        typer.Option(
            "--merge",
            help="Also merge a LoRA adapter into its base, and evaluate that on validation.",
        ),
    ] = False,
    merge_tolerance: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Largest change of a validation score by merging, of 0 to 1."
        ),
    ] = 0.01,
    workspace: Workspace = WORKSPACE,
    store: StoreUri = None,
    as_json: Json = False,
) -> None:
    """Train a recommended configuration, evaluate it on test, register the model."""
    from sweeps.finetune.final import check_mergeable, merge_model, train_config
    from sweeps.finetune.model import quieten
    from sweeps.terminal import final_lines, merge_lines, print_lines
    from tracker.export.config import evidence_beside
    from tracker.store.store import Store

    quieten()
    loaded = config_here(config, model, data, _note)
    if merge:
        check_mergeable(loaded.trial)
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
    merged = merge_model(final, merge_tolerance) if merge else None
    if as_json:
        facts: dict[str, Any] = {"model": final.name, "version": final.version}
        facts |= {"folder": str(final.folder), "test_reads": dict(final.test_reads)}
        if merged is not None:
            facts |= {"merged": str(merged.folder), "merge": merged.merge.model_dump(mode="json")}
        typer.echo(json.dumps(facts | {"result": final.result.model_dump(mode="json")}, indent=1))
    else:
        print_lines([*final_lines(final, loaded), *merge_lines(merged)])


def export(
    config: Annotated[Path, typer.Argument(help="File that `recommend -o` wrote.")],
    to: Annotated[str, typer.Option(help="Trainer: trl, llamafactory or axolotl.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder to write; default: beside the file."),
    ] = None,
    model: ModelPlace = None,
    data: DataPlace = None,
) -> None:
    """Write the recommended configuration and its data for another trainer."""
    from sweeps.data.encoding import rows_as_text
    from tracker.export import export_config

    loaded = config_here(config, model, data, _note)
    folder = output or config.with_name(f"{config.stem}-{to}")
    for line in export_config(loaded, to, lambda: rows_as_text(loaded.trial), folder):
        typer.echo(line)


def dashboard(
    workspace: Workspace = WORKSPACE,
    store: StoreUri = None,
    sweep: Annotated[str | None, typer.Option(help="Sweep to open with.")] = None,
    port: Annotated[int, typer.Option(help="Port on this machine.")] = 8050,
    host: Annotated[
        str, typer.Option(help="Address to listen on; beyond this machine a token is required.")
    ] = "127.0.0.1",
    allow_name: Annotated[
        list[str] | None, typer.Option(help="Another host name of this machine; repeatable.")
    ] = None,
    control: Annotated[
        bool,
        typer.Option(
            "--control", help="Let visitors pause and stop, clone trials, raise the budget."
        ),
    ] = False,
    mlflow_url: Annotated[
        str | None, typer.Option(help="Address of `mlflow ui`, to link trials to their runs.")
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
    output: Annotated[Path, typer.Option("--output", "-o", help="HTML file to write.")] = Path(
        "report.html"
    ),
    weight: Weights = None,
    constraint: Bounds = None,
    target_quality: TargetQuality = None,
    workspace: Workspace = WORKSPACE,
    store: StoreUri = None,
) -> None:
    """Write the dashboard's pages of a sweep to one HTML file."""
    command = [*dashboards_command("dashboards.report"), "--workspace", str(workspace)]
    command += ["--store", store] if store else []
    command += [f"--sweep={sweep_name(sweep)}", f"--output={output}"]
    command += [f"--weight={text}" for text in weight or ()]
    command += [f"--constraint={text}" for text in constraint or ()]
    command += [f"--target-quality={text}" for text in target_quality or ()]
    os.execv(command[0], command)  # noqa: S606 - our own module, no shell


def predict(
    sweep: Annotated[str, typer.Argument(help="Name of a sweep, or its file.", show_default=False)],
    task: Annotated[str, typer.Option(help="Task to predict.", show_default=False)],
    examples: Annotated[int, typer.Option(help="Training examples, N.", show_default=False)],
    model_params: Annotated[
        int | None, typer.Option(help="Predict a model of this size instead, in parameters.")
    ] = None,
    allow_far: Annotated[
        bool, typer.Option("--allow-far", help="Also beyond 16 times the largest N measured.")
    ] = False,
    everything: All = False,
    workspace: Workspace = WORKSPACE,
    store: StoreUri = None,
    as_json: Json = False,
) -> None:
    """Predict every configuration of a task at N examples; --json includes far ones."""
    from sweeps.terminal import print_forecast
    from tracker.decision.predict import predict as predict_for

    opened, name = open_store(workspace, store), sweep_name(sweep)
    forecast = predict_for(
        analysis_of(opened, name),
        task,
        examples,
        model_params=model_params,
        allow_far=allow_far or as_json,
    )
    if as_json:
        typer.echo(forecast.model_dump_json(indent=1))
    else:
        print_forecast(forecast, names=everything)


def laws(
    sweep: SweepName,
    metric: Annotated[
        str | None,
        typer.Option(
            help="score, error, bits_per_byte or loss_nats; default: what a task is decided on."
        ),
    ] = None,
    weight: Weights = None,
    everything: All = False,
    workspace: Workspace = WORKSPACE,
    store: StoreUri = None,
    as_json: Json = False,
) -> None:
    """Report the scaling laws of a sweep: over data, of forgetting, of mixes, from loss to score."""
    from sweeps.terminal import laws_lines, print_lines
    from tracker.decision import law_report

    opened, name = open_store(workspace, store), sweep_name(sweep)
    analysis = analysis_of(opened, name, objective_of(opened, name, weight, None))
    fitted = law_report.every_law(analysis, metric)  # type: ignore[arg-type]
    if as_json:
        typer.echo(json.dumps({"sweep": name, **law_report.laws_as_json(fitted)}, indent=1))
        return
    print_lines(law_report.law_lines(fitted) if everything else laws_lines(fitted))


def _note(warning: str) -> None:
    typer.echo(one_line(f"note: {warning}"), err=True)


def _trial_json(record: Any) -> dict[str, Any]:
    result = record.result
    scores = {score.task: score.score for score in result.tasks}
    errors = {score.task: score.error for score in result.tasks if score.error is not None}
    spec = {"key": result.spec.key, "number": record.number, "stage": record.stage}
    return (
        spec
        | {"status": result.status.value, "reason": result.reason, "scores": scores}
        | ({"errors": errors} if errors else {})
    )


#: In the order of work, in which ``--help`` lists them.
_VERBS: dict[str, Callable[..., None]] = {
    "demo": demo,
    "init": init,
    "doctor": doctor,
    "plan": plan,
    "run": run,
    "status": status,
    "recommend": recommend,
    "train": train,
    "answer": answer,
    "export": export,
    "dashboard": dashboard,
    "report": report,
    "predict": predict,
    "laws": laws,
    "import": import_,
    "exclude": exclude,
    "delete": delete,
    "gc": gc,
    "relocate": relocate,
    "control": control,
}
for _name, _verb in _VERBS.items():
    app.command(_name)(_verb)
app.command("replay", hidden=True)(replay)  # compares strategies: no part of a sweep


def main() -> None:
    """The command line; errors are one line each, interruptions exit 130 and 143."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it advises further packages
    try:
        # without a verb typer prints the help; what it refuses is an error in a line like any other
        sys.exit(app(standalone_mode=len(sys.argv) < 2) or 0)
    except TyperException as error:
        typer.echo(one_line(usage_line(error)), err=True)
        sys.exit(2)
    except SftSelectError as error:
        for line in error.for_command_line().split("\n"):
            typer.echo(one_line(line), err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.filename is None:
            raise
        typer.echo(one_line(f"{error.filename}: {error.strerror}; name another"), err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:  # all is done: a Ctrl-C now must not end in a traceback of some library's clean-up
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)


if __name__ == "__main__":
    main()
