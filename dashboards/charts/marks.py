"""Marks that several charts share: bands, error bars, and names above their rows."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import Any

from dashboards.charts.chart import Chart
from dashboards.charts.theme import Palette, transparent
from dashboards.charts.wording import unmarked

#: Of a row's name in one line: a phone shows no more.
_ROW_CHARACTERS = 50


def draw_band(
    figure: Chart,
    x: Sequence[float],
    low: Sequence[float],
    high: Sequence[float],
    colour: str,
    opacity: float = 0.1,
) -> None:
    """The area between *low* and *high* along *x*, without an outline."""
    figure.add_scatter(
        x=[*x, *reversed(x)],
        y=[*high, *reversed(low)],
        mode="lines",
        fill="toself",
        fillcolor=transparent(colour, opacity),
        line={"width": 0},
        hoverinfo="skip",
    )


def draw_line(
    figure: Chart,
    x: Sequence[float],
    y: Sequence[float],
    parts: Sequence[tuple[slice, str]],
    colour: str,
    *,
    width: float = 2.0,
    opacity: float = 1.0,
) -> None:
    """A law's line in *parts*: which points, and how they are joined, ``solid`` or ``dash``."""
    for part, dash in parts:
        figure.add_scatter(
            x=x[part],
            y=y[part],
            mode="lines",
            line={"color": colour, "width": width, "dash": dash},
            opacity=opacity,
            hoverinfo="skip",
        )


def error_bars(
    values: Sequence[float],
    low: Sequence[float | None],
    high: Sequence[float | None],
    colour: str,
    **style: Any,
) -> dict[str, Any]:
    """Plotly's error bars from *low* to *high*; none towards an end that is not known."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [0 if h is None else h - v for v, h in zip(values, high, strict=True)],
        "arrayminus": [0 if b is None else v - b for v, b in zip(values, low, strict=True)],
        "width": 0,
        "color": colour,
        **style,
    }


def name_rows(figure: Chart, labels: Sequence[str], colours: Palette) -> None:
    """*labels* above their rows rather than beside them: they are long, and phones are narrow."""
    for row, label in enumerate(labels):
        figure.add_annotation(
            xref="paper",
            x=0,
            y=row - 0.36,
            text="<br>".join(unmarked(line) for line in wrap(label, _ROW_CHARACTERS)),
            align="left",
            showarrow=False,
            xanchor="left",
            bgcolor=colours.surface,
            borderpad=1,
            font={"size": 12, "color": colours.muted},
        )
