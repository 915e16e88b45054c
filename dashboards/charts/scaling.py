"""Score against examples: what was measured, the fitted law, and where the law runs ahead of it.

A law is fitted to a quantity of which less is better; a score is drawn as one minus the law of its
error. Intervals are 80 % throughout: of a measured point from its rows' standard error, of a law from
:meth:`tracker.laws.fitted_law.FittedLaw.predict`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pandas as pd

from dashboards.charts.chart import Chart
from dashboards.charts.marks import draw_band, draw_line, error_bars
from dashboards.charts.theme import (
    Palette,
    in_order,
    method_colour,
    method_symbol,
    method_words,
    shade,
    template,
)
from dashboards.charts.tuned import (
    METRIC_WORDS,
    mixes_of,
    pairs_of,
    sizes_of,
    tasks_of,
    tuned_of,
    volumes_of,
)
from dashboards.charts.wording import unmarked
from dashboards.state import Query, one_of
from tracker.laws.curves import TUNE_STAGE, CurveFits, CurveKey, Metric, curve_key
from tracker.laws.fitted_law import MAX_EXTRAPOLATION, FittedLaw, Prediction
from tracker.laws.pooling import Array
from tracker.metrics import normal_interval
from tracker.numbers import count, in_measure, present

#: Curves are drawn to this multiple of the largest volume measured, well inside what laws allow.
AHEAD = min(4.0, MAX_EXTRAPOLATION)
_STEPS = 28
#: Of many runs at one volume, those of a curve that are drawn.
MOST_DRAWN = 8
#: Columns that tell one curve from another, within a task and mix.
_SETTING = ["model", "method", "variant", "rank", "virtual_tokens", "learning_rate", "mix"]
_NEEDED = [
    *_SETTING,
    "key",
    "number",
    "parameters",
    "score_name",
    "seed",
    "stage",
    "task",
    "volume",
]


class Choices(NamedTuple):
    """What a chart over data or size can show, the first of each where nothing is asked.

    ``pair``: two methods, ``full~lora``, and ``volume``: those of the mix asked for.
    """

    task: list[str]
    metric: list[Metric]
    mix: list[str]
    pair: list[str]
    volume: list[str]


def choices(tuned: pd.DataFrame, mix: str | None) -> Choices | None:
    """What can be shown of the *tuned* results under *mix*; ``None`` before the first result."""
    metrics = [m for m in METRIC_WORDS if tuned[m].notna().any()]
    if tuned.empty or not metrics:
        return None
    mixes = mixes_of(tuned)
    own = tuned[tuned["mix"] == one_of(mixes, mix)]
    volumes = dict.fromkeys(str(v) for v in (int(own["volume"].max()), *volumes_of(own)))
    return Choices(tasks_of(tuned), metrics, mixes, pairs_of(own), list(volumes))


class Shown(NamedTuple):
    """What is shown: the query's wishes where they exist, the first of each otherwise.

    ``pair``: the two methods compared, ``full~lora``, empty where only one was run. ``volume``: that at
    which model sizes are compared, also one ahead of those measured.
    """

    task: str
    metric: Metric
    mix: str
    models: tuple[str, ...]
    log_x: bool
    together: bool
    pair: str
    volume: int


def shown(table: pd.DataFrame, query: Query) -> Shown | None:
    """Settle *query* against what was measured; ``None`` before the first tuned result."""
    tuned = tuned_of(table)
    known = choices(tuned, query.get("mix"))
    if known is None:
        return None
    models = tuple(sizes_of(tuned))
    return Shown(
        task=one_of(known.task, query.get("task")),
        metric=one_of(known.metric, query.get("metric")),
        mix=one_of(known.mix, query.get("mix")),
        models=tuple(m for m in models if m in query.many("models")) or models,
        log_x=query.get("axis") != "linear",
        together=query.get("view") == "together",
        pair=one_of([*known.pair, ""], query.get("pair")),
        volume=int(one_of(known.volume, query.get("volume"))),
    )


class Point(NamedTuple):
    """One measured run. ``low`` and ``high`` are ``None`` where the rows gave no standard error.

    ``examples`` counts the whole volume, all tasks of the mix together, as the laws do. ``used``: a
    law goes through it.
    """

    number: int
    examples: int
    value: float
    low: float | None
    high: float | None
    seed: int
    learning_rate: float | None
    used: bool


class LawLine(NamedTuple):
    """A law along ``examples``; the first ``measured`` of them lie within the measured range.

    It ends there where the law missed its largest volume by far: such a law foretells nothing.
    """

    examples: tuple[float, ...]
    value: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    measured: int


class Curve(NamedTuple):
    """One model and one setting of a method.

    ``line`` is ``None`` where no law could be fitted: ``why_not`` says why. ``main``: the setting that
    stands for its method, the one measured at most volumes; the others are drawn thin.
    """

    model: str
    parameters: int | None
    method: str
    setting: str
    points: tuple[Point, ...]
    line: LawLine | None
    held_out_error: float | None
    noise: float | None
    why_not: str | None
    main: bool


class Base(NamedTuple):
    """The untouched model's value, everyone's zero."""

    model: str
    value: float


class Scaling(NamedTuple):
    """All curves of one task, mix and metric, models by size; the ranges all charts share.

    ``strays``: runs that belong to no curve, such as those that looked for a learning rate.
    """

    task: str
    metric: Metric
    title: str
    curves: tuple[Curve, ...]
    strays: tuple[tuple[str, str, Point], ...]
    bases: tuple[Base, ...]
    x_range: tuple[float, float]
    y_range: tuple[float, float]

    @property
    def models(self) -> dict[str, int | None]:
        """Models with a curve and their parameters, the smallest first; unknown ones last."""
        return {curve.model: curve.parameters for curve in self.curves}

    @property
    def methods(self) -> tuple[str, ...]:
        """Methods with a curve, in the order every page uses."""
        return in_order(curve.method for curve in self.curves)


def scaling(
    table: pd.DataFrame,
    fits: CurveFits | None,
    *,
    task: str,
    mix: str,
    metric: Metric,
    models: Collection[str] = (),
    lines: Mapping[CurveKey, LawLine] = MappingProxyType({}),
) -> Scaling:
    """The curves of *task* under *mix*; *fits* are those of *metric*, ``None`` where they are not known
    yet: the points stand alone then. No *models* means all. *lines*: of :func:`law_lines`, where known.
    """
    wanted = (table["task"] == task) & table[metric].notna() & (table["status"] == "complete")
    if models:
        wanted &= table["model"].isin(list(models))
    # The table is wide, and its rows are copied a few times from here on.
    rows = table.loc[wanted, list(dict.fromkeys([*_NEEDED, metric, f"{metric}_se"]))]
    rows = rows.sort_values(["parameters", "model", "volume", "number"], kind="stable")
    tuned = rows[(rows["mix"] == mix) & (rows["method"] != "none")]
    curves, loose = [], []
    for _, group in tuned.groupby(_SETTING, dropna=False, sort=False):
        first = group.iloc[0]
        key = curve_key(first, first["task"])
        if fits is None and (group["stage"] != TUNE_STAGE).any():
            curves.append(
                _curve(group, key, CurveFits({}, {key: "its law is being fitted"}), metric, {})
            )
        elif fits is not None and (key in fits.laws or key in fits.refused):
            curves.append(_curve(group, key, fits, metric, lines))
        else:
            loose += [
                (key.model, key.method.name, point) for point in _points(group, metric, frozenset())
            ]
    strays = tuple(sorted(loose, key=lambda stray: stray[2].number))
    bases = tuple(
        Base(str(row["model"]), float(row[metric]))
        for _, row in rows[rows["method"] == "none"].drop_duplicates("model").iterrows()
    )
    ordered = _with_mains(curves)
    title = _metric_title(metric, rows)
    return Scaling(task, metric, title, ordered, strays, bases, *_ranges(ordered, bases, metric))


def _with_mains(curves: Sequence[Curve]) -> tuple[Curve, ...]:
    """Ordered by size and method; per model and method one curve is the main one."""
    order = in_order(curve.method for curve in curves)
    best: dict[tuple[str, str], Curve] = {}
    for curve in curves:
        place = curve.model, curve.method
        if place not in best or _coverage(curve) > _coverage(best[place]):
            best[place] = curve
    marked = [c._replace(main=best[c.model, c.method] is c) for c in curves]
    return tuple(
        sorted(marked, key=lambda c: (c.parameters or np.inf, c.model, order.index(c.method)))
    )


def _coverage(curve: Curve) -> tuple[int, int, bool]:
    return len({p.examples for p in curve.points}), len(curve.points), curve.line is not None


def _metric_title(metric: Metric, rows: pd.DataFrame) -> str:
    if metric == "bits_per_byte":
        return "Bits per byte of the answer (lower is better)"
    if metric == "loss_nats":
        return "Loss in nats per token (lower is better)"
    names = {"macro_f1": "Macro-F1", "token_f1": "Token-F1", "exact_match": "Exact match"}
    name = str(rows["score_name"].iloc[0]) if len(rows) else "score"
    return f"{names.get(name, 'Score')} on validation"


def _curve(
    rows: pd.DataFrame,
    key: CurveKey,
    fits: CurveFits,
    metric: Metric,
    lines: Mapping[CurveKey, LawLine],
) -> Curve:
    law, size = fits.laws.get(key), rows["parameters"].iloc[0]
    return Curve(
        model=key.model,
        parameters=None if pd.isna(size) else int(size),
        method=key.method.name,
        setting=key.method.label,
        points=_points(rows, metric, frozenset(law.used) if law else frozenset()),
        line=lines.get(key) or _line(law, metric) if law else None,
        held_out_error=law.held_out_error if law else None,
        noise=law.noise if law else None,
        why_not=fits.refused.get(key),
        main=False,
    )


def _points(rows: pd.DataFrame, metric: Metric, used: Collection[str]) -> tuple[Point, ...]:
    """The runs of *rows*; *used*: keys of those that a law goes through."""
    columns = ["number", "volume", metric, f"{metric}_se", "seed", "learning_rate", "key"]
    most = 1.0 if metric == "score" else math.inf
    found = []
    for number, volume, value, error, seed, rate, key in zip(
        *(rows[column].tolist() for column in columns), strict=True
    ):
        known = float(error) if present(error) else None
        low, high = normal_interval(float(value), known, 0.0, most) or (None, None)
        found.append(
            Point(
                number=int(number),
                examples=int(volume),
                value=float(value),
                low=low,
                high=high,
                seed=int(seed),
                learning_rate=float(rate) if present(rate) else None,
                used=key in used,
            )
        )
    return tuple(found)


def drawn(points: Sequence[Point]) -> list[Point]:
    """At each volume at most :data:`MOST_DRAWN` of *points*, evenly by rank, both ends among them."""
    by_volume: dict[int, list[Point]] = {}
    for point in points:
        by_volume.setdefault(point.examples, []).append(point)
    kept = []
    for own in by_volume.values():
        ranked = sorted(own, key=lambda p: (p.value, p.number))
        places = np.linspace(0, len(ranked) - 1, min(MOST_DRAWN, len(ranked)))
        kept += [ranked[place] for place in places.round().astype(int)]
    return kept


def law_lines(fits: Mapping[str, CurveFits], metric: Metric) -> dict[CurveKey, LawLine]:
    """The lines of all laws of *fits* (task → laws), which take longer than the rest of a chart."""
    return {key: _line(law, metric) for own in fits.values() for key, law in own.laws.items()}


def _line(law: FittedLaw, metric: Metric) -> LawLine:
    start, end = law.domain
    inside = np.geomspace(start, end, _STEPS)
    beyond = np.geomspace(end, AHEAD * end, _STEPS // 2)[1:]
    grid = inside if law.fails_held_out else np.concatenate([inside, beyond])
    value, low, high = own_unit(law.predict(grid, 0.8), metric)
    return LawLine(
        tuple(grid.tolist()),
        tuple(value.tolist()),
        tuple(low.tolist()),
        tuple(high.tolist()),
        len(inside),
    )


def own_unit(told: Prediction, metric: Metric) -> tuple[Array, Array, Array]:
    """Value, low and high (m,) of *told* in the metric's own unit: a law of a score is of its error."""
    if metric == "score":  # within which every run's score lies
        value, low, high = (np.clip(1 - x, 0, 1) for x in (told.value, told.high, told.low))
        return value, low, high
    return told.value, told.low, told.high


