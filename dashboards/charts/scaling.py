"""Score or loss against training-set size: measured runs, fitted laws, and the laws beyond the measurements.

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

from dashboards.charts.axes import examples_axis, metric_ticks, padded
from dashboards.charts.chart import Chart
from dashboards.charts.marks import LawLine, draw_law, error_bars
from dashboards.charts.theme import (
    Palette,
    graded,
    method_colour,
    method_label,
    method_symbol,
    ordered_methods,
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
from dashboards.charts.wording import WithInterval, escaped, estimate, score_name
from dashboards.state import Query, one_of
from tracker.laws.curves import TUNE_STAGE, CurveFits, CurveKey, Metric, curve_key
from tracker.laws.fitted_law import MAX_EXTRAPOLATION, MAX_HELD_OUT_ERROR, FittedLaw, Prediction
from tracker.laws.pooling import Array
from tracker.metrics import normal_interval
from tracker.numbers import count, in_measure, present
from tracker.results import method_columns

#: Curves are drawn to this multiple of the largest volume measured, well inside what laws allow.
AHEAD = min(4.0, MAX_EXTRAPOLATION)
_STEPS = 28
#: Of many runs at one volume, those of a curve that are drawn.
MAX_RUNS = 8
_NEEDED = [
    "key",
    "number",
    "parameters",
    "score_name",
    "seed",
    "stage",
    "task",
    "volume",
]


class ScalingChoices(NamedTuple):
    """Options of a chart over training-set or model size; the first of each is the default.

    ``pair`` (two methods, ``full~lora``) and ``volume`` depend on the mix.
    """

    task: list[str]
    metric: list[Metric]
    mix: list[str]
    pair: list[str]
    volume: list[str]


def scaling_choices(tuned: pd.DataFrame, mix: str | None) -> ScalingChoices | None:
    """The options for the *tuned* results under *mix*; ``None`` before the first result."""
    metrics = [m for m in METRIC_WORDS if tuned[m].notna().any()]
    if tuned.empty or not metrics:
        return None
    mixes = mixes_of(tuned)
    of_mix = tuned[tuned["mix"] == one_of(mixes, mix)]
    volumes = dict.fromkeys(str(v) for v in (int(of_mix["volume"].max()), *volumes_of(of_mix)))
    return ScalingChoices(tasks_of(tuned), metrics, mixes, pairs_of(of_mix), list(volumes))


class ScalingState(NamedTuple):
    """State of the scaling page: what the address names where it exists, otherwise the first of each.

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


def scaling_state(table: pd.DataFrame, query: Query) -> ScalingState | None:
    """The state that *query* names, as far as it was measured; ``None`` before the first tuned result."""
    tuned = tuned_of(table)
    options = scaling_choices(tuned, query.get("mix"))
    if options is None:
        return None
    models = tuple(sizes_of(tuned))
    task = one_of(options.task, query.get("task"))
    of_task = tuned[tuned["task"] == task]
    measured = [metric for metric in options.metric if of_task[metric].notna().any()]
    return ScalingState(
        task=task,
        metric=one_of(measured or options.metric, query.get("metric")),
        mix=one_of(options.mix, query.get("mix")),
        models=tuple(m for m in models if m in query.many("models")) or models,
        log_x=query.get("axis") != "linear",
        together=query.get("view") == "together",
        pair=one_of([*options.pair, ""], query.get("pair")),
        volume=int(one_of(options.volume, query.get("volume"))),
    )


class MeasuredRun(NamedTuple):
    """One run. ``low`` and ``high`` are ``None`` where the rows gave no standard error.

    ``examples``: of all tasks of the mix together, as the laws count them. ``used``: a law is fitted to it.
    """

    number: int
    examples: int
    value: float
    low: float | None
    high: float | None
    seed: int
    learning_rate: float | None
    used: bool


class ScalingCurve(NamedTuple):
    """One model and one setting of a method.

    ``line`` is ``None`` where no law could be fitted; ``why_not`` says why. ``main``: the setting that
    represents its method, the one measured at the most sizes; the others are drawn thin.
    """

    model: str
    parameters: int | None
    method: str
    setting: str
    runs: tuple[MeasuredRun, ...]
    line: LawLine | None
    held_out_error: float | None
    why_not: str | None
    main: bool

    @property
    def trusted(self) -> bool:
        """Whether there is a law with a small held-out error."""
        error = self.held_out_error
        return self.line is not None and error is not None and error <= MAX_HELD_OUT_ERROR


