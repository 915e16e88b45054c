"""What every callback works with: the sweep that an address asks for, or what to say in its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
from dash import Input, no_update

from dashboards.answers import overrides_in
from dashboards.components import card, empty
from dashboards.exports import FILES, File, file_of
from dashboards.snapshot import Snapshot, SweepView
from dashboards.state import Query, parse_query
from dashboards.trials.reader import TrialReader
from tracker.errors import SftSelectError
from tracker.store.control import Request, described, new_request

#: Changes with anything that happens in the sweep shown.
VERSION = Input("version", "data")
#: Changes with its ended trials alone.
RESULTS = Input("results", "data")
#: The query string, and ``light`` or ``dark``.
ADDRESS, THEME = Input("url", "search"), Input("theme", "data")
_FIRST_READING_SECONDS = 20.0  # of the store, where an answer cannot come back later
_DOWNLOAD_SECONDS = 300.0  # a download cannot come back later, as a page does


class PageContext:
    """The shared snapshot, and the sweep shown where an address names none.

    *asks*: hands a request to the sweep of that name; ``None`` where visitors may only look. *reader*:
    of single trials.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        default_sweep: str | None = None,
        asks: Callable[[str, Request], None] | None = None,
        reader: TrialReader | None = None,
    ) -> None:
        self.snapshot = snapshot
        self.default_sweep = default_sweep
        self.asks = asks
        self.reader = reader

    def name(self, query: Query) -> str | None:
        """The sweep that *query* asks for; ``None`` means the latest."""
        return query.sweep or self.default_sweep

    def view(self, search: str | None) -> SweepView | None:
        """The sweep that the query string *search* asks for; ``None`` where there is none."""
        return self.snapshot.view(self.name(parse_query(search)))

    def refresh(
        self, _ticks: int | None, search: str | None, known: str | None, results: str | None
    ) -> tuple[Any, Any]:
        """The versions of the whole state and of its results; nothing for those already known."""
        name = self.name(parse_query(search))
        version, found = self.snapshot.version(name), self.snapshot.results_version(name)
        return (
            no_update if version == known else version,
            no_update if found == results else found,
        )

    def show(self, search: str | None, build: Callable[[SweepView, Query], Any]) -> Any:
        """What *build* makes of the sweep asked for; where that cannot be, the reason in words."""
        view = self.view(search)
        if view is None:
            return self.nothing(search)
        try:
            return build(view, parse_query(search))
        except SftSelectError as error:
            return card("This cannot be shown yet", empty("Not yet", str(error), small=True))

    def ask(self, search: str | None, action: str, shown: str | None, **fields: Any) -> str:
        """Ask *action* of the sweep asked for, and say in words what became of asking.

        *shown*: the sweep that the visitor saw; where it is another by now, nothing is asked.
        """
        view = self.snapshot.view(self.name(parse_query(search)), wait=_FIRST_READING_SECONDS)
        if view is None or self.asks is None:
            return "Nothing was asked: there is no sweep here that could be."
        name = view.info.name
        if shown is None:
            return "Not asked: the page did not know its sweep yet. Ask again."
        if shown != name:
            return f"Not asked: the page showed another sweep, now it shows {name}. Look, and ask again."
        try:
            request = new_request(action, by="dashboard", **fields)
            self.asks(name, request)
        except SftSelectError as error:
            return f"Not asked. {error}"
        return f"Asked of {name}: {described(request)}. The driver answers within seconds."

    def nothing(self, search: str | None) -> Any:
        """What stands where there is no sweep to show."""
        wanted = self.name(parse_query(search))
        if (problem := self.snapshot.problem(wanted)) is not None:
            return empty("This cannot be read from the tracking store", problem)
        if self.snapshot.is_reading(wanted):
            return empty(
                "Reading the trials",
                "The store is read for the first time; the page fills itself when that is done.",
            )
        if wanted and self.snapshot.sweeps():
            return empty(
                f"There is no sweep called {wanted}", "The menu at the top holds them all."
            )
        return empty(
            "No sweep yet",
            "Start one in a terminal; this page follows it as soon as it begins.",
            command="sft-select run SWEEP.yaml",
        )

    def export(self, name: str, query: Query, file: str) -> File | None:
        """The *file* of what *query* asks of the sweep *name*; ``None`` where one of them is not.

        Raises SftSelectError where there is no such answer yet.
        """
        view = self.snapshot.view(name, wait=_DOWNLOAD_SECONDS) if file in FILES else None
        return None if view is None else file_of(view.analysis.answer(overrides_in(query)), file)

    def trials(self, name: str) -> pd.DataFrame | None:
        """The trials of the sweep *name*, a row each; ``None`` where there is none."""
        view = self.snapshot.view(name, wait=_FIRST_READING_SECONDS)
        return None if view is None else view.analysis.trials
