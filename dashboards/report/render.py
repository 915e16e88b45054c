"""Rendering of Dash components as static HTML: the same words, tables and charts, without a server.

Text and attribute values are escaped; tags and attributes come from lists of allowed ones. Elements that
only work in the dashboard (buttons, fields, pickers) are left out, and links become their words. Absolute
paths are cut to their last name: a report's readers need not know the folders of the machine that wrote it.
"""

from __future__ import annotations

import html as escaping
import re
from collections.abc import Mapping
from typing import Any

from dash.development.base_component import Component

from dashboards.tables import DataTable

_TAGS = frozenset(
    "a abbr b blockquote br caption cite code col colgroup dd del details div dl dt em figcaption figure "
    "footer h1 h2 h3 h4 h5 h6 header hr i ins kbd li main mark meter ol p pre progress q s samp section "
    "small span strong sub summary sup table tbody td tfoot th thead time tr u ul var article aside "
    "fieldset legend label nav".split()
)
_VOID = frozenset({"br", "hr", "col"})
#: Tags that need the dashboard, and the tag in their place.
_REPLACED = {"a": "span", "nav": "div", "label": "span", "fieldset": "div", "legend": "div"}
#: Allowed attributes: Dash's name and HTML's.
_ATTRIBUTES = {
    "className": "class",
    "role": "role",
    "title": "title",
    "lang": "lang",
    "colSpan": "colspan",
    "rowSpan": "rowspan",
    "scope": "scope",
    "tabIndex": "tabindex",
    "value": "value",
    "max": "max",
}
#: Attributes that name other elements by their ids, which are left out as pages may share them.
_BY_ID = frozenset({"aria-controls", "aria-describedby", "aria-labelledby", "aria-owns"})
#: Classes of elements that only work in the dashboard.
_LEFT_OUT = frozenset({"picker", "pickers", "actions", "menu"})
#: The folders of an absolute path; not of an address or of a relative path.
_FOLDERS = re.compile(r"(?<![\w/:.~-])/(?:[\w.+@~-]+/)+(?=[\w.+@~-])")
#: The class of a user's own rows, in which paths stay as they are.
_VERBATIM = "data-turns"


class Renderer:
    """Turns components into HTML; ``figures`` collects the charts as plotly's JSON, in their order."""

    def __init__(self) -> None:
        self.figures: list[str] = []
        self._verbatim = False

    def html(self, node: Any) -> str:
        """*node* and all below it."""
        if node is None or isinstance(node, bool):
            return ""
        if isinstance(node, str | int | float):
            return escaping.escape(str(node) if self._verbatim else without_folders(str(node)))
        if isinstance(node, list | tuple):
            return "".join(self.html(child) for child in node)
        if not isinstance(node, Component):
            raise TypeError(
                f"found a {type(node).__name__} in a report; allowed: components and text"
            )
        plain = node.whole() if isinstance(node, DataTable) else node.to_plotly_json()
        kind, props = plain["type"], plain["props"]
        if plain["namespace"] == "dash_core_components" and kind == "Graph":
            return self._graph(props)
        classes = set(str(props.get("className") or "").split())
        tag = str(kind).lower()
        if plain["namespace"] != "dash_html_components" or tag not in _TAGS or classes & _LEFT_OUT:
            return ""
        outer, self._verbatim = self._verbatim, self._verbatim or _VERBATIM in classes
        text = self._element(_REPLACED.get(tag, tag), props)
        self._verbatim = outer
        return text

    def _element(self, tag: str, props: Mapping[str, Any]) -> str:
        opened = f"<{tag}{attributes(props)}>"
        if tag in _VOID:
            return opened
        # A newline right after <pre> would be dropped.
        first = "\n" if tag == "pre" else ""
        return f"{opened}{first}{self.html(props.get('children'))}</{tag}>"

    def _graph(self, props: Mapping[str, Any]) -> str:
        figure = props["figure"]
        number = len(self.figures)
        self.figures.append(figure.to_json())
        return f'<div class="chart" data-figure="{number}"{attributes({"style": props.get("style")})}></div>'


def without_folders(text: str) -> str:
    """*text* with its absolute paths cut to their last names."""
    return _FOLDERS.sub("", text)


def attributes(props: Mapping[str, Any]) -> str:
    """The allowed ones of *props* as HTML, with a space before each."""
    allowed: dict[str, str] = {}
    for name, value in props.items():
        if value is None or value is False:
            continue
        if name in _ATTRIBUTES or (name.startswith("aria-") and name not in _BY_ID):
            allowed[_ATTRIBUTES.get(name, name)] = without_folders(str(value))
        elif name == "open":
            allowed["open"] = ""
        elif name == "style":
            allowed["style"] = _style(value)
    return "".join(f' {name}="{escaping.escape(text)}"' for name, text in allowed.items())


def _style(style: Mapping[str, Any]) -> str:
    """``{"--strength": "40%", "marginTop": 4}`` as CSS; React's numbers are pixels."""
    parts = []
    for name, value in style.items():
        written = name
        if not name.startswith("--"):
            written = "".join(f"-{c.lower()}" if c.isupper() else c for c in name)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        pixels = number and value != 0 and written not in ("opacity", "flex", "order", "z-index")
        parts.append(f"{written}:{value}{'px' if pixels and not name.startswith('--') else ''}")
    return ";".join(part.replace(";", "") for part in parts)
