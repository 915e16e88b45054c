"""Draws a panel of :class:`dashboards.charts.overreach.Overreach`."""

from __future__ import annotations

import numpy as np

from dashboards.charts.chart import Chart
from dashboards.charts.marks import error_bars
from dashboards.charts.overreach import KINDS, Panel, Reading
from dashboards.charts.theme import (
    Palette,
    method_colour,
    method_symbol,
    method_words,
    template,
    transparent,
)
from dashboards.charts.wording import count, percent, plural, signed_percent, unmarked


def draw_panel(panel: Panel, colours: Palette, *, log_x: bool = True) -> Chart:
    """Change from the untouched base against examples, the base at 0."""
    figure = Chart()
    volumes = sorted({reading.volume for trace in panel.traces for reading in trace.readings})
    for trace in panel.traces:
        colour = method_colour(trace.method, colours)
        readings = trace.readings
        figure.add_scatter(
            x=[r.volume for r in readings],
            y=[r.change for r in readings],
            error_y=error_bars(
                [r.change for r in readings],
                [r.low for r in readings],
                [r.high for r in readings],
                transparent(colour, 0.5),
                thickness=1.1,
            ),
            mode="lines+markers",
            line={"color": colour, "width": 1.6},
            marker={"color": colour, "symbol": method_symbol(trace.method), "size": 8},
            customdata=[[_hover(r, panel)] for r in readings],
            hovertemplate=f"<b>{unmarked(method_words(trace.method))}</b><br>"
            "%{customdata[0]}<extra></extra>",
        )
    if panel.base is not None:
        line = {"color": colours.methods["none"], "width": 1.6, "dash": "dot"}
        figure.add_hline(y=0, line=line)
    every = max(1, -(-len(volumes) // 6))
    kept = volumes[::every]
    scale = {"tickvals": kept, "ticktext": [count(v) for v in kept]} if log_x else {}
    figure.update_layout(
        template=template(colours),
        xaxis={
            "title": "Training examples, all tasks",
            "type": "log" if log_x else "linear",
            **({"range": _range(volumes)} if log_x and volumes else {}),
            **scale,
        },
        yaxis={
            "title": axis_title(panel),
            "tickformat": ".0%" if panel.base is None else "+.0%",
        },
    )
    return figure


def axis_title(panel: Panel) -> str:
    """What the vertical axis shows; with a base, differences in points of per cent."""
    name = KINDS[panel.kind][0]
    return f"{name}, itself" if panel.base is None else f"{name}, change from the base"


def _range(volumes: list[int]) -> list[float]:
    return [float(np.log10(volumes[0] / 1.25)), float(np.log10(volumes[-1] * 1.25))]


def _hover(reading: Reading, panel: Panel) -> str:
    span = ""
    if reading.low is not None:
        form = percent if panel.base is None else signed_percent
        span = f" (80 %: {form(reading.low)} to {form(reading.high)})"
    change = (
        "" if panel.base is None else f"<br>{signed_percent(reading.change)}{span} from the base"
    )
    value = f"{percent(reading.value)}{span if panel.base is None else ''}"
    return f"{count(reading.volume)} examples, {plural(reading.runs, 'run')}: {value}{change}"
