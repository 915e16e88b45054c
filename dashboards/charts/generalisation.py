"""Quality against what tuning costs elsewhere: general ability lost, or skill lost on untrained tasks.

One spot is a configuration, its seeds averaged. A path goes from the untouched base model through the
volumes one setting of a method was run at. Intervals are 80 %: the rows' standard error, which does not
shrink with seeds as all see the same rows, and the deviation between seeds, pooled over configurations,
which does (as :func:`tracker.results.forgetting` has it).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dashboards.charts.chart import Chart
from dashboards.charts.marks import error_bars
from dashboards.charts.theme import (
    Palette,
    in_order,
    method_colour,
    method_symbol,
    method_words,
    shade,
    template,
    transparent,
)
from dashboards.charts.ticks import quality_axis, share_ticks
from dashboards.charts.tradeoff import draw_front
from dashboards.charts.tuned import mixes_of, sizes_of, tasks_of, tuned_of, volumes_of
from dashboards.charts.wording import unmarked
from dashboards.state import Query, one_of
from tracker.decision.analysis import Analysis
from tracker.decision.pareto import pareto_front
from tracker.metrics import MEASURES, Measure, normal_interval
from tracker.numbers import count, percent, plural, quality
from tracker.results import method_of, quality_table

#: The cost axis of what tuning does to tasks that the mix does not train.
TRANSFER = "transfer"
#: The query's word for the weighted mean of all tasks, for all models apart, and in one chart.
ALL = "all"
TOGETHER = "together"
_SETTING = ["method", "variant", "rank", "virtual_tokens", "learning_rate"]
_CONFIGURATION = ["model", *_SETTING, "mix", "volume"]


class Choices(NamedTuple):
    """What a chart of quality against cost can show, the first of each where nothing is asked.

    ``volume``: those of the mix asked for.
    """

    task: list[str]
    cost: list[str]
    mix: list[str]
    model: list[str]
    volume: list[str]


def choices(analysis: Analysis, mix: str | None) -> Choices | None:
    """What can be shown under *mix*; ``None`` before the first tuned result."""
    tuned = tuned_of(analysis.table)
    if tuned.empty:
        return None
    mixes, tasks = mixes_of(tuned), tasks_of(tuned)
    volumes = volumes_of(tuned[tuned["mix"] == one_of(mixes, mix)], ahead=False)
    return Choices(
        task=[ALL, *tasks] if weighted(analysis) else tasks,
        cost=[*suites_of(analysis.table), TRANSFER],
        mix=mixes,
        model=models_of(tuned),
        volume=[str(volume) for volume in reversed(volumes)],
    )


class Shown(NamedTuple):
    """What is shown. ``task``: ``all`` or one; ``model``: one, ``all`` apart, or ``together``."""

    task: str
    cost: str
    mix: str
    model: str
    volume: int
    log_x: bool


def shown(analysis: Analysis, query: Query) -> Shown | None:
    """Settle *query* against what was measured; ``None`` before the first tuned result."""
    known = choices(analysis, query.get("mix"))
    if known is None:
        return None
    return Shown(
        task=one_of(known.task, query.get("task")),
        cost=one_of(known.cost, query.get("cost")),
        mix=one_of(known.mix, query.get("mix")),
        model=one_of(known.model, query.get("model")),
        volume=int(one_of(known.volume, query.get("volume"))),
        log_x=query.get("axis") != "linear",
    )


def weighted(analysis: Analysis) -> dict[str, float]:
    """The tasks the sweep asks about, if they are several; those measured."""
    known = set(analysis.table["task"].dropna().unique())
    found = {t: w for t, w in analysis.objective.weights.items() if w > 0 and t in known}
    return found if len(found) > 1 else {}


def models_of(tuned: pd.DataFrame) -> list[str]:
    """The largest model first: it is the one most want; then all."""
    models = list(sizes_of(tuned))
    return [*reversed(models), ALL, TOGETHER] if len(models) > 1 else models


class Value(NamedTuple):
    """A mean over seeds with its 80 % interval, ``None`` where the rows gave no error."""

    value: float
    low: float | None
    high: float | None

    @property
    def told(self) -> bool:
        """Whether its sign is known: the interval leaves out 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


