"""The learning curves of the trials that run now, one small chart each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from dashboards.charts.chart import Chart
from dashboards.charts.theme import Palette, method_colour, method_words, template
from dashboards.charts.wording import unmarked
from tracker.store.store import LiveTrial

#: More trials at once than this are listed, but not drawn.
MAX_PANELS = 8
PANEL_HEIGHT = 104  # pixels
_FRAME_HEIGHT = 44
_GAP = 0.5  # between two charts, as a share of what one has: ticks of one and the name of the next


class Panel(NamedTuple):
    """One trial's training loss in nats per token over optimizer steps."""

    number: int
    title: str
    method: str
    steps: tuple[int, ...]
    losses: tuple[float, ...]


class LiveCurves(NamedTuple):
    """``panels`` by trial number; ``undrawn``: running trials without a curve yet, or too many."""

    panels: tuple[Panel, ...]
    undrawn: int

    @property
    def height(self) -> int:
        """Of the whole chart, in pixels."""
        return _FRAME_HEIGHT + PANEL_HEIGHT * len(self.panels)


def live_curves(running: Sequence[LiveTrial]) -> LiveCurves:
    """The curves of those that have taken at least two steps; the store thinned them already."""
    drawn = [trial for trial in running if len(trial.curve) > 1][:MAX_PANELS]
    panels = tuple(
        Panel(
            trial.number,
            f"#{trial.number} {trial.model} · {method_words(trial.method)}",
            trial.method,
            tuple(step for step, _ in trial.curve),
            tuple(loss for _, loss in trial.curve),
        )
        for trial in drawn
    )
    return LiveCurves(panels, len(running) - len(panels))


def draw_live_curves(data: LiveCurves, colours: Palette) -> Chart:
    """A row per trial, each with its own range: whether it still falls matters, not how high it is."""
    figure, count = Chart(), len(data.panels)
    axes: dict[str, Any] = {}
    for row, panel in enumerate(data.panels, start=1):
        number = "" if row == 1 else str(row)
        figure.add_scatter(
            x=panel.steps,
            y=panel.losses,
            xaxis=f"x{number}",
            yaxis=f"y{number}",
            mode="lines",
            line={"color": method_colour(panel.method, colours), "width": 1.8},
            hovertemplate="step %{x:,}<br>loss %{y:.3f} nats per token<extra></extra>",
        )
        figure.add_annotation(
            text=unmarked(panel.title),
            x=0,
            xref="paper",
            y=1,
            yref=f"y{number} domain",
            xanchor="left",
            yanchor="bottom",
            yshift=2,
            showarrow=False,
            font={"size": 12, "color": colours.muted},
        )
        small = {"tickfont": {"size": 11}}
        axes[f"xaxis{number}"] = {"showgrid": False, "nticks": 4, "anchor": f"y{number}", **small}
        axes[f"yaxis{number}"] = {"nticks": 3, "domain": _share(row, count), **small}
        if row == count:
            axes[f"xaxis{number}"]["title"] = "Optimizer step"
    margin = {"l": 8, "r": 12, "t": 24, "b": 8}
    figure.update_layout(template=template(colours), margin=margin, **axes)
    return figure


def _share(row: int, count: int) -> list[float]:
    """Bottom and top of *row*, the first being uppermost, as shares of the height."""
    gap = _GAP / count if count > 1 else 0.0
    height = (1 - gap * (count - 1)) / count
    top = 1 - (row - 1) * (height + gap)
    return [max(0.0, top - height), top]
