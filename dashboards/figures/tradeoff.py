"""Quality against what was forgotten, and the Pareto front between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dashboards.figures.chart import Chart
from dashboards.figures.theme import Palette, in_order, method_colour, method_symbol, template
from dashboards.figures.wording import percent, quality, quality_ticks, unmarked
from tracker.select.choice import Candidate
from tracker.select.frontier import pareto_front


class Spot(NamedTuple):
    """One configuration. ``front``: nothing else keeps more *and* scores more."""

    label: str
    method: str
    quality: float
    forgetting: float
    front: bool
    chosen: bool


class Tradeoff(NamedTuple):
    """Configurations with both quantities measured, and the limit set on forgetting."""

    suite: str
    spots: tuple[Spot, ...]
    limit: float | None


def tradeoff(
    candidates: Sequence[Candidate], suite: str, *, chosen: str, limit: float | None = None
) -> Tradeoff:
    """*candidates* whose forgetting of *suite* was measured; *chosen* is the recommended label.

    The front is taken over the two quantities drawn, so that the picture explains itself; the
    recommendation's own front counts cost too.
    """
    known = [c for c in candidates if suite in c.forgetting]
    losses = [(-c.quality.value, c.forgetting[suite].value) for c in known]
    front = pareto_front(np.array(losses).reshape(-1, 2)).member
    spots = [
        Spot(c.label, c.method.name, -negative, lost, bool(on), c.label == chosen)
        for c, (negative, lost), on in zip(known, losses, front, strict=True)
    ]
    return Tradeoff(suite, tuple(sorted(spots, key=lambda s: (s.forgetting, s.quality))), limit)


def draw_tradeoff(data: Tradeoff, colours: Palette) -> Chart:
    """Up and to the left is better; the choice wears a ring."""
    figure = Chart()
    draw_front(figure, [(s.forgetting, s.quality) for s in data.spots if s.front], colours)
    for method in in_order(s.method for s in data.spots):
        for on_front in (False, True):
            own = [
                s for s in data.spots if s.method == method and (s.front or s.chosen) is on_front
            ]
            _draw_spots(figure, own, method, colours, strong=on_front)
    for spot in (s for s in data.spots if s.chosen):
        figure.add_scatter(
            x=[spot.forgetting],
            y=[spot.quality],
            mode="markers+text",
            text=["recommended"],
            textposition="bottom center",
            textfont={"color": colours.text, "size": 12},
            marker={"size": 20, "symbol": "circle-open", "line": {"width": 2.2}}
            | {"color": colours.text},
            hoverinfo="skip",
            cliponaxis=False,
        )
    if data.limit is not None:
        figure.add_vline(
            x=data.limit,
            line={"color": colours.muted, "width": 1.4, "dash": "dot"},
            words={"text": "your limit", "font": {"size": 12, "color": colours.muted}},
        )
    figure.update_layout(
        template=template(colours),
        xaxis={"title": f"General ability lost on {unmarked(data.suite)}", "tickformat": ".0%"},
        yaxis={
            "title": "Quality (weighted)",
            "tickformat": quality_ticks(spot.quality for spot in data.spots),
        },
    )
    return figure


def draw_front(figure: Chart, front: Sequence[tuple[float, float]], colours: Palette) -> None:
    """The Pareto front through *front*, (forgetting, quality) by ascending forgetting."""
    figure.add_scatter(
        x=[forgetting for forgetting, _ in front],
        y=[quality for _, quality in front],
        mode="lines",
        line={"shape": "hv", "color": colours.muted, "width": 1.4},
        hoverinfo="skip",
    )


def _draw_spots(
    figure: Chart, spots: list[Spot], method: str, colours: Palette, *, strong: bool
) -> None:
    if not spots:
        return
    colour = method_colour(method, colours)
    base = method == "none"
    figure.add_scatter(
        x=[s.forgetting for s in spots],
        y=[s.quality for s in spots],
        mode="markers",
        opacity=1.0 if strong else 0.5,
        marker={
            "color": colour,
            "symbol": "x-thin" if base else method_symbol(method),
            "size": 10 if strong else 8,
            "line": {"width": 2 if base else 0.5, "color": colour if base else colours.surface},
        },
        customdata=[[unmarked(s.label), quality(s.quality), percent(s.forgetting)] for s in spots],
        hovertemplate="<b>%{customdata[0]}</b><br>quality %{customdata[1]}<br>"
        "general ability lost %{customdata[2]}<extra></extra>",
    )
