"""The verb ``control``: requests to a running sweep, and its answers."""

from __future__ import annotations

import getpass
import json
import socket
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sweeps.cli_options import (
    WORKSPACE,
    Json,
    StoreUri,
    SweepName,
    Workspace,
    open_store,
    pairs,
    sweep_name,
)
from tracker.errors import InputError

if TYPE_CHECKING:
    from tracker.store.control import ControlRecord, Request
    from tracker.store.store import Store

_ACTIONS = ("pause", "resume", "stop", "stop-trial", "clone", "raise-budget", "log")
_LOOK_SECONDS = 0.5

Action = Annotated[
    str, typer.Argument(help=f"{', '.join(_ACTIONS)} (every request so far).", show_default=False)
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

    The driver answers within seconds; `log` shows every request with its answer.
    """
    from tracker.store.control import ControlRecord

    request = None if action == "log" else _request(action, trial, set_, trials, gpu_hours)
    opened, name = open_store(workspace, store), sweep_name(sweep)
    if request is None:
        _print_log(opened.control_log(name), as_json)
        return
    opened.add_request(name, request)
    record = _answered(opened, name, request, wait) if wait else ControlRecord(request, None)
    _print_log([record], as_json)
    if record.answer is not None and not record.answer.accepted:
        raise typer.Exit(2)


def _request(
    action: str,
    trial: int | None,
    changes: list[str] | None,
    trials: int | None,
    gpu_hours: float | None,
) -> Request:
    """The control request of the command line. Raises InputError with what is allowed."""
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


def _answered(store: Store, sweep: str, request: Request, wait: float) -> ControlRecord:
    """The request with its answer, if it comes within *wait* seconds."""
    until = time.monotonic() + wait
    while True:
        log = store.control_log(sweep)
        record = next(record for record in log if record.request.id == request.id)
        if record.answer is not None or time.monotonic() >= until:
            return record
        time.sleep(_LOOK_SECONDS)


def _print_log(log: Sequence[ControlRecord], as_json: bool) -> None:
    if not as_json:
        for line in _lines(log):
            typer.echo(line)
        return
    shown = [
        {
            "request": record.request.model_dump(mode="json"),
            "answer": record.answer.model_dump(mode="json") if record.answer else None,
        }
        for record in log
    ]
    typer.echo(json.dumps(shown, indent=1))


def _lines(log: Iterable[ControlRecord]) -> list[str]:
    """Control requests with their answers, a line each."""
    from tracker.store.control import request_text

    text = []
    for record in log:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.request.requested_at))
        answer = "no answer yet; it stays in the store until the sweep's driver takes it"
        if record.answer is not None:
            answer = (
                record.answer.words if record.answer.accepted else f"refused: {record.answer.words}"
            )
        text.append(f"{at}  {request_text(record.request)}: {answer}")
    return text
