"""Layout around every page: tabs, the menu of sweeps, warnings, and the switch of light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dash import dcc, html, no_update

from dashboards.components import Choice, empty, link, notice
from dashboards.context import PageContext
from dashboards.page import Page
from dashboards.snapshot import SweepView
from dashboards.state import Query, completed, href, parse_query

_STORES = ("version", "results", "theme", "title", "title-set", "address", "address-set")


def shell(refresh_seconds: float) -> html.Div:
    """The layout; *refresh_seconds*: seconds between two looks of a browser for news."""
    top = html.Div(
        [
            html.A("sft-select", href="/", className="brand go"),
            html.Nav(id="tabs", className="tabs", **{"aria-label": "Pages"}),
            html.Div(
                [
                    html.Details(id="sweep-menu", className="menu"),
                    html.Button(
                        id="theme-button",
                        className="button icon-button",
                        title="Light or dark",
                        **{"aria-label": "Switch between light and dark"},
                    ),
                ],
                className="top-end",
            ),
        ],
        className="top-inner",
    )
    return html.Div(
        [
            dcc.Location(id="url", refresh="callback-nav"),
            dcc.Interval(id="tick", interval=round(1000 * refresh_seconds)),
            *(dcc.Store(id=i) for i in _STORES),
            html.A("To the content", href="#main", className="skip"),
            html.Header(top, className="top"),
            html.Main(
                [html.Div(id="warning", **{"aria-live": "polite"}), html.Div(id="page")],
                id="main",
                tabIndex=-1,
            ),
        ]
    )


class Frame:
    """The callbacks of the layout around *pages*."""

    def __init__(self, context: PageContext, pages: Sequence[Page]) -> None:
        self.context = context
        self.pages = {page.path: page for page in pages}

    def page(self, path: str | None) -> Any:
        """The frame of the page at *path*; the page's callbacks fill it."""
        page = self.pages.get(path or "/")
        if page is not None:
            return page.frame()
        return empty("There is no such page", html.A("To the sweep", href="/", className="go"))

    def header(self, _version: str | None, path: str | None, search: str | None) -> Any:
        """Tabs, the sweep menu, a warning where the store cannot be read, the title, the whole address."""
        query, path = parse_query(search), path or "/"
        view = self.context.view(search)
        if view is not None and query.sweep is None:
            # The latest now: another when a colleague opens the link. The new address calls this again.
            whole = query._replace(sweep=view.info.name)
            return *(no_update,) * 4, completed(path, search, whole)
        tabs = [  # each leads to the page as it opens, with the sweep alone
            link(Choice(page.title, href(place, Query(query.sweep)), place == path))
            for place, page in self.pages.items()
        ]
        name = view.info.name if view else (query.sweep or "none")
        page = self.pages[path].title if path in self.pages else "Not found"
        title = f"{page} · {name} · sft-select"
        return tabs, self._menu(path, name), self._warning(view), title, no_update

    def _menu(self, path: str, name: str) -> list[Any]:
        items = [
            html.Li(
                html.A(
                    [html.Span(info.name), html.Span(info.state, className="quiet")],
                    href=href(path, Query(info.name)),
                    className="go",
                    **({"aria-current": "true"} if info.name == name else {}),
                )
            )
            for info in self.context.snapshot.sweeps()
        ]
        return [
            html.Summary([html.Span("Sweep", className="quiet"), html.Span(name)]),
            html.Ul(items or [html.Li("No sweep yet", className="quiet")]),
        ]

    def _warning(self, view: SweepView | None) -> Any:
        problem = None if view is None else self.context.snapshot.problem(view.info.name)
        if problem is None:
            return None
        return notice(
            "The tracking store cannot be read; this is its last known state.",
            problem,
            "bad",
        )
