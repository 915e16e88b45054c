"""Strict YAML for configuration files: plain data, the line of every value, no implicit conversions.

Refused: duplicate keys, anchors, aliases, tags, several documents, keys that are not text, more
than ``MAX_DEPTH`` levels, ``MAX_VALUES`` keys and values, or ``MAX_BYTES``. Scalars follow the YAML
1.2 core schema (https://yaml.org/spec/1.2.2/#103-core-schema): ``1e-5`` is a number, ``no`` and
``2024-01-01`` are text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tracker.errors import InputError
from tracker.files import read_bounded

MAX_BYTES = 1_000_000
MAX_DEPTH = 20
MAX_VALUES = 10_000

YamlPath = tuple[str | int, ...]

_BOOL, _INT, _FLOAT, _NULL, _TEXT = (
    f"tag:yaml.org,2002:{kind}" for kind in ("bool", "int", "float", "null", "str")
)
_CORE_SCHEMA = {
    _NULL: r"~|null|Null|NULL|",
    _BOOL: r"true|True|TRUE|false|False|FALSE",
    _INT: r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+",
    _FLOAT: r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
}
_CONSTRUCT: dict[str, Callable[[str], Any]] = {
    _NULL: lambda _: None,
    _BOOL: lambda text: text.lower() == "true",
    _INT: lambda text: int(text, 0 if text[:2] in ("0o", "0x") else 10),
    _FLOAT: lambda text: float(re.sub(r"\.(inf|nan)", r"\1", text.lower())),
    _TEXT: lambda text: text,
}


class Document(NamedTuple):
    """YAML document. ``data``: dicts, lists and scalars; ``lines``: line, from 1, of each value's path."""

    data: Any
    lines: dict[YamlPath, int]
    source: str

    def line(self, path: YamlPath) -> int:
        """Line of *path*, or of its closest ancestor in the text."""
        while path not in self.lines:
            path = path[:-1]
        return self.lines[path]


class _Loader(yaml.SafeLoader):
    """YAML loader that composes nodes only; they are constructed here, so that each value keeps its line."""

    yaml_implicit_resolvers: dict[str | None, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _problem(f"alias *{event.anchor}; write the value out", event)
        if getattr(event, "anchor", None):
            raise _problem(f"anchor &{event.anchor}; anchors are not allowed", event)
        if getattr(event, "tag", None):
            raise _problem(f"tag {event.tag}; tags are not allowed", event)
        if self.depth > MAX_DEPTH:
            raise _problem(f"more than {MAX_DEPTH} levels; at most {MAX_DEPTH} are allowed", event)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


for _tag, _pattern in _CORE_SCHEMA.items():
    _Loader.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})$"), None)


def load(text: str, source: str) -> Document:
    """Parse *text*; *source* names it in messages.

    Raises ``InputError``, each problem as ``source:line: …``.
    """
    if len(text) > MAX_BYTES:
        raise InputError(
            f"{source}: found {len(text):,} characters; allowed: at most {MAX_BYTES:,}"
        )
    _check_values(text, source)
    try:
        node = _Loader(text).get_single_node()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise InputError(
            f"{source}:{line}: character U+{error.character:04X}; YAML forbids it"
        ) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise InputError(f"{source}:{line}: {_wording(error)}") from None
    document = Document(None, {(): 1}, source)
    problems: list[str] = []
    data = None if node is None else _construct(node, (), document, problems)
    if problems:
        raise InputError(problems)
    return document._replace(data=data)


def read(path: Path) -> Document:
    """Parse the UTF-8 file at *path* (a byte-order mark is skipped). Raises ``InputError``."""
    try:
        content = read_bounded(path, MAX_BYTES)
        return load(content.decode("utf-8-sig"), str(path))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; name a readable YAML file") from None
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        found = f"byte 0x{content[error.start]:02x}"
        raise InputError(f"{path}:{line}: {found} is not UTF-8; save the file as UTF-8") from None


def _check_values(text: str, source: str) -> None:
    """Raise InputError where *text* has too many values; counted in C, since making them takes seconds."""
    values = 0
    try:
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            values += isinstance(event, yaml.NodeEvent)
            if values > MAX_VALUES:
                line = event.start_mark.line + 1  # type: ignore[union-attr]
                wording = f"found more than {MAX_VALUES:,} keys and values"
                raise InputError(f"{source}:{line}: {wording}; allowed: {MAX_VALUES:,}")
    except (yaml.YAMLError, UnicodeError):
        return  # said when it is read


def _construct(node: yaml.Node, path: YamlPath, document: Document, problems: list[str]) -> Any:
    document.lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        return [_construct(n, (*path, i), document, problems) for i, n in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        return _construct_mapping(node, path, document, problems)
    try:
        return _CONSTRUCT[node.tag](node.value)
    except ValueError:  # more digits than Python converts
        problems.append(f"{_place(document, node)}: number of {len(node.value)} digits; too long")
        return None


def _construct_mapping(
    node: yaml.MappingNode, path: YamlPath, document: Document, problems: list[str]
) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    for key_node, value_node in node.value:
        place, key = _place(document, key_node), key_node.value
        if not isinstance(key_node, yaml.ScalarNode):
            problems.append(f"{place}: a {key_node.id} as key; keys are text")
        elif key_node.tag != _TEXT:
            problems.append(f"{place}: key {key or 'null'}; keys are text, put it in quotes")
        elif key in mapping:
            first = document.lines[(*path, key)]
            problems.append(f"{place}: duplicate key {key!r}; first given in line {first}")
        else:
            document.lines[(*path, key)] = key_node.start_mark.line + 1
            mapping[key] = _construct(value_node, (*path, key), document, problems)
    return mapping


def _place(document: Document, node: yaml.Node) -> str:
    return f"{document.source}:{node.start_mark.line + 1}"


def _problem(wording: str, event: yaml.Event) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=wording, problem_mark=event.start_mark)  # type: ignore[arg-type]


def _wording(error: yaml.MarkedYAMLError) -> str:
    if error.context == "expected a single document in the stream":
        return "a second document (---); one document per file is allowed"
    return f"{error.problem} ({error.context})" if error.context else str(error.problem)
