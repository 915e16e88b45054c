"""Quality against the loss elsewhere: of general ability, or of score on tasks that were not trained.

One point is a configuration, its seeds averaged. A path goes from the untouched base model through the
training-set sizes that one setting of a method was run at. Intervals are 80 %: the rows' standard error,
which does not shrink with seeds as all see the same rows, and the deviation between seeds, pooled over
configurations, which does (as :func:`tracker.results.forgetting` has it).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dashboards.charts.axes import padded, quality_ticks, share_ticks
from dashboards.charts.chart import Chart
from dashboards.charts.marks import ends, error_bars
from dashboards.charts.theme import (
    Palette,
    graded,
    method_colour,
    method_label,
    method_symbol,
    ordered_methods,
    template,
    transparent,
)
from dashboards.charts.tradeoff import draw_front
from dashboards.charts.tuned import mixes_of, sizes_of, tasks_of, tuned_of, volumes_of
from dashboards.charts.wording import escaped, estimate
from dashboards.state import Query, one_of
from tracker.decision.analysis import Analysis
from tracker.decision.pareto import pareto_front
from tracker.metrics import MEASURES, Measure, normal_interval
from tracker.numbers import count, percent, plural, quality
from tracker.results import method_columns, method_of, quality_table
from tracker.trial import HYPERPARAMETERS

#: The cost axis of what tuning does to tasks that the mix does not train.
TRANSFER = "transfer"
#: The query's word for the weighted mean of all tasks, for all models apart, and in one chart.
ALL = "all"
TOGETHER = "together"


class GeneralisationChoices(NamedTuple):
    """Options of a chart of quality against loss; the first of each is the default.

    ``volume`` depends on the mix.
    """

    task: list[str]
    cost: list[str]
    mix: list[str]
    model: list[str]
    volume: list[str]


def generalisation_choices(analysis: Analysis, mix: str | None) -> GeneralisationChoices | None:
    """The options under *mix*; ``None`` before the first tuned result."""
    tuned = tuned_of(analysis.table)
    if tuned.empty:
        return None
    mixes, tasks = mixes_of(tuned), tasks_of(tuned)
    volumes = volumes_of(tuned[tuned["mix"] == one_of(mixes, mix)], ahead=False)
    return GeneralisationChoices(
        task=[ALL, *tasks] if weighted_tasks(analysis) else tasks,
        cost=[*suites_of(analysis.table), TRANSFER],
        mix=mixes,
        model=model_options(tuned),
        volume=[str(volume) for volume in reversed(volumes)],
    )


class GeneralisationState(NamedTuple):
    """State of the page. ``task``: ``all`` or one; ``model``: one, ``all`` apart, or ``together``."""

    task: str
    cost: str
    mix: str
    model: str
    volume: int
    log_x: bool


def generalisation_state(analysis: Analysis, query: Query) -> GeneralisationState | None:
    """The state that *query* names, as far as it was measured; ``None`` before the first tuned result."""
    options = generalisation_choices(analysis, query.get("mix"))
    if options is None:
        return None
    return GeneralisationState(
        task=one_of(options.task, query.get("task")),
        cost=one_of(options.cost, query.get("cost")),
        mix=one_of(options.mix, query.get("mix")),
        model=one_of(options.model, query.get("model")),
        volume=int(one_of(options.volume, query.get("volume"))),
        log_x=query.get("axis") != "linear",
    )


def weighted_tasks(analysis: Analysis) -> dict[str, float]:
    """The measured tasks that the sweep weights, if they are several."""
    measured = set(analysis.table["task"].dropna().unique())
    weights = {t: w for t, w in analysis.objective.weights.items() if w > 0 and t in measured}
    return weights if len(weights) > 1 else {}


def model_options(tuned: pd.DataFrame) -> list[str]:
    """Models, the largest first, then all apart and all together."""
    models = list(sizes_of(tuned))
    return [*reversed(models), ALL, TOGETHER] if len(models) > 1 else models


class SeedMean(NamedTuple):
    """A mean over seeds with its 80 % interval, ``None`` where the rows gave no error."""

    value: float
    low: float | None
    high: float | None

    @property
    def has_sign(self) -> bool:
        """Whether its sign is clear: the interval leaves out 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


class ConfigurationPoint(NamedTuple):
    """Quality and loss of one configuration. ``lost``: a share of what the base had; below 0 a gain."""

    model: str
    method: str
    setting: str
    volume: int
    runs: int
    quality: SeedMean
    lost: SeedMean


class MethodPath(NamedTuple):
    """Points of one model and method by training-set size, in the setting run at the most sizes."""

    model: str
    method: str
    setting: str
    points: tuple[ConfigurationPoint, ...]


