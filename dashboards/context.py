"""Page context: the sweep of an address, shared by all callbacks, or the notice in its place."""

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
from tracker.store.control import Request, new_request, request_text

#: Changes with anything that happens in the sweep.
VERSION = Input("version", "data")
#: Changes with its ended trials alone.
RESULTS = Input("results", "data")
#: The query string, and ``light`` or ``dark``.
ADDRESS, THEME = Input("url", "search"), Input("theme", "data")
# A request and a download cannot come back later, as a page does.
_FIRST_READING_SECONDS, _DOWNLOAD_SECONDS = 20.0, 300.0


class PageContext:
    """The shared snapshot, and the sweep of an address that names none.

    *add_request*: sends a request to the sweep of that name; ``None`` where visitors may only look.
    *reader*: of single trials.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        default_sweep: str | None = None,
        add_request: Callable[[str, Request], None] | None = None,
        reader: TrialReader | None = None,
    ) -> None:
        self.snapshot = snapshot
        self.default_sweep = default_sweep
        self.add_request = add_request
        self.reader = reader

    def name(self, query: Query) -> str | None:
        """The name of the sweep of *query*; ``None`` means the latest."""
        return query.sweep or self.default_sweep

    def view(self, search: str | None) -> SweepView | None:
        """The sweep of the query string *search*; ``None`` where there is none."""
        return self.snapshot.view(self.name(parse_query(search)))

    def refresh(
        self, _ticks: int | None, search: str | None, version: str | None, results: str | None
    ) -> tuple[Any, Any]:
        """The versions of the whole state and of its results, where they have changed."""
        name = self.name(parse_query(search))
        new_version, new_results = self.snapshot.version(name), self.snapshot.results_version(name)
        return (
            no_update if new_version == version else new_version,
            no_update if new_results == results else new_results,
        )

    def show(self, search: str | None, build: Callable[[SweepView, Query], Any]) -> Any:
        """The page that *build* makes of the sweep of *search*, or the reason why there is none."""
        view = self.view(search)
        if view is None:
            return self.nothing(search)
        try:
            return build(view, parse_query(search)._replace(sweep=view.info.name))
        except SftSelectError as error:
            return card("This cannot be shown yet", empty("Not yet", str(error), small=True))

    def send_request(
        self, search: str | None, action: str, shown: str | None, **fields: Any
    ) -> str:
        """Request *action* of the sweep of *search*, and say in words what became of the request.

        *shown*: the sweep that the visitor saw; where it is another by now, nothing is sent.
        """
        view = self.snapshot.view(self.name(parse_query(search)), wait=_FIRST_READING_SECONDS)
        if view is None or self.add_request is None:
            return "Not sent: there is no sweep here."
        name = view.info.name
        if shown is None:
            return "Not sent: the page did not know its sweep yet. Try again."
        if shown != name:
            return f"Not sent: the page showed the sweep {shown}, now it shows {name}. Look, and try again."
        try:
            request = new_request(action, by="dashboard", **fields)
            self.add_request(name, request)
        except SftSelectError as error:
            return f"Not sent. {error}"
        return f"Sent to {name}: {request_text(request)}. The driver answers within seconds."

    def nothing(self, search: str | None) -> Any:
        """The notice in place of a page, where there is no sweep to show."""
        name = self.name(parse_query(search))
        if (problem := self.snapshot.problem(name)) is not None:
            return empty("This cannot be read from the tracking store", problem)
        if self.snapshot.is_reading(name):
            return empty(
                "Reading the trials",
                "The store is read for the first time. The page appears when that is done.",
            )
        if name and self.snapshot.sweeps():
            return empty(
                f"There is no sweep called {name}", "The menu at the top lists all sweeps."
            )
        return empty(
            "No sweep yet",
            "Start one in a terminal. This page follows it from its beginning.",
            command="sft-select run SWEEP.yaml",
        )

    def export(self, name: str, query: Query, file: str) -> File | None:
        """The *file* of the answer of the sweep *name* to *query*; ``None`` where there is no such file.

        Raises SftSelectError where there is no such answer yet.
        """
        view = self.snapshot.view(name, wait=_DOWNLOAD_SECONDS) if file in FILES else None
        return None if view is None else file_of(view.analysis.answer(overrides_in(query)), file)

    def trials(self, name: str) -> pd.DataFrame | None:
        """The trials of the sweep *name*, a row each; ``None`` where there is none."""
        view = self.snapshot.view(name, wait=_FIRST_READING_SECONDS)
        return None if view is None else view.analysis.trials
