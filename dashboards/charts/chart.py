"""A plotly figure as plain data: what plotly.js reads, with nothing checked while a visitor waits.

``plotly.graph_objects`` checks every property each time, which took longer than all else that a page does.
Here the tests do it once: ``go.Figure(chart)`` refuses what plotly does not know.
"""

from __future__ import annotations

from typing import Any

from plotly.io.json import to_json_plotly

_WHOLE = "paper"  # plotly's word for the length of an axis, whatever it shows


class Chart(dict[str, Any]):
    """Traces and layout, built with the methods of a ``go.Figure``."""

    def __init__(self) -> None:
        super().__init__(data=[], layout={})

    @property
    def traces(self) -> list[dict[str, Any]]:
        """The traces, the lowest first."""
        found: list[dict[str, Any]] = self["data"]
        return found

    def add_scatter(self, **trace: Any) -> None:
        """Points, lines or a filled area."""
        self.traces.append({"type": "scatter", **trace})

    def add_bar(self, **trace: Any) -> None:
        """Bars."""
        self.traces.append({"type": "bar", **trace})

    def add_heatmap(self, **trace: Any) -> None:
        """Coloured cells."""
        self.traces.append({"type": "heatmap", **trace})

    def add_vline(
        self, x: float, line: dict[str, Any], words: dict[str, Any] | None = None
    ) -> None:
        """A line from bottom to top at *x*; *words*: an annotation at its head."""
        self._add("shapes", type="line", x0=x, x1=x, y0=0, y1=1, yref=_WHOLE, line=line)
        if words:
            place = {"x": x, "y": 1, "yref": _WHOLE, "xanchor": "left", "yanchor": "top"}
            self.add_annotation(showarrow=False, **place, **words)

    def add_hline(self, y: float, line: dict[str, Any]) -> None:
        """A line from left to right at *y*."""
        self._add("shapes", type="line", x0=0, x1=1, xref=_WHOLE, y0=y, y1=y, line=line)

    def add_annotation(self, **annotation: Any) -> None:
        """Words in the chart."""
        self._add("annotations", **annotation)

    def update_layout(self, **parts: Any) -> None:
        """Set parts of the layout; a title may be given as its words."""
        for part in parts.values():
            if isinstance(part, dict) and isinstance(part.get("title"), str):
                part["title"] = {"text": part["title"]}  # plotly.js takes no plain words
        self["layout"].update(parts)

    def to_json(self) -> str:
        """The chart as JSON for plotly.js."""
        text: str = to_json_plotly(self)
        return text

    def _add(self, kind: str, **one: Any) -> None:
        self["layout"].setdefault(kind, []).append(one)