class Generalisation(NamedTuple):
    """Quality against loss. ``bases``: untouched models, by name; ``others``: points on no path.

    ``scored``: quality is a score; else it is minus a loss.
    """

    task: str | None
    cost: str
    scored: bool
    sizes: dict[str, int | None]
    bases: dict[str, SeedMean]
    paths: tuple[MethodPath, ...]
    others: tuple[ConfigurationPoint, ...]

    @property
    def methods(self) -> tuple[str, ...]:
        """Methods with a path, in the order every page uses."""
        return ordered_methods(path.method for path in self.paths)

    def front(self, models: Sequence[str]) -> list[tuple[float, float]]:
        """Pareto front over *models* as (lost, quality), by ascending loss."""
        points = [s for path in self.paths for s in path.points] + list(self.others)
        found = [(s.lost.value, s.quality.value) for s in points if s.model in models]
        found += [(0.0, base.value) for model, base in self.bases.items() if model in models]
        losses = np.array([(lost, -quality) for lost, quality in found]).reshape(-1, 2)
        member = pareto_front(losses).member
        return sorted({point for point, on in zip(found, member, strict=True) if on})


def suites_of(table: pd.DataFrame) -> list[str]:
    """General suites whose forgetting was measured for some tuned trial."""
    tuned = table["method"] != "none"
    names = [c.removeprefix("forgetting.") for c in table.columns if c.startswith("forgetting.")]
    return [name for name in names if table.loc[tuned, f"forgetting.{name}"].notna().any()]


def untrained_tasks(table: pd.DataFrame) -> dict[str, list[str]]:
    """By mix, the tasks that were evaluated and not trained; a mix that trains all is left out."""
    left_out = (table["method"] != "none") & table["task"].notna() & (table["examples"] == 0)
    pairs = table.loc[left_out, ["mix", "task"]].drop_duplicates()
    return {str(mix): sorted(rows["task"]) for mix, rows in pairs.groupby("mix")}


def with_settings(table: pd.DataFrame) -> pd.DataFrame:
    """Add a column ``setting`` to *table*: the method with its hyper-parameters in a few words."""
    columns = method_columns(table)
    kinds = table[columns].drop_duplicates()
    labels = [method_of(kind).label for kind in kinds.to_dict("records")]
    return table.merge(kinds.assign(setting=labels), on=columns, how="left")