def _ranges(
    curves: Sequence[Curve], bases: Sequence[Base], metric: Metric
) -> tuple[tuple[float, float], tuple[float, float]]:
    xs = [float(p.examples) for c in curves for p in c.points if p.examples > 0]
    ys = [p.value for c in curves for p in c.points] + [b.value for b in bases]
    ys += [y for c in curves for p in c.points for y in (p.low, p.high) if y is not None]
    for curve in curves:
        if curve.line:
            xs += [curve.line.examples[0], curve.line.examples[-1]]
            # The band may shoot off beyond the data; within it, it must be seen whole.
            inside = slice(0, curve.line.measured)
            ys += [*curve.line.value, *curve.line.low[inside], *curve.line.high[inside]]
    if not xs or not ys:
        return (1.0, 10.0), (0.0, 1.0)
    pad = 0.06 * (max(ys) - min(ys) or 0.1)
    bottom, top = min(ys) - pad, max(ys) + pad
    if metric == "score":
        bottom, top = max(bottom, -0.03), min(top, 1.03)
    return (min(xs) / 1.15, max(xs) * 1.1), (bottom, top)


def draw_scaling(
    data: Scaling, colours: Palette, *, models: Sequence[str], log_x: bool = True
) -> Chart:
    """The curves of *models* in one chart. Several models share it by shade, the largest darkest."""
    figure = Chart()
    together = len(models) > 1
    rank = {model: i for i, model in enumerate(data.models)}

    def colour(model: str, method: str) -> str:
        strength = 0.42 + 0.58 * (rank.get(model, 0) + 1) / max(1, len(rank)) if together else 1.0
        return shade(method_colour(method, colours), colours.surface, strength)

    for base in data.bases:
        if base.model in models:
            _draw_base(figure, base, data, colours)
    for model, method, point in data.strays:
        if model in models:
            _draw_points(
                figure,
                data,
                f"{method_words(method)} · {model}",
                method,
                [point],
                colour(model, method),
                main=False,
            )
    for curve in sorted(data.curves, key=lambda c: c.main):
        if curve.model in models:
            tint = colour(curve.model, curve.method)
            _draw_line(
                figure, curve, tint, band=0.0 if not curve.main else 0.07 if together else 0.14
            )
            name = f"{curve.setting} · {curve.model}"
            _draw_points(figure, data, name, curve.method, curve.points, tint, main=curve.main)
    _lay_out(figure, data, colours, log_x=log_x)
    return figure


