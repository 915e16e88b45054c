"""The reference of the sweep file's keys in Markdown, made from its JSON Schema (``SWEEP_FILE.md``)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sweeps.spec import SweepSpec

#: A part of a JSON Schema.
Node = dict[str, Any]
_INTRODUCTION = """\
# The sweep file

Every key of a sweep file, by part. Made from the schema by `python -m sweeps.reference`.

A sweep file is YAML. Relative paths start at its folder. An unknown key is refused, with its line and the key
that was probably meant. `sft-select init` drafts a file from your data; `sft-select plan FILE` checks a file
and shows what it will run. `<name>` stands for a name of your choice, `[]` for each entry of a list.
"""
#: Values that a file may hold and the reference leaves out: for comparisons, not for use.
_UNADVERTISED = {"ats"}


def reference() -> str:
    """The reference of the sweep file's keys in Markdown: a part of the file a section, a key a line."""
    schema = SweepSpec.model_json_schema()
    sections = [_INTRODUCTION, _section("The sweep", schema["description"], _rows(schema, schema))]
    for key, node in schema["properties"].items():
        path, part = _part(key, node, schema)
        if part is not None:
            sections.append(_section(f"`{path}`", part["description"], _rows(part, schema)))
    sections.append(
        _section(
            "A range",
            "Of a learning rate, a weight decay or a dropout.",
            _rows(schema["$defs"]["Range"], schema),
        )
    )
    return "\n".join(sections)


def _part(key: str, node: Node, schema: Node) -> tuple[str, Node | None]:
    """Path and schema of the mapping, or the mappings, that *key* holds; ``None`` for a plain value."""
    for path, value in (
        (key, node),
        (f"{key}[]", node.get("items", {})),
        (f"{key}.<name>", _entry(node)),
    ):
        for branch in [value, *value.get("anyOf", ())]:
            if "$ref" in branch:
                return path, schema["$defs"][branch["$ref"].rsplit("/", 1)[1]]
    return key, None


def _entry(node: Node) -> Node:
    """The schema of each value of a mapping whose keys are free."""
    patterns = node.get("patternProperties", {})
    extra = next(iter(patterns.values()), node.get("additionalProperties"))
    return extra if isinstance(extra, dict) else {}


def _section(title: str, description: str, rows: Iterable[tuple[str, ...]]) -> str:
    header = [("Key", "Value", "Default", "Meaning"), ("---",) * 4]
    table = "\n".join(f"| {' | '.join(row)} |" for row in [*header, *rows])
    return f"## {title}\n\n{description}\n\n{table}\n"


def _rows(part: Node, schema: Node, prefix: str = "") -> Iterator[tuple[str, ...]]:
    """A row for each key of *part*; those of a mapping inside it follow with its name before them."""
    required = part.get("required", ())
    for name, node in part["properties"].items():
        path, inner = _part(name, node, schema)
        default = "required" if name in required else _default(node)
        text = node.get("description") or (inner or part)["description"]
        if part is schema and inner is not None:
            yield f"`{name}`", f"see `{path}`", default, text
        elif inner is None or inner["title"] == "TaskEntry":
            yield f"`{prefix}{name}`", _value(node, schema), default, text
        else:
            yield from _rows(inner, schema, f"{prefix}{path}.")
    if extra := _entry(part):
        yield f"`{prefix}<task>`", _value(extra, schema), "", extra["description"]


def _default(node: Node) -> str:
    """The default as YAML; nothing where there is none, or where the description gives it."""
    value = node.get("default")
    if value is None or isinstance(value, dict):
        return ""
    if isinstance(value, list):
        return f"`{', '.join(map(str, value))}`"
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _value(node: Node, schema: Node) -> str:
    """The type and the limits of *node* in words."""
    if "$ref" in node:
        title = node["$ref"].rsplit("/", 1)[1]
        return _NAMED[title]
    for union in ("anyOf", "oneOf"):
        if union in node:
            return _alternatives(node[union], node.get("default"), schema)
    if "enum" in node or "const" in node:
        values = node.get("enum", [node.get("const")])
        return ", ".join(f"`{value}`" for value in values if value not in _UNADVERTISED)
    match node["type"]:
        case "array":
            return f"list: {_value(node['items'], schema)} each"
        case "object":
            return f"mapping: {_value(_entry(node), schema)} each"
        case kind:
            return " ".join([_KINDS[kind], *_limits(node)])


def _alternatives(branches: Sequence[Node], default: Any, schema: Node) -> str:
    """Types in words; ``null`` goes without saying where it is the default."""
    values = [branch for branch in branches if default is not None or branch.get("type") != "null"]
    words = [
        "a list of these" if branch.get("items") in values else _value(branch, schema)
        for branch in values
    ]
    return ", or ".join(words)


#: Mappings of several keys that stand beside plain values, by their type.
_NAMED = {
    "PassesByMethod": "a mapping of methods to such numbers",
    "Range": "a range (below)",
    "TaskEntry": "as in `tasks.<name>`",
}
_KINDS = {
    "string": "text",
    "boolean": "`true`, `false`",
    "integer": "whole number",
    "number": "number",
    "null": "`null`",
}
_LIMITS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def _limits(node: Node) -> list[str]:
    if "minimum" in node and "maximum" in node:
        return [f"from {node['minimum']:,} to {node['maximum']:,}"]
    given = [f"{sign} {node[limit]:,}" for limit, sign in _LIMITS.items() if limit in node]
    return [" and ".join(given)] if given else []


if __name__ == "__main__":
    print(reference(), end="")
