"""The learning curves of the trials that run now, one small chart each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboards.figures.theme import Palette, method_colour, method_words, template
from dashboards.figures.wording import unmarked
from tracker.record.store import LiveTrial

#: More trials at once than this are listed, but not drawn.
MAX_PANELS = 8
PANEL_HEIGHT = 92  # pixels
_FRAME_HEIGHT = 44


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


def draw_live_curves(data: LiveCurves, colours: Palette) -> go.Figure:
    """A row per trial, each with its own range: whether it still falls matters, not how high it is."""
    count = len(data.panels)
    if not count:
        return go.Figure(layout={"template": template(colours)})
    figure = make_subplots(
        rows=count,
        cols=1,
        subplot_titles=[unmarked(panel.title) for panel in data.panels],
        vertical_spacing=0.36 / count if count > 1 else 0.0,
    )
    for row, panel in enumerate(data.panels, start=1):
        figure.add_scatter(
            x=panel.steps,
            y=panel.losses,
            mode="lines",
            line={"color": method_colour(panel.method, colours), "width": 1.8},
            hovertemplate="step %{x:,}<br>loss %{y:.3f} nats per token<extra></extra>",
            row=row,
            col=1,
        )
    figure.update_layout(template=template(colours), margin={"l": 8, "r": 12, "t": 24, "b": 8})
    figure.update_xaxes(showgrid=False, nticks=4, tickfont={"size": 11})
    figure.update_yaxes(nticks=3, tickfont={"size": 11})
    figure.update_xaxes(title="Optimizer step", row=count, col=1)
    figure.update_annotations(
        font={"size": 12, "color": colours.muted}, x=0, xanchor="left", yshift=2
    )
    return figure
