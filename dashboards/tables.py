"""Tables; a folded one is sent as plain rows, and ``assets/tables.js`` makes it when it is opened.

As components the cells were most of a page: a browser took longer over them than over the charts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson
from dash import html


class Cell(html.Td):  # type: ignore[misc]
    """A cell without Dash's checks of properties, a quarter of the time of a page with long tables."""

    _prop_names = ("children", "className", "style")
    _valid_wildcard_attributes = ()

    def __init__(self, children: Any, className: str) -> None:  # noqa: N803 - HTML's name
        self.children = children
        self.className = className

    def to_plotly_json(self) -> dict[str, Any]:
        """As the browser reads it."""
        return {"props": vars(self), "type": self._type, "namespace": self._namespace}


class DataTable(html.Div):  # type: ignore[misc]
    """A table of texts; the columns in *text* hold words, the others numbers.

    ``folded``: it is sent as plain rows, since nobody sees it before they open it.
    """

    def __init__(
        self, head: Sequence[str], rows: Iterable[Sequence[str]], text: Sequence[int] = (0,)
    ) -> None:
        kinds = ["" if i in text else "number" for i in range(len(head))]
        self._plain = (tuple(head), [tuple(row) for row in rows], kinds)
        titles = [
            html.Th(h, className=kind, scope="col") for h, kind in zip(head, kinds, strict=True)
        ]
        body = [
            html.Tr([Cell(cell, kind) for cell, kind in zip(row, kinds, strict=False)])
            for row in self._plain[1]
        ]
        table = html.Table([html.Thead(html.Tr(titles)), html.Tbody(body)])
        super().__init__(table, className="scroll", tabIndex=0)
        self.folded = False

    def to_plotly_json(self) -> dict[str, Any]:
        """As the browser reads it."""
        if not self.folded:
            return self.whole()
        rows = orjson.dumps(self._plain).decode()
        props = {"className": "scroll", "tabIndex": 0, "data-table": rows}
        return {"props": props, "type": self._type, "namespace": self._namespace}

    def whole(self) -> dict[str, Any]:
        """With all its cells, folded or not, as a report needs them."""
        component: dict[str, Any] = super().to_plotly_json()
        return component

    @property
    def body(self) -> list[html.Tr]:
        """The rows below the head."""
        rows: list[html.Tr] = self.children.children[1].children
        return rows


def fold(node: Any) -> None:
    """Fold every table in *node*."""
    if isinstance(node, DataTable):
        node.folded = True
    elif isinstance(node, (list, tuple)):
        for child in node:
            fold(child)
    else:
        children = getattr(node, "children", None)
        if not isinstance(children, str | None):
            fold(children)