def generalisation_of(analysis: Analysis, state: GeneralisationState) -> Generalisation:
    """Quality against loss in *state*, of every model."""
    return generalisation(
        analysis.table,
        weights=weighted_tasks(analysis) if state.task == ALL else {state.task: 1.0},
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
    """Configurations of *mix* with quality and *cost* (a suite, or :data:`TRANSFER`) measured.

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
    bases: dict[str, SeedMean] = {}
    points: list[ConfigurationPoint] = []
    scored = all(measures.get(task, "score") == "score" for task in weights)
    for point in _points(known, scored):
        if point.method == "none":
            bases.setdefault(point.model, point.quality)
        elif not np.isnan(point.lost.value):
            points.append(point)
    sizes = sizes_of(trials)
    paths, others = _paths(points, list(sizes))
    only = next(iter(weights)) if len(weights) == 1 else None
    return Generalisation(only, cost, scored, sizes, bases, paths, others)


def _needed(column: str, suite: str) -> bool:
    scores = {f"{measure}{end}" for measure in MEASURES for end in ("", "_se")}
    of_suite = {f"forgetting.{suite}", f"general.{suite}.lost_se"}
    return column in {
        *("model", "method", *HYPERPARAMETERS, "mix", "volume"),
        "number",
        "key",
        "status",
        "parameters",
        "task",
        "examples",
        *scores,
        *of_suite,
    }


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
    """Loss on untrained tasks by trial number: the score of the base model minus that of the tuned one."""
    parts = []
    for task, scored in rows.groupby("task"):
        value, error = _values(scored, measures.get(str(task), "score"))
        base = scored["method"] == "none"
        zero = value[base].groupby(scored.loc[base, "model"]).mean()
        zero_se = error[base].groupby(scored.loc[base, "model"]).mean()
        tuned = ~base & (scored["examples"] == 0)
        model = scored.loc[tuned, "model"]
        parts.append(
            pd.DataFrame(
                {
                    "number": scored.loc[tuned, "number"],
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


def _points(trials: pd.DataFrame, scored: bool) -> list[ConfigurationPoint]:
    """A point per configuration, in the order of the table."""
    columns = ["quality_value", "quality_se", "lost_value", "lost_se"]
    method = method_columns(trials)
    grouped = trials.groupby(["model", *method, "mix", "volume"], dropna=False, sort=False)
    means, counts = grouped[columns].mean(), grouped.size()
    between = {name: between_seeds(grouped[f"{name}_value"]) for name in ("quality", "lost")}
    labels: dict[tuple[Any, ...], str] = {}
    points = []
    for place, mean, runs in zip(
        means.index.tolist(), means.itertuples(index=False), counts.tolist(), strict=True
    ):
        model, *setting, _, volume = place
        key = tuple(None if pd.isna(part) else part for part in setting)
        if key not in labels:
            labels[key] = method_of(dict(zip(method, key, strict=True))).label
        quality, lost = (
            _value(mean[i], mean[i + 1], between[name], runs)
            for i, name in ((0, "quality"), (2, "lost"))
        )
        quality = _within(quality) if scored else quality
        points.append(
            ConfigurationPoint(
                str(model), str(key[0]), labels[key], int(volume), int(runs), quality, lost
            )
        )
    return points


def between_seeds(grouped: Any) -> float | None:
    """Pooled standard deviation of *grouped*, a series by configuration; ``None`` where none has several."""
    freedom = (grouped.count() - 1).clip(lower=0)
    if not freedom.sum():
        return None
    squares = (grouped.var() * freedom).sum()
    return float(np.sqrt(squares / freedom.sum()))


def _value(mean: float, rows_se: float, between: float | None, runs: int) -> SeedMean:
    error = float(np.hypot(rows_se, (between or 0.0) / np.sqrt(runs)))
    return SeedMean(float(mean), *(normal_interval(float(mean), error) or (None, None)))


def _within(score: SeedMean) -> SeedMean:
    """Clip a score's interval to [0, 1]."""
    if score.low is None or score.high is None:
        return score
    return SeedMean(score.value, max(score.low, 0.0), min(score.high, 1.0))


def _paths(
    points: Sequence[ConfigurationPoint], models: Sequence[str]
) -> tuple[tuple[MethodPath, ...], tuple[ConfigurationPoint, ...]]:
    """Path of each model and method (the setting with the most sizes, runs, quality), and other points."""
    settings: dict[tuple[str, str, str], list[ConfigurationPoint]] = {}
    for point in points:
        settings.setdefault((point.model, point.method, point.setting), []).append(point)
    best: dict[tuple[str, str], tuple[str, str, str]] = {}
    for key, measured in settings.items():
        chosen = best.get(key[:2])
        if chosen is None or _coverage(measured) > _coverage(settings[chosen]):
            best[key[:2]] = key
    order = ordered_methods(method for _, method in best)
    main = sorted(best.values(), key=lambda k: (models.index(k[0]), order.index(k[1])))
    paths = tuple(
        MethodPath(*key, tuple(sorted(settings[key], key=lambda point: point.volume)))
        for key in main
    )
    others = tuple(p for key, of in settings.items() if key not in main for p in of)
    return paths, others


def _coverage(points: Sequence[ConfigurationPoint]) -> tuple[int, int, float]:
    runs = sum(point.runs for point in points)
    return len(points), runs, float(np.mean([point.quality.value for point in points]))


def draw_generalisation(data: Generalisation, colours: Palette, *, models: Sequence[str]) -> Chart:
    """Quality against loss of *models*, the largest in the strongest colour. Up and to the left is better."""
    figure = Chart()
    ranked = [model for model in data.sizes if model in models]

    def tint(model: str, method: str) -> str:
        strong = method_colour(method, colours)
        return graded(strong, colours.surface, ranked.index(model), len(ranked))

    draw_front(figure, data.front(models), colours)
    pale: dict[tuple[str, str], list[ConfigurationPoint]] = {}
    for point in data.others:
        if point.model in models:
            pale.setdefault((point.model, point.method), []).append(point)
    for (model, method), others in pale.items():
        _draw_others(figure, others, method, data, tint(model, method))
    paths = [path for path in data.paths if path.model in models]
    for path in paths:
        base = data.bases.get(path.model)
        _draw_path(figure, path, base, data, tint(path.model, path.method))
    bases = {model: base for model, base in data.bases.items() if model in models}
    for model, base in bases.items():
        _draw_base(figure, model, base, colours)
    shown = [p.quality.value for path in paths for p in path.points]
    shown += [base.value for base in bases.values()] or [0.0]
    least, most = loss_range(data, models)
    figure.update_layout(
        template=template(colours),
        xaxis={"title": cost_title(data)}
        | {"tickformat": share_ticks(least, most), "range": [least, most]},
        yaxis={"title": quality_title(data)}
        | {"tickformat": quality_ticks(min(shown), max(shown), scored=data.scored)},
    )
    figure.add_vline(x=0, line={"color": colours.line, "width": 1.4})
    return figure


def loss_range(data: Generalisation, models: Sequence[str]) -> tuple[float, float]:
    """The range of losses drawn: all of the paths with their bars; a far setting must not squeeze them."""
    losses = [p.lost for path in data.paths if path.model in models for p in path.points]
    return padded([0.0, *ends(losses)], 0.05, 0.1)


def cost_title(data: Generalisation) -> str:
    """Title of the horizontal axis."""
    if data.cost == TRANSFER:
        return "Lost on tasks not trained on<br>(left of 0: gained)"
    return f"General ability lost on {escaped(data.cost)}<br>(left of 0: gained)"


def quality_title(data: Generalisation) -> str:
    """Title of the vertical axis."""
    of = "all tasks, weighted" if data.task is None else escaped(data.task)
    return f"Score, {of}" if data.scored else f"Quality (minus the loss), {of}"


def _draw_base(figure: Chart, model: str, base: SeedMean, colours: Palette) -> None:
    figure.add_scatter(
        x=[0],
        y=[base.value],
        mode="markers",
        marker={"symbol": "x-thin", "size": 11}
        | {"line": {"width": 2.4, "color": colours.methods["none"]}},
        error_y=error_bars([base], colours.methods["none"], thickness=1),
        hovertemplate=f"<b>Untouched {escaped(model)}</b><br>quality {estimate(base, quality)}"
        "<extra></extra>",
    )


def _draw_path(
    figure: Chart, path: MethodPath, base: SeedMean | None, data: Generalisation, colour: str
) -> None:
    points = path.points
    places = [(p.lost.value, p.quality.value) for p in points]
    if base is not None:
        places = [(0.0, base.value), *places]
    _draw_arrows(figure, places, colour)
    bars = transparent(colour, 0.45)
    figure.add_scatter(
        x=[p.lost.value for p in points],
        y=[p.quality.value for p in points],
        error_x=error_bars([p.lost for p in points], bars, thickness=1),
        error_y=error_bars([p.quality for p in points], bars, thickness=1),
        mode="markers+text",
        text=[""] * (len(points) - 1) + [count(points[-1].volume)],
        textposition="top center",
        textfont={"color": colour, "size": 12},
        marker={
            "color": colour,
            "symbol": method_symbol(path.method),
            "size": [6 + 6 * (i + 1) / len(points) for i in range(len(points))],
        },
        customdata=[[_hover(p, data)] for p in points],
        hovertemplate="%{customdata[0]}<extra></extra>",
    )


def _draw_arrows(figure: Chart, places: Sequence[tuple[float, float]], colour: str) -> None:
    """A line with an arrowhead in the middle of each step, towards more examples."""
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
    figure: Chart,
    points: Sequence[ConfigurationPoint],
    method: str,
    data: Generalisation,
    colour: str,
) -> None:
    figure.add_scatter(
        x=[p.lost.value for p in points],
        y=[p.quality.value for p in points],
        mode="markers",
        opacity=0.3,
        marker={"color": colour, "symbol": method_symbol(method), "size": 6},
        customdata=[[_hover(p, data)] for p in points],
        hovertemplate="%{customdata[0]}<extra></extra>",
    )


