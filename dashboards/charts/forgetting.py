"""Forgetting of a general suite against training-set size: the runs, and the law where there is one.

Laws of forgetting (:mod:`tracker.laws.forgetting`) predict the rise of the suite's loss; here it is
relative to the loss of the untouched model, as results state it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from dashboards.charts.axes import examples_axis
from dashboards.charts.chart import Chart
from dashboards.charts.marks import LawLine, draw_law, error_bars
from dashboards.charts.scaling import AHEAD
from dashboards.charts.theme import (
    Palette,
    method_colour,
    method_symbol,
    ordered_methods,
    template,
    transparent,
)
from dashboards.charts.wording import escaped
from tracker.decision.analysis import Analysis
from tracker.errors import NotEnoughDataError
from tracker.laws.auxiliary import AuxiliaryLaws, ForgettingKey
from tracker.laws.forgetting import FittedForgetting
from tracker.metrics import normal_interval
from tracker.numbers import count, percent

_STEPS = 20
#: An average of at least so many runs is another than a law's if it is so many standard errors away.
_FEWEST, _SURELY = 3, 3.0


class ForgettingRun(NamedTuple):
    """Forgetting of one run. ``value``: the share lost, with its 80 % interval by the suite's rows."""

    number: int
    examples: int
    value: float
    low: float | None
    high: float | None


class ForgettingCurve(NamedTuple):
    """Forgetting of one method. ``line``: the law, ``None`` without one.

    It is ``None`` too where the law is the average of all models' runs and surely not of these.

    ``form``: of the law; ``held_out_error``: its mean error at the largest volume of the law fitted
    without it, as a share of the base's loss.
    """

    method: str
    label: str
    runs: tuple[ForgettingRun, ...]
    line: LawLine | None
    form: str | None
    held_out_error: float | None


class Forgetting(NamedTuple):
    """Forgetting of one suite by one model under one mix."""

    model: str
    suite: str
    curves: tuple[ForgettingCurve, ...]


def forgetting_of(
    analysis: Analysis, laws: AuxiliaryLaws, *, model: str, mix: str, suite: str
) -> Forgetting:
    """As :func:`forgetting`, with the mix's share of general text as its trials have it."""
    mixes = (r.result.spec.mix for r in analysis.records if r.result.spec.mix is not None)
    replay = next((spec.replay for spec in mixes if spec.name == mix), 0.0)
    return forgetting(
        analysis.table, laws.forgetting, model=model, mix=mix, suite=suite, replay=replay
    )


def forgetting(
    table: pd.DataFrame,
    laws: Mapping[ForgettingKey, FittedForgetting],
    *,
    model: str,
    mix: str,
    suite: str,
    replay: float,
) -> Forgetting:
    """The runs of *model* under *mix* that the laws of *suite* were fitted to, and those laws.

    *replay*: the mix's share of general text.
    """
    rows = table[(table["model"] == model) & (table["status"] == "complete")]
    rows = rows.drop_duplicates("number")
    name = f"forgetting.{suite}"
    if name not in rows or rows[name].notna().sum() == 0:
        return Forgetting(model, suite, ())
    rows = rows[rows[name].notna()]
    tuned = rows[(rows["method"] != "none") & (rows["mix"] == mix)]
    before = float(rows[f"general.{suite}.before"].astype(float).median())
    after = rows[f"general.{suite}.after"].astype(float)
    relative = bool(np.isclose(after / before - 1, rows[name].astype(float)).mean() > 0.5)
    unit = before if relative else 1.0
    size = rows["parameters"].iloc[0]
    curves = []
    for key, law in laws.items():
        fitted = tuned[tuned["key"].isin(law.used)] if key.suite == suite else tuned.iloc[:0]
        if fitted.empty or pd.isna(size):
            continue
        runs, line = _runs(fitted, suite), _line(law, float(size), replay, unit)
        if line is not None and law.kind == "constant" and _differs_from_average(runs, line):
            line = None
        method = str(fitted["method"].iloc[0])
        curves.append(ForgettingCurve(method, key.method, runs, line, law.form, law.held_out_error))
    order = ordered_methods(curve.method for curve in curves)
    return Forgetting(model, suite, tuple(sorted(curves, key=lambda c: order.index(c.method))))


def _runs(rows: pd.DataFrame, suite: str) -> tuple[ForgettingRun, ...]:
    found = []
    columns = ("number", "volume", f"forgetting.{suite}", f"general.{suite}.lost_se")
    for number, volume, lost, error in zip(*(rows[c].tolist() for c in columns), strict=True):
        low, high = normal_interval(float(lost), error) or (None, None)
        found.append(ForgettingRun(int(number), int(volume), float(lost), low, high))
    return tuple(sorted(found, key=lambda run: (run.examples, run.number)))


def _differs_from_average(runs: Sequence[ForgettingRun], line: LawLine) -> bool:
    """Whether the average of all models' runs is surely not that of *runs*, which are one model's."""
    lost = [run.value for run in runs]
    if len(lost) < _FEWEST:
        return False
    error = float(np.std(lost, ddof=1)) / len(lost) ** 0.5
    return bool(abs(float(np.mean(lost)) - line.value[0]) > _SURELY * error)


def _line(law: FittedForgetting, size: float, replay: float, unit: float) -> LawLine | None:
    start, end = law.domain["examples"]
    inside = np.geomspace(start, end, _STEPS)
    grid = np.concatenate([inside, np.geomspace(end, AHEAD * end, _STEPS // 2)[1:]])
    rows = []
    for examples in grid.tolist():
        try:
            lost = law.predict(size, examples, replay)
        except NotEnoughDataError:
            return None
        rows.append((examples, *(float(x[0]) / unit for x in (lost.value, lost.low, lost.high))))
    x, value, low, high = (tuple(column) for column in zip(*rows, strict=True))
    return LawLine(x, value, low, high, 0, len(inside) - 1)


def draw_forgetting(data: Forgetting, colours: Palette, *, log_x: bool = True) -> Chart:
    """Runs, laws with their 80 % bands, dashed beyond the measurements; 0 is the untouched model."""
    figure = Chart()
    for curve in data.curves:
        colour = method_colour(curve.method, colours)
        if curve.line is not None:
            draw_law(figure, curve.line, colour)
        figure.add_scatter(
            x=[run.examples for run in curve.runs],
            y=[run.value for run in curve.runs],
            error_y=error_bars(curve.runs, transparent(colour, 0.45), thickness=1),
            mode="markers",
            marker={"color": colour, "symbol": method_symbol(curve.method), "size": 7},
            customdata=[[count(r.examples), percent(r.value), r.number] for r in curve.runs],
            hovertemplate=f"<b>{escaped(curve.label)}</b><br>%{{customdata[0]}} examples: "
            "%{customdata[1]} lost<br>trial %{customdata[2]}<extra></extra>",
        )
    figure.add_hline(y=0, line={"color": colours.methods["none"], "width": 1.6, "dash": "dot"})
    sizes = sorted({float(run.examples) for curve in data.curves for run in curve.runs})
    figure.update_layout(
        template=template(colours),
        xaxis=examples_axis(sizes, log_x=log_x),
        yaxis={"title": f"General ability lost on {escaped(data.suite)}", "tickformat": ".0%"},
    )
    return figure
