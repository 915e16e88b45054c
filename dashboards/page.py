"""A page: its place in the address, its frame, and the callbacks that fill it, with a render cache.

A page with slow answers is rendered at once with those that are ready, and again as others come. A rendered
page is cached: a second visitor of the same view does not wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import orjson
from dash import Dash, Input, Output, State, dcc, html, no_update
from dash.development.base_component import Component

from dashboards.components import Choice, empty, link
from dashboards.context import ADDRESS, RESULTS, THEME, PageContext
from dashboards.snapshot import SweepView
from dashboards.state import Query, href, parse_query
from tracker.cache import SingleFlightCache
from tracker.numbers import plural

#: Cached renderings of a page, and cached slow answers.
MAX_VIEWS, MAX_ANSWERS = 32, 64
_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY


class Page(NamedTuple):
    """A tab of the dashboard. ``frame`` stands at ``path`` at once; ``connect`` adds the callbacks."""

    path: str
    title: str
    frame: Callable[[], Any]
    connect: Callable[[Dash, PageContext], None]


def encoded(content: Any) -> orjson.Fragment:
    """*content* as JSON: a tenth of the memory of components, and ready to be sent."""
    return orjson.Fragment(orjson.dumps(content, default=_plain, option=_OPTIONS))


def _plain(component: Any) -> Any:
    if isinstance(component, Component):
        return component.to_plotly_json()
    raise TypeError(
        f"found a {type(component).__name__} in a page; allowed: components and plain values"
    )


def whole(path: str, title: str, content: Callable[[SweepView, Query, str | None], Any]) -> Page:
    """A page without slow answers, rendered anew with every ended trial."""
    place = f"{path.strip('/')}-content"

    def connect(app: Dash, context: PageContext) -> None:
        views = SingleFlightCache(MAX_VIEWS)

        def fill(_results: str | None, search: str | None, theme: str | None) -> Any:
            def build(view: SweepView, query: Query) -> Any:
                key = (view.info.name, view.analysis.version, query, theme)
                return views.get(key, lambda: encoded(content(view, query, theme)))

            return context.show(search, build)

        app.callback(Output(place, "children"), RESULTS, ADDRESS, THEME)(fill)

    return Page(path, title, lambda: html.Div(id=place, className="stack"), connect)


Content = Callable[[SweepView, Query, str | None, SingleFlightCache], Any]
#: The names of the slow answers of a page in some state; their version is that of the view's analysis.
Questions = Callable[[SweepView, Query], Sequence[Hashable]]


def slow(path: str, title: str, content: Content, questions: Questions) -> Page:
    """A page that *content* renders from slow answers; *questions* gives their names."""
    place = path.strip("/")

    def connect(app: Dash, context: PageContext) -> None:
        connect_slow(app, context, place, content, questions)

    return Page(path, title, lambda: html.Div(slow_frame(place)), connect)


def slow_frame(place: str) -> list[Any]:
    """The elements that :func:`connect_slow` of the same *place* fills."""
    filled = html.Div(id=f"{place}-content", className="stack")
    return [filled, dcc.Store(id=f"{place}-drawn"), dcc.Store(id=f"{place}-news")]


def connect_slow(
    app: Dash, context: PageContext, place: str, content: Content, questions: Questions
) -> None:
    """Fill the frame of *place*, and again when a slow answer has come; see :func:`slow`."""
    answers, views = SingleFlightCache(MAX_ANSWERS), SingleFlightCache(MAX_VIEWS)

    def readiness(view: SweepView, query: Query) -> str:
        version = view.analysis.version
        names = questions(view, query)
        return repr((names, version, [answers.ready(name, version) for name in names]))

    def fill(_results: Any, search: str | None, theme: str | None, _news: Any) -> Any:
        rendered_from: list[str] = []

        def build(view: SweepView, query: Query) -> Any:
            ready = readiness(
                view, query
            )  # before rendering: an answer that comes meanwhile is news
            rendered_from.append(ready)
            key = (view.info.name, ready, query, theme)
            return views.get(key, lambda: encoded(content(view, query, theme, answers)))

        return context.show(search, build), next(iter(rendered_from), None)

    def look(_ticks: Any, search: str | None, rendered_from: str | None) -> Any:
        view = context.view(search)
        if view is None or rendered_from is None:
            return no_update
        ready = readiness(view, parse_query(search))
        return no_update if ready == rendered_from else ready

    app.callback(
        Output(f"{place}-content", "children"),
        Output(f"{place}-drawn", "data"),
        RESULTS,
        ADDRESS,
        THEME,
        Input(f"{place}-news", "data"),
    )(fill)
    app.callback(
        Output(f"{place}-news", "data"),
        Input("tick", "n_intervals"),
        State("url", "search"),
        State(f"{place}-drawn", "data"),
    )(look)


def no_results(view: SweepView, detail: str, *, small: bool = False) -> Any:
    """What a page says where no tuned trial has a score; *detail*: what will stand here."""
    tally = view.analysis.tally
    if not tally.ended:
        return empty("No trials yet", detail, small=small)
    without = tally.ended - tally.by_status.get("complete", 0)
    counts = f"{plural(tally.ended, 'trial')} ended, {without or 'none'} of them without a result. "
    way = link(Choice("See why on the Sweep page", href("/", Query(view.info.name)), False))
    more = f" {detail}" if view.info.is_live else ""
    return empty("No tuned trial has a score", [counts, way, more], small=small)
