"""Quality against forgetting, and the Pareto front between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from dashboards.charts.axes import quality_ticks, share_ticks
from dashboards.charts.chart import Chart
from dashboards.charts.theme import Palette, method_colour, method_symbol, ordered_methods, template
from dashboards.charts.wording import escaped
from tracker.decision.pareto import pareto_front
from tracker.decision.recommendation import Candidate, Recommendation
from tracker.numbers import percent, quality

#: Keeps words off the ring round the choice; plotly drops plain spaces at an end.
NBSP = "\u00a0"
#: More marks than these hide each other, and a browser takes long over them.
MAX_POINTS = 600


class TradeoffPoint(NamedTuple):
    """Quality and forgetting of one configuration. ``front``: no other forgets less *and* scores more."""

    label: str
    method: str
    quality: float
    forgetting: float
    front: bool
    chosen: bool


class Tradeoff(NamedTuple):
    """Quality against forgetting of all configurations with both measured, and the limit on forgetting.

    ``scored``: quality is a share of a score; else it is minus a loss.
    """

    suite: str
    points: tuple[TradeoffPoint, ...]
    limit: float | None
    scored: bool = True


class PlotWindow(NamedTuple):
    """The range that is drawn to scale: ``least`` to ``most`` forgetting, ``worst`` to ``best`` quality.

    It holds the front, the choice, the untouched base and most of the others. Nothing lies left of it or
    above, as the front ends there.
    """

    least: float
    most: float
    worst: float
    best: float

    def beyond(self, point: TradeoffPoint) -> bool:
        """Whether *point* lies outside."""
        return point.forgetting > self.most or point.quality < self.worst


def suites_first(answer: Recommendation) -> list[str]:
    """Suites measured for the choice, one with a limit first."""
    suites = list(answer.choice.forgetting)
    return sorted(
        suites, key=lambda suite: f"forgetting.{suite}" not in answer.objective.constraints
    )


def tradeoff_of(answer: Recommendation, candidates: Sequence[Candidate], suite: str) -> Tradeoff:
    """Trade-off of the *candidates* of *answer*, with the limit that its objective sets."""
    limit = answer.objective.constraints.get(f"forgetting.{suite}")
    label, scored = answer.choice.label, answer.scored
    return tradeoff(candidates, suite, chosen=label, limit=limit, scored=scored)


def tradeoff(
    candidates: Sequence[Candidate],
    suite: str,
    *,
    chosen: str,
    limit: float | None = None,
    scored: bool = True,
) -> Tradeoff:
    """Trade-off of *candidates* with forgetting of *suite* measured; *chosen*: the recommended label.

    *scored*: their quality is a mean of scores alone.

    The front is taken over the two quantities drawn, so that the picture explains itself; the
    recommendation's marks front counts cost too.
    """
    known = [c for c in candidates if suite in c.forgetting]
    losses = [(-c.quality.value, c.forgetting[suite].value) for c in known]
    front = pareto_front(np.array(losses).reshape(-1, 2)).member
    points = [
        TradeoffPoint(c.label, c.method.name, -negative, lost, bool(on), c.label == chosen)
        for c, (negative, lost), on in zip(known, losses, front, strict=True)
    ]
    scored = scored and all(bool(c.scores) for c in known)
    return Tradeoff(
        suite, tuple(sorted(points, key=lambda s: (s.forgetting, s.quality))), limit, scored
    )


def thinned(data: Tradeoff, most: int = MAX_POINTS) -> Tradeoff:
    """Thin *data* to about *most* points: the front, the choice, and evenly of the others."""
    step = -(-len(data.points) // most)
    kept = [
        point for i, point in enumerate(data.points) if point.front or point.chosen or i % step == 0
    ]
    return data._replace(points=tuple(kept))


def plot_window(data: Tradeoff) -> PlotWindow:
    """The range of *data* drawn to scale; a few outliers must not squeeze the others."""
    if not data.points:
        return PlotWindow(0.0, 1.0, 0.0, 1.0)
    kept = [s for s in data.points if s.front or s.chosen or s.method == "none"]
    lost = [s.forgetting for s in data.points]
    gained = [s.quality for s in data.points]
    most = max(_fence(lost), *(s.forgetting for s in kept))
    if data.limit is not None and data.limit < 2 * most:
        most = max(most, data.limit)  # one far off is left out instead: nothing comes near it
    # A score cannot run away: it is never below 0.
    worst = min(gained)
    if not data.scored:
        worst = min(-_fence([-q for q in gained]), *(s.quality for s in kept))
    return PlotWindow(min(lost), most, worst, max(gained))


def _fence(values: Sequence[float]) -> float:
    """The largest of *values* that is no outlier: 1.5 times the quartiles' distance above the upper one.

    Tukey, Exploratory Data Analysis (1977), section 2D.
    """
    lower, upper = np.quantile(values, [0.25, 0.75])
    return max(v for v in values if v <= upper + 1.5 * (upper - lower))


def draw_tradeoff(data: Tradeoff, colours: Palette) -> Chart:
    """Up and to the left is better; the choice has a ring, and points outside the range lie at its edge."""
    figure = Chart()
    window = plot_window(data)
    within = [s for s in data.points if not window.beyond(s)]
    draw_front(figure, [(s.forgetting, s.quality) for s in data.points if s.front], colours)
    for method in ordered_methods(s.method for s in data.points):
        for on_front in (False, True):
            marks = [s for s in within if s.method == method and (s.front or s.chosen) is on_front]
            _draw_spots(figure, marks, method, colours, strong=on_front)
    _draw_beyond(figure, data, window, colours)
    for point in (s for s in data.points if s.chosen):
        _draw_choice(figure, point, window, colours)
    if data.limit is not None and data.limit <= window.most:
        figure.add_vline(
            x=data.limit,
            line={"color": colours.muted, "width": 1.4, "dash": "dot"},
            words={"text": "your limit", "font": {"size": 12, "color": colours.muted}},
        )
    _note_beyond(figure, data, window, colours)
    across, up = window.most - window.least or 0.1, window.best - window.worst or 0.1
    figure.update_layout(
        template=template(colours),
        xaxis={
            "title": f"General ability lost on {escaped(data.suite)}",
            "tickformat": share_ticks(window.least, window.most),
            # Room on the right for the words at the limit.
            "range": [window.least - 0.06 * across, window.most + 0.16 * across],
        },
        yaxis={
            "title": "Quality (weighted)",
            "tickformat": quality_ticks(window.worst, window.best, scored=data.scored),
            "range": [window.worst - 0.1 * up, window.best + 0.1 * up],
        },
    )
    return figure


def _draw_choice(figure: Chart, point: TradeoffPoint, window: PlotWindow, colours: Palette) -> None:
    left = point.forgetting < (window.least + window.most) / 2
    figure.add_scatter(
        x=[point.forgetting],
        y=[point.quality],
        mode="markers+text",
        text=[f"{NBSP * 2}recommended" if left else f"recommended{NBSP * 2}"],
        textposition="middle right" if left else "middle left",
        textfont={"color": colours.text, "size": 12},
        marker={"size": 20, "symbol": "circle-open", "line": {"width": 2.2}}
        | {"color": colours.text},
        hoverinfo="skip",
        cliponaxis=False,
    )


def _draw_beyond(figure: Chart, data: Tradeoff, window: PlotWindow, colours: Palette) -> None:
    """An arrowhead at the edge for each point outside; its hover text has the true values."""
    across, up = window.most - window.least or 0.1, window.best - window.worst or 0.1
    right, bottom = window.most + 0.14 * across, window.worst - 0.08 * up
    outside = [s for s in data.points if window.beyond(s)]
    for method in ordered_methods(s.method for s in outside):
        marks = [s for s in outside if s.method == method]
        colour = method_colour(method, colours)
        figure.add_scatter(
            x=[right if s.forgetting > window.most else s.forgetting for s in marks],
            y=[bottom if s.quality < window.worst else s.quality for s in marks],
            mode="markers",
            opacity=0.6,
            marker={
                "color": colour,
                "symbol": [
                    "triangle-right" if s.forgetting > window.most else "triangle-down"
                    for s in marks
                ],
                "size": 9,
            },
            **_hover(marks),
        )


def _note_beyond(figure: Chart, data: Tradeoff, window: PlotWindow, colours: Palette) -> None:
    """Note on the points outside, in the lower right corner, which is the worst and so the emptiest."""
    if notes := beyond_words(data, window):
        figure.add_annotation(
            xref="paper",
            yref="paper",
            x=1,
            y=0,
            text="<br>".join(notes),
            align="right",
            showarrow=False,
            xanchor="right",
            yanchor="bottom",
            bgcolor=colours.surface,
            borderpad=2,
            font={"size": 12, "color": colours.muted},
        )


def beyond_words(data: Tradeoff, window: PlotWindow) -> list[str]:
    """Lines on how many points lie outside *window*, how far, and whether the limit does."""
    outside = [s for s in data.points if window.beyond(s)]
    lost = [s.forgetting for s in outside if s.forgetting > window.most]
    below = [s.quality for s in outside if s.forgetting <= window.most]
    words = []
    if lost:
        lie = "lies" if len(lost) == 1 else "lie"
        to = "at" if len(lost) == 1 else "up to"
        words.append(f"{len(lost)} {lie} beyond ▸, {to} {percent(max(lost), 0)}")
    if below:
        lie = "lies" if len(below) == 1 else "lie"
        to = "at" if len(below) == 1 else "down to"
        words.append(f"{len(below)} {lie} below ▾, {to} {quality(min(below), scored=data.scored)}")
    if data.limit is not None and data.limit > window.most:
        words.append(f"your limit, {percent(data.limit, 0)}, lies beyond")
    return words


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
    figure: Chart, points: list[TradeoffPoint], method: str, colours: Palette, *, strong: bool
) -> None:
    if not points:
        return
    colour = method_colour(method, colours)
    base = method == "none"
    figure.add_scatter(
        x=[s.forgetting for s in points],
        y=[s.quality for s in points],
        mode="markers",
        opacity=1.0 if strong else 0.5,
        marker={
            "color": colour,
            "symbol": "x-thin" if base else method_symbol(method),
            "size": 10 if strong else 8,
            "line": {"width": 2 if base else 0.5, "color": colour if base else colours.surface},
        },
        **_hover(points),
    )


def _hover(points: Sequence[TradeoffPoint]) -> dict[str, Any]:
    return {
        "customdata": [
            [escaped(s.label), quality(s.quality), percent(s.forgetting)] for s in points
        ],
        "hovertemplate": "<b>%{customdata[0]}</b><br>quality %{customdata[1]}<br>"
        "general ability lost %{customdata[2]}<extra></extra>",
    }
