"""Score or loss against model size at one training-set size: measured models, and the law over sizes.

The line of a method is the law of a model of that size that nobody ran
(:func:`tracker.laws.curves.fit_unmeasured_models`), with the 80 % interval of one run of it; it goes past the
sizes measured by one step. A mark is the mean of the runs of one model, or, where that model was not
measured at this training-set size, the prediction of its own law.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from dashboards.charts.axes import metric_ticks, padded
from dashboards.charts.chart import Chart
from dashboards.charts.marks import LawLine, draw_law, error_bars
from dashboards.charts.scaling import Scaling, ScalingCurve, in_metric_unit, with_interval
from dashboards.charts.theme import (
    Palette,
    method_colour,
    method_label,
    method_symbol,
    template,
)
from dashboards.charts.wording import compact, escaped
from tracker.laws.curves import CurveFits, CurveKey, Metric
from tracker.laws.fitted_law import FittedLaw
from tracker.numbers import plural

#: Sizes from the smallest model measured to the largest that the law predicts.
_STEPS = 11
#: A law is withheld where it is so many times further off the measurements than one value for all sizes.
_WORSE = 1.5
#: The law goes on past the sizes measured by the largest step between them, at most this.
_LONGEST_STEP = 4.0


class SizeMark(NamedTuple):
    """Value of one model. ``runs``: how many were averaged; 0: it is predicted by the model's own law.

    ``low``, ``high``: 80 % interval, ``None`` where neither rows nor seeds give an error.
    """

    model: str
    parameters: int
    value: float
    low: float | None
    high: float | None
    runs: int


class SizeCurve(NamedTuple):
    """Values of one method over model sizes. ``line``: their law, ``None`` where there is none.

    ``withheld``: there is one, but it contradicts the measurements (:func:`contradicts_measurements`).
    """

    method: str
    setting: str
    marks: tuple[SizeMark, ...]
    line: LawLine | None
    withheld: bool = False


class SizeComparison(NamedTuple):
    """Methods compared over model sizes at ``volume`` examples; ``ahead``: more than any run had.

    ``unsized``: models whose size is not known.
    """

    task: str
    metric: Metric
    title: str
    volume: int
    ahead: bool
    curves: tuple[SizeCurve, ...]
    unsized: tuple[str, ...]


def sizes_to_predict(parameters: Iterable[int | None]) -> dict[str, int]:
    """Models whose law draws the line (name → parameters); empty with fewer than two sizes."""
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
    sizes: Mapping[str, int],
) -> SizeComparison:
    """Compare model sizes at *volume*; *laws* are those of the models in *sizes* (name → parameters)."""
    mains = [curve for curve in data.curves if curve.main]
    measured = [curve.parameters for curve in mains if curve.parameters]
    ends = (min(measured), max(measured)) if measured else (0, 0)
    chosen = _settings(laws, mains)
    curves = []
    for method in data.methods:
        of_method = [c for c in mains if c.method == method and c.parameters]
        marks = [m for c in of_method if (m := _mark(c, fits, data, mix, volume)) is not None]
        setting = chosen.get(method)
        line = _line(setting, laws, sizes, ends, volume, data.metric) if setting else None
        if marks or setting:
            label = setting or Counter(c.setting for c in of_method).most_common(1)[0][0]
            withheld = line is not None and contradicts_measurements(marks, line)
            shown = None if withheld else line
            curves.append(SizeCurve(method, label, tuple(marks), shown, withheld))
    most = max((run.examples for c in data.curves for run in c.runs), default=0)
    unsized = dict.fromkeys(c.model for c in mains if not c.parameters)
    return SizeComparison(
        data.task, data.metric, data.title, volume, volume > most, tuple(curves), tuple(unsized)
    )


def contradicts_measurements(marks: Sequence[SizeMark], line: LawLine) -> bool:
    """Whether *line* contradicts the measured *marks*.

    More than half of them lie outside its band, or one value for all sizes lies much nearer to them, by
    more than their own error and a quarter of the band.
    """
    measured = [mark for mark in marks if mark.runs]
    if not measured:
        return False
    at, sizes = np.log([mark.parameters for mark in measured]), np.log(line.x)
    law, low, high = (np.interp(at, sizes, column) for column in (line.value, line.low, line.high))
    value = np.array([mark.value for mark in measured])
    halves = np.array([0.0 if mark.high is None else mark.high - mark.value for mark in measured])
    chance = np.maximum(halves, (high - low) / 4).sum()
    one_value = np.abs(value - value.mean()).sum() if len(value) > 1 else np.inf
    outside = ((value < low) | (value > high)).mean()
    return bool(outside > 0.5 or np.abs(value - law).sum() > _WORSE * one_value + chance)


def _settings(laws: Mapping[CurveKey, FittedLaw], mains: Sequence[ScalingCurve]) -> dict[str, str]:
    """Per method the setting whose law is drawn: the main one of the most models."""
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


def _mark(
    curve: ScalingCurve, fits: CurveFits, data: Scaling, mix: str, volume: int
) -> SizeMark | None:
    model, parameters = curve.model, curve.parameters
    assert parameters is not None
    runs = [run for run in curve.runs if run.examples == volume]
    if runs:
        value = float(np.mean([run.value for run in runs]))
        # The rows are the same for every seed: their error does not shrink with seeds.
        below = [run.value - run.low for run in runs if run.low is not None]
        above = [run.high - run.value for run in runs if run.high is not None]
        low = value - float(np.mean(below)) if below else None
        high = value + float(np.mean(above)) if above else None
        return SizeMark(model, parameters, value, low, high, len(runs))
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
    predicted = law.predict(volume, allow_far=True)
    value, low, high = (x[0] for x in in_metric_unit(predicted, data.metric))
    return SizeMark(model, parameters, float(value), float(low), float(high), 0)


def _line(
    setting: str,
    laws: Mapping[CurveKey, FittedLaw],
    sizes: Mapping[str, int],
    ends: tuple[int, int],
    volume: int,
    metric: Metric,
) -> LawLine | None:
    rows = []
    for key, law in laws.items():
        if key.method.label == setting:
            predicted = in_metric_unit(law.predict(volume, allow_far=True), metric)
            rows.append((float(sizes[key.model]), *(float(x[0]) for x in predicted)))
    if not rows:
        return None
    x, value, low, high = (tuple(column) for column in zip(*sorted(rows), strict=True))
    low_end, high_end = ends[0] * (1 - 1e-6), ends[1] * (1 + 1e-6)
    inside = [i for i, parameters in enumerate(x) if low_end <= parameters <= high_end]
    return LawLine(x, value, low, high, inside[0], inside[-1])


#: Methods stand side by side at one size, this share of it apart, so that error bars are seen.
_APART = 0.035


def draw_size(data: SizeComparison, colours: Palette, *, log_x: bool = True) -> Chart:
    """Filled marks were measured, hollow ones predicted; a line is dashed outside the sizes measured."""
    figure = Chart()
    for curve in data.curves:
        if curve.line is not None:
            draw_law(figure, curve.line, method_colour(curve.method, colours))
    middle = (len(data.curves) - 1) / 2
    for i, curve in enumerate(data.curves):
        aside = 1 + _APART * (i - middle) if log_x else 1.0
        _draw_marks(figure, curve, data.metric, method_colour(curve.method, colours), aside)
    sizes = sorted({mark.parameters for curve in data.curves for mark in curve.marks})
    ticks = {"tickvals": sizes, "ticktext": [compact(size) for size in sizes]} if log_x else {}
    values = [mark.value for curve in data.curves for mark in curve.marks]
    values += [v for curve in data.curves if curve.line for v in curve.line.value]
    yaxis: dict[str, Any] = {"title": data.title, "tickformat": metric_ticks(data.metric)}
    if data.metric == "score" and values:
        bottom, top = padded(values, 0.12, 0.2)
        yaxis["range"] = [max(bottom, -0.03), min(top, 1.03)]
    figure.update_layout(
        template=template(colours),
        xaxis={
            "title": "Parameters of the model",
            "type": "log" if log_x else "linear",
            **(ticks if len(sizes) > 1 else {"tickformat": ".3s"}),
        },
        yaxis=yaxis,
    )
    return figure


def _draw_marks(figure: Chart, curve: SizeCurve, metric: Metric, colour: str, aside: float) -> None:
    for measured in (True, False):
        marks = [mark for mark in curve.marks if bool(mark.runs) is measured]
        if not marks:
            continue
        figure.add_scatter(
            x=[mark.parameters * aside for mark in marks],
            y=[mark.value for mark in marks],
            error_y=error_bars(marks, colour, thickness=1.3),
            mode="markers",
            marker={
                "color": colour if measured else "rgba(0,0,0,0)",
                "symbol": method_symbol(curve.method),
                "size": 9,
                "line": {"color": colour, "width": 1.6},
            },
            customdata=[[_hover(mark, metric)] for mark in marks],
            hovertemplate=f"<b>{escaped(method_label(curve.method))}</b><br>"
            "%{customdata[0]}<extra></extra>",
        )


def _hover(mark: SizeMark, metric: Metric) -> str:
    source = f"mean of {plural(mark.runs, 'run')}" if mark.runs else "predicted by its own law"
    size = f"{escaped(mark.model)}, {compact(mark.parameters)} parameters"
    return f"{size}<br>{with_interval(mark, metric)}<br>{source}"
