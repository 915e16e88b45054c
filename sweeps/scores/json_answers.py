"""JSON answers: F1 of their values by path, and whether they are JSON and fit a schema."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import jsonschema
from jsonschema.validators import validator_for
from referencing import Registry, Resource
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from sweeps.data.examples import digest
from tracker.errors import InputError
from tracker.task import SourceFile

#: In place of a value that is none.
INVALID = object()


def parsed(text: str) -> Any:
    """The JSON value that *text* is, or :data:`INVALID`; what Python alone takes (``NaN``) is no JSON."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return INVALID


def _refuse(constant: str) -> float:
    raise ValueError(constant)


def json_f1(given: str, truth: str, *, unordered: bool = False) -> tuple[float, float, float]:
    """F1, precision and recall over the values of two JSON texts, each with its path.

    The order of keys does not matter; a list's items have their place as a part of the path, or none where
    *unordered*. 1 and 1.0 are one value, 1 and true are two. All 0 where either text is no JSON.
    """
    said, true = (Counter(dict(json_values(text, unordered) or ())) for text in (given, truth))
    shared = (said & true).total()
    if not shared:
        return 0.0, 0.0, 0.0
    precision, recall = shared / said.total(), shared / true.total()
    return 2 * precision * recall / (precision + recall), precision, recall


def json_values(text: str, unordered: bool = False) -> frozenset[tuple[Hashable, int]] | None:
    """Every value of a JSON text with its path, and how often it is there; ``None`` for no JSON.

    Equal for two texts of one value, or, *unordered*, of one but for the order within lists.
    """
    value = parsed(text)
    if value is INVALID:
        return None
    try:
        return frozenset(Counter(_leaves(value, (), unordered)).items())
    except RecursionError:
        return None


def _leaves(value: Any, path: tuple[Any, ...], unordered: bool) -> Iterator[tuple[Any, ...]]:
    """Path and value of everything in *value* that holds nothing further; an empty list or object is one."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, (*path, key), unordered)
    elif isinstance(value, list) and value:
        for place, item in enumerate(value):
            yield from _leaves(item, (*path, None if unordered else place), unordered)
    else:
        yield path, type(value) is bool, str(value) if isinstance(value, dict | list) else value


def fits(answer: str, schema: SourceFile) -> bool:
    """Whether *answer* is JSON that is valid by *schema*. Raises InputError as :func:`load_schema`."""
    value = parsed(answer)
    if value is INVALID:
        return False
    try:
        return bool(load_schema(schema.path, schema.sha256).is_valid(value))
    except (RecursionError, Unresolvable):
        return False


@lru_cache(maxsize=16)
def load_schema(path: str, sha256: str | None = None) -> Any:
    """Validator of the JSON Schema in the file at *path*, by the draft it names, which fetches nothing.

    Raises InputError where the file cannot be read, is no schema, refers to what it does not hold, or, given
    its *sha256*, has changed.
    """
    found = digest(path)
    if sha256 is not None and found != sha256:
        raise InputError(
            f"{path}: changed during the sweep: its SHA-256 is {found[:12]}…, the sweep was planned with "
            f"{sha256[:12]}…; put the file back or start a new sweep"
        )
    try:
        schema = json.loads(Path(path).read_text(encoding="utf-8-sig"))
        kind = validator_for(schema, default=jsonschema.Draft202012Validator)
        kind.check_schema(schema)
        _check_references(schema)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: found no JSON Schema: {error}"[:300]) from None
    except jsonschema.SchemaError as error:
        raise InputError(f"{path}: found no JSON Schema: {error.message}"[:300]) from None
    return kind(schema, registry=Registry())


def _check_references(schema: Any) -> None:
    """Raise ValueError where *schema* refers to what is not in it; one whose parts have names is let be."""
    if "$id" in str(schema):
        return
    root = Resource.from_contents(schema, default_specification=DRAFT202012)
    resolver = Registry().resolver_with_root(root)
    for name in sorted(_references(schema)):
        try:
            resolver.lookup(name)
        except Unresolvable:
            raise ValueError(f"it refers to {name}, which is not in the file") from None


def _references(schema: Any) -> set[str]:
    if isinstance(schema, dict):
        here = {schema["$ref"]} if isinstance(schema.get("$ref"), str) else set()
        return here.union(*(_references(value) for value in schema.values()))
    return set().union(*map(_references, schema)) if isinstance(schema, list) else set()