class Spot(NamedTuple):
    """One configuration. ``lost``: a share of what the base had, or of the score; below 0 is a gain."""

    model: str
    method: str
    setting: str
    volume: int
    runs: int
    quality: Value
    lost: Value


class Path(NamedTuple):
    """One model and method, by the setting measured at most volumes; ``spots`` by volume."""

    model: str
    method: str
    setting: str
    spots: tuple[Spot, ...]


class Generalisation(NamedTuple):
    """``bases``: the untouched models, by name; ``others``: spots of further settings, on no path.

    ``scored``: quality is a score; else it is minus a loss.
    """

    task: str | None
    cost: str
    scored: bool
    sizes: dict[str, int | None]
    bases: dict[str, Value]
    paths: tuple[Path, ...]
    others: tuple[Spot, ...]

    @property
    def methods(self) -> tuple[str, ...]:
        """Methods with a path, in the order every page uses."""
        return in_order(path.method for path in self.paths)

    def front(self, models: Sequence[str]) -> list[tuple[float, float]]:
        """(lost, quality) of what nothing of *models* beats in both, by ascending loss."""
        spots = [s for path in self.paths for s in path.spots] + list(self.others)
        found = [(s.lost.value, s.quality.value) for s in spots if s.model in models]
        found += [(0.0, base.value) for model, base in self.bases.items() if model in models]
        losses = np.array([(lost, -quality) for lost, quality in found]).reshape(-1, 2)
        member = pareto_front(losses).member
        return sorted({point for point, on in zip(found, member, strict=True) if on})


def suites_of(table: pd.DataFrame) -> list[str]:
    """General suites of which some tuned trial knows the forgetting."""
    tuned = table["method"] != "none"
    names = [c.removeprefix("forgetting.") for c in table.columns if c.startswith("forgetting.")]
    return [name for name in names if table.loc[tuned, f"forgetting.{name}"].notna().any()]


def untrained(table: pd.DataFrame) -> dict[str, list[str]]:
    """By mix, the tasks that were evaluated and not trained; mixes that train all are left out."""
    left_out = (table["method"] != "none") & table["task"].notna() & (table["examples"] == 0)
    pairs = table.loc[left_out, ["mix", "task"]].drop_duplicates()
    return {str(mix): sorted(rows["task"]) for mix, rows in pairs.groupby("mix")}


def with_settings(table: pd.DataFrame) -> pd.DataFrame:
    """*table* with a column ``setting``: the method with its hyper-parameters in a few words."""
    kinds = table[_SETTING].drop_duplicates()
    labels = [
        _label(tuple(None if pd.isna(part) else part for part in row))
        for row in kinds.itertuples(index=False)
    ]
    return table.merge(kinds.assign(setting=labels), on=_SETTING, how="left")


def generalisation_of(analysis: Analysis, state: Shown) -> Generalisation:
    """What *state* asks for, of every model."""
    return generalisation(
        analysis.table,
        weights=weighted(analysis) if state.task == ALL else {state.task: 1.0},
        measures=analysis.measures,
        cost=state.cost,
        mix=state.mix,
    )


