"""Checked callbacks: a request must name a callback of the app, with its inputs, of the annotated types.

A browser sends what the pages made. Anything else is refused with status 400 before a callback runs, so that
an error inside one is always an error of ours.
"""

from __future__ import annotations

import functools
import inspect
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, get_type_hints

from dash import Dash
from flask import abort, request
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

#: The path of Dash's callbacks.
PATH = "/_dash-update-component"
Function = TypeVar("Function", bound=Callable[..., Any])
#: Largest whole number of JavaScript.
_MAX_INTEGER = 2**53
_WILDCARDS = (["ALL"], ["MATCH"], ["ALLSMALLER"])


class _Property(BaseModel):
    """A property of an element: as input with its value, as output without."""

    model_config = ConfigDict(strict=True)
    id: str | dict[str, str | int]
    property: str
    value: Any = None


class _Body(BaseModel):
    """The body of a callback's request."""

    model_config = ConfigDict(strict=True)
    output: str
    outputs: _Property | list[_Property]
    inputs: list[_Property | list[_Property]]
    state: list[_Property | list[_Property]] = []
    changedPropIds: list[str] = []  # noqa: N815 - Dash's name


class CheckedDash(Dash):  # type: ignore[misc]
    """A Dash application that refuses requests which its pages cannot have sent."""

    def callback(self, *args: Any, **kwargs: Any) -> Callable[[Function], Function]:
        """As Dash's own; the values that arrive are checked against the function's annotations."""
        register: Callable[[Any], Any] = super().callback(*args, **kwargs)

        def add(function: Function) -> Function:
            register(_checked(function))
            return function

        return add

    def refuse_malformed(self) -> None:
        """Answer a request of no callback, or with the wrong inputs, with status 400."""

        @self.server.before_request  # type: ignore[untyped-decorator]
        def refuse() -> None:
            if request.path != PATH or request.method != "POST":
                return
            try:
                body = _Body.model_validate(_parsed(request.get_data(cache=True)))
                self._check(body)
            except ValidationError as error:
                first = error.errors(include_url=False, include_input=False)[0]
                place = ".".join(str(part) for part in first["loc"])
                abort(400, f"malformed callback: {place}: {first['msg']}")
            except (ValueError, RecursionError) as error:
                abort(400, f"malformed callback: {error}")

    def _check(self, body: _Body) -> None:
        """ValueError where *body* is not a request of one of the app's callbacks."""
        known: Mapping[str, Any] = self.callback_map.get(body.output, {})
        if "callback" not in known:  # those of the browser alone have none
            raise ValueError("there is no such callback")
        outputs = [body.outputs] if isinstance(body.outputs, _Property) else body.outputs
        names = [f"{output.id}.{output.property}" for output in outputs]
        listed = isinstance(body.outputs, list)
        if (f"..{'...'.join(names)}.." if listed else names[0]) != body.output:
            raise ValueError("the outputs are not those of the callback")
        given = [*_pairs(body.inputs, known["inputs"]), *_pairs(body.state, known["state"])]
        sent = {f"{_text(item.id)}.{item.property}" for item in given}
        if not sent.issuperset(body.changedPropIds):
            raise ValueError("what changed is none of the inputs")


def _pairs(
    given: Sequence[_Property | list[_Property]], declared: Sequence[Mapping[str, str]]
) -> Iterator[_Property]:
    """The properties in *given*, each as it is *declared*; ValueError otherwise."""
    if len(given) != len(declared):
        raise ValueError(f"found {len(given)} inputs; the callback has {len(declared)}")
    for item, wanted in zip(given, declared, strict=True):
        pattern = json.loads(wanted["id"]) if wanted["id"].startswith("{") else None
        items = item if isinstance(item, list) else [item]
        if isinstance(item, list) != (pattern is not None):
            raise ValueError(f"{wanted['id']}: found one element for several, or several for one")
        for element in items:
            matches = (
                element.id == wanted["id"] if pattern is None else _matches(element.id, pattern)
            )
            if not matches or element.property != wanted["property"]:
                raise ValueError(f"{wanted['id']}.{wanted['property']} is missing")
            yield element


def _matches(identity: str | dict[str, str | int], pattern: Mapping[str, Any]) -> bool:
    return (
        isinstance(identity, dict)
        and identity.keys() == pattern.keys()
        and all(value in (*_WILDCARDS, identity[key]) for key, value in pattern.items())
    )


def _text(identity: str | dict[str, str | int]) -> str:
    """An id as Dash writes it in the name of a property."""
    if isinstance(identity, str):
        return identity
    return json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _parsed(text: bytes) -> Any:
    """JSON as a browser writes it; ValueError for anything else, also for NaN and huge numbers."""

    def whole(digits: str) -> int:
        if len(digits) > len(str(-_MAX_INTEGER)) or abs(int(digits)) > _MAX_INTEGER:
            raise ValueError("a number is too large")
        return int(digits)

    def real(digits: str) -> float:
        if not math.isfinite(value := float(digits)):
            raise ValueError("a number is too large")
        return value

    def constant(name: str) -> float:
        raise ValueError(f"{name} is not JSON")

    parsed = json.loads(text, parse_int=whole, parse_float=real, parse_constant=constant)
    json.dumps(parsed, ensure_ascii=False).encode()  # ValueError where half a character is escaped
    return parsed


def _checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """*function* with its arguments checked against its annotations; status 400 where they differ."""
    signature, hints = inspect.signature(function), get_type_hints(function)
    types = {name: TypeAdapter(hints.get(name, Any)) for name in signature.parameters}

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            try:
                types[name].validate_python(value, strict=True)
            except ValidationError as error:
                found = error.errors(include_url=False, include_input=False)[0]
                abort(400, f"malformed callback: {name}: {found['msg']}")
        return function(*args, **kwargs)

    return call
