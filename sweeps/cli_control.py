"""The verb ``control``: ask things of a sweep that runs, through the tracking store."""

from __future__ import annotations

import getpass
import json
import socket
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sweeps import lookup
from sweeps.cli_options import WORKSPACE, Json, StoreUri, SweepName, Workspace
from tracker.errors import InputError

if TYPE_CHECKING:
    from tracker.store.control import Exchange, Request
    from tracker.store.store import Store

_VERBS = ("pause", "resume", "stop", "stop-trial", "clone", "raise-budget", "log")
_LOOK_SECONDS = 0.5

What = Annotated[
    str, typer.Argument(help=f"{', '.join(_VERBS)} (what was asked so far).", show_default=False)
]
Number = Annotated[
    int | None, typer.Argument(help="The trial, for stop-trial and clone.", show_default=False)
]
Changes = Annotated[
    list[str] | None, typer.Option("--set", help="NAME=VALUE in the clone; repeatable.")
]


def control(
    sweep: SweepName,
    action: What,
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
    from tracker.store.control import Exchange

    asked = None if action == "log" else _request(action, trial, set_, trials, gpu_hours)
    opened, name = lookup.open_store(workspace, store), lookup.sweep_name(sweep)
    if asked is None:
        _print(opened.control_log(name), as_json)
        return
    opened.ask(name, asked)
    found = _answered(opened, name, asked, wait) if wait else Exchange(asked, None)
    _print([found], as_json)
    if found.answer is not None and not found.answer.accepted:
        raise typer.Exit(2)


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

    if action not in _VERBS:
        raise InputError(f"ACTION: {unknown(action, _VERBS)}")
    fields: dict[str, Any] = {"trial": trial}
    fields["changes"] = lookup.pairs("--set", changes, "NAME=VALUE, such as volume=800")
    if action == "raise-budget":
        fields["budget"] = {"trials": trials, "gpu_hours": gpu_hours}
    elif trials is not None or gpu_hours is not None:
        option = "--trials" if trials is not None else "--gpu-hours"
        raise InputError(f"{option}: found with {action}; allowed with raise-budget alone")
    by = f"{getpass.getuser()} at {socket.gethostname()}"[:100]
    return new_request(action.replace("-", "_"), by=by, **fields)


def _answered(store: Store, sweep: str, asked: Request, wait: float) -> Exchange:
    """The request with its answer, if it comes in time."""
    until = time.monotonic() + wait
    while True:
        found = next(each for each in store.control_log(sweep) if each.request.id == asked.id)
        if found.answer is not None or time.monotonic() >= until:
            return found
        time.sleep(_LOOK_SECONDS)


def _print(log: list[Exchange], as_json: bool) -> None:
    from tracker.store.control import described

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
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(each.request.asked_at))
        if each.answer is None:
            said = "no answer yet; it stays in the store until the sweep's driver takes it"
        else:
            said = each.answer.words if each.answer.accepted else f"refused: {each.answer.words}"
        typer.echo(f"{at}  {described(each.request)}: {said}")
