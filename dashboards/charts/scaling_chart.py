"""Draws :class:`dashboards.charts.scaling.Scaling`: points, laws, bands, and the untouched base."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dashboards.charts.chart import Chart
from dashboards.charts.marks import draw_band, draw_line, error_bars
from dashboards.charts.scaling import Base, Curve, Point, Scaling, drawn
from dashboards.charts.theme import (
    Palette,
    method_colour,
    method_symbol,
    method_words,
    shade,
    template,
)
from dashboards.charts.wording import count, percent, unmarked
from tracker.laws.curves import Metric


def draw_scaling(
    data: Scaling, colours: Palette, *, models: Sequence[str], log_x: bool = True
) -> Chart:
    """The curves of *models* in one chart. Several models share it by shade, the largest darkest."""
    figure = Chart()
    together = len(models) > 1
    rank = {model: i for i, model in enumerate(data.models)}

    def colour(model: str, method: str) -> str:
        strength = 0.42 + 0.58 * (rank.get(model, 0) + 1) / max(1, len(rank)) if together else 1.0
        return shade(method_colour(method, colours), colours.surface, strength)

    for base in data.bases:
        if base.model in models:
            _draw_base(figure, base, data, colours)
    for model, method, point in data.strays:
        if model in models:
            _draw_points(
                figure,
                data,
                f"{method_words(method)} · {model}",
                method,
                [point],
                colour(model, method),
                main=False,
            )
    for curve in sorted(data.curves, key=lambda c: c.main):
        if curve.model in models:
            tint = colour(curve.model, curve.method)
            _draw_line(
                figure, curve, tint, band=0.0 if not curve.main else 0.07 if together else 0.14
            )
            name = f"{curve.setting} · {curve.model}"
            _draw_points(figure, data, name, curve.method, curve.points, tint, main=curve.main)
    _lay_out(figure, data, colours, log_x=log_x)
    return figure


def _draw_base(figure: Chart, base: Base, data: Scaling, colours: Palette) -> None:
    figure.add_scatter(
        x=data.x_range,
        y=[base.value] * 2,
        mode="lines",
        line={"color": colours.methods["none"], "width": 1.6, "dash": "dot"},
        hovertemplate=f"Untouched {unmarked(base.model)}: {_value(base.value, data.metric)}<extra></extra>",
    )


def _draw_line(figure: Chart, curve: Curve, colour: str, *, band: float) -> None:
    line = curve.line
    if line is None:
        return
    if band:
        draw_band(figure, line.examples, line.low, line.high, colour, band)
    measured, beyond = slice(0, line.measured), slice(line.measured - 1, None)
    draw_line(
        figure,
        line.examples,
        line.value,
        [(measured, "solid"), (beyond, "dash")],
        colour,
        width=2.2 if curve.main else 1.0,
        opacity=1.0 if curve.main else 0.6,
    )


def _draw_points(
    figure: Chart,
    data: Scaling,
    name: str,
    method: str,
    points: Sequence[Point],
    colour: str,
    *,
    main: bool,
) -> None:
    """Runs under a law are solid with error bars, the others small and hollow.

    Those of a setting that does not stand for its method (not *main*) are small and faint.
    """
    for used in (False, True):
        own = drawn([p for p in points if p.used is used])
        if not own:
            continue
        figure.add_scatter(
            x=[p.examples for p in own],
            y=[p.value for p in own],
            **({"error_y": _bars(own, colour)} if used and main else {}),
            mode="markers",
            opacity=1.0 if used and main else 0.55 if main or not used else 0.3,
            marker={
                "color": colour if used else "rgba(0,0,0,0)",
                "symbol": method_symbol(method),
                "size": 8 if used and main else 6,
                "line": {"color": colour, "width": 1.2},
            },
            customdata=[[_hover(p, data.metric)] for p in own],
            hovertemplate=f"<b>{unmarked(name)}</b><br>%{{customdata[0]}}<extra></extra>",
        )


def _bars(points: Sequence[Point], colour: str) -> dict[str, object]:
    values, low, high = zip(*((p.value, p.low, p.high) for p in points), strict=True)
    return error_bars(values, low, high, colour, thickness=1.2)


def _hover(point: Point, metric: Metric) -> str:
    half = None if point.high is None else point.high - point.value
    margin = f" ± {_value(half, metric)}" if half is not None else ""
    rate = f", learning rate {point.learning_rate:.2g}" if point.learning_rate else ""
    parts = [
        f"{count(point.examples)} examples: {_value(point.value, metric)}{margin}",
        f"trial {point.number}, seed {point.seed}{rate}",
    ]
    if not point.used:
        parts.append("not under a law")
    return "<br>".join(parts)


def _value(value: float | None, metric: Metric) -> str:
    if metric == "score" or value is None:
        return percent(value)
    return f"{value:.3f}"


def _lay_out(figure: Chart, data: Scaling, colours: Palette, *, log_x: bool) -> None:
    low, high = data.x_range
    figure.update_layout(
        template=template(colours),
        xaxis={
            "title": "Training examples, all tasks",
            "type": "log" if log_x else "linear",
            "range": [np.log10(low), np.log10(high)] if log_x else [0, high],
            "tickformat": ",~r" if not log_x else None,
            **(_ticks(data) if log_x else {}),
        },
        yaxis={
            "title": data.title,
            "range": list(data.y_range),
            "tickformat": ".0%" if data.metric == "score" else ".2f",
        },
    )


def _ticks(data: Scaling) -> dict[str, list[float] | list[str]]:
    """Ticks at the volumes measured and at doublings beyond, thinned to what a phone can show."""
    volumes = sorted({float(p.examples) for c in data.curves for p in c.points if p.examples > 0})
    while volumes and volumes[-1] * 2 <= data.x_range[1]:
        volumes.append(volumes[-1] * 2)
    every = max(1, -(-len(volumes) // 7))
    kept = volumes[::every]
    return {"tickvals": kept, "ticktext": [count(volume) for volume in kept]}
