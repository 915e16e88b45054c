"""Options that verbs share, and the store, the sweep and the analysis that they name."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tracker.errors import InputError, StoreError

if TYPE_CHECKING:
    from typer.exceptions import TyperException

    from tracker.decision.analysis import Analysis
    from tracker.decision.recommendation import Recommendation
    from tracker.export.config import Config
    from tracker.price import Price
    from tracker.store.store import Store
    from tracker.trial import Objective, TrialRecord

WORKSPACE = Path("runs")


def _text(path: Path) -> Path:
    """*path*, which a database's address has to hold."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise typer.BadParameter("a name that is not UTF-8; name another folder") from None
    return path


Workspace = Annotated[
    Path,
    typer.Option(
        callback=_text,
        envvar="SFT_SELECT_WORKSPACE",
        help="Folder of the sweeps, their store and models.",
    ),
]
StoreUri = Annotated[
    str | None,
    typer.Option(
        "--store", envvar="MLFLOW_TRACKING_URI", help="MLflow tracking URI; default: SQLite there."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
All = Annotated[bool, typer.Option("--all", help="Print everything, not only the short report.")]
SweepFile = Annotated[Path, typer.Argument(help="Sweep file (YAML).", show_default=False)]
SweepName = Annotated[str, typer.Argument(help="Name of a sweep, or its file.", show_default=False)]
Weights = Annotated[
    list[str] | None,
    typer.Option("--weight", help="TASK=WEIGHT, in place of the sweep's; repeatable."),
]
Columns = Annotated[
    list[str] | None, typer.Option("--map", help="OURS=THEIRS, names of a column; repeatable.")
]
OneMetric = Annotated[
    str | None, typer.Option(help="Metric to take where a task has several of one kind.")
]
Bounds = Annotated[
    list[str] | None,
    typer.Option(
        "--constraint",
        help="NAME=BOUND, beside the sweep's, such as examples=1000 for the data on hand; "
        "NAME=none drops one; repeatable.",
    ),
]
ModelPlace = Annotated[
    str | None, typer.Option("--model", help="Where the base model is, if it was moved.")
]
DataPlace = Annotated[
    Path | None, typer.Option("--data", help="Folder of the data files, if they were moved.")
]
TargetQuality = Annotated[
    list[str] | None,
    typer.Option(
        help="Recommend the smallest model that reaches this quality: NUMBER of the weighted one, or "
        "TASK=NUMBER, repeatable; none drops the sweep's target."
    ),
]


def open_store(workspace: Path, uri: str | None) -> Store:
    """The store, which must exist already: reading creates nothing. Raises StoreError with what to type."""
    from tracker.store.store import Store

    if uri is None and not has_store(workspace):
        stores = sorted([*Path().glob("*/mlflow.db"), *Path().glob("*/runs/mlflow.db")])
        near = [f"--workspace {shlex.quote(str(store.parent))}" for store in stores]
        hint = (
            f"found one with {' and one with '.join(near)}"
            if near
            else "name a sweep's --workspace"
        )
        raise StoreError(
            f"{workspace}: no tracking store here; {hint}, or start a sweep with `sft-select run FILE`"
        )
    return Store.open(workspace, uri, create=False)


def has_store(workspace: Path) -> bool:
    """Whether a sweep was ever started in *workspace*, with the store in its default place."""
    return (workspace / "mlflow.db").exists()


def place(workspace: Path, uri: str | None, study_uri: str | None = None) -> str:
    """The options to repeat in a next command so that it finds the same store: `` --workspace demo/runs``.

    Passwords are left out.
    """
    from tracker.store.tracking_uri import without_password

    options = [] if workspace == WORKSPACE else ["--workspace", str(workspace)]
    options += [] if uri is None else ["--store", without_password(uri)]
    options += [] if study_uri is None else ["--study-uri", without_password(study_uri)]
    return "".join(f" {shlex.quote(option)}" for option in options)


def price_of(store: Store, name: str) -> Price | None:
    """Price of the sweep's device time; ``None`` where its file has none."""
    from tracker.price import Price

    facts = {info.name: info.facts for info in store.sweeps()}
    return Price.of_facts(facts.get(name, {}))


def records_if_any(workspace: Path, uri: str | None, name: str) -> list[TrialRecord]:
    """Ended trials of the sweep, where it has been started."""
    if uri is None and not has_store(workspace):
        return []
    store = open_store(workspace, uri)
    return store.records(name) if name in {info.name for info in store.sweeps()} else []


def sweep_name(text: str) -> str:
    """The name itself, or the name in the sweep file of that path."""
    path = Path(text)
    if path.suffix not in (".yaml", ".yml"):
        return text
    from tracker.strict_yaml import read

    data = read(path).data
    if not isinstance(data, dict) or not isinstance(data.get("name"), str):
        raise InputError(f"{path}: found no `name`; give a sweep file or a sweep's name")
    return str(data["name"])


def objective_of(
    store: Store,
    name: str,
    weights: list[str] | None,
    bounds: list[str] | None,
    target: list[str] | None = None,
) -> Objective:
    """The sweep's objective with the weights, bounds and target of the command line."""
    from tracker.decision.overrides import parse_overrides

    overrides = parse_overrides(weights or (), bounds or (), target or ())
    return overrides.objective(store.objective(name))


def analysis_of(store: Store, name: str, objective: Objective | None = None) -> Analysis:
    """Analysis of the sweep's trials under *objective*, by default the sweep's."""
    from tracker.decision.analysis import Analysis

    return Analysis.of_sweep(store, name, objective)


def keep_model(store: Store, workspace: Path, name: str, answer: Recommendation) -> str:
    """Put the recommended trial's tuned model into the store where the sweep kept it; says whether."""
    from sweeps.search.workspace import SweepFolder

    if answer.trial.method.name == "none":
        return "it is the untouched base, so no tuned model goes with it"
    folder = SweepFolder(workspace, name)
    model = folder.model(answer.trial.key)
    if not model.exists():
        return f"no tuned model of its trial was kept in {folder.root}"
    if not store.is_writable:
        return f"its trial's tuned model is in {model}; the tracking store cannot be written"
    store.keep_model(name, answer.trial.key, model)
    return f"its trial's tuned model is in the tracking store and in {model}"


def config_here(
    path: Path, model: str | None, data: Path | None, note: Callable[[str], None]
) -> Config:
    """The configuration in the file at *path*, with the places of its model and data on this machine.

    *note* is called where its evidence is missing. Raises InputError where they are not found.
    """
    from sweeps.trial_files import with_found_files
    from tracker.export.config import missing_evidence, read_config

    config = read_config(path)
    if line := missing_evidence(path):
        note(line)
    return config.model_copy(update={"trial": with_found_files(config.trial, path, model, data)})


def usage_line(error: TyperException) -> str:
    """What is wrong with the arguments of a command, in one line."""
    context = getattr(error, "ctx", None)
    verb = context.info_name if context is not None and context.parent is not None else None
    helped = f"sft-select {verb} --help" if verb else "sft-select --help"
    words = " ".join(error.format_message().split()).removesuffix(".")
    return f"{f'{verb}: ' if verb else ''}{words}; see `{helped}`"


def check_name(option: str, name: str) -> None:
    """Raise InputError where *name* cannot be a sweep's."""
    from pydantic import TypeAdapter, ValidationError

    from sweeps.spec import SweepName

    try:
        TypeAdapter(SweepName).validate_python(name)
    except ValidationError as error:
        (problem,) = error.errors()
        if problem["type"] == "value_error":
            raise InputError(f"{option}: {problem['ctx']['error']}") from None
        raise InputError(
            f"{option}: found {name!r}; allowed: at most 100 letters, digits and ._-, the first a "
            "letter or digit"
        ) from None


def pairs(option: str, given: list[str] | None, form: str) -> dict[str, str]:
    """The ``NAME=VALUE`` texts *given* to *option*; *form* shows in the error what is allowed."""
    values: dict[str, str] = {}
    for text in given or []:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise InputError(f"{option} {text}: allowed is {form}")
        if name in values:
            raise InputError(f"{option} {text}: {name} is given twice")
        values[name] = value
    return values


def dashboards_command(module: str) -> list[str]:
    """Start of a command that runs *module* of the dashboards in a process of its own.

    ``-P``: a user's file that happens to be called like a library, as ``dash.py`` or ``yaml.py``,
    must not run in its place.
    """
    return [sys.executable, "-P", "-m", module]
