"""The pages' charts as plotly figures: for a notebook, with what a page says around a chart in its legend.

What is not named is what the page shows first. Models that a page shows side by side share one figure,
the largest in the strongest colour, unless one is named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import plotly.graph_objects as go

from dashboards.analysis import PageAnalysis
from dashboards.charts import crossover, scaling
from dashboards.charts import generalisation as elsewhere
from dashboards.charts.chart import Chart
from dashboards.charts.forest import draw_gaps, runner_up_gaps
from dashboards.charts.forgetting import draw_forgetting, forgetting_of
from dashboards.charts.progress import draw_best_so_far
from dashboards.charts.size import draw_size, size, sizes_to_ask
from dashboards.charts.theme import (
    Palette,
    in_order,
    method_colour,
    method_symbol,
    method_within,
    method_words,
    palette,
)
from dashboards.charts.tradeoff import draw_tradeoff, suites_first, thinned, tradeoff_of
from dashboards.charts.tuned import METRIC_WORDS, sizes_of, tuned_of
from dashboards.charts.wording import unmarked
from dashboards.state import Query
from tracker.decision.analysis import Analysis
from tracker.errors import InputError, NotEnoughDataError
from tracker.laws.curves import CurveFits
from tracker.numbers import count
from tracker.validation import unknown

#: By the query's word, how an axis of examples or parameters is drawn.
_AXES = ["log", "linear"]
#: Pixels above a chart, for its title and its legend.
_HEAD = 76


class _Drawn(NamedTuple):
    """A chart as its page has it; ``height`` in pixels, ``methods``: those that the legend explains."""

    chart: Chart
    title: str
    height: int
    methods: Sequence[str]


class _Kind(NamedTuple):
    """``known``: what may be asked of the chart, by name, under a mix; ``draw`` it as *asked*."""

    known: Callable[[PageAnalysis, str | None], Mapping[str, Sequence[str]]]
    draw: Callable[[PageAnalysis, Query, Palette], _Drawn]


def figure(analysis: Analysis, kind: str, theme: str = "light", **state: str | int) -> go.Figure:
    """The chart *kind* of *analysis*; *state*: what the page's address would name, ``task="intent"``.

    Raises InputError for a kind, theme, name or value that does not exist, NotEnoughDataError where
    nothing was measured that could be drawn.
    """
    _check("figure", kind, _KINDS)
    _check("theme", theme, ["light", "dark"])
    pages, how = PageAnalysis.of(analysis), _KINDS[kind]
    asked = {name: str(value) for name, value in state.items()}
    known = how.known(pages, asked.get("mix"))
    for name in asked:
        _check(f"figure {kind}", name, known)
    for name in known:  # in this order: what a mix holds depends on the mix
        if name in asked:
            _check(f"figure {kind}: {name}", asked[name], known[name])
    colours = palette(theme)
    return _framed(how.draw(pages, Query.of(**asked), colours), colours)


def _check(what: str, name: str, known: Iterable[str]) -> None:
    if name not in (names := list(known)):
        raise InputError(f"{what}: {unknown(name, names)}")


def _framed(drawn: _Drawn, colours: Palette) -> go.Figure:
    """The figure on the card's colour, its title and the methods' marks above it."""
    found = go.Figure(drawn.chart)
    found.update_traces(showlegend=False)
    for method in drawn.methods:
        colour, symbol = method_colour(method, colours), method_symbol(method)
        found.add_scatter(
            x=[None],
            y=[None],
            mode="markers",
            name=unmarked(method_words(method)),
            marker={"color": colour, "symbol": symbol, "size": 9}
            | ({"line": {"color": colour, "width": 2}} if method == "none" else {}),
            showlegend=True,
        )
    found.update_layout(
        title={"text": unmarked(drawn.title), "font": {"size": 15}, "x": 0, "xref": "paper"},
        legend={"orientation": "h", "x": 0, "y": 1, "xanchor": "left", "yanchor": "bottom"},
        showlegend=True,
        height=drawn.height + _HEAD,
        margin={"t": _HEAD},
        paper_bgcolor=colours.surface,
        plot_bgcolor=colours.surface,
    )
    return found


# -- over data and size --------------------------------------------------------------------------


def _scaling_choices(pages: PageAnalysis, mix: str | None) -> scaling.Choices:
    found = scaling.choices(tuned_of(pages.table), mix)
    if found is None:
        raise NotEnoughDataError("no tuned trial has a score yet: there is nothing to draw")
    return found


def _scaling_known(*names: str) -> Callable[[PageAnalysis, str | None], dict[str, Sequence[str]]]:
    """The choices called *names*, beside task, metric, mix and axis."""

    def known(pages: PageAnalysis, mix: str | None) -> dict[str, Sequence[str]]:
        found: dict[str, Sequence[str]] = _scaling_choices(pages, mix)._asdict()
        found["model"] = [elsewhere.TOGETHER, *sizes_of(tuned_of(pages.table))]
        found["axis"] = _AXES
        return {name: found[name] for name in ("mix", "task", "metric", *names, "axis")}

    return known


def _scaling_shown(pages: PageAnalysis, query: Query) -> scaling.Shown:
    model = query.get("model")
    one = None if model == elsewhere.TOGETHER else model
    state = scaling.shown(pages.table, query.put(models=one))
    assert state is not None  # there are choices
    return state


def _curves(pages: PageAnalysis, state: scaling.Shown) -> tuple[scaling.Scaling, CurveFits]:
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


def _of_task(state: scaling.Shown, over: str) -> str:
    return f"{state.task}, {METRIC_WORDS[state.metric].lower()} against {over} (mix {state.mix})"


def _scaling(pages: PageAnalysis, query: Query, colours: Palette) -> _Drawn:
    state = _scaling_shown(pages, query)
    data, _ = _curves(pages, state)
    models = list(data.models)
    if not models:
        raise NotEnoughDataError(f"mix {state.mix} has no {state.metric} of {state.task} to draw")
    chart = scaling.draw_scaling(data, colours, models=models, log_x=state.log_x)
    return _Drawn(chart, f"{_of_task(state, 'examples')}: {', '.join(models)}", 440, data.methods)


def _size(pages: PageAnalysis, query: Query, colours: Palette) -> _Drawn:
    state = _scaling_shown(pages, query)
    data, fits = _curves(pages, state)
    asked = sizes_to_ask(sizes_of(tuned_of(pages.table)).values())
    laws = pages.size_laws(state.metric, asked).get((state.task, state.mix), {}) if asked else {}
    found = size(data, fits, laws, mix=state.mix, volume=state.volume, asked=asked)
    if not any(curve.marks or curve.value for curve in found.curves):
        raise NotEnoughDataError(
            f"no model's size and {state.metric} of {state.task} are known at {state.volume} examples"
        )
    title = f"{_of_task(state, 'model size')}, {count(state.volume)} examples"
    methods = [curve.method for curve in found.curves]
    return _Drawn(draw_size(found, colours, log_x=state.log_x), title, 400, methods)


def _crossover(pages: PageAnalysis, query: Query, colours: Palette) -> _Drawn:
    state = _scaling_shown(pages, query)
    if not state.pair:
        raise NotEnoughDataError(
            f"one method alone was run with mix {state.mix}: nothing to compare"
        )
    _, fits = _curves(pages, state)
    first, second = state.pair.split("~")
    data = crossover.critical(
        fits,
        task=state.task,
        mix=state.mix,
        models=sizes_of(tuned_of(pages.table)),
        first=first,
        second=second,
        metric=state.metric,
    )
    if not data.strips:
        raise NotEnoughDataError(
            f"no model has laws of both {first} and {second}: run both at three volumes or more"
        )
    title = (
        f"Probability that {method_within(first)} is better than {method_within(second)} on "
        f"{state.task} (mix {state.mix})"
    )
    chart = crossover.draw_critical(data, colours, log_x=state.log_x)
    return _Drawn(chart, title, crossover.height(data), (first, second))


# -- against what it costs -----------------------------------------------------------------------


def _elsewhere_known(*names: str) -> Callable[[PageAnalysis, str | None], dict[str, Sequence[str]]]:
    def known(pages: PageAnalysis, mix: str | None) -> dict[str, Sequence[str]]:
        choices = elsewhere.choices(pages, mix)
        if choices is None:
            raise NotEnoughDataError("no tuned trial has a score yet: there is nothing to draw")
        found: dict[str, Sequence[str]] = choices._asdict()
        # One figure: not all models apart.
        found["model"] = [model for model in choices.model if model != elsewhere.ALL]
        found["one model"] = [m for m in found["model"] if m != elsewhere.TOGETHER]
        found["suite"] = [cost for cost in choices.cost if cost != elsewhere.TRANSFER]
        found["axis"] = _AXES
        return {name.removeprefix("one "): found[name] for name in ("mix", *names)}

    return known


def _elsewhere_shown(pages: PageAnalysis, query: Query) -> elsewhere.Shown:
    state = elsewhere.shown(pages, query)
    assert state is not None  # there are choices
    return state


def _generalisation(pages: PageAnalysis, query: Query, colours: Palette) -> _Drawn:
    state = _elsewhere_shown(pages, query)
    data = elsewhere.generalisation_of(pages, state)
    models = [m for m in data.sizes if state.model in (m, elsewhere.TOGETHER)]
    methods = in_order(path.method for path in data.paths if path.model in models)
    if not methods:
        raise NotEnoughDataError(
            f"no trial of mix {state.mix} on {state.model} has both quality and {state.cost} measured"
        )
    chart = elsewhere.draw_generalisation(data, colours, models=models)
    title = f"Quality against what it costs elsewhere (mix {state.mix}): {', '.join(models)}"
    return _Drawn(chart, title, 460, methods)


def _forgetting(pages: PageAnalysis, query: Query, colours: Palette) -> _Drawn:
    suite = query.get("suite")
    state = _elsewhere_shown(pages, query.put(cost=suite))
    if state.cost == elsewhere.TRANSFER:
        raise NotEnoughDataError("the sweep measured no general suite: list one under general")
    at = {"model": state.model, "mix": state.mix, "suite": state.cost}
    data = forgetting_of(pages, pages.forgetting_laws, **at)
    if not data.curves:
        raise NotEnoughDataError(
            f"no law of what {state.model} forgets of {state.cost} under mix {state.mix}: it takes four runs "
            "at three volumes of a method"
        )
    title = f"What is forgotten as examples grow (mix {state.mix}): {state.model}"
    methods = in_order(curve.method for curve in data.curves)
    return _Drawn(draw_forgetting(data, colours, log_x=state.log_x), title, 340, methods)


# -- of the recommendation and the sweep -----------------------------------------------------------


def _tradeoff(pages: PageAnalysis, query: Query, colours: Palette) -> _Drawn:
    answer = pages.recommendation
    suites = suites_first(answer)
    if not suites:
        raise NotEnoughDataError("the sweep measured no general suite: list one under general")
    data = thinned(tradeoff_of(answer, pages.candidates, query.get("suite") or suites[0]))
    methods = [method for method in in_order(s.method for s in data.points) if method != "none"]
    title = f"Quality against what is forgotten of {data.suite}"
    return _Drawn(draw_tradeoff(data, colours), title, 400, methods)


def _gaps(pages: PageAnalysis, _query: Query, colours: Palette) -> _Drawn:
    answer = pages.recommendation
    data = runner_up_gaps(answer)
    if not data:
        raise NotEnoughDataError("there is no other candidate: only one was left to choose from")
    title = f"How far {answer.choice.label} is ahead of each runner-up"
    methods = in_order(gap.method for gap in data)
    return _Drawn(draw_gaps(data, colours), title, 70 + 62 * len(data), methods)


def _best_so_far(pages: PageAnalysis, _query: Query, colours: Palette) -> _Drawn:
    data = pages.best
    if not data.has_cost:
        raise NotEnoughDataError("no scored trial's cost is known: there is nothing to draw")
    methods = in_order(trial.method for trial in data.trials)
    return _Drawn(draw_best_so_far(data, colours), "Best quality so far", 340, methods)


def _nothing(_pages: PageAnalysis, _mix: str | None) -> Mapping[str, Sequence[str]]:
    return {}


def _suites(pages: PageAnalysis, _mix: str | None) -> Mapping[str, Sequence[str]]:
    return {"suite": suites_first(pages.recommendation)}


_KINDS = {
    "scaling": _Kind(_scaling_known("model"), _scaling),
    "generalisation": _Kind(_elsewhere_known("task", "cost", "model"), _generalisation),
    "forgetting": _Kind(_elsewhere_known("suite", "one model", "axis"), _forgetting),
    "tradeoff": _Kind(_suites, _tradeoff),
    "size": _Kind(_scaling_known("volume"), _size),
    "gaps": _Kind(_nothing, _gaps),
    "best_so_far": _Kind(_nothing, _best_so_far),
    "crossover": _Kind(_scaling_known("pair"), _crossover),
}
