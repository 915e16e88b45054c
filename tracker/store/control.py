"""Control requests to a running sweep, and its driver's answers, as tags of the sweep's run.

A request is one tag, its answer another. They travel with the store: who sends and who runs may sit on
different machines, the driver opens no port, and what was requested, by whom and with what result can be
read as long as the sweep can. MLflow is not imported here: runs and a client are passed.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Self, get_args

from pydantic import AliasChoices, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from tracker.errors import InputError
from tracker.frozen import Frozen
from tracker.numbers import count
from tracker.store.runs import LIVE, Run
from tracker.validation import error_in_words, options, unknown

Action = Literal["pause", "resume", "stop", "stop_trial", "clone", "raise_budget"]
ACTIONS: tuple[Action, ...] = get_args(Action)
#: What only a driver that runs now can do; the rest waits for the next start of the sweep.
IMMEDIATE: frozenset[Action] = frozenset({"pause", "resume", "stop", "stop_trial"})

_REQUEST, _ANSWER = "sft.control.", "sft.answer."
_MAX_WORDS = 1000
#: MLflow takes 5,000 to 8,000 characters, by its version, and may cut what is longer.
_MAX_TEXT = 4000
_ID = "^[0-9A-Za-z]{1,40}$"


class RaisedBudget(Frozen):
    """New budget of a sweep: ``trials``, or ``gpu_hours`` on a device, summed over workers."""

    trials: int | None = Field(None, ge=1, le=1_000_000)
    gpu_hours: float | None = Field(None, gt=0, le=1e6)

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.trials is None) == (self.gpu_hours is None):
            raise ValueError("found both or neither; allowed: one of trials, gpu_hours")
        return self


class Request(Frozen):
    """Request to a sweep's driver. ``requested_at``: epoch seconds by the sender's clock; ``by``: the sender.

    ``trial``: its number, for ``stop_trial`` and ``clone``; ``changes``: what differs in the clone, as
    text by name; ``budget``: for ``raise_budget``.
    """

    id: str = Field(pattern=_ID)
    requested_at: float = Field(validation_alias=AliasChoices("requested_at", "asked_at"))
    action: Action
    trial: int | None = Field(None, ge=0, le=10_000_000)
    changes: dict[str, str] = Field(default_factory=dict, max_length=30)
    budget: RaisedBudget | None = None
    by: str = Field("", max_length=100)

    @model_validator(mode="after")
    def _fits_its_action(self) -> Self:
        about_trial, clones = self.action in ("stop_trial", "clone"), self.action == "clone"
        wrong = [
            f"{self.action}: found {'no ' * wanted}{name}; allowed: {'one' if wanted else 'none'}"
            for name, given, wanted in (
                ("trial number", self.trial is not None, about_trial),
                ("changed value", bool(self.changes), clones),
                ("budget", self.budget is not None, self.action == "raise_budget"),
            )
            if given != wanted
        ]
        if wrong:
            raise ValueError("; ".join(wrong))
        return self


class ControlReply(Frozen):
    """Reply of the driver to the request with this ``id``. ``at``: epoch seconds by its clock."""

    id: str = Field(pattern=_ID)
    at: float
    accepted: bool
    words: str = Field(min_length=1)


class ControlRecord(NamedTuple):
    """A request with its answer, ``None`` while the driver has given none."""

    request: Request
    answer: ControlReply | None


def new_request(action: str, *, now: float | None = None, **fields: Any) -> Request:
    """Make a request, as of *now* (epoch seconds; default: this moment).

    Raises InputError naming what was found and what is allowed.
    """
    if action not in ACTIONS:
        raise InputError(f"action: {unknown(action, ACTIONS)}")
    at = time.time() if now is None else now
    # Sorts by time, and two senders never take the same one.
    identity = time.strftime("%Y%m%dT%H%M%S", time.gmtime(at)) + secrets.token_hex(4)
    try:
        return Request(id=identity, requested_at=at, action=action, **fields)
    except ValidationError as error:
        raise InputError(map(_problem, error.errors())) from None


def request_tag(request: Request, parent: Run) -> dict[str, str]:
    """Tag that keeps *request* with the sweep's *parent* run.

    Raises InputError where no driver is at work to carry it out, or where it is too long to keep.
    """
    state, name = parent.data.tags.get("sft.state", "running"), parent.data.tags.get("sft.sweep")
    if request.action in IMMEDIATE and state not in LIVE:
        raise InputError(
            f"{request.action}: found sweep {name!r} {state}; allowed while it is running or paused; "
            "start it again with `sft-select run`"
        )
    text = request.model_dump_json(exclude_defaults=True)
    if len(text) > _MAX_TEXT:
        raise InputError(
            f"{request.action}: found a request of {count(len(text))} characters; "
            f"allowed: {count(_MAX_TEXT)}; change fewer values at once"
        )
    return {_REQUEST + request.id: text}


def answer_tag(answer: ControlReply) -> dict[str, str]:
    """Tag that keeps an answer; a long text is cut."""
    words = answer.words
    if len(words) > _MAX_WORDS:
        words = words[: _MAX_WORDS - 1] + "…"
    return {_ANSWER + answer.id: answer.model_copy(update={"words": words}).model_dump_json()}


def control_records(run: Run) -> list[ControlRecord]:
    """Requests kept with the sweep's parent *run*, the earliest first, with their answers.

    Tags that hold no request (somebody edited them in MLflow) are left out.
    """
    tags: Mapping[str, str] = run.data.tags
    records = []
    for name, text in tags.items():
        if name.startswith(_REQUEST):
            request = _read(Request, text)
            if request is not None and name == _REQUEST + request.id:
                answer = _read(ControlReply, tags.get(_ANSWER + request.id))
                records.append(ControlRecord(request, answer))
    return sorted(records, key=lambda record: (record.request.requested_at, record.request.id))


def request_text(request: Request) -> str:
    """A request in a few words: ``clone trial 12 with volume=800``."""
    words = request.action.replace("_", " ")
    if request.trial is not None:
        words = f"{words.removesuffix(' trial')} trial {request.trial}"
    if request.changes:
        words += " with " + options(f"{name}={value}" for name, value in request.changes.items())
    if request.budget is not None:
        trials, hours = request.budget.trials, request.budget.gpu_hours
        words += f" to {hours:g} device hours" if trials is None else f" to {count(trials)} trials"
    return words


def _read(kind: type[Any], text: str | None) -> Any:
    try:
        return None if text is None else kind.model_validate_json(text)
    except ValidationError:
        return None


def _problem(item: ErrorDetails) -> str:
    words = error_in_words(item, item["input"])
    place = ".".join(map(str, item["loc"]))
    return words if item["type"] == "value_error" else f"{place}: {words}"