def _hover(point: ConfigurationPoint, data: Generalisation) -> str:
    name = f"{escaped(method_label(point.method))} on {escaped(point.model)}"
    setting = f"{escaped(point.setting)}, {plural(point.runs, 'run')}"
    what = "other tasks" if data.cost == TRANSFER else escaped(data.cost)
    return (
        f"<b>{name}, {count(point.volume)} examples</b><br>{setting}"
        f"<br>quality {estimate(point.quality, quality)}"
        f"<br>lost on {what} {estimate(point.lost, percent)}"
    )


def points_at(data: Generalisation, model: str, volume: int) -> list[ConfigurationPoint]:
    """The points of *model* at *volume*, one a method."""
    return [
        point
        for path in data.paths
        if path.model == model
        for point in path.points
        if point.volume == volume
    ]


def cost_sentence(point: ConfigurationPoint, data: Generalisation) -> str:
    """Sentence on the quality gained and lost at *point*, with 80 % intervals."""
    base = data.bases.get(point.model)
    write = partial(quality, scored=data.scored)
    start = "" if base is None else f"from {write(base.value)} "
    what = "tasks it was not trained on" if data.cost == TRANSFER else data.cost
    return (
        f"{method_label(point.method)}: quality {start}to {estimate(point.quality, write)}; "
        f"{lost_words(point.lost, what)}."
    )


def lost_words(lost: SeedMean, what: str) -> str:
    """Loss or gain on *what*, or that neither is clear."""
    if lost.low is not None and lost.high is not None and not lost.has_sign:
        return f"no clear loss on {what}: {estimate(lost, percent)}"
    if lost.value < 0:
        gained = SeedMean(-lost.value, lost.high and -lost.high, lost.low and -lost.low)
        return f"gains {estimate(gained, percent)} on {what}"
    return f"loses {estimate(lost, percent)} on {what}"
