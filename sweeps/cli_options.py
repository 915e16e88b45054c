"""What verbs share: their options, the store and the sweep that these name, and how lines are printed."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tracker.errors import InputError

if TYPE_CHECKING:
    from tracker.decision.analysis import Analysis
    from tracker.decision.recommendation import Recommendation
    from tracker.store.store import Store
    from tracker.trial import Objective, TrialRecord

WORKSPACE = Path("runs")

Workspace = Annotated[
    Path, typer.Option(envvar="SFT_SELECT_WORKSPACE", help="Folder of sweeps, store and models.")
]
StoreUri = Annotated[
    str | None,
    typer.Option("--store", envvar="MLFLOW_TRACKING_URI", help="MLflow tracking URI."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
SweepFile = Annotated[Path, typer.Argument(help="Sweep file (YAML).", show_default=False)]
SweepName = Annotated[str, typer.Argument(help="Name of a sweep, or its file.", show_default=False)]
Weights = Annotated[
    list[str] | None, typer.Option("--weight", help="TASK=WEIGHT, in place of the sweep's.")
]
Columns = Annotated[
    list[str] | None, typer.Option("--map", help="OURS=THEIRS, a column's name; repeatable.")
]
OneMetric = Annotated[
    str | None, typer.Option(help="The metric to take where a task has several of one kind.")
]
Bounds = Annotated[
    list[str] | None,
    typer.Option(
        "--constraint",
        help="NAME=BOUND, beside the sweep's (examples=1000: as much data is on hand); "
        "NAME=none drops its own.",
    ),
]
TargetQuality = Annotated[
    float | None, typer.Option(help="Ask for the smallest model that reaches this score.")
]


def open_store(workspace: Path, uri: str | None) -> Store:
    """The store, which must exist already: asking creates nothing."""
    from tracker.store.store import Store

    return Store.open(workspace, uri, create=False)


def records_if_any(workspace: Path, uri: str | None, name: str) -> list[TrialRecord]:
    """Finished trials of the sweep, where it has been started."""
    if uri is None and not (workspace / "mlflow.db").exists():
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
    store: Store, name: str, weights: list[str] | None, bounds: list[str] | None
) -> Objective:
    """The sweep's objective, with the command line's weights in place of and bounds beside its own."""
    from tracker.decision.overrides import parse_overrides

    return parse_overrides(weights or (), bounds or ()).objective(store.objective(name))


def analysis_of(store: Store, name: str, objective: Objective | None = None) -> Analysis:
    """Everything that the sweep's trials say, seen through *objective* or the sweep's own."""
    from tracker.decision.analysis import Analysis

    return Analysis.of_sweep(store, name, objective)


def keep_model(store: Store, workspace: Path, name: str, answer: Recommendation) -> str:
    """Put the recommended trial's tuned model into the store, where the sweep kept it; says whether."""
    from sweeps.search.workspace import SweepFolder

    if answer.trial.method.name == "none":
        return "it is the untouched base, so no tuned model goes with it"
    folder = SweepFolder(workspace, name)
    model = folder.model(answer.trial.key)
    if not model.exists():
        return f"no tuned model of its trial was kept in {folder.root}"
    store.keep_model(name, answer.trial.key, model)
    return f"its trial's tuned model is in the tracking store and in {model}"


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
    found: dict[str, str] = {}
    for text in given or []:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise InputError(f"{option} {text}: allowed is {form}")
        if name in found:
            raise InputError(f"{option} {text}: {name} is given twice")
        found[name] = value
    return found


def dashboards_command(module: str) -> list[str]:
    """The start of a command that runs *module* of the dashboards' room in a process of its own.

    ``-P``: a user's file that happens to be called like a library, as ``dash.py`` or ``yaml.py``,
    must not run in its place.
    """
    return [sys.executable, "-P", "-m", module]


def print_lines(lines: Iterable[str]) -> None:
    """Lines as they are, folded to a terminal where there is one."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, soft_wrap=not sys.stdout.isatty())
    for line in lines:
        console.print(line)
