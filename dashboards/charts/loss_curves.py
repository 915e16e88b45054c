"""Training loss curves: of one trial, of a few over one another, and of the trials that run now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from dashboards.charts.chart import Chart
from dashboards.charts.theme import Palette, method_colour, method_label, template, transparent
from dashboards.charts.wording import escaped
from tracker.store.store import LiveTrial

#: A curve is smoothed over this share of its points.
_WINDOW = 1 / 20
#: Colour is the method; trials of one method differ by their dashes.
_DASHES = ("solid", "dash", "dot", "longdash", "dashdot")


class LossCurve(NamedTuple):
    """Training loss of one trial. ``loss``: nats per token at each step; ``smooth``: the running mean."""

    name: str
    method: str
    steps: tuple[int, ...]
    loss: tuple[float, ...]
    smooth: tuple[float, ...]


def loss_curve(name: str, method: str, points: Sequence[tuple[int, float]]) -> LossCurve | None:
    """The curve of *points* (step, loss); ``None`` where no step was recorded."""
    if not points:
        return None
    steps, loss = zip(*points, strict=True)
    return LossCurve(name, method, tuple(steps), tuple(loss), smoothed(loss))


def smoothed(values: Sequence[float]) -> tuple[float, ...]:
    """The running mean of *values*, over as many before as after; near the ends over fewer.

    One over the past alone would lag behind a falling loss.
    """
    given = np.asarray(values, dtype=float)
    half = int(_WINDOW * len(given) / 2)
    sums = np.concatenate(([0.0], np.cumsum(given)))
    at = np.arange(len(given))
    side = np.minimum(half, np.minimum(at, len(given) - 1 - at))
    means = (sums[at + side + 1] - sums[at - side]) / (2 * side + 1)
    return tuple(means.tolist())


def draw_loss_curves(curves: Sequence[LossCurve], colours: Palette) -> Chart:
    """Running mean of each trial over the loss of each step, which is pale."""
    figure = Chart()
    for place, data in enumerate(curves):
        colour = method_colour(data.method, colours)
        figure.add_scatter(
            x=data.steps,
            y=data.loss,
            mode="lines" if len(data.steps) > 1 else "markers",
            line={"color": transparent(colour, 0.28), "width": 1},
            marker={"color": colour},
            hoverinfo="skip",
            showlegend=False,
        )
        figure.add_scatter(
            x=data.steps,
            y=data.smooth,
            mode="lines",
            name=escaped(data.name),
            line={"color": colour, "width": 2, "dash": _DASHES[place % len(_DASHES)]},
            customdata=data.loss,
            hovertemplate="step %{x:,}: %{y:.4f}, measured %{customdata:.4f}"
            f"<extra>{escaped(data.name)}</extra>",
        )
    figure.update_layout(
        template=template(colours),
        xaxis={"title": "Optimizer step", "rangemode": "tozero"},
        yaxis={"title": "Training loss (nats per token)"},
        showlegend=len(curves) > 1,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )
    return figure


#: Running trials drawn; more are only listed.
MAX_PANELS = 8
PANEL_HEIGHT = 104  # pixels
_FRAME_HEIGHT = 44
_GAP = 0.5  # between two charts, as a share of what one has: ticks of one and the name of the next


class LivePanel(NamedTuple):
    """One trial's training loss in nats per token over optimizer steps."""

    number: int
    title: str
    method: str
    steps: tuple[int, ...]
    losses: tuple[float, ...]


class LiveCurves(NamedTuple):
    """Panels of running trials, by number; ``not_shown``: those without a curve yet, or too many to draw."""

    panels: tuple[LivePanel, ...]
    not_shown: int

    @property
    def height(self) -> int:
        """Height of the whole chart, in pixels."""
        return _FRAME_HEIGHT + PANEL_HEIGHT * len(self.panels)


def live_curves(running: Sequence[LiveTrial]) -> LiveCurves:
    """Curves of the *running* trials that have taken at least two steps; the store thinned them already."""
    shown = [trial for trial in running if len(trial.curve) > 1][:MAX_PANELS]
    panels = tuple(
        LivePanel(
            trial.number,
            f"#{trial.number} {trial.model} · {method_label(trial.method)}",
            trial.method,
            tuple(step for step, _ in trial.curve),
            tuple(loss for _, loss in trial.curve),
        )
        for trial in shown
    )
    return LiveCurves(panels, len(running) - len(panels))


def draw_live_curves(data: LiveCurves, colours: Palette) -> Chart:
    """A row per trial, each with its own range, to show whether the loss still falls."""
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
            text=escaped(panel.title),
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
