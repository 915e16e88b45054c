"""What a page is: a place in the address, a frame, and the callbacks that fill it.

A page that asks for slow answers is drawn at once with what is known, and anew as they come. A page as it
was last drawn is kept: a second visitor of the same view does not wait for it to be drawn again.
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

#: Views kept of a page, each named by all that it depends on, and slow answers.
MAX_VIEWS, MAX_ANSWERS = 32, 64
_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY


class Page(NamedTuple):
    """``title``: the tab's word. ``frame`` stands at ``path`` at once; ``connect`` adds the callbacks."""

    path: str
    title: str
    frame: Callable[[], Any]
    connect: Callable[[Dash, PageContext], None]


def encoded(content: Any) -> orjson.Fragment:
    """*content* as the browser is sent it, which takes a tenth of the memory and is sent at once."""
    return orjson.Fragment(orjson.dumps(content, default=_plain, option=_OPTIONS))


def _plain(component: Any) -> Any:
    if isinstance(component, Component):
        return component.to_plotly_json()
    raise TypeError(f"{type(component).__name__} cannot be shown")


def whole(path: str, title: str, content: Callable[[SweepView, Query, str | None], Any]) -> Page:
    """A page that is drawn anew with every ended trial; *content* takes view, state and theme."""
    place = f"{path.strip('/')}-content"

    def connect(app: Dash, context: PageContext) -> None:
        views = SingleFlightCache(MAX_VIEWS)

        def filled(_results: str | None, search: str | None, theme: str | None) -> Any:
            def build(view: SweepView, query: Query) -> Any:
                what = (view.info.name, view.analysis.version, query, theme)
                return views.get(what, lambda: encoded(content(view, query, theme)))

            return context.show(search, build)

        app.callback(Output(place, "children"), RESULTS, ADDRESS, THEME)(filled)

    return Page(path, title, lambda: html.Div(id=place, className="stack"), connect)


Content = Callable[[SweepView, Query, str | None, SingleFlightCache], Any]
#: The names of the slow answers behind a page in some state; the version they must be of is the view's.
Questions = Callable[[SweepView, Query], Sequence[Hashable]]


def slow(path: str, title: str, content: Content, questions: Questions) -> Page:
    """The page that *content* draws; *questions* names the slow answers that it asks for."""
    place = path.strip("/")

    def connect(app: Dash, context: PageContext) -> None:
        connect_slow(app, context, place, content, questions)

    return Page(path, title, lambda: html.Div(slow_frame(place)), connect)


def slow_frame(place: str) -> list[Any]:
    """Where :func:`connect_slow` of the same *place* draws, and what it keeps in the browser."""
    filled = html.Div(id=f"{place}-content", className="stack")
    return [filled, dcc.Store(id=f"{place}-drawn"), dcc.Store(id=f"{place}-news")]


def connect_slow(
    app: Dash, context: PageContext, place: str, content: Content, questions: Questions
) -> None:
    """Fill the frame of *place*; see :func:`slow`."""
    answers, views = SingleFlightCache(MAX_ANSWERS), SingleFlightCache(MAX_VIEWS)

    def there(view: SweepView, query: Query) -> str:
        version = view.analysis.version
        names = questions(view, query)
        return repr((names, version, [answers.ready(name, version) for name in names]))

    def fill(_results: Any, search: str | None, theme: str | None, _news: Any) -> Any:
        known: list[str] = []

        def build(view: SweepView, query: Query) -> Any:
            known.append(there(view, query))  # before it is drawn: what comes meanwhile is news
            what = (view.info.name, known[0], query, theme)
            return views.get(what, lambda: encoded(content(view, query, theme, answers)))

        return context.show(search, build), known[0] if known else None

    def look(_ticks: Any, search: str | None, shown: str | None) -> Any:
        view = context.view(search)
        if view is None or shown is None:
            return no_update
        now = there(view, parse_query(search))
        return no_update if now == shown else now

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
