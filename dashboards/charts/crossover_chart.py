"""Draws :class:`dashboards.charts.crossover.Critical`: one strip a model, coloured by who is ahead."""

from __future__ import annotations

import numpy as np

from dashboards.charts.chart import Chart
from dashboards.charts.crossover import Critical, Strip, in_words
from dashboards.charts.theme import Palette, method_colour, method_words, shade, template
from dashboards.charts.wording import about, compact, count, percent, unmarked

#: Pixels of a strip, and of the axis below them all.
ROW, AXIS = 64, 62
_PALE = 0.06  # of a method's colour, where neither is ahead
_BEYOND = 0.4  # opacity ahead of anything measured


def height(data: Critical) -> int:
    """Pixels that the chart of *data* needs."""
    return AXIS + ROW * len(data.strips)


def draw_critical(data: Critical, colours: Palette, *, log_x: bool = True) -> Chart:
    """Strong colour: that method is surely better; pale: cannot be told. Larger models lie higher."""
    figure = Chart()
    for row, strip in enumerate(data.strips):
        for beyond in (False, True):
            _draw_strip(figure, row, strip, data, colours, beyond=beyond)
        _draw_turns(figure, row, strip, data, colours)
    ends = [strip.end for strip in data.strips]
    for end in sorted(set(ends)):
        rows = [i for i, strip in enumerate(data.strips) if strip.end == end]
        figure.add_scatter(
            x=[end] * 2,
            y=[min(rows) - 0.45, max(rows) + 0.45],
            mode="lines",
            line={"color": colours.muted, "width": 1.2, "dash": "dot"},
            hoverinfo="skip",
        )
    _lay_out(figure, data, colours, log_x=log_x)
    return figure


def _scale(data: Critical, colours: Palette) -> list[tuple[float, str]]:
    """From the second method's colour (surely better) over pale to the first's."""

    def side(method: str, strength: float) -> str:
        return shade(method_colour(method, colours), colours.surface, strength)

    return [
        (0.0, side(data.second, 1.0)),
        (0.1, side(data.second, 0.62)),
        (0.5, side(data.second, _PALE)),
        (0.5, side(data.first, _PALE)),
        (0.9, side(data.first, 0.62)),
        (1.0, side(data.first, 1.0)),
    ]


def _draw_strip(
    figure: Chart, row: int, strip: Strip, data: Critical, colours: Palette, *, beyond: bool
) -> None:
    last = strip.measured - 1
    part = slice(last, None) if beyond else slice(0, strip.measured)
    sizes, sure = np.array(strip.sizes[part]), np.array(strip.probability[part])
    if len(sizes) < 2:
        return
    middle = (sure[1:] + sure[:-1]) / 2
    leads = [
        f"{method_words(data.first if p > 0.5 else data.second)} better: {percent(max(p, 1 - p), 0)}"
        for p in middle
    ]
    ahead = ", ahead of anything measured" if beyond else ""
    figure.add_heatmap(
        x=sizes,
        y=[row - 0.3, row + 0.3],
        z=[middle],
        zmin=0,
        zmax=1,
        colorscale=_scale(data, colours),
        showscale=False,
        opacity=_BEYOND if beyond else 1.0,
        customdata=[[f"about {about(size)} examples{ahead}<br>{words}" for size, words in
                     zip(np.sqrt(sizes[1:] * sizes[:-1]), leads, strict=True)]],
        hovertemplate=f"<b>{unmarked(strip.model)}</b><br>%{{customdata}}<extra></extra>",
    )  # fmt: skip


def _draw_turns(figure: Chart, row: int, strip: Strip, data: Critical, colours: Palette) -> None:
    """The band as a bar with a mark at one half; a bar that does not end there has no cap."""
    for turn in strip.turns:
        low = strip.sizes[0] if turn.low is None else turn.low
        high = strip.sizes[-1] if turn.high is None else turn.high
        figure.add_scatter(
            x=[low, high],
            y=[row, row],
            mode="lines+markers",
            line={"color": colours.text, "width": 2},
            marker={
                "symbol": "line-ns",
                "size": [14 if end is not None else 0 for end in (turn.low, turn.high)],
                "line": {"width": 2, "color": colours.text},
            },
            hoverinfo="skip",
        )
        figure.add_scatter(
            x=[turn.at],
            y=[row],
            mode="markers+text",
            text=[about(turn.at)],
            textposition="top center",
            textfont={"color": colours.text, "size": 12},
            marker={"symbol": "circle", "size": 11, "color": colours.surface}
            | {"line": {"width": 2.2, "color": colours.text}},
            customdata=[in_words(strip, data)],
            hovertemplate=f"<b>{unmarked(strip.model)}</b><br>%{{customdata}}<extra></extra>",
        )


def _lay_out(figure: Chart, data: Critical, colours: Palette, *, log_x: bool) -> None:
    low = min(strip.sizes[0] for strip in data.strips)
    high = max(strip.sizes[-1] for strip in data.strips)
    ticks = [low]
    while ticks[-1] * 2 <= high * 1.001:
        ticks.append(ticks[-1] * 2)
    ticks = ticks[:: max(1, -(-len(ticks) // 7))]
    figure.update_layout(
        template=template(colours),
        xaxis={
            "title": "Training examples, all tasks",
            "type": "log" if log_x else "linear",
            # Past the end, or the last label would not fit in and be left out.
            "range": [np.log10(low), np.log10(high) + 0.03 * np.log10(high / low)]
            if log_x
            else [0, 1.03 * high],
            "showgrid": False,
            **({"tickvals": ticks, "ticktext": [count(t) for t in ticks]} if log_x else {}),
        },
        yaxis={
            "tickvals": list(range(len(data.strips))),
            "ticktext": [_label(strip) for strip in data.strips],
            "range": [-0.6, len(data.strips) - 0.35],
            "showgrid": False,
            "ticks": "",
        },
    )


def _label(strip: Strip) -> str:
    size = "" if strip.parameters is None else f"<br>{compact(strip.parameters)}"
    return f"{unmarked(strip.model)}{size}"
