"""From how many examples on one method beats another: a probability at every size, never a bare number.

Zhang et al. (ICLR 2024, arXiv 2402.17193) call the size where fine-tuning methods change places the
critical data size. Here it is read off P(first better than second) against examples
(:func:`tracker.laws.crossover.ahead`): the size where that passes one half, and the 80 % band between
the sizes where the one and where the other is 90 % sure. If every draw of the laws crosses once, that
band is the 80 % interval of the crossing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from dashboards.charts.chart import Chart
from dashboards.charts.scaling import AHEAD
from dashboards.charts.theme import (
    Palette,
    method_colour,
    method_within,
    method_words,
    shade,
    template,
)
from dashboards.charts.wording import about, compact, unmarked
from tracker.laws.crossover import p_ahead
from tracker.laws.curves import CurveFits, Metric
from tracker.laws.fitted_law import FittedLaw
from tracker.laws.pooling import Array
from tracker.numbers import count, percent

#: Who is ahead with this probability is called sure: an 80 % interval has a tenth on either side.
SURE = 0.9
#: Less likely ahead than this nobody leads: a probability that wavers about one half is no change of lead.
LEADS = 0.7
_STEPS = 40


class Turn(NamedTuple):
    """Where the lead passes from one method to the other, in examples.

    ``low``, ``high``: where the one before is still, and the one after first, 90 % sure; ``None`` where
    neither the sizes measured nor those ahead of them reach that.
    """

    at: float
    low: float | None
    high: float | None


class Strip(NamedTuple):
    """One model. ``probability``: that the first method is better, at each of ``sizes``, ascending.

    The first ``measured`` sizes lie within what both methods were measured at. ``doubtful``: the laws of
    one of them all missed their largest volume by far when fitted without it; nothing is said ahead then.
    """

    model: str
    parameters: int | None
    sizes: tuple[float, ...]
    probability: tuple[float, ...]
    measured: int
    turns: tuple[Turn, ...]
    doubtful: bool = False

    @property
    def end(self) -> float:
        """The largest size at which both methods were measured."""
        return self.sizes[self.measured - 1]


class Critical(NamedTuple):
    """``first`` against ``second`` on one task; ``lacking``: models without a law of one of the two."""

    task: str
    first: str
    second: str
    strips: tuple[Strip, ...]
    lacking: tuple[str, ...]


def critical(
    fits: CurveFits,
    *,
    task: str,
    mix: str,
    models: Mapping[str, int | None],
    first: str,
    second: str,
    metric: Metric = "score",
) -> Critical:
    """*first* against *second* under *mix*, for each of *models* (name → parameters) by its laws.

    A method run with several settings is taken at that which is expected to be best at each size.
    """
    strips, lacking = [], []
    for model, parameters in models.items():
        one, other = (_laws(fits, model, mix, method) for method in (first, second))
        strip = _strip(model, parameters, one, other, metric) if one and other else None
        if strip is None:
            lacking.append(model)
        else:
            strips.append(strip)
    return Critical(task, first, second, tuple(strips), tuple(lacking))


def pairs(fits: CurveFits, mix: str, methods: Sequence[str]) -> list[tuple[str, str]]:
    """The pairs of *methods* that can be compared under *mix*: some model has laws of both."""
    known: dict[str, set[str]] = {}
    for key in fits.laws:
        if key.mix == mix:
            known.setdefault(key.model, set()).add(key.method.name)
    return [
        (a, b)
        for i, a in enumerate(methods)
        for b in methods[i + 1 :]
        if any({a, b} <= found for found in known.values())
    ]


def _laws(fits: CurveFits, model: str, mix: str, method: str) -> list[FittedLaw]:
    return [
        law
        for key, law in fits.laws.items()
        if (key.model, key.mix, key.method.name) == (model, mix, method)
    ]


def _strip(
    model: str,
    parameters: int | None,
    first: list[FittedLaw],
    second: list[FittedLaw],
    metric: Metric,
) -> Strip | None:
    """``None`` where the two were measured at no common range of sizes."""
    start = max(min(law.domain[0] for law in laws) for laws in (first, second))
    end = min(max(law.domain[1] for law in laws) for laws in (first, second))
    if start > end:
        return None
    inside = np.geomspace(start, end, _STEPS) if start < end else np.array([start])
    doubtful = any(all(law.fails_held_out for law in laws) for laws in (first, second))
    beyond = np.geomspace(end, AHEAD * end, _STEPS // 2)[1:]
    sizes = inside if doubtful else np.concatenate([inside, beyond])
    probability = p_ahead(first, second, sizes, 1.0 if metric == "score" else np.inf)
    return Strip(
        model=model,
        parameters=parameters,
        sizes=tuple(sizes.tolist()),
        probability=tuple(probability.tolist()),
        measured=len(inside),
        turns=turns(sizes, probability),
        doubtful=doubtful,
    )


def turns(sizes: Array, probability: Array) -> tuple[Turn, ...]:
    """Where the lead passes over along ascending *sizes* (m,), interpolated in ln D.

    *probability* (m,) that the first is ahead; who is so with less than :data:`LEADS` does not lead.
    """
    lead = (probability >= LEADS).astype(int) - (probability <= 1 - LEADS)
    changes = [(a, b) for a, b in pairwise(np.flatnonzero(lead).tolist()) if lead[a] != lead[b]]
    found = []
    for i, (before, after) in enumerate(changes):
        earliest = changes[i - 1][1] if i else 0
        latest = changes[i + 1][0] if i + 1 < len(changes) else len(sizes) - 1
        # As the probability of whoever leads after it: it rises through one half here.
        rising = probability if lead[after] > 0 else 1 - probability
        half = before + int(np.flatnonzero(rising[before:after] < 0.5)[-1])
        found.append(
            Turn(
                at=_passes(sizes, rising, half, 0.5),
                low=_last_below(sizes, rising, earliest, before, 1 - SURE),
                high=_first_above(sizes, rising, after, latest, SURE),
            )
        )
    return tuple(found)


def _passes(sizes: Array, rising: Array, i: int, level: float) -> float:
    """Where *rising* passes *level* between sizes i and i + 1."""
    share = (level - rising[i]) / (rising[i + 1] - rising[i])
    return float(np.exp(np.log(sizes[i]) + share * np.log(sizes[i + 1] / sizes[i])))


def _last_below(
    sizes: Array, rising: Array, earliest: int, before: int, level: float
) -> float | None:
    for i in range(before, earliest - 1, -1):
        if rising[i] <= level:
            return _passes(sizes, rising, i, level)
    return None


def _first_above(
    sizes: Array, rising: Array, after: int, latest: int, level: float
) -> float | None:
    for i in range(after, latest + 1):
        if rising[i] >= level:
            return _passes(sizes, rising, i - 1, level)
    return None


def in_words(strip: Strip, data: Critical) -> str:
    """Who is better where, as a sentence with its 80 % interval."""
    doubt = " The laws behind it foretold their largest volume badly: take it with care."
    return _told(strip, data) + doubt * strip.doubtful


def _told(strip: Strip, data: Critical) -> str:
    one, other = data.first, data.second
    if not strip.turns:
        return _without_turn(strip, data)
    leads = next(p for p in strip.probability if max(p, 1 - p) >= LEADS)
    names = (one, other) if leads > 0.5 else (other, one)
    if len(strip.turns) > 1:
        return _many_turns(strip, names)
    turn = strip.turns[0]
    far = " That lies ahead of anything measured." if turn.at > strip.end else ""
    return (
        f"{method_words(names[0])} is better below about {_place(turn, strip)}, "
        f"{method_within(names[1])} above.{far}"
    )


def _many_turns(strip: Strip, names: tuple[str, str]) -> str:
    parts = [
        f"{method_within(names[i % 2])} from there to about {_place(turn, strip)}"
        for i, turn in enumerate(strip.turns)
    ]
    parts[0] = f"{method_words(names[0])} is better below about {_place(strip.turns[0], strip)}"
    return f"{', '.join(parts)}, {method_within(names[len(strip.turns) % 2])} above."


def _without_turn(strip: Strip, data: Critical) -> str:
    reach = f"{about(strip.sizes[0])} to {about(strip.sizes[-1])} examples"
    names = f"{method_words(data.first)} and {method_within(data.second)}"
    led = [p for p in strip.probability if max(p, 1 - p) >= LEADS]
    even = _even_words(strip)
    if not led:
        return f"{names} cannot be told apart at any size, {reach}.{even}"
    leader, rest = (data.first, data.second) if led[0] > 0.5 else (data.second, data.first)
    sure = [p if led[0] > 0.5 else 1 - p for p in strip.probability]
    if len(led) == len(sure):
        return (
            f"{method_words(leader)} is better than {method_within(rest)} at every size, "
            f"{reach} (probability {_range(min(sure), max(sure))})."
        )
    return (
        f"{method_words(leader)} is better than {method_within(rest)} with up to "
        f"{percent(max(sure), 0)} probability, but {_unclear(strip.sizes, sure)} examples the two "
        f"cannot be told apart.{even}"
    )


def even_at(strip: Strip) -> tuple[float, ...]:
    """Where both are as likely to be ahead, in examples, whether or not one leads on either side."""
    sizes, above = np.array(strip.sizes), np.array(strip.probability) - 0.5
    passes = np.flatnonzero(np.sign(above[:-1]) * np.sign(above[1:]) < 0).tolist()
    return tuple(_passes(sizes, above, i, 0.0) for i in passes)


def _even_words(strip: Strip) -> str:
    even = even_at(strip)
    if not 0 < len(even) <= 2:  # more are no turns: it wavers
        return ""
    return f" As likely ahead as each other near {' and '.join(map(about, even))} examples."


def _unclear(sizes: Sequence[float], sure: Sequence[float]) -> str:
    """The ranges of sizes where nobody leads: ``from about 450 to 1,200 and ...``."""
    ranges: list[list[float]] = []
    before = False
    for size, p in zip(sizes, sure, strict=True):
        if p < LEADS:
            if not before:
                ranges.append([size, size])
            ranges[-1][1] = size
        before = p < LEADS
    return " and ".join(f"from about {about(low)} to {about(high)}" for low, high in ranges)


def _place(turn: Turn, strip: Strip) -> str:
    return f"{about(turn.at)} examples (80 %: {interval(turn, strip)})"


def interval(turn: Turn, strip: Strip) -> str:
    """The 80 % band of *turn* in words; where it does not end within the sizes shown, that."""
    low = f"less than {about(strip.sizes[0])}" if turn.low is None else about(turn.low)
    high = f"more than {about(strip.sizes[-1])}" if turn.high is None else about(turn.high)
    return f"{low} to {high}"


def _range(low: float, high: float) -> str:
    return percent(low, 0) if high - low < 0.005 else f"{percent(low, 0)} to {percent(high, 0)}"


#: Pixels of a strip, and of the axis below them all.
ROW, AXIS = 64, 62
_PALE = 0.06  # of a method's colour, where neither is ahead
_BEYOND = 0.4  # opacity ahead of anything measured


def height(data: Critical) -> int:
    """Pixels that the chart of *data* needs."""
    return AXIS + ROW * len(data.strips)


def draw_critical(data: Critical, colours: Palette, *, log_x: bool = True) -> Chart:
    """Strong colour: that method is surely better; pale: cannot be told. Larger models lie higher."""
    figure = Chart()
    for row, strip in enumerate(data.strips):
        for beyond in (False, True):
            _draw_strip(figure, row, strip, data, colours, beyond=beyond)
        _draw_turns(figure, row, strip, data, colours)
    ends = [strip.end for strip in data.strips]
    for end in sorted(set(ends)):
        rows = [i for i, strip in enumerate(data.strips) if strip.end == end]
        figure.add_scatter(
            x=[end] * 2,
            y=[min(rows) - 0.45, max(rows) + 0.45],
            mode="lines",
            line={"color": colours.muted, "width": 1.2, "dash": "dot"},
            hoverinfo="skip",
        )
    _lay_out(figure, data, colours, log_x=log_x)
    return figure


def _scale(data: Critical, colours: Palette) -> list[tuple[float, str]]:
    """From the second method's colour (surely better) over pale to the first's."""

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


def _draw_strip(
    figure: Chart, row: int, strip: Strip, data: Critical, colours: Palette, *, beyond: bool
) -> None:
    last = strip.measured - 1
    part = slice(last, None) if beyond else slice(0, strip.measured)
    sizes, sure = np.array(strip.sizes[part]), np.array(strip.probability[part])
    if len(sizes) < 2:
        return
    middle = (sure[1:] + sure[:-1]) / 2
    leads = [
        f"{method_words(data.first if p > 0.5 else data.second)} better: {percent(max(p, 1 - p), 0)}"
        for p in middle
    ]
    ahead = ", ahead of anything measured" if beyond else ""
    figure.add_heatmap(
        x=sizes,
        y=[row - 0.3, row + 0.3],
        z=[middle],
        zmin=0,
        zmax=1,
        colorscale=_scale(data, colours),
        showscale=False,
        opacity=_BEYOND if beyond else 1.0,
        customdata=[[f"about {about(size)} examples{ahead}<br>{words}" for size, words in
                     zip(np.sqrt(sizes[1:] * sizes[:-1]), leads, strict=True)]],
        hovertemplate=f"<b>{unmarked(strip.model)}</b><br>%{{customdata}}<extra></extra>",
    )  # fmt: skip


def _draw_turns(figure: Chart, row: int, strip: Strip, data: Critical, colours: Palette) -> None:
    """The band as a bar with a mark at one half; a bar that does not end there has no cap."""
    for turn in strip.turns:
        low = strip.sizes[0] if turn.low is None else turn.low
        high = strip.sizes[-1] if turn.high is None else turn.high
        figure.add_scatter(
            x=[low, high],
            y=[row, row],
            mode="lines+markers",
            line={"color": colours.text, "width": 2},
            marker={
                "symbol": "line-ns",
                "size": [14 if end is not None else 0 for end in (turn.low, turn.high)],
                "line": {"width": 2, "color": colours.text},
            },
            hoverinfo="skip",
        )
        figure.add_scatter(
            x=[turn.at],
            y=[row],
            mode="markers+text",
            text=[about(turn.at)],
            textposition="top center",
            textfont={"color": colours.text, "size": 12},
            marker={"symbol": "circle", "size": 11, "color": colours.surface}
            | {"line": {"width": 2.2, "color": colours.text}},
            customdata=[in_words(strip, data)],
            hovertemplate=f"<b>{unmarked(strip.model)}</b><br>%{{customdata}}<extra></extra>",
        )


def _lay_out(figure: Chart, data: Critical, colours: Palette, *, log_x: bool) -> None:
    low = min(strip.sizes[0] for strip in data.strips)
    high = max(strip.sizes[-1] for strip in data.strips)
    ticks = [low]
    while ticks[-1] * 2 <= high * 1.001:
        ticks.append(ticks[-1] * 2)
    ticks = ticks[:: max(1, -(-len(ticks) // 7))]
    figure.update_layout(
        template=template(colours),
        xaxis={
            "title": "Training examples, all tasks",
            "type": "log" if log_x else "linear",
            # Past the end, or the last label would not fit in and be left out.
            "range": [np.log10(low), np.log10(high) + 0.03 * np.log10(high / low)]
            if log_x
            else [0, 1.03 * high],
            "showgrid": False,
            **({"tickvals": ticks, "ticktext": [count(t) for t in ticks]} if log_x else {}),
        },
        yaxis={
            "tickvals": list(range(len(data.strips))),
            "ticktext": [_label(strip) for strip in data.strips],
            "range": [-0.6, len(data.strips) - 0.35],
            "showgrid": False,
            "ticks": "",
        },
    )


def _label(strip: Strip) -> str:
    size = "" if strip.parameters is None else f"<br>{compact(strip.parameters)}"
    return f"{unmarked(strip.model)}{size}"