def generalisation(
    table: pd.DataFrame,
    *,
    weights: Mapping[str, float],
    measures: Mapping[str, Measure],
    cost: str,
    mix: str,
) -> Generalisation:
    """All configurations of *mix* with quality and *cost* (a suite, or :data:`TRANSFER`) measured.

    *weights*: of the tasks that quality is the mean of; *measures*: what each is decided on.
    """
    wanted = (table["status"] == "complete") & table["task"].notna()
    wanted &= (table["mix"] == mix) | (table["method"] == "none")
    # The table is wide, and its rows are copied a few times from here on.
    rows = table.loc[wanted, [column for column in table if _needed(str(column), cost)]]
    trials = rows.drop_duplicates("number").set_index("number")
    quality = quality_table(rows, weights, measures)
    base = trials.index[trials["method"] == "none"]
    lost = _transfer(rows, measures) if cost == TRANSFER else _forgetting(trials, cost)
    lost.loc[lost.index.intersection(base)] = 0.0  # before and after are one measurement
    known = trials.join(quality.add_prefix("quality_"), on="key", how="inner")
    known = known.join(lost.add_prefix("lost_"), how="left")
    bases: dict[str, Value] = {}
    spots: list[Spot] = []
    scored = all(measures.get(task, "score") == "score" for task in weights)
    for spot in _spots(known, scored):
        if spot.method == "none":
            bases.setdefault(spot.model, spot.quality)
        elif not np.isnan(spot.lost.value):
            spots.append(spot)
    sizes = _sizes(trials)
    paths, others = _paths(spots, list(sizes))
    only = next(iter(weights)) if len(weights) == 1 else None
    return Generalisation(only, cost, scored, sizes, bases, paths, others)


def _needed(column: str, suite: str) -> bool:
    scores = {f"{measure}{end}" for measure in MEASURES for end in ("", "_se")}
    of_suite = {f"forgetting.{suite}", f"general.{suite}.lost_se"}
    return column in {
        *_CONFIGURATION,
        "number",
        "key",
        "status",
        "parameters",
        "task",
        "examples",
        *scores,
        *of_suite,
    }


def _sizes(trials: pd.DataFrame) -> dict[str, int | None]:
    ordered = trials.sort_values("parameters").drop_duplicates("model")
    sizes = zip(ordered["model"].tolist(), ordered["parameters"].tolist(), strict=True)
    return {str(model): None if pd.isna(size) else int(size) for model, size in sizes}


def _values(rows: pd.DataFrame, measure: Measure) -> tuple[pd.Series[Any], pd.Series[Any]]:
    sign = 1 if measure == "score" else -1
    return sign * rows[measure].astype(float), rows[f"{measure}_se"].astype(float)


def _forgetting(trials: pd.DataFrame, suite: str) -> pd.DataFrame:
    """Forgetting and its standard error by trial number; absent where it was not measured."""
    if f"forgetting.{suite}" not in trials:
        return pd.DataFrame({"value": np.nan, "se": np.nan}, index=trials.index)
    lost = trials[f"forgetting.{suite}"].astype(float)
    return pd.DataFrame({"value": lost, "se": trials[f"general.{suite}.lost_se"].astype(float)})


def _transfer(rows: pd.DataFrame, measures: Mapping[str, Measure]) -> pd.DataFrame:
    """By trial number: what the base model scored on the untrained tasks, less what the tuned one does."""
    parts = []
    for task, own in rows.groupby("task"):
        value, error = _values(own, measures.get(str(task), "score"))
        base = own["method"] == "none"
        zero = value[base].groupby(own.loc[base, "model"]).mean()
        zero_se = error[base].groupby(own.loc[base, "model"]).mean()
        tuned = ~base & (own["examples"] == 0)
        model = own.loc[tuned, "model"]
        parts.append(
            pd.DataFrame(
                {
                    "number": own.loc[tuned, "number"],
                    "value": model.map(zero).astype(float) - value[tuned],
                    "variance": model.map(zero_se).astype(float) ** 2 + error[tuned] ** 2,
                }
            )
        )
    if not parts:
        return pd.DataFrame({"value": [], "se": []}, dtype=float)
    found = pd.concat(parts).groupby("number")
    spread = np.sqrt(found["variance"].sum(min_count=1)) / found["value"].count()
    return pd.DataFrame({"value": found["value"].mean(), "se": spread})


