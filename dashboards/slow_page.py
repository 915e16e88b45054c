"""A page whose slow answers come later: drawn at once with what is known, and anew as they come."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from dash import Dash, Input, Output, State, dcc, html, no_update

from dashboards.background import BackgroundJobs
from dashboards.context import PageContext
from dashboards.page import ADDRESS, RESULTS, THEME, Page
from dashboards.render_cache import RenderCache, encoded
from dashboards.snapshot import SweepView
from dashboards.state import Query, parse_query

Content = Callable[[SweepView, Query, str | None, BackgroundJobs], Any]
#: The names of the slow answers behind a page in some state; the version they must be of is the view's.
Questions = Callable[[SweepView, Query], Sequence[Hashable]]


def slow(path: str, title: str, content: Content, questions: Questions) -> Page:
    """The page that *content* draws; *questions* names what it asks of its BackgroundJobs."""
    place = path.strip("/")

    def connect(app: Dash, desk: PageContext) -> None:
        connect_slow(app, desk, place, content, questions)

    return Page(path, title, lambda: html.Div(slow_frame(place)), connect)


def slow_frame(place: str) -> list[Any]:
    """Where :func:`connect_slow` of the same *place* draws, and what it keeps in the browser."""
    filled = html.Div(id=f"{place}-content", className="stack")
    return [filled, dcc.Store(id=f"{place}-drawn"), dcc.Store(id=f"{place}-news")]


def connect_slow(
    app: Dash, desk: PageContext, place: str, content: Content, questions: Questions
) -> None:
    """Fill the frame of *place*; see :func:`slow`."""
    later, views = BackgroundJobs(), RenderCache()

    def there(view: SweepView, query: Query) -> str:
        version = view.findings.version
        names = questions(view, query)
        return repr((names, version, [later.ready(name, version) for name in names]))

    def fill(_results: Any, search: str | None, theme: str | None, _news: Any) -> Any:
        known: list[str] = []

        def build(view: SweepView, query: Query) -> Any:
            known.append(there(view, query))  # before it is drawn: what comes meanwhile is news
            what = (view.info.name, known[0], query, theme)
            return views.get(what, lambda: encoded(content(view, query, theme, later)))

        return desk.show(search, build), known[0] if known else None

    def look(_ticks: Any, search: str | None, shown: str | None) -> Any:
        view = desk.view(search)
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
