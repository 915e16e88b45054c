"""What verbs look up before they act: the store, a sweep's name, its results, what is wanted of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tracker.errors import InputError

if TYPE_CHECKING:
    from tracker.decision.analysis import Analysis
    from tracker.decision.recommendation import Recommendation
    from tracker.store.store import Store
    from tracker.trial import Objective, TrialRecord


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
    from tracker.decision.question import asked

    return asked(weights or (), bounds or ()).objective(store.objective(name))


def analysis_of(store: Store, name: str, objective: Objective | None = None) -> Analysis:
    """Everything that the sweep's trials say, seen through *objective* or the sweep's own."""
    from tracker.decision.analysis import Analysis

    return Analysis(
        store.records(name),
        objective or store.objective(name),
        sweep=name,
        notes=store.notes(name),
    )


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