def _spots(trials: pd.DataFrame, scored: bool) -> list[Spot]:
    """One a configuration, in the order of the table."""
    columns = ["quality_value", "quality_se", "lost_value", "lost_se"]
    grouped = trials.groupby(_CONFIGURATION, dropna=False, sort=False)
    means, counts = grouped[columns].mean(), grouped.size()
    between = {name: between_seeds(grouped[f"{name}_value"]) for name in ("quality", "lost")}
    labels: dict[tuple[Any, ...], str] = {}
    spots = []
    for place, mean, runs in zip(
        means.index.tolist(), means.itertuples(index=False), counts.tolist(), strict=True
    ):
        model, *setting, _, volume = place
        key = tuple(None if pd.isna(part) else part for part in setting)
        label = labels.setdefault(key, _label(key))
        quality, lost = (
            _value(mean[i], mean[i + 1], between[name], runs)
            for i, name in ((0, "quality"), (2, "lost"))
        )
        quality = _within(quality) if scored else quality
        spots.append(Spot(str(model), str(key[0]), label, int(volume), int(runs), quality, lost))
    return spots


def _label(setting: tuple[Any, ...]) -> str:
    return method_of(dict(zip(_SETTING, setting, strict=True))).label


def between_seeds(grouped: Any) -> float | None:
    """Pooled standard deviation of *grouped*, a series by configuration; ``None`` where none has several."""
    freedom = (grouped.count() - 1).clip(lower=0)
    if not freedom.sum():
        return None
    squares = (grouped.var() * freedom).sum()
    return float(np.sqrt(squares / freedom.sum()))


def _value(mean: float, rows_se: float, between: float | None, runs: int) -> Value:
    error = float(np.hypot(rows_se, (between or 0.0) / np.sqrt(runs)))
    return Value(float(mean), *(normal_interval(float(mean), error) or (None, None)))


def _within(score: Value) -> Value:
    """A score's interval keeps to [0, 1]."""
    if score.low is None or score.high is None:
        return score
    return Value(score.value, max(score.low, 0.0), min(score.high, 1.0))


def _paths(
    spots: Sequence[Spot], models: Sequence[str]
) -> tuple[tuple[Path, ...], tuple[Spot, ...]]:
    """Per model and method the setting with the most volumes, then runs, then quality."""
    settings: dict[tuple[str, str, str], list[Spot]] = {}
    for spot in spots:
        settings.setdefault((spot.model, spot.method, spot.setting), []).append(spot)
    best: dict[tuple[str, str], tuple[str, str, str]] = {}
    for key, own in settings.items():
        held = best.get(key[:2])
        if held is None or _coverage(own) > _coverage(settings[held]):
            best[key[:2]] = key
    order = in_order(method for _, method in best)
    chosen = sorted(best.values(), key=lambda k: (models.index(k[0]), order.index(k[1])))
    paths = tuple(
        Path(*key, tuple(sorted(settings[key], key=lambda spot: spot.volume))) for key in chosen
    )
    others = tuple(s for key, own in settings.items() if key not in chosen for s in own)
    return paths, others


def _coverage(spots: Sequence[Spot]) -> tuple[int, int, float]:
    runs = sum(spot.runs for spot in spots)
    return len(spots), runs, float(np.mean([spot.quality.value for spot in spots]))