class BaseValue(NamedTuple):
    """The untouched model's value, which tuning starts from."""

    model: str
    value: float


class Scaling(NamedTuple):
    """All curves of one task, mix and metric, models by size; the ranges that all charts share.

    ``unfitted``: (model, method, run) of runs on no curve, such as those that searched a learning rate.
    """

    task: str
    metric: Metric
    title: str
    curves: tuple[ScalingCurve, ...]
    unfitted: tuple[tuple[str, str, MeasuredRun], ...]
    bases: tuple[BaseValue, ...]
    x_range: tuple[float, float]
    y_range: tuple[float, float]

    @property
    def models(self) -> dict[str, int | None]:
        """Models with a curve and their parameters, the smallest first; unknown ones last."""
        return {curve.model: curve.parameters for curve in self.curves}

    @property
    def methods(self) -> tuple[str, ...]:
        """Methods with a curve, in the order every page uses."""
        return ordered_methods(curve.method for curve in self.curves)


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
    """The curves of *task* under *mix*. *fits*: the laws of *metric*, ``None`` while they are being fitted.

    No *models* means all. *lines*: of :func:`law_lines`, where they are known.
    """
    wanted = (table["task"] == task) & table[metric].notna() & (table["status"] == "complete")
    if models:
        wanted &= table["model"].isin(list(models))
    # The table is wide, and its rows are copied a few times from here on.
    curve = ["model", *method_columns(table), "mix"]
    rows = table.loc[wanted, list(dict.fromkeys([*curve, *_NEEDED, metric, f"{metric}_se"]))]
    rows = rows.sort_values(["parameters", "model", "volume", "number"], kind="stable")
    tuned = rows[(rows["mix"] == mix) & (rows["method"] != "none")]
    curves, loose = [], []
    for _, group in tuned.groupby(curve, dropna=False, sort=False):
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
                (key.model, key.method.name, run) for run in _runs(group, metric, frozenset())
            ]
    unfitted = tuple(sorted(loose, key=lambda unused: unused[2].number))
    bases = tuple(
        BaseValue(str(row["model"]), float(row[metric]))
        for _, row in rows[rows["method"] == "none"].drop_duplicates("model").iterrows()
    )
    ordered = _with_mains(curves)
    title = _metric_title(metric, rows)
    return Scaling(task, metric, title, ordered, unfitted, bases, *_ranges(ordered, bases, metric))


def _with_mains(curves: Sequence[ScalingCurve]) -> tuple[ScalingCurve, ...]:
    """Order *curves* by size and method, and mark one of each model and method as the main one."""
    order = ordered_methods(curve.method for curve in curves)
    best: dict[tuple[str, str], ScalingCurve] = {}
    for curve in curves:
        place = curve.model, curve.method
        if place not in best or _coverage(curve) > _coverage(best[place]):
            best[place] = curve
    marked = [c._replace(main=best[c.model, c.method] is c) for c in curves]
    return tuple(
        sorted(marked, key=lambda c: (c.parameters or np.inf, c.model, order.index(c.method)))
    )


def _coverage(curve: ScalingCurve) -> tuple[int, int, bool]:
    return len({p.examples for p in curve.runs}), len(curve.runs), curve.line is not None


def _metric_title(metric: Metric, rows: pd.DataFrame) -> str:
    if metric == "bits_per_byte":
        return "Bits per byte of the answer (lower is better)"
    if metric == "loss_nats":
        return "Loss in nats per token (lower is better)"
    if metric == "error":
        name = str(rows["score_name"].iloc[0]) if len(rows) else "error"
        return f"{name} (lower is better)"
    name = score_name(str(rows["score_name"].iloc[0]) if len(rows) else "score", "score")
    return f"{name[:1].upper()}{name[1:]} on validation"


