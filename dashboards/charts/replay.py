"""Regret against cost, by strategy: what a replayed table showed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from dashboards.charts.chart import Chart
from dashboards.charts.theme import Palette, template, transparent
from dashboards.charts.wording import escaped

_TARGET = 1.0  # regret that is hardly worth a second look, percent or points
_HUES = {
    "law": "#0072b2",
    "halving": "#c9520c",
    "ats": "#00805e",
    "tpe": "#a1478c",
    "random": "#7a6a00",
    "grid": "#59616b",
}
_DASHES = {"law": "solid", "halving": "dash", "ats": "dot", "tpe": "dashdot", "random": "longdash"}


class RegretCurve(NamedTuple):
    """Regret of one strategy under its largest budget, over seeds. ``shares``: of the full cost."""

    strategy: str
    shares: tuple[float, ...]
    median: tuple[float, ...]
    worst: tuple[float, ...]


class RegretCurves(NamedTuple):
    """Regret of all strategies. ``ends``: (share of the cost, median regret) at the end of each budget."""

    table: str
    unit: str
    seeds: int
    curves: tuple[RegretCurve, ...]
    ends: dict[str, tuple[tuple[float, float], ...]]


def regret_curves(report: Mapping[str, Any]) -> RegretCurves:
    """The curves in *report*, the content of a ``replay.json``."""
    largest: dict[str, Mapping[str, Any]] = {}
    ends: dict[str, list[tuple[float, float]]] = {}
    for summary in report["summaries"]:
        name = summary["strategy"]
        ends.setdefault(name, []).append((summary["cost"], summary["median"]))
        if name not in largest or summary["budget"] > largest[name]["budget"]:
            largest[name] = summary
    curves = tuple(
        RegretCurve(
            name,
            tuple(band["share"] for band in summary["curve"]),
            tuple(band["median"] for band in summary["curve"]),
            tuple(band["worst"] for band in summary["curve"]),
        )
        for name, summary in largest.items()
    )
    found = {name: tuple(sorted(points)) for name, points in ends.items()}
    return RegretCurves(report["table"], report["unit"], report["seeds"], curves, found)


def draw_regret_curves(data: RegretCurves, colours: Palette) -> Chart:
    """A step line per strategy for the median, a shaded band up to the worst, a mark per budget."""
    figure = Chart()
    for curve in data.curves:
        _draw(figure, curve, data, colours)
    figure.add_hline(y=_TARGET, line={"color": colours.muted, "width": 1, "dash": "dot"})
    figure.update_layout(
        template=template(colours),
        title={"text": f"{escaped(data.table)}: regret against cost, {data.seeds} seeds"},
        showlegend=True,
        xaxis={
            "title": "Spent (share of the full cost)",
            "type": "log",
            "dtick": "D2",
            "tickformat": "~%",
        },
        yaxis={"title": f"Regret ({data.unit}): median, shaded to the worst"},
        margin={"t": 60},
        height=520,
    )
    return figure


def _draw(figure: Chart, curve: RegretCurve, data: RegretCurves, colours: Palette) -> None:
    hue = _HUES.get(curve.strategy, colours.accent)
    figure.add_scatter(
        x=[*curve.shares, *reversed(curve.shares)],
        y=[*curve.worst, *reversed(curve.median)],
        fill="toself",
        fillcolor=transparent(hue, 0.08),
        line={"width": 0},
        hoverinfo="skip",
        legendgroup=curve.strategy,
        showlegend=False,
    )
    figure.add_scatter(
        x=curve.shares,
        y=curve.median,
        customdata=curve.worst,
        mode="lines",
        line={
            "color": hue,
            "width": 2,
            "shape": "hv",
            "dash": _DASHES.get(curve.strategy, "solid"),
        },
        name=curve.strategy,
        legendgroup=curve.strategy,
        hovertemplate=f"<b>{curve.strategy}</b><br>%{{x:.2%}} of the full cost<br>median %{{y:.2f}}"
        f" {data.unit}, worst %{{customdata:.2f}}<extra></extra>",
    )
    ends = data.ends.get(curve.strategy, ())
    figure.add_scatter(
        x=[share for share, _ in ends],
        y=[regret for _, regret in ends],
        mode="markers",
        marker={"color": hue, "size": 8, "line": {"width": 1, "color": colours.surface}},
        legendgroup=curve.strategy,
        showlegend=False,
        hovertemplate=f"<b>{curve.strategy}</b>, end of a budget<br>%{{x:.2%}} spent<br>"
        f"median %{{y:.2f}} {data.unit}<extra></extra>",
    )