def draw_generalisation(data: Generalisation, colours: Palette, *, models: Sequence[str]) -> Chart:
    """*models* in one chart, the largest in the strongest colour. Up and to the left is better."""
    figure = Chart()
    together = [model for model in data.sizes if model in models]

    def tint(model: str, method: str) -> str:
        strength = 0.42 + 0.58 * (together.index(model) + 1) / len(together)
        return shade(method_colour(method, colours), colours.surface, strength)

    draw_front(figure, data.front(models), colours)
    faint: dict[tuple[str, str], list[Spot]] = {}
    for spot in data.others:
        if spot.model in models:
            faint.setdefault((spot.model, spot.method), []).append(spot)
    for (model, method), spots in faint.items():
        _draw_others(figure, spots, method, data, tint(model, method))
    for path in data.paths:
        if path.model in models:
            base = data.bases.get(path.model)
            _draw_path(figure, path, base, data, tint(path.model, path.method))
    for model, base in data.bases.items():
        if model in models:
            _draw_base(figure, model, base, colours)
    shown = [s.quality.value for path in data.paths if path.model in models for s in path.spots]
    shown += [base.value for model, base in data.bases.items() if model in models] or [0.0]
    least, most = reach(data, models)
    figure.update_layout(
        template=template(colours),
        xaxis={"title": cost_title(data)}
        | {"tickformat": share_ticks(least, most), "range": [least, most]},
        yaxis={"title": quality_title(data)}
        | {"tickformat": quality_axis(min(shown), max(shown), scored=data.scored)},
    )
    figure.add_vline(x=0, line={"color": colours.line, "width": 1.4})
    return figure


def reach(data: Generalisation, models: Sequence[str]) -> list[float]:
    """The range of losses drawn: all of the paths with their bars; a far setting must not squeeze them."""
    losses = [s.lost for path in data.paths if path.model in models for s in path.spots]
    ends = [0.0, *(v for x in losses for v in (x.value, x.low, x.high) if v is not None)]
    pad = 0.05 * (max(ends) - min(ends) or 0.1)
    return [min(ends) - pad, max(ends) + pad]


def cost_title(data: Generalisation) -> str:
    """What the horizontal axis shows."""
    if data.cost == TRANSFER:
        return "Lost on tasks not trained on<br>(left of 0: gained)"
    return f"General ability lost on {unmarked(data.cost)}<br>(left of 0: gained)"


def quality_title(data: Generalisation) -> str:
    """What the vertical axis shows."""
    of = "all tasks, weighted" if data.task is None else unmarked(data.task)
    return f"Score, {of}" if data.scored else f"Quality (minus the loss), {of}"


def _draw_base(figure: Chart, model: str, base: Value, colours: Palette) -> None:
    figure.add_scatter(
        x=[0],
        y=[base.value],
        mode="markers",
        marker={"symbol": "x-thin", "size": 11}
        | {"line": {"width": 2.4, "color": colours.methods["none"]}},
        error_y=_error(base, colours.methods["none"]),
        hovertemplate=f"<b>Untouched {unmarked(model)}</b><br>quality {_span(base)}<extra></extra>",
    )


def _draw_path(
    figure: Chart, path: Path, base: Value | None, data: Generalisation, colour: str
) -> None:
    spots = path.spots
    places = [(s.lost.value, s.quality.value) for s in spots]
    if base is not None:
        places = [(0.0, base.value), *places]
    _draw_arrows(figure, places, colour)
    figure.add_scatter(
        x=[s.lost.value for s in spots],
        y=[s.quality.value for s in spots],
        error_x=_errors([s.lost for s in spots], transparent(colour, 0.45)),
        error_y=_errors([s.quality for s in spots], transparent(colour, 0.45)),
        mode="markers+text",
        text=[""] * (len(spots) - 1) + [count(spots[-1].volume)],
        textposition="top center",
        textfont={"color": colour, "size": 12},
        marker={
            "color": colour,
            "symbol": method_symbol(path.method),
            "size": [6 + 6 * (i + 1) / len(spots) for i in range(len(spots))],
        },
        customdata=[[_hover(spot, data)] for spot in spots],
        hovertemplate="%{customdata[0]}<extra></extra>",
    )


