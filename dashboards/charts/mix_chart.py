"""Draws :mod:`dashboards.charts.mix`: forests of effects, replay lines, the weakest task of each mix."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dashboards.charts.chart import Chart
from dashboards.charts.marks import error_bars, name_rows
from dashboards.charts.mix import ReplayLine, Row
from dashboards.charts.theme import Palette, shade, template, transparent
from dashboards.charts.ticks import quality_axis, share_ticks
from dashboards.charts.wording import percent, quality_gap, unmarked
from tracker.decision.mix_effects import Weakest
from tracker.metrics import Estimate

_SYMBOLS = ("circle", "diamond", "square", "triangle-up", "x")
_DASHES = ("solid", "dash", "dot", "dashdot")


def draw_forest(rows: Sequence[Row], colours: Palette, title: str) -> Chart:
    """One line per row; those whose interval touches 0 are hollow."""
    figure = Chart()
    figure.add_vline(x=0, line={"color": colours.muted, "width": 1.2})
    for at, row in enumerate(rows):
        _draw_row(figure, at, row, colours)
    name_rows(figure, [row.label for row in rows], colours)
    low, high = _range([row.estimate for row in rows])
    scored = all(row.scored for row in rows)
    figure.update_layout(
        template=template(colours),
        xaxis={
            "title": title,
            "tickformat": quality_axis(low, high, scored=scored, signed=True),
            "range": [low, high],
        },
        yaxis={"visible": False, "range": [len(rows) - 0.5, -0.6]},
        margin={"l": 8, "r": 12, "t": 4, "b": 8},
    )
    return figure


def _draw_row(figure: Chart, at: int, row: Row, colours: Palette) -> None:
    estimate = row.estimate
    told = row.verdict != "cannot be told"
    if estimate.low is not None and estimate.high is not None:
        figure.add_scatter(
            x=[estimate.low, estimate.high],
            y=[at, at],
            mode="lines",
            line={"color": colours.accent, "width": 3},
            hoverinfo="skip",
        )
    shown = [
        quality_gap(x, scored=row.scored) for x in (estimate.value, estimate.low, estimate.high)
    ]
    figure.add_scatter(
        x=[estimate.value],
        y=[at],
        mode="markers",
        marker={
            "color": colours.accent if told else colours.surface,
            "size": 11,
            "line": {"color": colours.accent, "width": 2},
        },
        customdata=[[unmarked(row.label), *shown, row.verdict, unmarked(row.detail)]],
        hovertemplate="<b>%{customdata[0]}</b><br>%{customdata[1]}, 80 % interval %{customdata[2]} "
        "to %{customdata[3]}: %{customdata[4]}<br>%{customdata[5]}<extra></extra>",
    )


def draw_replay(lines: Sequence[ReplayLine], colours: Palette) -> Chart:
    """What was forgotten of one suite against examples, a line per share of replay."""
    figure = Chart()
    shares = sorted({line.replay for line in lines})
    for at, line in enumerate(lines):
        strength = 0.45 + 0.55 * (shares.index(line.replay) + 1) / len(shares)
        colour = shade(colours.accent, colours.surface, strength)
        name = f"{line.mix}: {percent(line.replay, 0)} replay"
        values = [value.value for value in line.values]
        figure.add_scatter(
            x=line.volumes,
            y=values,
            mode="lines+markers",
            line={"color": colour, "width": 2, "dash": _DASHES[at % len(_DASHES)]},
            marker={"size": 9, "symbol": _SYMBOLS[at % len(_SYMBOLS)], "color": colour},
            error_y=error_bars(
                values,
                [v.low for v in line.values],
                [v.high for v in line.values],
                transparent(colours.accent, 0.5),
                thickness=1.4,
                width=3,
            ),
            customdata=[[percent(v.value), percent(v.low), percent(v.high)] for v in line.values],
            hovertemplate=f"<b>{unmarked(name)}</b><br>%{{x:,}} examples: %{{customdata[0]}} lost"
            "<br>80 % interval %{customdata[1]} to %{customdata[2]}<extra></extra>",
        )
        figure.add_annotation(
            x=_log10(line.volumes[-1]),
            y=values[-1],
            text=unmarked(f"{percent(line.replay, 0)}"),
            showarrow=False,
            xanchor="left",
            xshift=9,
            font={"size": 12, "color": colours.text},
        )
    ends = _range([value for line in lines for value in line.values], zero=False)
    figure.update_layout(
        template=template(colours),
        xaxis={"title": "Training examples", "type": "log", **_ticks(lines)},
        yaxis={"title": "General ability lost", "tickformat": share_ticks(*ends)},
        margin={"l": 8, "r": 44, "t": 12, "b": 8},
    )
    return figure


def draw_weakest(found: Sequence[Weakest], colours: Palette) -> Chart:
    """A row per mix: all its tasks as small marks, the weakest in full with its interval."""
    figure = Chart()
    for at, each in enumerate(found):
        others = {task: v for task, v in each.values.items() if task != each.task}
        figure.add_scatter(
            x=[value.value for value in others.values()],
            y=[at] * len(others),
            mode="markers",
            marker={
                "size": 9,
                "color": colours.surface,
                "line": {"color": colours.muted, "width": 1.6},
            },
            customdata=[[unmarked(task), percent(v.value)] for task, v in others.items()],
            hovertemplate="%{customdata[0]}: %{customdata[1]}<extra></extra>",
        )
        _draw_weakest(figure, at, each, colours)
    figure.update_layout(
        template=template(colours),
        xaxis={"title": "Score of each task", "tickformat": ".0%", "range": [-0.03, 1.03]},
        yaxis={"visible": False, "range": [len(found) - 0.4, -0.7]},
        margin={"l": 8, "r": 12, "t": 4, "b": 8},
    )
    return figure


def _draw_weakest(figure: Chart, at: int, each: Weakest, colours: Palette) -> None:
    value = each.values[each.task]
    figure.add_scatter(
        x=[value.low, value.high],
        y=[at, at],
        mode="lines",
        line={"color": colours.accent, "width": 3},
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=[value.value],
        y=[at],
        mode="markers",
        marker={"size": 12, "symbol": "diamond", "color": colours.accent},
        customdata=[
            [unmarked(each.task), percent(value.value), percent(value.low), percent(value.high)]
        ],
        hovertemplate="weakest: %{customdata[0]}, %{customdata[1]}<br>80 % interval %{customdata[2]} "
        "to %{customdata[3]}<extra></extra>",
    )
    figure.add_annotation(
        xref="paper",
        x=0,
        y=at - 0.38,
        text=unmarked(f"{each.mix}: weakest is {each.task}, {percent(value.value)}"),
        showarrow=False,
        xanchor="left",
        bgcolor=colours.surface,
        borderpad=1,
        font={"size": 12, "color": colours.muted},
    )


def _ticks(lines: Sequence[ReplayLine]) -> dict[str, object]:
    at = sorted({volume for line in lines for volume in line.volumes})
    return {"tickvals": at, "ticktext": [f"{v:,}" for v in at], "minor": {"ticks": ""}}


def _log10(value: float) -> float:
    """Where plotly places an annotation on a logarithmic axis."""
    return math.log10(value)


def _range(found: Sequence[Estimate], *, zero: bool = True) -> tuple[float, float]:
    """What holds all of *found* with their intervals, and with *zero* 0 as well."""
    ends = [x for e in found for x in (e.value, e.low, e.high) if x is not None]
    ends += [0.0] * (zero or not ends)
    pad = 0.06 * (max(ends) - min(ends) or 0.01)
    return min(ends) - pad, max(ends) + pad
