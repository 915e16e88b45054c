"""The callbacks as plain methods: arguments in, what the browser shows out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dash import html, no_update

from dashboards.components import Choice, card, empty, link, notice
from dashboards.pages import recommend, scaling, sweep
from dashboards.snapshot import Snapshot, SweepView
from dashboards.state import Query, href, parse_query
from tracker.errors import SftSelectError

#: Tabs in their order: path, word, what the browser's title says.
TABS = (
    ("/", sweep.TITLE),
    (scaling.PATH, scaling.TITLE),
    (recommend.PATH, recommend.TITLE),
)


class Desk:
    """What every callback works with: the shared snapshot, and the sweep shown by default."""

    def __init__(self, snapshot: Snapshot, default_sweep: str | None = None) -> None:
        self.snapshot = snapshot
        self.default_sweep = default_sweep

    def refresh(
        self, _ticks: int | None, search: str | None, known: str | None, results: str | None
    ) -> tuple[Any, Any]:
        """The versions of the whole state and of its results; nothing for those already known."""
        name = self._name(parse_query(search))
        version, found = self.snapshot.version(name), self.snapshot.results_version(name)
        return (
            no_update if version == known else version,
            no_update if found == results else found,
        )

    def header(self, _version: str | None, path: str | None, search: str | None) -> Any:
        """Tabs, the sweep menu, a warning where the store cannot be read, the browser's title."""
        query = parse_query(search)
        kept = Query(sweep=query.sweep)
        tabs = [
            link(Choice(word, href(place, query if place == path else kept), place == path))
            for place, word in TABS
        ]
        infos = self.snapshot.sweeps()
        view = self.snapshot.view(self._name(query))
        name = view.info.name if view else (query.sweep or "none")
        items = [
            html.Li(
                html.A(
                    [html.Span(info.name), html.Span(info.state, className="quiet")],
                    href=href(path or "/", Query(sweep=info.name)),
                    className="go",
                    **({"aria-current": "true"} if info.name == name else {}),
                )
            )
            for info in infos
        ]
        menu = [
            html.Summary([html.Span("Sweep", className="quiet"), html.Span(name)]),
            html.Ul(items or [html.Li("No sweep yet", className="quiet")]),
        ]
        word = dict(TABS).get(path or "", "Not found")
        return tabs, menu, self._warning(view), f"{word} · {name} · sft-select"

    def _warning(self, view: SweepView | None) -> Any:
        problem = self.snapshot.problem
        if problem is None or view is None:
            return None
        return notice(
            "The tracking store cannot be read; this is what was last known.", problem, "bad"
        )

    def page(self, path: str | None) -> Any:
        """The frame of the page at *path*; the page's own callback fills it."""
        if path == "/":
            return sweep.layout()
        if path in (scaling.PATH, recommend.PATH):
            return html.Div(id=f"{path[1:]}-content", className="stack")
        return empty("There is no such page", html.A("To the sweep", href="/", className="go"))

    def sweep_page(self, search: str | None, theme: str | None) -> sweep.Content:
        """What fills the frame of the sweep page."""
        view = self.snapshot.view(self._name(parse_query(search)))
        return sweep.nothing(self._nothing(search)) if view is None else sweep.content(view, theme)

    def scaling_page(self, search: str | None, theme: str | None) -> Any:
        """Content of the scaling page."""
        query = parse_query(search)
        view = self.snapshot.view(self._name(query))
        if view is None:
            return self._nothing(search)
        return self._safely(lambda: scaling.content(view, query, theme))

    def recommend_page(self, search: str | None, theme: str | None) -> Any:
        """Content of the recommendation page."""
        view = self.snapshot.view(self._name(parse_query(search)))
        if view is None:
            return self._nothing(search)
        return self._safely(lambda: recommend.content(view, theme))

    def export(self, name: str) -> str | None:
        """The YAML of the sweep called *name*; ``None`` where there is no such sweep.

        Raises SftSelectError where it has no recommendation yet.
        """
        view = self.snapshot.view(name)
        return None if view is None else view.findings.config_text()

    def _name(self, query: Query) -> str | None:
        return query.sweep or self.default_sweep

    def _safely(self, build: Callable[[], Any]) -> Any:
        try:
            return build()
        except SftSelectError as error:
            return card("This cannot be shown yet", empty("Not yet", str(error), small=True))

    def _nothing(self, search: str | None) -> Any:
        if self.snapshot.problem is not None:
            return empty("The tracking store cannot be read", self.snapshot.problem)
        wanted = self._name(parse_query(search))
        if wanted and self.snapshot.sweeps():
            return empty(
                f"There is no sweep called {wanted}", "The menu at the top holds them all."
            )
        return empty(
            "No sweep yet",
            "Start one in a terminal; this page follows it as soon as it begins.",
            command="sft-select run SWEEP.yaml",
        )
