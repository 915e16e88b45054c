"""Validation by pydantic with messages in one form: of YAML documents, table rows and requests.

A problem reads ``file:line: path: found X; allowed: Y; did you mean 'Z'?``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from tracker.errors import InputError
from tracker.strict_yaml import Document, YamlPath

MAX_OPTIONS_SHOWN = 20
MAX_VALUE_SHOWN = 60
ENTRY_DEPTH = 2  # tasks.<name>, mixes.<name>

Model = TypeVar("Model", bound=BaseModel)

#: What a value must be, in words, by the type of pydantic's error.
_ALLOWED = {
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "finite_number": "a finite number",
    "float_type": "a number",
    "greater_than": "above {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "int_type": "a whole number",
    "less_than": "below {lt:g}",
    "less_than_equal": "at most {le:g}",
    "model_type": "a mapping",
    "string_pattern_mismatch": "text that matches {pattern}",
    "string_too_long": "at most {max_length} characters",
    "string_too_short": "at least {min_length} characters",
    "string_type": "text",
    "too_short": "at least {min_length}",
    "string_unicode": "text",
    "too_long": "at most {max_length}",
    "tuple_type": "a list",
}


class Problem(NamedTuple):
    """Problem of the value at ``path``."""

    path: YamlPath
    wording: str


def validate(
    document: Document,
    model: type[Model],
    cross_checks: Callable[[Model], Iterable[Problem]] = lambda _: (),
) -> Model:
    """Validate the document as *model*. Raises one ``InputError`` with every problem, ordered by line.

    Values with problems are taken out (misspelt keys are mended) and the rest is validated again,
    so that *cross_checks*, which need a whole model, see what remains; what merely follows from
    an earlier problem is not reported.
    """
    reports: dict[tuple[int, str], None] = {}
    left_out: set[YamlPath] = set()
    schema = model.model_json_schema()
    checked: Model | None = None
    while checked is None:
        try:
            checked = model.model_validate(_tuples(document.data), strict=True)
        except ValidationError as error:
            problems = _problems(error, document.data, schema)
            follow_ons = {path[:n] for path in left_out for n in range(len(path) + 1)}
            reports |= _reports(document, (p for p in problems if p.path not in follow_ons))
            left_out |= {problem.path for problem in problems}
            mended = _mended(document, problems, schema)
            if mended.data == document.data or not mended.data:
                break
            document = mended
    if checked is not None:
        # an entry that was left out (a task, a mix) is not unknown where another names it
        entries = tuple(f"found {path[-1]!r}" for path in left_out if len(path) == ENTRY_DEPTH)
        crossed = (p for p in cross_checks(checked) if not p.wording.startswith(entries))
        reports |= _reports(document, crossed)
    if reports:
        raise InputError(text for _, text in sorted(reports))
    assert checked is not None  # nothing to report means that it validated
    return checked


def unknown(name: str, known: Iterable[str]) -> str:
    """The message for an unknown name: ``found 'trian'; allowed: train, test; did you mean 'train'?``."""
    known = list(known)
    return f"found {name!r}; allowed: {options(known)}{did_you_mean(name, known)}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``; did you mean 'train'?`` where one of *known* is close to *name*, else nothing."""
    close = nearest(name, known)
    return f"; did you mean {close!r}?" if close else ""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Name among *known* that *name* is most likely a misspelling of."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)), None)


def options(names: Iterable[str]) -> str:
    """Names, comma-separated; a long list is cut and counted."""
    names = list(names)
    rest = len(names) - MAX_OPTIONS_SHOWN
    shown = ", ".join(names[:MAX_OPTIONS_SHOWN]) or "none"
    return f"{shown} and {rest} more" if rest > 0 else shown


def found(value: Any) -> str:
    """Value as a message shows it: ``found 'abc'``, with containers named rather than printed."""
    if value is None:
        return "found nothing"
    if isinstance(value, dict):
        return f"found a mapping with {options(value)}" if value else "found an empty mapping"
    if isinstance(value, list | tuple):
        return f"found a list of {len(value)}"
    if isinstance(value, bool):
        return f"found {str(value).lower()}"
    shown = repr(value)
    return f"found {shown if len(shown) <= MAX_VALUE_SHOWN else shown[:MAX_VALUE_SHOWN] + '…'}"


def error_in_words(item: ErrorDetails, value: Any, allowed: str = "") -> str:
    """Message of one error of pydantic about *value*: ``found 'abc'; allowed: a number``.

    *allowed* stands in place of pydantic's own limit, which names no more than the bound that is broken.
    """
    if item["type"] == "missing":
        return "found nothing; it is required"
    if item["type"] == "value_error":
        return str(item["ctx"]["error"])
    allowed = allowed or _allowed(item["type"], item.get("ctx", {}), value, item["msg"])
    return f"{found(value)}; allowed: {allowed}"