def _draw_base(figure: Chart, base: Base, data: Scaling, colours: Palette) -> None:
    figure.add_scatter(
        x=data.x_range,
        y=[base.value] * 2,
        mode="lines",
        line={"color": colours.methods["none"], "width": 1.6, "dash": "dot"},
        hovertemplate=f"Untouched {unmarked(base.model)}: "
        f"{in_measure(base.value, data.metric)}<extra></extra>",
    )


def _draw_line(figure: Chart, curve: Curve, colour: str, *, band: float) -> None:
    line = curve.line
    if line is None:
        return
    if band:
        draw_band(figure, line.examples, line.low, line.high, colour, band)
    measured, beyond = slice(0, line.measured), slice(line.measured - 1, None)
    draw_line(
        figure,
        line.examples,
        line.value,
        [(measured, "solid"), (beyond, "dash")],
        colour,
        width=2.2 if curve.main else 1.0,
        opacity=1.0 if curve.main else 0.6,
    )


def _draw_points(
    figure: Chart,
    data: Scaling,
    name: str,
    method: str,
    points: Sequence[Point],
    colour: str,
    *,
    main: bool,
) -> None:
    """Runs under a law are solid with error bars, the others small and hollow.

    Those of a setting that does not stand for its method (not *main*) are small and faint.
    """
    for used in (False, True):
        own = drawn([p for p in points if p.used is used])
        if not own:
            continue
        figure.add_scatter(
            x=[p.examples for p in own],
            y=[p.value for p in own],
            **({"error_y": _bars(own, colour)} if used and main else {}),
            mode="markers",
            opacity=1.0 if used and main else 0.55 if main or not used else 0.3,
            marker={
                "color": colour if used else "rgba(0,0,0,0)",
                "symbol": method_symbol(method),
                "size": 8 if used and main else 6,
                "line": {"color": colour, "width": 1.2},
            },
            customdata=[[_hover(p, data.metric)] for p in own],
            hovertemplate=f"<b>{unmarked(name)}</b><br>%{{customdata[0]}}<extra></extra>",
        )


