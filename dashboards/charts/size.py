"""Score and loss against model size at one volume: what was measured, and the joint law over size.

The line of a method is the law of a model of that size that nobody ran
(:func:`tracker.laws.curves.fit_unmeasured_models`), with the 80 % interval of one run of it; it goes past the
sizes measured by one step. A mark is the mean of the runs of one model, or, at a volume that model was
not measured at, what its own law expects there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from dashboards.charts.chart import Chart
from dashboards.charts.marks import draw_band, draw_line, error_bars
from dashboards.charts.scaling import Curve, Scaling, own_unit
from dashboards.charts.theme import (
    Palette,
    method_colour,
    method_symbol,
    method_words,
    template,
)
from dashboards.charts.wording import compact, unmarked
from tracker.laws.curves import CurveFits, CurveKey, Metric
from tracker.laws.fitted_law import FittedLaw
from tracker.numbers import ABSENT, in_measure, plural

#: Sizes from the smallest model measured to the largest at which the law is asked.
_STEPS = 11
#: A law so many times further from what was measured than one value for all sizes fails it.
_WORSE = 1.5
#: The law goes on past the sizes measured by the largest step between them, at most this.
_LONGEST_STEP = 4.0


class Mark(NamedTuple):
    """One model. ``runs``: how many were averaged; 0 means that its own law foretells the value.

    ``low``, ``high``: 80 % interval, ``None`` where neither rows nor seeds give an error.
    """

    model: str
    parameters: int
    value: float
    low: float | None
    high: float | None
    runs: int


class SizeCurve(NamedTuple):
    """One method under ``setting``. ``inside``: this size lies within the sizes measured.

    ``parameters``, ``value``, ``low``, ``high``, ``inside`` are the line, empty without a law, or where
    it is ``withheld``: it fails what was measured (:func:`misses`).
    """

    method: str
    setting: str
    marks: tuple[Mark, ...]
    parameters: tuple[float, ...]
    value: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    inside: tuple[bool, ...]
    withheld: bool = False


class Size(NamedTuple):
    """All methods at ``volume`` examples; ``ahead``: more than any model was measured with.

    ``unsized``: models whose size is not known.
    """

    task: str
    metric: Metric
    title: str
    volume: int
    ahead: bool
    curves: tuple[SizeCurve, ...]
    unsized: tuple[str, ...]


def sizes_to_ask(parameters: Iterable[int | None]) -> dict[str, int]:
    """Name → parameters of the models whose law draws the line; empty with fewer than two sizes."""
    known = sorted({size for size in parameters if size})
    if len(known) < 2:
        return {}
    steps = [b / a for a, b in pairwise(known)]
    step = min(max(steps), _LONGEST_STEP)
    inside = np.geomspace(known[0], known[-1], _STEPS)
    grid = [known[0] / step, *inside, *np.geomspace(known[-1], known[-1] * step, 3)[1:]]
    return {f"a model of {round(size):,} parameters": round(size) for size in grid}


def size(
    data: Scaling,
    fits: CurveFits,
    laws: Mapping[CurveKey, FittedLaw],
    *,
    mix: str,
    volume: int,
    asked: Mapping[str, int],
) -> Size:
    """*data* at *volume*; *laws* are those of the models *asked* for (name → parameters)."""
    mains = [curve for curve in data.curves if curve.main]
    known = [curve.parameters for curve in mains if curve.parameters]
    reach = (min(known), max(known)) if known else (0, 0)
    chosen = _settings(laws, mains)
    curves = []
    for method in data.methods:
        own = [c for c in mains if c.method == method and c.parameters]
        marks = [m for c in own if (m := _mark(c, fits, data, mix, volume)) is not None]
        setting = chosen.get(method)
        line = _line(setting, laws, asked, reach, volume, data.metric) if setting else _NO_LINE
        if marks or setting:
            label = setting or Counter(c.setting for c in own).most_common(1)[0][0]
            withheld = misses(marks, line)
            drawn = _NO_LINE if withheld else line
            curves.append(SizeCurve(method, label, tuple(marks), *drawn, withheld))
    most = max((p.examples for c in data.curves for p in c.points), default=0)
    unsized = dict.fromkeys(c.model for c in mains if not c.parameters)
    return Size(
        data.task, data.metric, data.title, volume, volume > most, tuple(curves), tuple(unsized)
    )


def misses(marks: Sequence[Mark], line: _Line) -> bool:
    """Whether *line* fails the measured *marks*: more than half lie outside its band, or one value for all
    sizes would lie much nearer to them, by more than their own error and a quarter of the band.
    """
    measured = [mark for mark in marks if mark.runs]
    if not measured or not line[0]:
        return False
    at, sizes = np.log([mark.parameters for mark in measured]), np.log(line[0])
    told, low, high = (np.interp(at, sizes, line[i]) for i in (1, 2, 3))
    value = np.array([mark.value for mark in measured])
    halves = np.array([0.0 if mark.high is None else mark.high - mark.value for mark in measured])
    chance = np.maximum(halves, (high - low) / 4).sum()
    one_value = np.abs(value - value.mean()).sum() if len(value) > 1 else np.inf
    outside = ((value < low) | (value > high)).mean()
    return bool(outside > 0.5 or np.abs(value - told).sum() > _WORSE * one_value + chance)


def _settings(laws: Mapping[CurveKey, FittedLaw], mains: Sequence[Curve]) -> dict[str, str]:
    """Per method the setting whose law is drawn: that which stands for the method on most models."""
    votes: dict[str, Counter[str]] = {}
    for curve in mains:
        votes.setdefault(curve.method, Counter())[curve.setting] += 1
    known = {key.method.label for key in laws}
    found = {}
    for method, counted in votes.items():
        settings = [s for s, _ in counted.most_common() if s in known]
        if settings:
            found[method] = settings[0]
    return found


def _mark(curve: Curve, fits: CurveFits, data: Scaling, mix: str, volume: int) -> Mark | None:
    model, parameters = curve.model, curve.parameters
    assert parameters is not None
    runs = [p for p in curve.points if p.examples == volume]
    if runs:
        value = float(np.mean([p.value for p in runs]))
        # The rows are the same for every seed: their error does not shrink with seeds.
        below = [p.value - p.low for p in runs if p.low is not None]
        above = [p.high - p.value for p in runs if p.high is not None]
        low = value - float(np.mean(below)) if below else None
        high = value + float(np.mean(above)) if above else None
        return Mark(model, parameters, value, low, high, len(runs))
    law = next(
        (
            law
            for key, law in fits.laws.items()
            if (key.model, key.mix, key.method.label) == (model, mix, curve.setting)
        ),
        None,
    )
    if law is None or volume < law.domain[0] or (volume > law.domain[1] and law.fails_held_out):
        return None
    told = law.predict(volume, allow_far=True)
    value, low, high = (x[0] for x in own_unit(told, data.metric))
    return Mark(model, parameters, float(value), float(low), float(high), 0)


_Line = tuple[
    tuple[float, ...], tuple[float, ...], tuple[float, ...], tuple[float, ...], tuple[bool, ...]
]
_NO_LINE: _Line = ((), (), (), (), ())


def _line(
    setting: str,
    laws: Mapping[CurveKey, FittedLaw],
    asked: Mapping[str, int],
    reach: tuple[int, int],
    volume: int,
    metric: Metric,
) -> _Line:
    rows = []
    for key, law in laws.items():
        if key.method.label == setting:
            told = law.predict(volume, allow_far=True)
            value, low, high = (float(x[0]) for x in own_unit(told, metric))
            parameters = asked[key.model]
            within = reach[0] * (1 - 1e-6) <= parameters <= reach[1] * (1 + 1e-6)
            rows.append((float(parameters), value, low, high, within))
    rows.sort()
    return tuple(zip(*rows, strict=True)) if rows else _NO_LINE  # type: ignore[return-value]


#: Methods stand side by side at one size, this many parts of it apart, so that error bars are seen.
_APART = 0.035


def draw_size(data: Size, colours: Palette, *, log_x: bool = True) -> Chart:
    """Filled marks were measured, hollow ones foretold; a dashed line lies outside the sizes measured."""
    figure = Chart()
    for curve in data.curves:
        _draw_line(figure, curve, method_colour(curve.method, colours))
    middle = (len(data.curves) - 1) / 2
    for i, curve in enumerate(data.curves):
        aside = 1 + _APART * (i - middle) if log_x else 1.0
        _draw_marks(figure, curve, data.metric, method_colour(curve.method, colours), aside)
    sizes = sorted({mark.parameters for curve in data.curves for mark in curve.marks})
    ticks = {"tickvals": sizes, "ticktext": [compact(size) for size in sizes]} if log_x else {}
    values = [v for c in data.curves for v in (*(m.value for m in c.marks), *c.value)]
    figure.update_layout(
        template=template(colours),
        xaxis={
            "title": "Parameters of the model",
            "type": "log" if log_x else "linear",
            **(ticks if len(sizes) > 1 else {"tickformat": ".3s"}),
        },
        yaxis={
            "title": data.title,
            "tickformat": ".0%" if data.metric == "score" else ".2f",
            **({"range": _range(values)} if data.metric == "score" and values else {}),
        },
    )
    return figure


def _range(values: list[float]) -> list[float]:
    pad = 0.12 * (max(values) - min(values) or 0.2)
    return [max(min(values) - pad, -0.03), min(max(values) + pad, 1.03)]


def _draw_line(figure: Chart, curve: SizeCurve, colour: str) -> None:
    if not curve.parameters:
        return
    draw_band(figure, curve.parameters, curve.low, curve.high, colour)
    within = np.array(curve.inside)
    first, last = int(within.argmax()), len(within) - 1 - int(within[::-1].argmax())
    parts = [
        (slice(0, first + 1), "dash"),
        (slice(first, last + 1), "solid"),
        (slice(last, None), "dash"),
    ]
    draw_line(figure, curve.parameters, curve.value, parts, colour)


def _draw_marks(figure: Chart, curve: SizeCurve, metric: Metric, colour: str, aside: float) -> None:
    for measured in (True, False):
        own = [m for m in curve.marks if bool(m.runs) is measured]
        if not own:
            continue
        figure.add_scatter(
            x=[m.parameters * aside for m in own],
            y=[m.value for m in own],
            error_y=error_bars(
                [m.value for m in own],
                [m.low for m in own],
                [m.high for m in own],
                colour,
                thickness=1.3,
            ),
            mode="markers",
            marker={
                "color": colour if measured else "rgba(0,0,0,0)",
                "symbol": method_symbol(curve.method),
                "size": 9,
                "line": {"color": colour, "width": 1.6},
            },
            customdata=[[_hover(m, metric)] for m in own],
            hovertemplate=f"<b>{unmarked(method_words(curve.method))}</b><br>"
            "%{customdata[0]}<extra></extra>",
        )


def _hover(mark: Mark, metric: Metric) -> str:
    how = f"mean of {plural(mark.runs, 'run')}" if mark.runs else "by its law, not measured"
    interval = "its error is unknown"
    if mark.low is not None and mark.high is not None:
        interval = f"80 %: {in_measure(mark.low, metric)} to {in_measure(mark.high, metric)}"
    size = f"{unmarked(mark.model)}, {compact(mark.parameters)} parameters"
    return f"{size}<br>{in_measure(mark.value, metric)} ({interval})<br>{how}"


def between(low: float | None, high: float | None, metric: Metric) -> str:
    """An interval as people read it; a dash where it is not known."""
    return ABSENT if low is None else f"{in_measure(low, metric)} to {in_measure(high, metric)}"
