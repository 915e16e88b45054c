"""Marks that several charts share: bands, the lines of laws, error bars, and names above their rows."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import Any, NamedTuple

from dashboards.charts.chart import Chart
from dashboards.charts.theme import Palette, transparent
from dashboards.charts.wording import WithInterval, escaped
from tracker.metrics import Estimate

#: Of a row's name in one line: a phone shows no more.
_ROW_CHARACTERS = 50


class LawLine(NamedTuple):
    """Line of a law along ``x`` with its 80 % interval; ``x[first]`` to ``x[last]`` were measured."""

    x: tuple[float, ...]
    value: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    first: int
    last: int

    def at(self, i: int) -> Estimate:
        """The law at ``x[i]``."""
        return Estimate(value=self.value[i], low=self.low[i], high=self.high[i])


def draw_law(
    figure: Chart,
    line: LawLine,
    colour: str,
    *,
    band: float = 0.1,
    width: float = 2.0,
    opacity: float = 1.0,
) -> None:
    """A law's line, dashed outside the measurements, over its *band* (an opacity; 0 for none)."""
    if band:
        _draw_band(figure, line, colour, band)
    parts = [
        (slice(0, line.first + 1), "dash"),
        (slice(line.first, line.last + 1), "solid"),
        (slice(line.last, None), "dash"),
    ]
    for part, dash in parts[0 if line.first else 1 :]:
        figure.add_scatter(
            x=line.x[part],
            y=line.value[part],
            mode="lines",
            line={"color": colour, "width": width, "dash": dash},
            opacity=opacity,
            hoverinfo="skip",
        )


def _draw_band(figure: Chart, line: LawLine, colour: str, opacity: float) -> None:
    figure.add_scatter(
        x=[*line.x, *reversed(line.x)],
        y=[*line.high, *reversed(line.low)],
        mode="lines",
        fill="toself",
        fillcolor=transparent(colour, opacity),
        line={"width": 0},
        hoverinfo="skip",
    )


def error_bars(values: Sequence[WithInterval], colour: str, **style: Any) -> dict[str, Any]:
    """Plotly's error bars over the intervals of *values*; none towards an end that is not known."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [0 if v.high is None else v.high - v.value for v in values],
        "arrayminus": [0 if v.low is None else v.value - v.low for v in values],
        "width": 0,
        "color": colour,
        **style,
    }


def ends(values: Sequence[WithInterval]) -> list[float]:
    """*values* and the known ends of their intervals."""
    return [x for v in values for x in (v.value, v.low, v.high) if x is not None]


def draw_interval(
    figure: Chart, row: float, value: WithInterval, colour: str, *, width: float = 3
) -> None:
    """The interval of *value* as a bar along *row*; nothing where an end is not known."""
    if value.low is None or value.high is None:
        return
    figure.add_scatter(
        x=[value.low, value.high],
        y=[row, row],
        mode="lines",
        line={"color": colour, "width": width},
        hoverinfo="skip",
    )


def name_rows(figure: Chart, labels: Sequence[str], colours: Palette) -> None:
    """Names above their rows rather than beside them: *labels* are long, and phones are narrow."""
    for row, label in enumerate(labels):
        figure.add_annotation(
            xref="paper",
            x=0,
            y=row - 0.36,
            text="<br>".join(escaped(line) for line in wrap(label, _ROW_CHARACTERS)),
            align="left",
            showarrow=False,
            xanchor="left",
            bgcolor=colours.surface,
            borderpad=1,
            font={"size": 12, "color": colours.muted},
        )