def _bars(points: Sequence[Point], colour: str) -> dict[str, object]:
    values, low, high = zip(*((p.value, p.low, p.high) for p in points), strict=True)
    return error_bars(values, low, high, colour, thickness=1.2)


def _hover(point: Point, metric: Metric) -> str:
    half = None if point.high is None else point.high - point.value
    margin = f" ± {in_measure(half, metric)}" if half is not None else ""
    rate = f", learning rate {point.learning_rate:.2g}" if point.learning_rate else ""
    parts = [
        f"{count(point.examples)} examples: {in_measure(point.value, metric)}{margin}",
        f"trial {point.number}, seed {point.seed}{rate}",
    ]
    if not point.used:
        parts.append("not under a law")
    return "<br>".join(parts)


def _lay_out(figure: Chart, data: Scaling, colours: Palette, *, log_x: bool) -> None:
    low, high = data.x_range
    figure.update_layout(
        template=template(colours),
        xaxis={
            "title": "Training examples, all tasks",
            "type": "log" if log_x else "linear",
            "range": [np.log10(low), np.log10(high)] if log_x else [0, high],
            "tickformat": ",~r" if not log_x else None,
            **(_ticks(data) if log_x else {}),
        },
        yaxis={
            "title": data.title,
            "range": list(data.y_range),
            "tickformat": ".0%" if data.metric == "score" else ".2f",
        },
    )


def _ticks(data: Scaling) -> dict[str, list[float] | list[str]]:
    """Ticks at the volumes measured and at doublings beyond, thinned to what a phone can show."""
    volumes = sorted({float(p.examples) for c in data.curves for p in c.points if p.examples > 0})
    while volumes and volumes[-1] * 2 <= data.x_range[1]:
        volumes.append(volumes[-1] * 2)
    every = max(1, -(-len(volumes) // 7))
    kept = volumes[::every]
    return {"tickvals": kept, "ticktext": [count(volume) for volume in kept]}
