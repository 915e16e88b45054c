"""Draws :class:`dashboards.charts.size.Size`: runs and laws against the model's parameters."""

from __future__ import annotations

import numpy as np

from dashboards.charts.chart import Chart
from dashboards.charts.marks import draw_band, draw_line, error_bars
from dashboards.charts.size import Mark, Size, SizeCurve
from dashboards.charts.theme import (
    Palette,
    method_colour,
    method_symbol,
    method_words,
    template,
)
from dashboards.charts.wording import ABSENT, compact, percent, plural, unmarked
from tracker.laws.curves import Metric

#: Methods stand side by side at one size, this many parts of it apart, so that error bars are seen.
_APART = 0.035


def draw_size(data: Size, colours: Palette, *, log_x: bool = True) -> Chart:
    """Filled marks were measured, hollow ones foretold; a dashed line lies outside the sizes measured."""
    figure = Chart()
    for curve in data.curves:
        _draw_line(figure, curve, method_colour(curve.method, colours))
    middle = (len(data.curves) - 1) / 2
    for i, curve in enumerate(data.curves):
        aside = 1 + _APART * (i - middle) if log_x else 1.0
        _draw_marks(figure, curve, data.metric, method_colour(curve.method, colours), aside)
    sizes = sorted({mark.parameters for curve in data.curves for mark in curve.marks})
    ticks = {"tickvals": sizes, "ticktext": [compact(size) for size in sizes]} if log_x else {}
    values = [v for c in data.curves for v in (*(m.value for m in c.marks), *c.value)]
    figure.update_layout(
        template=template(colours),
        xaxis={
            "title": "Parameters of the model",
            "type": "log" if log_x else "linear",
            **(ticks if len(sizes) > 1 else {"tickformat": ".3s"}),
        },
        yaxis={
            "title": data.title,
            "tickformat": ".0%" if data.metric == "score" else ".2f",
            **({"range": _range(values)} if data.metric == "score" and values else {}),
        },
    )
    return figure


def _range(values: list[float]) -> list[float]:
    pad = 0.12 * (max(values) - min(values) or 0.2)
    return [max(min(values) - pad, -0.03), min(max(values) + pad, 1.03)]


def _draw_line(figure: Chart, curve: SizeCurve, colour: str) -> None:
    if not curve.parameters:
        return
    draw_band(figure, curve.parameters, curve.low, curve.high, colour)
    within = np.array(curve.inside)
    first, last = int(within.argmax()), len(within) - 1 - int(within[::-1].argmax())
    parts = [
        (slice(0, first + 1), "dash"),
        (slice(first, last + 1), "solid"),
        (slice(last, None), "dash"),
    ]
    draw_line(figure, curve.parameters, curve.value, parts, colour)


def _draw_marks(figure: Chart, curve: SizeCurve, metric: Metric, colour: str, aside: float) -> None:
    for measured in (True, False):
        own = [m for m in curve.marks if bool(m.runs) is measured]
        if not own:
            continue
        figure.add_scatter(
            x=[m.parameters * aside for m in own],
            y=[m.value for m in own],
            error_y=error_bars(
                [m.value for m in own],
                [m.low for m in own],
                [m.high for m in own],
                colour,
                thickness=1.3,
            ),
            mode="markers",
            marker={
                "color": colour if measured else "rgba(0,0,0,0)",
                "symbol": method_symbol(curve.method),
                "size": 9,
                "line": {"color": colour, "width": 1.6},
            },
            customdata=[[_hover(m, metric)] for m in own],
            hovertemplate=f"<b>{unmarked(method_words(curve.method))}</b><br>"
            "%{customdata[0]}<extra></extra>",
        )


def _hover(mark: Mark, metric: Metric) -> str:
    how = f"mean of {plural(mark.runs, 'run')}" if mark.runs else "by its law, not measured"
    interval = "its error is unknown"
    if mark.low is not None and mark.high is not None:
        interval = f"80 %: {value(mark.low, metric)} to {value(mark.high, metric)}"
    size = f"{unmarked(mark.model)}, {compact(mark.parameters)} parameters"
    return f"{size}<br>{value(mark.value, metric)} ({interval})<br>{how}"


def value(number: float | None, metric: Metric) -> str:
    """*number* of *metric* as people read it."""
    if metric == "score" or number is None:
        return percent(number)
    return f"{number:.3f}"


def between(low: float | None, high: float | None, metric: Metric) -> str:
    """An interval as people read it; a dash where it is not known."""
    return ABSENT if low is None else f"{value(low, metric)} to {value(high, metric)}"
