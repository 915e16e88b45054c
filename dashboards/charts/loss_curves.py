"""Learning curves: the training loss of one trial, or of a few over one another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dashboards.charts.chart import Chart
from dashboards.charts.theme import Palette, method_colour, template, transparent
from dashboards.charts.wording import unmarked

#: A curve is smoothed over this share of its points.
_WINDOW = 1 / 20
#: Colour is the method; trials of one method differ by their dashes.
_DASHES = ("solid", "dash", "dot", "longdash", "dashdot")


class LossCurve(NamedTuple):
    """One trial. ``loss`` in nats per token at each optimizer step; ``smooth``: its running mean."""

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
    reach = np.minimum(half, np.minimum(at, len(given) - 1 - at))
    means = (sums[at + reach + 1] - sums[at - reach]) / (2 * reach + 1)
    return tuple(means.tolist())


def draw_loss_curves(curves: Sequence[LossCurve], colours: Palette) -> Chart:
    """Each trial's running mean, and behind it faintly what was measured at each step."""
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
            name=unmarked(data.name),
            line={"color": colour, "width": 2, "dash": _DASHES[place % len(_DASHES)]},
            customdata=data.loss,
            hovertemplate="step %{x:,}: %{y:.4f}, measured %{customdata:.4f}"
            f"<extra>{unmarked(data.name)}</extra>",
        )
    figure.update_layout(
        template=template(colours),
        xaxis={"title": "Optimizer step", "rangemode": "tozero"},
        yaxis={"title": "Training loss (nats per token)"},
        showlegend=len(curves) > 1,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )
    return figure
