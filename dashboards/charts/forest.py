"""Forest plots: rows of a difference with its 80 % interval, such as the choice minus each runner-up."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from dashboards.charts.axes import difference_axis, padded
from dashboards.charts.chart import Chart
from dashboards.charts.marks import draw_interval, ends, name_rows
from dashboards.charts.theme import Palette, method_colour, method_symbol, template
from dashboards.charts.wording import escaped, estimate
from tracker.decision.recommendation import Recommendation
from tracker.numbers import probability, quality_gap

#: Runners-up drawn: more rows make the reader scroll past the answer.
MAX_ROWS = 8


class ForestRow(NamedTuple):
    """A difference with its 80 % interval. ``verdict``: on its sign; ``detail``: for the hover text.

    ``clear``: the interval leaves out 0; a row that is not clear is hollow. ``scored``: a difference of
    scores, else of losses. ``colour``: the accent where it is ``None``.
    """

    label: str
    value: float
    low: float | None
    high: float | None
    verdict: str
    clear: bool
    scored: bool
    detail: str
    colour: str | None = None
    symbol: str = "circle"

    @property
    def words(self) -> str:
        """The difference with its interval."""
        return estimate(self, partial(quality_gap, scored=self.scored))


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
    """Gaps of the runners-up, the closest first."""
    runners_up = (
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
    return tuple(sorted(runners_up, key=lambda gap: gap.value))[:MAX_ROWS]


def draw_gaps(data: Sequence[QualityGap], colours: Palette) -> Chart:
    """One row per runner-up; those statistically tied with the choice are hollow."""
    rows = [
        ForestRow(
            gap.label,
            gap.value,
            gap.low,
            gap.high,
            "distinguishable" if gap.distinguishable else "statistically tied",
            gap.distinguishable,
            gap.scored,
            f"probability of being the best: {probability(gap.p_best)}",
            method_colour(gap.method, colours),
            # The base's own mark is a line, which would vanish in its interval.
            "hexagon" if gap.method == "none" else method_symbol(gap.method),
        )
        for gap in data
    ]
    return draw_forest(rows, "Quality of the choice minus the runner-up's", colours)


def draw_forest(rows: Sequence[ForestRow], title: str, colours: Palette) -> Chart:
    """One line per row with its name above it; those whose interval holds 0 are hollow."""
    figure = Chart()
    figure.add_vline(x=0, line={"color": colours.muted, "width": 1.2})
    for at, row in enumerate(rows):
        colour = row.colour or colours.accent
        draw_interval(figure, at, row, colour)
        figure.add_scatter(
            x=[row.value],
            y=[at],
            mode="markers",
            marker={
                "color": colour if row.clear else colours.surface,
                "symbol": row.symbol,
                "size": 11,
                "line": {"color": colour, "width": 2},
            },
            customdata=[[escaped(row.label), f"{row.words}: {row.verdict}", row.detail]],
            hovertemplate="<b>%{customdata[0]}</b><br>%{customdata[1]}<br>%{customdata[2]}"
            "<extra></extra>",
        )
    low, high = padded([0.0, *ends(rows)], 0.06, 0.01)
    scored = all(row.scored for row in rows)
    figure.update_layout(
        template=template(colours),
        xaxis={**difference_axis(title, (low, high), scored=scored), "range": [low, high]},
        yaxis={"visible": False, "range": [len(rows) - 0.5, -0.6]},
        margin={"l": 8, "r": 12, "t": 4, "b": 8},
    )
    name_rows(figure, [row.label for row in rows], colours)
    return figure
