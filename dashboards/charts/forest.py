"""The choice against its runners-up: paired gaps in quality with their 80 % intervals."""

from __future__ import annotations

from typing import NamedTuple

from dashboards.charts.chart import Chart
from dashboards.charts.marks import name_rows
from dashboards.charts.theme import Palette, method_colour, method_symbol, template
from dashboards.charts.ticks import quality_axis
from tracker.decision.recommendation import Recommendation
from tracker.numbers import percent, quality_gap

#: More rows than these make the reader scroll past the answer.
MAX_ROWS = 8


class QualityGap(NamedTuple):
    """Quality of the choice minus the runner-up's. Bounds are ``None`` where the error is unknown.

    ``scored``: in shares of a score; otherwise in the unit of a loss.
    """

    label: str
    method: str
    value: float
    low: float | None
    high: float | None
    distinguishable: bool
    p_best: float
    scored: bool = True


def runner_up_gaps(recommendation: Recommendation) -> tuple[QualityGap, ...]:
    """The runners-up, the closest first."""
    found = (
        QualityGap(
            r.candidate.label,
            r.candidate.method.name,
            r.gap.value,
            r.gap.low,
            r.gap.high,
            r.distinguishable or r.surely_better,
            r.p_best,
            bool(r.candidate.scores),
        )
        for r in recommendation.runners_up
    )
    return tuple(sorted(found, key=lambda gap: gap.value))[:MAX_ROWS]


def draw_gaps(data: tuple[QualityGap, ...], colours: Palette) -> Chart:
    """One row per runner-up; those whose interval touches 0 are hollow."""
    figure = Chart()
    figure.add_vline(x=0, line={"color": colours.muted, "width": 1.2})
    for row, gap in enumerate(data):
        colour = method_colour(gap.method, colours)
        if gap.low is not None and gap.high is not None:
            figure.add_scatter(
                x=[gap.low, gap.high],
                y=[row, row],
                mode="lines",
                line={"color": colour, "width": 3},
                hoverinfo="skip",
            )
        verdict = "told apart" if gap.distinguishable else "cannot be told apart"
        figure.add_scatter(
            x=[gap.value],
            y=[row],
            mode="markers",
            marker={
                "color": colour if gap.distinguishable else colours.surface,
                # The base's own mark is a line, which would vanish in its interval.
                "symbol": "hexagon" if gap.method == "none" else method_symbol(gap.method),
                "size": 11,
                "line": {"color": colour, "width": 2},
            },
            customdata=[
                [
                    quality_gap(gap.value, scored=gap.scored),
                    quality_gap(gap.low, scored=gap.scored),
                    quality_gap(gap.high, scored=gap.scored),
                    verdict,
                    percent(gap.p_best, 0),
                ]
            ],
            hovertemplate="the choice is ahead by %{customdata[0]}<br>"
            "80 % interval %{customdata[1]} to %{customdata[2]}: %{customdata[3]}<br>"
            "chance of being the best: %{customdata[4]}<extra></extra>",
        )
    low, high = _range(data)
    figure.update_layout(
        template=template(colours),
        xaxis={
            "title": "Quality of the choice minus the runner-up's",
            "tickformat": quality_axis(low, high, scored=all(gap.scored for gap in data)),
            "range": [low, high],
        },
        yaxis={"visible": False, "range": [len(data) - 0.5, -0.5]},
        margin={"l": 8, "r": 12, "t": 4, "b": 8},
    )
    name_rows(figure, [gap.label for gap in data], colours)
    return figure


def _range(data: tuple[QualityGap, ...]) -> tuple[float, float]:
    ends = [0.0, *(x for gap in data for x in (gap.value, gap.low, gap.high) if x is not None)]
    pad = 0.06 * (max(ends) - min(ends) or 0.01)
    return min(ends) - pad, max(ends) + pad
