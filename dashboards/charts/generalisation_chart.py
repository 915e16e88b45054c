"""Draws :class:`dashboards.charts.generalisation.Generalisation`: paths from the base, and the front."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from dashboards.charts.chart import Chart
from dashboards.charts.generalisation import TRANSFER, Generalisation, Path, Spot, Value
from dashboards.charts.marks import error_bars
from dashboards.charts.theme import (
    Palette,
    method_colour,
    method_symbol,
    method_words,
    shade,
    template,
    transparent,
)
from dashboards.charts.ticks import quality_axis, share_ticks
from dashboards.charts.tradeoff import draw_front
from dashboards.charts.wording import count, percent, plural, quality, unmarked


def draw_generalisation(data: Generalisation, colours: Palette, *, models: Sequence[str]) -> Chart:
    """*models* in one chart, the largest in the strongest colour. Up and to the left is better."""
    figure = Chart()
    together = [model for model in data.sizes if model in models]

    def tint(model: str, method: str) -> str:
        strength = 0.42 + 0.58 * (together.index(model) + 1) / len(together)
        return shade(method_colour(method, colours), colours.surface, strength)

    draw_front(figure, data.front(models), colours)
    faint: dict[tuple[str, str], list[Spot]] = {}
    for spot in data.others:
        if spot.model in models:
            faint.setdefault((spot.model, spot.method), []).append(spot)
    for (model, method), spots in faint.items():
        _draw_others(figure, spots, method, data, tint(model, method))
    for path in data.paths:
        if path.model in models:
            base = data.bases.get(path.model)
            _draw_path(figure, path, base, data, tint(path.model, path.method))
    for model, base in data.bases.items():
        if model in models:
            _draw_base(figure, model, base, colours)
    shown = [s.quality.value for path in data.paths if path.model in models for s in path.spots]
    shown += [base.value for model, base in data.bases.items() if model in models] or [0.0]
    least, most = reach(data, models)
    figure.update_layout(
        template=template(colours),
        xaxis={"title": cost_title(data)}
        | {"tickformat": share_ticks(least, most), "range": [least, most]},
        yaxis={"title": quality_title(data)}
        | {"tickformat": quality_axis(min(shown), max(shown), scored=data.scored)},
    )
    figure.add_vline(x=0, line={"color": colours.line, "width": 1.4})
    return figure


def reach(data: Generalisation, models: Sequence[str]) -> list[float]:
    """The range of losses drawn: all of the paths with their bars; a far setting must not squeeze them."""
    losses = [s.lost for path in data.paths if path.model in models for s in path.spots]
    ends = [0.0, *(v for x in losses for v in (x.value, x.low, x.high) if v is not None)]
    pad = 0.05 * (max(ends) - min(ends) or 0.1)
    return [min(ends) - pad, max(ends) + pad]


def cost_title(data: Generalisation) -> str:
    """What the horizontal axis shows."""
    if data.cost == TRANSFER:
        return "Lost on tasks not trained on<br>(left of 0: gained)"
    return f"General ability lost on {unmarked(data.cost)}<br>(left of 0: gained)"


def quality_title(data: Generalisation) -> str:
    """What the vertical axis shows."""
    of = "all tasks, weighted" if data.task is None else unmarked(data.task)
    return f"Score, {of}" if data.scored else f"Quality (minus the loss), {of}"


def _draw_base(figure: Chart, model: str, base: Value, colours: Palette) -> None:
    figure.add_scatter(
        x=[0],
        y=[base.value],
        mode="markers",
        marker={"symbol": "x-thin", "size": 11}
        | {"line": {"width": 2.4, "color": colours.methods["none"]}},
        error_y=_error(base, colours.methods["none"]),
        hovertemplate=f"<b>Untouched {unmarked(model)}</b><br>quality {_span(base)}<extra></extra>",
    )


def _draw_path(
    figure: Chart, path: Path, base: Value | None, data: Generalisation, colour: str
) -> None:
    spots = path.spots
    places = [(s.lost.value, s.quality.value) for s in spots]
    if base is not None:
        places = [(0.0, base.value), *places]
    _draw_arrows(figure, places, colour)
    figure.add_scatter(
        x=[s.lost.value for s in spots],
        y=[s.quality.value for s in spots],
        error_x=_errors([s.lost for s in spots], transparent(colour, 0.45)),
        error_y=_errors([s.quality for s in spots], transparent(colour, 0.45)),
        mode="markers+text",
        text=[""] * (len(spots) - 1) + [count(spots[-1].volume)],
        textposition="top center",
        textfont={"color": colour, "size": 12},
        marker={
            "color": colour,
            "symbol": method_symbol(path.method),
            "size": [6 + 6 * (i + 1) / len(spots) for i in range(len(spots))],
        },
        customdata=[[_hover(spot, data)] for spot in spots],
        hovertemplate="%{customdata[0]}<extra></extra>",
    )


def _draw_arrows(figure: Chart, places: Sequence[tuple[float, float]], colour: str) -> None:
    """A line with an arrowhead in the middle of each step, so that it says which way data leads."""
    xs, ys, heads = [places[0][0]], [places[0][1]], [0]
    for (x0, y0), (x1, y1) in pairwise(places):
        xs += [(x0 + x1) / 2, x1]
        ys += [(y0 + y1) / 2, y1]
        heads += [9, 0]
    figure.add_scatter(
        x=xs,
        y=ys,
        mode="lines+markers",
        line={"color": colour, "width": 1.8},
        marker={"symbol": "arrow", "angleref": "previous", "size": heads, "color": colour},
        hoverinfo="skip",
    )


def _draw_others(
    figure: Chart, spots: Sequence[Spot], method: str, data: Generalisation, colour: str
) -> None:
    figure.add_scatter(
        x=[s.lost.value for s in spots],
        y=[s.quality.value for s in spots],
        mode="markers",
        opacity=0.3,
        marker={"color": colour, "symbol": method_symbol(method), "size": 6},
        customdata=[[_hover(s, data)] for s in spots],
        hovertemplate="%{customdata[0]}<extra></extra>",
    )


def _errors(values: Sequence[Value], colour: str) -> dict[str, object]:
    middle, low, high = [v.value for v in values], [v.low for v in values], [v.high for v in values]
    return error_bars(middle, low, high, colour, thickness=1)


def _error(value: Value, colour: str) -> dict[str, object]:
    return _errors([value], colour)


def _span(value: Value) -> str:
    if value.low is None:
        return f"{quality(value.value)}, its error unknown"
    return f"{quality(value.value)} (80 %: {quality(value.low)} to {quality(value.high)})"


def _hover(spot: Spot, data: Generalisation) -> str:
    lost = percent(spot.lost.value)
    if spot.lost.low is not None:
        lost += f" (80 %: {percent(spot.lost.low)} to {percent(spot.lost.high)})"
    name = f"{unmarked(method_words(spot.method))} on {unmarked(spot.model)}"
    setting = f"{unmarked(spot.setting)}, {plural(spot.runs, 'run')}"
    what = "other tasks" if data.cost == TRANSFER else unmarked(data.cost)
    return (
        f"<b>{name}, {count(spot.volume)} examples</b><br>{setting}"
        f"<br>quality {_span(spot.quality)}<br>lost on {what} {lost}"
    )
