"""Risk-coverage curve: answers right against answers given, the likeliest of them first."""

from __future__ import annotations

from typing import NamedTuple

from dashboards.charts.axes import share_ticks
from dashboards.charts.chart import Chart
from dashboards.charts.marks import LawLine, draw_law, ends
from dashboards.charts.theme import Palette, template
from tracker.abstention import PRECISIONS, Point, Threshold, curve, threshold
from tracker.numbers import interval, likelihood, percent
from tracker.task import Confidence


class RiskCoverage(NamedTuple):
    """Curve of one task: ``points``, the fewest answers first; ``thresholds``: for each wanted precision."""

    task: str
    points: tuple[Point, ...]
    thresholds: tuple[Threshold, ...]

    @property
    def overall(self) -> Point:
        """Every answer that claims something."""
        return self.points[-1]


def risk_coverage(task: str, confidence: Confidence) -> RiskCoverage:
    """The curve of *task*, with its thresholds for the usual precisions."""
    found = tuple(threshold(task, confidence, precision) for precision in PRECISIONS)
    return RiskCoverage(task, curve(confidence), found)


def draw_risk_coverage(data: RiskCoverage, colours: Palette) -> Chart:
    """The curve over its 80 % interval; rings where a threshold is surely of its precision."""
    figure = Chart()
    x = tuple(point.coverage for point in data.points)
    shares = [point.precision for point in data.points]
    low = tuple(s.value if s.low is None else s.low for s in shares)
    high = tuple(s.value if s.high is None else s.high for s in shares)
    line = LawLine(x, tuple(s.value for s in shares), low, high, 0, len(x) - 1)
    draw_law(figure, line, colours.accent, band=0.16)
    figure.add_scatter(
        x=x,
        y=line.value,
        mode="markers",
        marker={"color": colours.accent, "size": 5},
        customdata=[[_hover(point)] for point in data.points],
        hovertemplate="%{customdata[0]}<extra></extra>",
    )
    kept = [each for each in data.thresholds if each.coverage is not None and each.found]
    if kept:
        figure.add_scatter(
            x=[each.coverage for each in kept],
            y=[each.found.value for each in kept if each.found],
            mode="markers",
            marker={
                "symbol": "circle-open",
                "size": 15,
                "color": colours.text,
                "line": {"width": 2},
            },
            hoverinfo="skip",
        )
    bounds = ends(shares)
    figure.update_layout(
        template=template(colours),
        xaxis={"title": "Answers given", "tickformat": ".0%", "range": [0, 1.03]},
        yaxis={"title": "Of these right", "tickformat": share_ticks(min(bounds), max(bounds))},
        showlegend=False,
    )
    return figure


def _hover(point: Point) -> str:
    found = point.precision
    spread = ""
    if found.low is not None and found.high is not None:
        spread = f", {interval(found.low, found.high)}"
    return (
        f"likelihood of {likelihood(point.nats)} or more<br>{percent(point.coverage, 0)} of answers given"
        f"<br>{percent(found.value)} of them right{spread}"
    )
