"""The pages' charts as plotly figures for a notebook, with a title and a legend of the methods.

An option that is not given takes the page's default. Models that a page shows side by side share one
figure, the largest in the strongest colour, unless one is named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import plotly.graph_objects as go

from dashboards.analysis import PageAnalysis
from dashboards.charts import crossover, generalisation, scaling
from dashboards.charts.chart import Chart
from dashboards.charts.forest import draw_gaps, runner_up_gaps
from dashboards.charts.forgetting import draw_forgetting, forgetting_of
from dashboards.charts.progress import draw_best_so_far
from dashboards.charts.size import draw_size, size, sizes_to_predict
from dashboards.charts.theme import (
    Palette,
    method_colour,
    method_label,
    method_symbol,
    ordered_methods,
    palette,
)
from dashboards.charts.tradeoff import draw_tradeoff, suites_first, thinned, tradeoff_of
from dashboards.charts.tuned import METRIC_WORDS, sizes_of, tuned_of
from dashboards.charts.wording import escaped
from dashboards.state import Query
from tracker.decision.analysis import Analysis
from tracker.errors import InputError, NotEnoughDataError
from tracker.laws.curves import CurveFits
from tracker.numbers import count
from tracker.validation import unknown

#: By the query's word, how an axis of examples or parameters is drawn.
_AXES = ["log", "linear"]
_Found = TypeVar("_Found")
#: Pixels above a chart, for its title and its legend.
_HEAD = 76


class _GalleryChart(NamedTuple):
    """A chart as its page has it; ``height`` in pixels, ``methods``: those that the legend explains."""

    chart: Chart
    title: str
    height: int
    methods: Sequence[str]


#: The values of each option of a chart, by name, under a mix.
_Options = Callable[[PageAnalysis, str | None], Mapping[str, Sequence[str]]]


class _Kind(NamedTuple):
    """A kind of chart: its options, and how it is drawn in a state."""

    options: _Options
    draw: Callable[[PageAnalysis, Query, Palette], _GalleryChart]


def figure(analysis: Analysis, kind: str, theme: str = "light", **state: str | int) -> go.Figure:
    """Figure of the chart *kind* of *analysis*; *state*: options as in a page's address, ``task="intent"``.

    Raises InputError for a kind, theme, name or value that does not exist, NotEnoughDataError where
    nothing was measured that could be drawn.
    """
    _check("figure", kind, _KINDS)
    _check("theme", theme, ["light", "dark"])
    pages, how = PageAnalysis.of(analysis), _KINDS[kind]
    given = {name: str(value) for name, value in state.items()}
    options = how.options(pages, given.get("mix"))
    for name in given:
        _check(f"figure {kind}", name, options)
    for name in options:  # in this order: what a mix holds depends on the mix
        if name in given:
            _check(f"figure {kind}: {name}", given[name], options[name])
    colours = palette(theme)
    return _framed(how.draw(pages, Query.of(**given), colours), colours)


def _check(what: str, name: str, options: Iterable[str]) -> None:
    if name not in (names := list(options)):
        raise InputError(f"{what}: {unknown(name, names)}")


def _framed(drawing: _GalleryChart, colours: Palette) -> go.Figure:
    """The figure on the card's colour, its title and the methods' marks above it."""
    figure = go.Figure(drawing.chart)
    figure.update_traces(showlegend=False)
    for method in drawing.methods:
        colour, symbol = method_colour(method, colours), method_symbol(method)
        figure.add_scatter(
            x=[None],
            y=[None],
            mode="markers",
            name=escaped(method_label(method)),
            marker={"color": colour, "symbol": symbol, "size": 9}
            | ({"line": {"color": colour, "width": 2}} if method == "none" else {}),
            showlegend=True,
        )
    figure.update_layout(
        title={"text": escaped(drawing.title), "font": {"size": 15}, "x": 0, "xref": "paper"},
        legend={"orientation": "h", "x": 0, "y": 1, "xanchor": "left", "yanchor": "bottom"},
        showlegend=True,
        height=drawing.height + _HEAD,
        margin={"t": _HEAD},
        paper_bgcolor=colours.surface,
        plot_bgcolor=colours.surface,
    )
    return figure


def _measured(found: _Found | None) -> _Found:
    """*found*, unless nothing was measured."""
    if found is None:
        raise NotEnoughDataError("no tuned trial has a score yet: there is nothing to draw")
    return found


# -- over data and size --------------------------------------------------------------------------


def _scaling_options(*names: str) -> _Options:
    """The options called *names*, beside task, metric, mix and axis."""

    def options(pages: PageAnalysis, mix: str | None) -> Mapping[str, Sequence[str]]:
        tuned = tuned_of(pages.table)
        values: dict[str, Sequence[str]] = _measured(scaling.scaling_choices(tuned, mix))._asdict()
        values["model"] = [generalisation.TOGETHER, *sizes_of(tuned)]
        values["axis"] = _AXES
        return {name: values[name] for name in ("mix", "task", "metric", *names, "axis")}

    return options


def _scaling_state(pages: PageAnalysis, query: Query) -> scaling.ScalingState:
    model = query.get("model")
    one = None if model == generalisation.TOGETHER else model
    return _measured(scaling.scaling_state(pages.table, query.put(models=one)))


def _curves(pages: PageAnalysis, state: scaling.ScalingState) -> tuple[scaling.Scaling, CurveFits]:
    """The curves of *state* and the laws they follow."""
    fits = pages.fits_by_task(state.metric).get(state.task, CurveFits({}, {}))
    data = scaling.scaling(
        pages.table,
        fits,
        task=state.task,
        mix=state.mix,
        metric=state.metric,
        models=state.models,
        lines=pages.lines(state.metric),
    )
    return data, fits


def _of_task(state: scaling.ScalingState, over: str) -> str:
    return f"{state.task}, {METRIC_WORDS[state.metric].lower()} against {over} (mix {state.mix})"


def _scaling(pages: PageAnalysis, query: Query, colours: Palette) -> _GalleryChart:
    state = _scaling_state(pages, query)
    data, _ = _curves(pages, state)
    models = list(data.models)
    if not models:
        raise NotEnoughDataError(f"mix {state.mix} has no {state.metric} of {state.task} to draw")
    chart = scaling.draw_scaling(data, colours, models=models, log_x=state.log_x)
    return _GalleryChart(
        chart, f"{_of_task(state, 'examples')}: {', '.join(models)}", 440, data.methods
    )


def _size(pages: PageAnalysis, query: Query, colours: Palette) -> _GalleryChart:
    state = _scaling_state(pages, query)
    data, fits = _curves(pages, state)
    sizes = sizes_to_predict(sizes_of(tuned_of(pages.table)).values())
    laws = pages.size_laws(state.metric, sizes).get((state.task, state.mix), {}) if sizes else {}
    found = size(data, fits, laws, mix=state.mix, volume=state.volume, sizes=sizes)
    if not any(curve.marks or curve.line for curve in found.curves):
        raise NotEnoughDataError(
            f"no model's size and {state.metric} of {state.task} are known at {state.volume} examples"
        )
    title = f"{_of_task(state, 'model size')}, {count(state.volume)} examples"
    methods = [curve.method for curve in found.curves]
    return _GalleryChart(draw_size(found, colours, log_x=state.log_x), title, 400, methods)


def _crossover(pages: PageAnalysis, query: Query, colours: Palette) -> _GalleryChart:
    state = _scaling_state(pages, query)
    if not state.pair:
        raise NotEnoughDataError(
            f"one method alone was run with mix {state.mix}: nothing to compare"
        )
    _, fits = _curves(pages, state)
    data = crossover.compare_methods(fits, state, sizes_of(tuned_of(pages.table)))
    if not data.models:
        raise NotEnoughDataError(
            f"no model has laws of both {data.first} and {data.second}: run both at three volumes or more"
        )
    title = f"{crossover.comparison_title(data)} (mix {state.mix})"
    chart = crossover.draw_comparison(data, colours, log_x=state.log_x)
    return _GalleryChart(chart, title, crossover.chart_height(data), (data.first, data.second))


# -- against what it costs -----------------------------------------------------------------------


def _generalisation_options(*names: str) -> _Options:
    def options(pages: PageAnalysis, mix: str | None) -> Mapping[str, Sequence[str]]:
        choices = _measured(generalisation.generalisation_choices(pages, mix))
        values: dict[str, Sequence[str]] = choices._asdict()
        # One figure: not all models apart.
        values["model"] = [model for model in choices.model if model != generalisation.ALL]
        values["one model"] = [m for m in values["model"] if m != generalisation.TOGETHER]
        values["suite"] = [cost for cost in choices.cost if cost != generalisation.TRANSFER]
        values["axis"] = _AXES
        return {name.removeprefix("one "): values[name] for name in ("mix", *names)}

    return options


def _generalisation(pages: PageAnalysis, query: Query, colours: Palette) -> _GalleryChart:
    state = _measured(generalisation.generalisation_state(pages, query))
    data = generalisation.generalisation_of(pages, state)
    models = [m for m in data.sizes if state.model in (m, generalisation.TOGETHER)]
    methods = ordered_methods(path.method for path in data.paths if path.model in models)
    if not methods:
        raise NotEnoughDataError(
            f"no trial of mix {state.mix} on {state.model} has both quality and {state.cost} measured"
        )
    chart = generalisation.draw_generalisation(data, colours, models=models)
    title = f"Quality against what is lost elsewhere (mix {state.mix}): {', '.join(models)}"
    return _GalleryChart(chart, title, 460, methods)


def _forgetting(pages: PageAnalysis, query: Query, colours: Palette) -> _GalleryChart:
    suite = query.get("suite")
    state = _measured(generalisation.generalisation_state(pages, query.put(cost=suite)))
    if state.cost == generalisation.TRANSFER:
        raise NotEnoughDataError("the sweep measured no general suite: list one under general")
    at = {"model": state.model, "mix": state.mix, "suite": state.cost}
    data = forgetting_of(pages, pages.forgetting_laws, **at)
    if not data.curves:
        raise NotEnoughDataError(
            f"no law of what {state.model} forgets of {state.cost} under mix {state.mix}: it takes four runs "
            "at three volumes of a method"
        )
    title = f"Forgetting against training examples (mix {state.mix}): {state.model}"
    methods = ordered_methods(curve.method for curve in data.curves)
    return _GalleryChart(draw_forgetting(data, colours, log_x=state.log_x), title, 340, methods)


# -- of the recommendation and the sweep -----------------------------------------------------------


def _tradeoff(pages: PageAnalysis, query: Query, colours: Palette) -> _GalleryChart:
    answer = pages.recommendation
    suites = suites_first(answer)
    if not suites:
        raise NotEnoughDataError("the sweep measured no general suite: list one under general")
    data = thinned(tradeoff_of(answer, pages.candidates, query.get("suite") or suites[0]))
    methods = [
        method for method in ordered_methods(p.method for p in data.points) if method != "none"
    ]
    title = f"Quality against what is forgotten of {data.suite}"
    return _GalleryChart(draw_tradeoff(data, colours), title, 400, methods)


def _gaps(pages: PageAnalysis, _query: Query, colours: Palette) -> _GalleryChart:
    answer = pages.recommendation
    data = runner_up_gaps(answer)
    if not data:
        raise NotEnoughDataError("there is no other candidate: only one was left to choose from")
    title = f"How far {answer.choice.label} is ahead of each runner-up"
    methods = ordered_methods(gap.method for gap in data)
    return _GalleryChart(draw_gaps(data, colours), title, 70 + 62 * len(data), methods)


def _best_so_far(pages: PageAnalysis, _query: Query, colours: Palette) -> _GalleryChart:
    data = pages.best
    if not data.has_cost:
        raise NotEnoughDataError("no scored trial's cost is known: there is nothing to draw")
    methods = ordered_methods(trial.method for trial in data.trials)
    return _GalleryChart(draw_best_so_far(data, colours), "Best quality so far", 340, methods)


def _nothing(_pages: PageAnalysis, _mix: str | None) -> Mapping[str, Sequence[str]]:
    return {}


def _suites(pages: PageAnalysis, _mix: str | None) -> Mapping[str, Sequence[str]]:
    return {"suite": suites_first(pages.recommendation)}


_KINDS = {
    "scaling": _Kind(_scaling_options("model"), _scaling),
    "generalisation": _Kind(_generalisation_options("task", "cost", "model"), _generalisation),
    "forgetting": _Kind(_generalisation_options("suite", "one model", "axis"), _forgetting),
    "tradeoff": _Kind(_suites, _tradeoff),
    "size": _Kind(_scaling_options("volume"), _size),
    "gaps": _Kind(_nothing, _gaps),
    "best_so_far": _Kind(_nothing, _best_so_far),
    "crossover": _Kind(_scaling_options("pair"), _crossover),
}
