"""Critical data sizes: the probability that one method beats another, at every training-set size.

Zhang et al. (ICLR 2024, arXiv 2402.17193) call the size where fine-tuning methods change places the
critical data size. Here it is read off P(first better than second) against examples
(:func:`tracker.laws.crossover.p_ahead`): the size where that passes one half, and the 80 % interval between
the sizes where the one and where the other is better with 90 %. If every draw of the laws crosses once,
that is the 80 % interval of the crossing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from dashboards.charts.axes import examples_axis
from dashboards.charts.chart import Chart
from dashboards.charts.scaling import AHEAD, ScalingState
from dashboards.charts.theme import (
    Palette,
    method_colour,
    method_in_sentence,
    method_label,
    shade,
    template,
)
from dashboards.charts.wording import about, compact, escaped
from tracker.laws.crossover import p_ahead
from tracker.laws.curves import CurveFits, Metric
from tracker.laws.fitted_law import FittedLaw
from tracker.laws.pooling import Array
from tracker.numbers import probability

#: A method this likely ahead is surely better: an 80 % interval has a tenth on either side.
SURE = 0.9
#: A method less likely ahead does not lead: a probability that wavers about one half is no crossing.
LEADS = 0.7
_STEPS = 40


class Crossing(NamedTuple):
    """Size, in examples, where the lead passes from one method to the other, with its 80 % interval.

    ``low``: where the one before is still surely better; ``high``: where the one after first is; ``None``
    where no size shown reaches that.
    """

    at: float
    low: float | None
    high: float | None


class ModelComparison(NamedTuple):
    """Two methods on one model. ``p_first``: probability that the first is better at each of ``sizes``.

    ``sizes`` ascend; the first ``measured`` lie within what both methods were measured at. ``doubtful``: the
    laws of one of them all missed their largest volume by far when fitted without it; nothing is predicted
    then.
    """

    model: str
    parameters: int | None
    sizes: tuple[float, ...]
    p_first: tuple[float, ...]
    measured: int
    crossings: tuple[Crossing, ...]
    doubtful: bool = False

    @property
    def end(self) -> float:
        """The largest size at which both methods were measured."""
        return self.sizes[self.measured - 1]


class MethodComparison(NamedTuple):
    """Two methods on one task, model by model; ``without_laws``: models that lack a law of either."""

    task: str
    first: str
    second: str
    models: tuple[ModelComparison, ...]
    without_laws: tuple[str, ...]


def compare_methods(
    fits: CurveFits, state: ScalingState, models: Mapping[str, int | None]
) -> MethodComparison:
    """Compare the pair of methods of *state* on each of *models* (name → parameters), by its laws.

    A method run with several settings is taken at that which is expected to be best at each size.
    """
    first, second = state.pair.split("~")
    compared, without_laws = [], []
    for model, parameters in models.items():
        one, other = (_laws(fits, model, state.mix, method) for method in (first, second))
        comparison = (
            _compare(model, parameters, one, other, state.metric) if one and other else None
        )
        if comparison is None:
            without_laws.append(model)
        else:
            compared.append(comparison)
    return MethodComparison(state.task, first, second, tuple(compared), tuple(without_laws))


def _laws(fits: CurveFits, model: str, mix: str, method: str) -> list[FittedLaw]:
    return [
        law
        for key, law in fits.laws.items()
        if (key.model, key.mix, key.method.name) == (model, mix, method)
    ]


def _compare(
    model: str,
    parameters: int | None,
    first: list[FittedLaw],
    second: list[FittedLaw],
    metric: Metric,
) -> ModelComparison | None:
    """The comparison on one model, ``None`` where the two were measured at no common range of sizes."""
    start = max(min(law.domain[0] for law in laws) for laws in (first, second))
    end = min(max(law.domain[1] for law in laws) for laws in (first, second))
    if start > end:
        return None
    inside = np.geomspace(start, end, _STEPS) if start < end else np.array([start])
    doubtful = any(all(law.fails_held_out for law in laws) for laws in (first, second))
    beyond = np.geomspace(end, AHEAD * end, _STEPS // 2)[1:]
    sizes = inside if doubtful else np.concatenate([inside, beyond])
    p_first = p_ahead(first, second, sizes, 1.0 if metric == "score" else np.inf)
    return ModelComparison(
        model=model,
        parameters=parameters,
        sizes=tuple(sizes.tolist()),
        p_first=tuple(p_first.tolist()),
        measured=len(inside),
        crossings=crossings(sizes, p_first),
        doubtful=doubtful,
    )


def crossings(sizes: Array, p_first: Array) -> tuple[Crossing, ...]:
    """Crossings along ascending *sizes* (m,), interpolated in ln D.

    *p_first* (m,): probability that the first method is ahead; one below :data:`LEADS` is no lead.
    """
    lead = (p_first >= LEADS).astype(int) - (p_first <= 1 - LEADS)
    changes = [(a, b) for a, b in pairwise(np.flatnonzero(lead).tolist()) if lead[a] != lead[b]]
    found = []
    for i, (before, after) in enumerate(changes):
        earliest = changes[i - 1][1] if i else 0
        latest = changes[i + 1][0] if i + 1 < len(changes) else len(sizes) - 1
        # Of the method that leads afterwards: its probability rises through one half here.
        rising = p_first if lead[after] > 0 else 1 - p_first
        half = before + int(np.flatnonzero(rising[before:after] < 0.5)[-1])
        below = (i for i in range(before, earliest - 1, -1) if rising[i] <= 1 - SURE)
        above = (i - 1 for i in range(after, latest + 1) if rising[i] >= SURE)
        low, high = next(below, None), next(above, None)
        found.append(
            Crossing(
                at=_passes(sizes, rising, half, 0.5),
                low=None if low is None else _passes(sizes, rising, low, 1 - SURE),
                high=None if high is None else _passes(sizes, rising, high, SURE),
            )
        )
    return tuple(found)


def _passes(sizes: Array, rising: Array, i: int, level: float) -> float:
    """Size at which *rising* passes *level*, between sizes i and i + 1."""
    share = (level - rising[i]) / (rising[i + 1] - rising[i])
    return float(np.exp(np.log(sizes[i]) + share * np.log(sizes[i + 1] / sizes[i])))


def even_sizes(found: ModelComparison) -> tuple[float, ...]:
    """Sizes where both methods are equally likely ahead, whether or not one leads on either side."""
    sizes, above = np.array(found.sizes), np.array(found.p_first) - 0.5
    passes = np.flatnonzero(np.sign(above[:-1]) * np.sign(above[1:]) < 0).tolist()
    return tuple(_passes(sizes, above, i, 0.0) for i in passes)


def comparison_title(data: MethodComparison) -> str:
    """What the chart shows."""
    first, second = method_in_sentence(data.first), method_in_sentence(data.second)
    return f"Probability that {first} is better than {second} on {data.task}"


def comparison_sentence(found: ModelComparison, first: str, second: str) -> str:
    """Sentence on which of *first* and *second* is better at which sizes, with the 80 % interval."""
    doubt = (
        " The laws behind this predicted their largest training-set size badly: take it with care."
    )
    leads = next((p for p in found.p_first if max(p, 1 - p) >= LEADS), 0.5)
    names = (first, second) if leads > 0.5 else (second, first)
    if not found.crossings:
        words = _without_crossing(found, *names)
    elif len(found.crossings) > 1:
        words = _many_crossings(found, names)
    else:
        crossing = found.crossings[0]
        far = " That lies beyond anything measured." if crossing.at > found.end else ""
        words = (
            f"{method_label(names[0])} is better below about {_place(crossing, found)}, "
            f"{method_in_sentence(names[1])} above.{far}"
        )
    return words + doubt * found.doubtful


def _many_crossings(found: ModelComparison, names: tuple[str, str]) -> str:
    parts = [
        f"{method_in_sentence(names[i % 2])} from there to about {_place(crossing, found)}"
        for i, crossing in enumerate(found.crossings)
    ]
    parts[0] = f"{method_label(names[0])} is better below about {_place(found.crossings[0], found)}"
    return f"{', '.join(parts)}, {method_in_sentence(names[len(parts) % 2])} above."


def _without_crossing(found: ModelComparison, ahead: str, behind: str) -> str:
    """The sentence where the lead never changes; *ahead* leads where either method does."""
    sizes = f"{about(found.sizes[0])} to {about(found.sizes[-1])} examples"
    leads = [p for p in found.p_first if max(p, 1 - p) >= LEADS]
    if not leads:
        names = f"{method_label(behind)} and {method_in_sentence(ahead)}"
        return f"{names} are statistically tied at every size, {sizes}.{_even_words(found)}"
    sure = [p if leads[0] > 0.5 else 1 - p for p in found.p_first]
    better = f"{method_label(ahead)} is better than {method_in_sentence(behind)}"
    if len(leads) == len(sure):
        low, high = (probability(p) for p in (min(sure), max(sure)))
        span = low if max(sure) - min(sure) < 0.005 else f"{low.removesuffix(' %')} to {high}"
        return f"{better} at every size, {sizes} (probability {span})."
    return (
        f"{better} with up to {probability(max(sure))} probability, but {_tied_sizes(found.sizes, sure)} "
        f"examples the two are statistically tied.{_even_words(found)}"
    )


def _even_words(found: ModelComparison) -> str:
    even = even_sizes(found)
    if not 0 < len(even) <= 2:  # more are no crossings: it wavers
        return ""
    return f" Both are equally likely to be ahead near {' and '.join(map(about, even))} examples."


def _tied_sizes(sizes: Sequence[float], sure: Sequence[float]) -> str:
    """The ranges of sizes where neither leads: ``from about 450 to 1,200 and ...``."""
    ranges: list[list[float]] = []
    before = False
    for size, p in zip(sizes, sure, strict=True):
        if p < LEADS:
            if not before:
                ranges.append([size, size])
            ranges[-1][1] = size
        before = p < LEADS
    return " and ".join(f"from about {about(low)} to {about(high)}" for low, high in ranges)


def _place(crossing: Crossing, found: ModelComparison) -> str:
    return f"{about(crossing.at)} examples (80 % interval {crossing_limits(crossing, found)})"


def crossing_limits(crossing: Crossing, found: ModelComparison) -> str:
    """Ends of the 80 % interval of *crossing*, also one beyond the sizes shown."""
    low, high = crossing.low, crossing.high
    below = f"less than {about(found.sizes[0])}" if low is None else about(low)
    above = f"more than {about(found.sizes[-1])}" if high is None else about(high)
    return f"{below} to {above}"


#: Pixels of a model's row, and of the axis below them all.
ROW, AXIS = 64, 62
_PALE = 0.06  # of a method's colour, where neither is ahead
_BEYOND = 0.4  # opacity beyond anything measured


def chart_height(data: MethodComparison) -> int:
    """Pixels that the chart of *data* needs."""
    return AXIS + ROW * len(data.models)


def draw_comparison(data: MethodComparison, colours: Palette, *, log_x: bool = True) -> Chart:
    """A row per model, the largest on top. Strong colour: that method is surely better; pale: a tie."""
    figure = Chart()
    for row, found in enumerate(data.models):
        for beyond in (False, True):
            _draw_row(figure, row, found, data, colours, beyond=beyond)
        _draw_crossings(figure, row, found, data, colours)
    ends = [found.end for found in data.models]
    for end in sorted(set(ends)):
        rows = [row for row, each in enumerate(ends) if each == end]
        figure.add_scatter(
            x=[end] * 2,
            y=[min(rows) - 0.45, max(rows) + 0.45],
            mode="lines",
            line={"color": colours.muted, "width": 1.2, "dash": "dot"},
            hoverinfo="skip",
        )
    figure.update_layout(
        template=template(colours),
        xaxis={**_size_axis(data, log_x=log_x), "showgrid": False},
        yaxis={
            "tickvals": list(range(len(data.models))),
            "ticktext": [_label(found) for found in data.models],
            "range": [-0.6, len(data.models) - 0.35],
            "showgrid": False,
            "ticks": "",
        },
    )
    return figure


def _size_axis(data: MethodComparison, *, log_x: bool) -> dict[str, object]:
    low = min(found.sizes[0] for found in data.models)
    high = max(found.sizes[-1] for found in data.models)
    ticks = [low]
    while ticks[-1] * 2 <= high * 1.001:
        ticks.append(ticks[-1] * 2)
    # Past the end, or the last label would not fit in and be left out.
    end = high * (high / low) ** 0.03 if log_x else 1.03 * high
    return examples_axis(ticks, log_x=log_x, ends=(low, end))


def _scale(data: MethodComparison, colours: Palette) -> list[tuple[float, str]]:
    """Colour scale: from the second method's colour (surely better) over pale to the first's."""

    def side(method: str, strength: float) -> str:
        return shade(method_colour(method, colours), colours.surface, strength)

    return [
        (0.0, side(data.second, 1.0)),
        (0.1, side(data.second, 0.62)),
        (0.5, side(data.second, _PALE)),
        (0.5, side(data.first, _PALE)),
        (0.9, side(data.first, 0.62)),
        (1.0, side(data.first, 1.0)),
    ]


def _draw_row(
    figure: Chart,
    row: int,
    found: ModelComparison,
    data: MethodComparison,
    colours: Palette,
    *,
    beyond: bool,
) -> None:
    last = found.measured - 1
    part = slice(last, None) if beyond else slice(0, found.measured)
    sizes, p_first = np.array(found.sizes[part]), np.array(found.p_first[part])
    if len(sizes) < 2:
        return
    middle = (p_first[1:] + p_first[:-1]) / 2
    ahead = ", beyond anything measured" if beyond else ""
    hover = [
        f"about {about(size)} examples{ahead}<br>"
        f"{method_label(data.first if p > 0.5 else data.second)} better: {probability(max(p, 1 - p))}"
        for size, p in zip(np.sqrt(sizes[1:] * sizes[:-1]), middle, strict=True)
    ]
    figure.add_heatmap(
        x=sizes,
        y=[row - 0.3, row + 0.3],
        z=[middle],
        zmin=0,
        zmax=1,
        colorscale=_scale(data, colours),
        showscale=False,
        opacity=_BEYOND if beyond else 1.0,
        customdata=[hover],
        hovertemplate=f"<b>{escaped(found.model)}</b><br>%{{customdata}}<extra></extra>",
    )


def _draw_crossings(
    figure: Chart, row: int, found: ModelComparison, data: MethodComparison, colours: Palette
) -> None:
    """Crossings with their intervals as bars; a bar whose end is not known has no cap."""
    for crossing in found.crossings:
        low = found.sizes[0] if crossing.low is None else crossing.low
        high = found.sizes[-1] if crossing.high is None else crossing.high
        figure.add_scatter(
            x=[low, high],
            y=[row, row],
            mode="lines+markers",
            line={"color": colours.text, "width": 2},
            marker={
                "symbol": "line-ns",
                "size": [14 if end is not None else 0 for end in (crossing.low, crossing.high)],
                "line": {"width": 2, "color": colours.text},
            },
            hoverinfo="skip",
        )
        figure.add_scatter(
            x=[crossing.at],
            y=[row],
            mode="markers+text",
            text=[about(crossing.at)],
            textposition="top center",
            textfont={"color": colours.text, "size": 12},
            marker={"symbol": "circle", "size": 11, "color": colours.surface}
            | {"line": {"width": 2.2, "color": colours.text}},
            customdata=[comparison_sentence(found, data.first, data.second)],
            hovertemplate=f"<b>{escaped(found.model)}</b><br>%{{customdata}}<extra></extra>",
        )


def _label(found: ModelComparison) -> str:
    size = "" if found.parameters is None else f"<br>{compact(found.parameters)}"
    return f"{escaped(found.model)}{size}"