def dotted(path: YamlPath) -> str:
    """A path within a document as its reader writes it: ``models[0].path``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def _reports(document: Document, problems: Iterable[Problem]) -> dict[tuple[int, str], None]:
    """Line and text of each problem, as the keys of a dictionary."""
    reports: dict[tuple[int, str], None] = {}
    for path, wording in problems:
        line = document.line(path)
        where = f"{dotted(path)}: " if path else ""
        reports[line, f"{document.source}:{line}: {where}{wording}"] = None
    return reports


def _problems(error: ValidationError, data: Any, schema: dict[str, Any]) -> list[Problem]:
    """Problems in pydantic's errors, one per path: a union's branches share a path, as alternatives."""
    wordings: dict[YamlPath, str] = {}
    alternatives: dict[YamlPath, list[str]] = {}
    meant: set[YamlPath] = set()  # by misspelt keys; such a key is not missing as well
    for item in error.errors():
        path, value = _locate(item["loc"], data)
        kind, context = item["type"], item.get("ctx", {})
        if kind == "default_factory_not_called":  # follows from a problem in another field
            continue
        if kind == "missing":
            wordings[(*path, item["loc"][-1])] = "found nothing; this key is required"
        elif kind == "extra_forbidden":
            known = list(_allowed_keys(schema, path[:-1]))
            hint = did_you_mean(str(path[-1]), known)
            wordings[path] = f"unknown key; allowed: {options(known)}{hint}"
            meant.add((*path[:-1], nearest(str(path[-1]), known) or ""))
        elif kind == "value_error":
            wordings[path] = str(context["error"])
        else:
            allowed = _allowed(kind, context, value, item["msg"])
            keys = f" with {options(_allowed_keys(schema, path))}" if kind == "model_type" else ""
            alternatives.setdefault(path, []).append(allowed + keys)
            wordings[path] = f"{found(value)}; allowed: {' or '.join(alternatives[path])}"
    # pydantic counts a list's valid items alone: too few of them follows from the others' problems
    follow_ons = {path[:n] for path in wordings for n in range(len(path))} | meant
    return [Problem(path, wordings[path]) for path in wordings if path not in follow_ons]


def _allowed(kind: str, context: dict[str, Any], value: Any, message: str) -> str:
    if kind in ("literal_error", "enum"):
        choices = re.findall(r"'([^']+)'", context["expected"])
        return ", ".join(choices) + (did_you_mean(value, choices) if isinstance(value, str) else "")
    return _ALLOWED[kind].format(**context) if kind in _ALLOWED else message


def _locate(location: tuple[str | int, ...], data: Any) -> tuple[YamlPath, Any]:
    """Path and value of a pydantic location in *data*; union tags and the like fall away."""
    path: YamlPath = ()
    for part in location:
        in_list = isinstance(data, list) and isinstance(part, int) and part < len(data)
        if in_list or (isinstance(data, dict) and part in data):
            path, data = (*path, part), data[part]
    return path, data


def _allowed_keys(schema: dict[str, Any], path: YamlPath) -> Iterator[str]:
    """Keys that a JSON Schema allows in the mapping at *path*, over all branches of its unions."""
    nodes = [schema]
    for part in path:
        nodes = [child for node in _branches(nodes, schema) for child in _children(node, part)]
    for node in _branches(nodes, schema):
        yield from node.get("properties", {})


def _branches(nodes: Iterable[dict[str, Any]], schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for node in nodes:
        target = schema["$defs"][node["$ref"].rsplit("/", 1)[1]] if "$ref" in node else node
        yield target
        yield from _branches([*target.get("anyOf", ()), *target.get("oneOf", ())], schema)


def _children(node: dict[str, Any], part: str | int) -> Iterator[dict[str, Any]]:
    if isinstance(part, int):
        children = [node.get("items")]
    elif part in node.get("properties", {}):
        children = [node["properties"][part]]
    else:
        children = [node.get("additionalProperties"), *node.get("patternProperties", {}).values()]
    yield from (child for child in children if isinstance(child, dict))


def _mended(document: Document, problems: list[Problem], schema: dict[str, Any]) -> Document:
    """Document with misspelt keys renamed and all other problems left out."""
    renamed: dict[YamlPath, str] = {}
    dropped: set[YamlPath] = set()
    for path, _ in problems:
        _, mapping = _locate(path[:-1], document.data)
        if path and isinstance(mapping, dict) and path[-1] not in mapping:
            dropped.add(path[:-1])  # a mapping that lacks a required key
            continue
        known = set(_allowed_keys(schema, path[:-1])) if path else set()
        meant = nearest(str(path[-1]), known) if path and path[-1] not in known else None
        if meant and isinstance(mapping, dict) and meant not in mapping:
            renamed[path] = meant
        else:
            dropped.add(path)
    lines: dict[YamlPath, int] = {}

    def copy(value: Any, old: YamlPath, new: YamlPath) -> Any:
        lines[new] = document.line(old)
        if isinstance(value, dict):
            kept = [key for key in value if (*old, key) not in dropped]
            names = {key: renamed.get((*old, key), str(key)) for key in kept}
            return {names[k]: copy(value[k], (*old, k), (*new, names[k])) for k in kept}
        if isinstance(value, list):
            indices = [index for index in range(len(value)) if (*old, index) not in dropped]
            return [copy(value[i], (*old, i), (*new, n)) for n, i in enumerate(indices)]
        return value

    data = None if () in dropped else copy(document.data, (), ())
    return Document(data, lines, document.source)


def _tuples(data: Any) -> Any:
    """Data with lists as tuples, which strict validation of an immutable model needs."""
    if isinstance(data, dict):
        return {key: _tuples(value) for key, value in data.items()}
    if isinstance(data, list):
        return tuple(_tuples(value) for value in data)
    return data