def _draw_arrows(figure: Chart, places: Sequence[tuple[float, float]], colour: str) -> None:
    """A line with an arrowhead in the middle of each step, so that it says which way data leads."""
    xs, ys, heads = [places[0][0]], [places[0][1]], [0]
    for (x0, y0), (x1, y1) in pairwise(places):
        xs += [(x0 + x1) / 2, x1]
        ys += [(y0 + y1) / 2, y1]
        heads += [9, 0]
    figure.add_scatter(
        x=xs,
        y=ys,
        mode="lines+markers",
        line={"color": colour, "width": 1.8},
        marker={"symbol": "arrow", "angleref": "previous", "size": heads, "color": colour},
        hoverinfo="skip",
    )


def _draw_others(
    figure: Chart, spots: Sequence[Spot], method: str, data: Generalisation, colour: str
) -> None:
    figure.add_scatter(
        x=[s.lost.value for s in spots],
        y=[s.quality.value for s in spots],
        mode="markers",
        opacity=0.3,
        marker={"color": colour, "symbol": method_symbol(method), "size": 6},
        customdata=[[_hover(s, data)] for s in spots],
        hovertemplate="%{customdata[0]}<extra></extra>",
    )


def _errors(values: Sequence[Value], colour: str) -> dict[str, object]:
    middle, low, high = [v.value for v in values], [v.low for v in values], [v.high for v in values]
    return error_bars(middle, low, high, colour, thickness=1)


def _error(value: Value, colour: str) -> dict[str, object]:
    return _errors([value], colour)


def _span(value: Value) -> str:
    if value.low is None:
        return f"{quality(value.value)}, its error unknown"
    return f"{quality(value.value)} (80 %: {quality(value.low)} to {quality(value.high)})"


def _hover(spot: Spot, data: Generalisation) -> str:
    lost = percent(spot.lost.value)
    if spot.lost.low is not None:
        lost += f" (80 %: {percent(spot.lost.low)} to {percent(spot.lost.high)})"
    name = f"{unmarked(method_words(spot.method))} on {unmarked(spot.model)}"
    setting = f"{unmarked(spot.setting)}, {plural(spot.runs, 'run')}"
    what = "other tasks" if data.cost == TRANSFER else unmarked(data.cost)
    return (
        f"<b>{name}, {count(spot.volume)} examples</b><br>{setting}"
        f"<br>quality {_span(spot.quality)}<br>lost on {what} {lost}"
    )


def spots_at(data: Generalisation, model: str, volume: int) -> list[Spot]:
    """Of each method's path the spot at *volume*, in the order of methods."""
    return [
        spot
        for path in data.paths
        if path.model == model
        for spot in path.spots
        if spot.volume == volume
    ]


def cost_sentence(spot: Spot, data: Generalisation) -> str:
    """The gain and the loss of *spot*, with 80 % intervals in brackets."""
    base = data.bases.get(spot.model)
    start = "" if base is None else f"from {quality(base.value)} "
    span = span_words(spot.quality.low, spot.quality.high, quality)
    what = "tasks it was not trained on" if data.cost == TRANSFER else data.cost
    return (
        f"{method_words(spot.method)}: quality {start}to {quality(spot.quality.value)} ({span}); "
        f"{lost_words(spot.lost, what)}."
    )


def lost_words(lost: Value, what: str) -> str:
    """What was lost of *what*, and whether that can be told from nothing."""
    if lost.low is None or lost.high is None:
        verb = "loses" if lost.value >= 0 else "gains"
        return f"{verb} {percent(abs(lost.value))} on {what}, its error unknown"
    if not lost.told:
        change = f"{percent(lost.value)}, {percent(lost.low)} to {percent(lost.high)}"
        return f"no loss on {what} that can be told from none ({change})"
    if lost.value > 0:
        return (
            f"loses {percent(lost.value)} on {what} ({percent(lost.low)} to {percent(lost.high)})"
        )
    return f"gains {percent(-lost.value)} on {what} ({percent(-lost.high)} to {percent(-lost.low)})"


def span_words(low: float | None, high: float | None, form: Callable[[float], str]) -> str:
    """An interval in words, or that it is not known."""
    return "its error is unknown" if low is None or high is None else f"{form(low)} to {form(high)}"