def _curve(
    rows: pd.DataFrame,
    key: CurveKey,
    fits: CurveFits,
    metric: Metric,
    lines: Mapping[CurveKey, LawLine],
) -> ScalingCurve:
    law, size = fits.laws.get(key), rows["parameters"].iloc[0]
    return ScalingCurve(
        model=key.model,
        parameters=None if pd.isna(size) else int(size),
        method=key.method.name,
        setting=key.method.label,
        runs=_runs(rows, metric, frozenset(law.used) if law else frozenset()),
        line=lines.get(key) or _line(law, metric) if law else None,
        held_out_error=law.held_out_error if law else None,
        why_not=fits.refused.get(key),
        main=False,
    )


def _runs(rows: pd.DataFrame, metric: Metric, used: Collection[str]) -> tuple[MeasuredRun, ...]:
    """The runs of *rows*; *used*: keys of those that a law is fitted to."""
    columns = ["number", "volume", metric, f"{metric}_se", "seed", "learning_rate", "key"]
    most = 1.0 if metric == "score" else math.inf
    found = []
    for number, volume, value, error, seed, rate, key in zip(
        *(rows[column].tolist() for column in columns), strict=True
    ):
        se = float(error) if present(error) else None
        low, high = normal_interval(float(value), se, 0.0, most) or (None, None)
        found.append(
            MeasuredRun(
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


def sampled(runs: Sequence[MeasuredRun]) -> list[MeasuredRun]:
    """Sample of *runs*: at each size at most :data:`MAX_RUNS`, evenly by rank, both ends among them."""
    by_volume: dict[int, list[MeasuredRun]] = {}
    for run in runs:
        by_volume.setdefault(run.examples, []).append(run)
    kept = []
    for alike in by_volume.values():
        ranked = sorted(alike, key=lambda p: (p.value, p.number))
        places = np.linspace(0, len(ranked) - 1, min(MAX_RUNS, len(ranked)))
        kept += [ranked[place] for place in places.round().astype(int)]
    return kept


def law_lines(fits: Mapping[str, CurveFits], metric: Metric) -> dict[CurveKey, LawLine]:
    """The lines of all laws of *fits* (task → laws), which take longer than the rest of a chart."""
    return {key: _line(law, metric) for of in fits.values() for key, law in of.laws.items()}


def _line(law: FittedLaw, metric: Metric) -> LawLine:
    """The line of *law*; it ends with the measurements where the law missed its largest volume by far."""
    start, end = law.domain
    inside = np.geomspace(start, end, _STEPS)
    beyond = np.geomspace(end, AHEAD * end, _STEPS // 2)[1:]
    grid = inside if law.fails_held_out else np.concatenate([inside, beyond])
    value, low, high = in_metric_unit(law.predict(grid, 0.8), metric)
    return LawLine(
        tuple(grid.tolist()),
        tuple(value.tolist()),
        tuple(low.tolist()),
        tuple(high.tolist()),
        0,
        len(inside) - 1,
    )


def in_metric_unit(predicted: Prediction, metric: Metric) -> tuple[Array, Array, Array]:
    """Value, low and high (m,) of *predicted* in the unit of *metric*: a law of a score is of its error."""
    value, low, high = predicted.value, predicted.low, predicted.high
    if metric == "score":
        value, low, high = (np.clip(1 - x, 0, 1) for x in (value, high, low))
    return value, low, high


def _ranges(
    curves: Sequence[ScalingCurve], bases: Sequence[BaseValue], metric: Metric
) -> tuple[tuple[float, float], tuple[float, float]]:
    xs = [float(p.examples) for c in curves for p in c.runs if p.examples > 0]
    ys = [p.value for c in curves for p in c.runs] + [b.value for b in bases]
    ys += [y for c in curves for p in c.runs for y in (p.low, p.high) if y is not None]
    for curve in curves:
        if curve.line:
            xs += [curve.line.x[0], curve.line.x[-1]]
            # The band may shoot off beyond the data; within it, it must be seen whole.
            inside = slice(0, curve.line.last + 1)
            ys += [*curve.line.value, *curve.line.low[inside], *curve.line.high[inside]]
    if not xs or not ys:
        return (1.0, 10.0), (0.0, 1.0)
    bottom, top = padded(ys, 0.06, 0.1)
    if metric == "score":
        bottom, top = max(bottom, -0.03), min(top, 1.03)
    return (min(xs) / 1.15, max(xs) * 1.1), (bottom, top)


def draw_scaling(
    data: Scaling, colours: Palette, *, models: Sequence[str], log_x: bool = True
) -> Chart:
    """Curves of *models* in one chart, the largest in the strongest colour."""
    figure = Chart()
    several = len(models) > 1
    rank = {model: i for i, model in enumerate(data.models)}

    def colour(model: str, method: str) -> str:
        strong = method_colour(method, colours)
        return graded(strong, colours.surface, rank.get(model, 0), len(rank)) if several else strong

    for base in data.bases:
        if base.model in models:
            _draw_base(figure, base, data, colours)
    for model, method, run in data.unfitted:
        if model in models:
            name, tint = f"{method_label(method)} · {model}", colour(model, method)
            _draw_runs(figure, data.metric, name, method, [run], tint, main=False)
    for curve in sorted(data.curves, key=lambda c: c.main):
        if curve.model not in models:
            continue
        tint, name = colour(curve.model, curve.method), f"{curve.setting} · {curve.model}"
        if curve.line is not None and curve.main:
            draw_law(figure, curve.line, tint, band=0.07 if several else 0.14, width=2.2)
        elif curve.line is not None:
            draw_law(figure, curve.line, tint, band=0.0, width=1.0, opacity=0.6)
        _draw_runs(figure, data.metric, name, curve.method, curve.runs, tint, main=curve.main)
    figure.update_layout(
        template=template(colours),
        xaxis=examples_axis(_tick_sizes(data), log_x=log_x, ends=data.x_range),
        yaxis={
            "title": data.title,
            "range": list(data.y_range),
            "tickformat": metric_ticks(data.metric),
        },
    )
    return figure


def _draw_base(figure: Chart, base: BaseValue, data: Scaling, colours: Palette) -> None:
    figure.add_scatter(
        x=data.x_range,
        y=[base.value] * 2,
        mode="lines",
        line={"color": colours.methods["none"], "width": 1.6, "dash": "dot"},
        hovertemplate=f"Untouched {escaped(base.model)}: "
        f"{in_measure(base.value, data.metric)}<extra></extra>",
    )


def _draw_runs(
    figure: Chart,
    metric: Metric,
    name: str,
    method: str,
    runs: Sequence[MeasuredRun],
    colour: str,
    *,
    main: bool,
) -> None:
    """Runs that a law is fitted to are solid with error bars, the others small and hollow.

    Those of a setting that does not represent its method (not *main*) are small and pale.
    """
    for used in (False, True):
        marks = sampled([run for run in runs if run.used is used])
        if not marks:
            continue
        figure.add_scatter(
            x=[run.examples for run in marks],
            y=[run.value for run in marks],
            **({"error_y": error_bars(marks, colour, thickness=1.2)} if used and main else {}),
            mode="markers",
            opacity=1.0 if used and main else 0.55 if main or not used else 0.3,
            marker={
                "color": colour if used else "rgba(0,0,0,0)",
                "symbol": method_symbol(method),
                "size": 8 if used and main else 6,
                "line": {"color": colour, "width": 1.2},
            },
            customdata=[[_hover(run, metric)] for run in marks],
            hovertemplate=f"<b>{escaped(name)}</b><br>%{{customdata[0]}}<extra></extra>",
        )


def _hover(run: MeasuredRun, metric: Metric) -> str:
    rate = f", learning rate {run.learning_rate:.2g}" if run.learning_rate else ""
    return (
        f"{count(run.examples)} examples: {with_interval(run, metric)}"
        f"<br>trial {run.number}, seed {run.seed}{rate}{'' if run.used else '<br>no law is fitted to it'}"
    )


def with_interval(found: WithInterval, metric: Metric) -> str:
    """A value of *metric* with its 80 % interval, as far as its error is known."""
    return estimate(found, lambda value: in_measure(value, metric))


def _tick_sizes(data: Scaling) -> list[float]:
    """The sizes measured, and doublings beyond them."""
    sizes = sorted({float(run.examples) for c in data.curves for run in c.runs if run.examples > 0})
    while sizes and sizes[-1] * 2 <= data.x_range[1]:
        sizes.append(sizes[-1] * 2)
    return sizes
