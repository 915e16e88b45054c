"""What a page is: a place in the address, a frame, and the callbacks that fill it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from dash import Dash, Input, Output, html

from dashboards.context import PageContext
from dashboards.render_cache import RenderCache, encoded
from dashboards.snapshot import SweepView
from dashboards.state import Query

#: Changes with anything that happens in the sweep shown.
VERSION = Input("version", "data")
#: Changes with its ended trials alone.
RESULTS = Input("results", "data")
#: The query string, and ``light`` or ``dark``.
ADDRESS, THEME = Input("url", "search"), Input("theme", "data")


class Page(NamedTuple):
    """``title``: the tab's word. ``frame`` stands at ``path`` at once; ``connect`` adds the callbacks."""

    path: str
    title: str
    frame: Callable[[], Any]
    connect: Callable[[Dash, PageContext], None]


def whole(path: str, title: str, content: Callable[[SweepView, Query, str | None], Any]) -> Page:
    """A page that is drawn anew with every ended trial; *content* takes view, state and theme."""
    place = f"{path.strip('/')}-content"

    def connect(app: Dash, desk: PageContext) -> None:
        drawn = RenderCache()

        def filled(_results: str | None, search: str | None, theme: str | None) -> Any:
            def build(view: SweepView, query: Query) -> Any:
                what = (view.info.name, view.findings.version, query, theme)
                return drawn.get(what, lambda: encoded(content(view, query, theme)))

            return desk.show(search, build)

        app.callback(Output(place, "children"), RESULTS, ADDRESS, THEME)(filled)

    return Page(path, title, lambda: html.Div(id=place, className="stack"), connect)
