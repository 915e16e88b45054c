"""The Trials page: every ended trial in a grid to sort and filter; one in detail, or a few side by side.

The grid requests the rows in sight (AG Grid's infinite row model: all of 10,000 trials at once are 9 MB and
take three times as long to appear). It stays in the page while a trial is open, so that going back finds it
as it was. Its sort and filters are written into the address; it is made anew only where the address differs
(a deep link, the browser's back button).
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Any

import dash_ag_grid as dag
import pandas as pd
from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html, no_update
from typing_extensions import TypedDict

from dashboards.charts.theme import palette
from dashboards.components import Choice, empty, link, notice, page_head
from dashboards.context import ADDRESS, RESULTS, THEME, VERSION, PageContext
from dashboards.exports import csv_path
from dashboards.page import Page
from dashboards.pages import compare, trial
from dashboards.pages.sweep import running_in_short
from dashboards.snapshot import SweepView
from dashboards.state import Query, completed, href, parse_query
from dashboards.trials.fields import Weighing
from dashboards.trials.frame import Column, columns_of, definitions, plain_rows
from dashboards.trials.query import (
    GridState,
    RowsRequest,
    initial_state,
    select,
    state_in,
    state_of,
)
from tracker.numbers import count, plural
from tracker.trial import TrialRecord

TITLE = "Trials"
PATH = "/trials"
#: Rows that the grid requests at a time, and blocks of them that it keeps.
BLOCK, BLOCKS = 100, 10
#: The grid takes the colours of style.css, so that it follows light and dark by itself.
_GRID_THEME = (
    "themeQuartz.withParams({backgroundColor: 'var(--surface)', foregroundColor: 'var(--text)', "
    "headerBackgroundColor: 'var(--surface)', headerTextColor: 'var(--muted)', "
    "borderColor: 'var(--line)', accentColor: 'var(--accent)', fontFamily: 'var(--sans)', "
    "fontSize: 14, headerFontWeight: 500, spacing: 7, wrapperBorderRadius: 12, "
    "menuBackgroundColor: 'var(--surface)', rowHoverColor: 'var(--sunken)', "
    "selectedRowBackgroundColor: 'var(--accent-soft)', "
    "checkboxUncheckedBorderColor: 'var(--field)', inputBorder: '1px solid var(--field)', "
    "browserColorScheme: 'inherit'})"
)
_MAX_TICKED = 100  # trials kept in an address
_MODES = (("", "All fields"), ("differences", "Only differences"))


def numbers_in(query: Query, name: str) -> tuple[int, ...]:
    """Trial numbers in the address, such as ``compare=3,9``; each once."""
    numbers = re.findall(r"\d{1,9}", query.get(name) or "")
    return tuple(dict.fromkeys(int(number) for number in numbers))


def requested_numbers(query: Query) -> tuple[int, ...]:
    """The numbers of the trials to show in detail: none, one, or two to five."""
    numbers = numbers_in(query, "compare")
    if len(numbers) < 2:
        numbers = (*numbers_in(query, "trial"), *numbers)[:1]
    return numbers[: compare.MOST]


def requested_records(view: SweepView, query: Query) -> list[TrialRecord]:
    """Those of the requested trials that have ended, in their order."""
    by_number = {r.number: r for r in view.analysis.listed}
    return [by_number[number] for number in requested_numbers(query) if number in by_number]


def weighing_of(view: SweepView) -> Weighing:
    """The weights and measures by which the trials of *view* are judged."""
    return Weighing(view.analysis.objective.weights, view.analysis.measures)


def is_detail(query: Query) -> bool:
    """Whether the address names single trials, ended or not."""
    return bool(numbers_in(query, "trial") or numbers_in(query, "compare"))


def head(view: SweepView, query: Query) -> list[Any]:
    """Title, number of rows, and the download."""
    frame = view.analysis.trials
    state = state_in(query, frame.columns)
    ended = plural(len(frame), "ended trial")
    if state.where or state.any_of:
        passed = len(select(frame, state))
        ended = f"{count(passed)} of {ended} {'passes' if passed == 1 else 'pass'} the filters"
    lead = (
        f"{ended}. Press a row to open it, tick two to five to compare them. A heading sorts; the funnel "
        "beside it filters."
    )
    path = csv_path(view.info.name, query)
    download = html.A("CSV of the rows as filtered", href=path, className="button", download=True)
    return [page_head("Every trial", lead), html.Div(download, className="actions")]


def details(view: SweepView, query: Query) -> list[Any]:
    """One trial, or a few side by side, without what is read from the store."""
    grid = query.put(trial=None, compare=None, only=None)
    records = requested_records(view, query)
    numbers = [record.number for record in records]
    missing = [n for n in requested_numbers(query) if n not in numbers]
    why = "It may still be running, or its run was deleted"
    if not records:
        links = trial.actions([_choice("All trials", grid)])
        detail = f"{why}; the grid holds all that ended."
        return [links, empty("There is no such ended trial", detail)]
    warning = missing and notice(
        f"There is no ended trial {' and no '.join(map(str, missing))}.",
        f"{why}; the others are shown.",
    )
    weighing = weighing_of(view)
    if len(records) == 1:
        links = [_choice("All trials", grid), *_beside(view, records[0], query)]
        return [warning or None, *trial.content(records[0], links, weighing)]
    ticked = grid.put(ticked=",".join(map(str, numbers)))
    links = [_choice("All trials", ticked)]
    links += [_choice(f"Trial {number}", ticked.put(trial=str(number))) for number in numbers]
    modes = [
        Choice(words, href(PATH, query.put(only=only)), (query.get("only") or "") == only)
        for only, words in _MODES
    ]
    return [warning or None, *compare.content(records, links, modes, weighing)]


def _choice(words: str, query: Query) -> Choice:
    return Choice(words, href(PATH, query), False)


def _beside(view: SweepView, record: TrialRecord, query: Query) -> list[Choice]:
    """The trials before and after in the grid's order."""
    frame = view.analysis.trials
    order = frame["number"].to_numpy()[select(frame, state_in(query, frame.columns))]
    places = [int(place) for place in (order == record.number).nonzero()[0]]
    return [
        _choice(f"{words} in the grid", query.put(trial=str(int(order[place + step]))))
        for place in places
        for words, step in (("Previous", -1), ("Next", 1))
        if 0 <= place + step < len(order)
    ]


def _frame() -> html.Div:
    """The page's frame; the grid's part is hidden while a trial is open."""
    columns = [html.Summary("Columns"), html.Ul(id="trials-menu")]
    listing = [
        html.Div(id="trials-bar", className="ticked", role="status"),
        html.Details(columns, className="menu column-menu"),
        html.Div(id="trials-place", className="card grid-card"),
    ]
    stores = ("asked", "drawn", "fresh", "ticked", "waits", "again")
    return html.Div(
        [
            *(dcc.Store(id=f"trials-{name}") for name in stores),
            html.Div(id="trials-head", className="stack"),
            html.Div(id="trials-running"),
            html.Div(listing, id="trials-list", className="stack", hidden=True),
            html.Div(id="trials-near", className="stack"),
            dcc.Loading(
                html.Div(id="trials-closer", className="stack"),
                delay_show=400,
                type="dot",
                color="var(--accent)",
            ),
        ],
        className="stack",
    )


class _GridState(TypedDict):
    """The grid as it was made: its sweep with the columns, and the sort, filters and shown columns."""

    shape: list[str | list[str]]
    state: dict[str, str | list[str]]


class _Click(TypedDict, total=False):
    """A pressed cell, as AG Grid sends it."""

    colId: str | None
    rowId: str | None


class _Row(TypedDict, total=False):
    """What is read of a ticked row."""

    number: int | float


class _Callbacks:
    """The callbacks of the page; each fills one part of the frame."""

    def __init__(self, context: PageContext) -> None:
        self.context = context

    def head(self, _results: str | None, search: str | None) -> tuple[Any, bool, Any]:
        """The head of the grid, whether the grid is hidden, and what stands in its place."""
        view, query = self.context.view(search), parse_query(search)
        if view is None:
            return [], True, self.context.nothing(search)
        if is_detail(query):
            return [], True, details(view, query)
        if not view.analysis.listed:
            return [], True, empty("No trial has ended yet", "They appear here as they end.")
        return head(view, query), False, []

    def running(self, _version: str | None, search: str | None) -> Any:
        """The running trials, above the grid of the ended ones."""
        view, query = self.context.view(search), parse_query(search)
        if view is None or is_detail(query):
            return None
        return running_in_short(view, time.time(), href("/", Query(query.sweep)))

    def place(
        self,
        _results: str | None,
        search: str | None,
        sorted_by: dict[str, str] | None,
        shown: _GridState | None,
    ) -> tuple[Any, Any]:
        """The grid, made anew only where it does not show the state of the address.

        *sorted_by*: the sort and filters of the grid's last request. *shown*: the grid as it was made.
        """
        view, query = self.context.view(search), parse_query(search)
        if view is None or not view.analysis.listed:
            return [], None
        frame = view.analysis.trials
        columns = columns_of(frame.columns)
        shape = [view.info.name, [c.field for c in columns]]
        state = {
            "rows": state_text(state_in(query, frame.columns)),
            "columns": shown_fields(columns, query),
        }
        current = {**(shown["state"] if shown else {}), **(sorted_by or {})}
        if shown and shown["shape"] == shape and current == state:
            return no_update, no_update
        ticked = numbers_in(query, "ticked")
        return grid(frame, query, view.info.name, ticked), {"shape": shape, "state": state}

    def rows(self, request: RowsRequest | None, search: str | None) -> tuple[Any, Any, Any]:
        """Rows for the grid; a new sort or filter goes into the address."""
        view = self.context.view(search)
        if not request or view is None:
            return no_update, no_update, no_update
        query, frame = parse_query(search), view.analysis.trials
        state = state_of(request, frame.columns)
        text = state_text(state)
        same = text == state_text(state_in(query, frame.columns))
        address = no_update if same else href("", state.put_in(query))
        return rows(frame, request), {"rows": text}, address

    def menu(self, _results: Any, search: str | None, ticked: list[int] | None) -> Any:
        """The columns to choose from; choosing one keeps the ticks."""
        view, query = self.context.view(search), parse_query(search)
        if ticked:
            query = query.put(ticked=ticked_text(ticked))
        return menu(columns_of(view.analysis.trials.columns), query) if view else []

    def open(self, click: _Click | None, search: str | None) -> Any:
        """The trial of a pressed row goes into the address."""
        view = self.context.view(search)
        if not click or view is None or click.get("colId") not in set(view.analysis.trials.columns):
            return no_update
        frame = view.analysis.trials
        number = frame.loc[frame["key"] == click.get("rowId"), "number"]
        if click["colId"] == "number" or number.empty:
            return no_update  # the number is a link itself
        return href("", parse_query(search).put(trial=str(int(number.iloc[0]))))

    def ticked(
        self,
        selected: list[_Row | None] | dict[str, Any] | None,
        path: str | None,
        search: str | None,
    ) -> tuple[list[int], Any]:
        """The numbers of the ticked rows, which go into the address; a mapping where the grid ticks them."""
        if not isinstance(selected, list):
            return list(numbers_in(parse_query(search), "ticked")), no_update
        numbers = [int(row["number"]) for row in selected if row and "number" in row]
        query = parse_query(search).put(ticked=ticked_text(numbers))
        return numbers, completed(path or PATH, search, query)

    def bar(self, ticked: list[int] | None, search: str | None) -> Any:
        """The links for the ticked rows."""
        return bar(ticked or [], parse_query(search))

    def readings(self, _results: Any, search: str | None, theme: str | None, _again: Any) -> Any:
        """Curves, worst answers and links of the open trials; and whether more is to come."""
        view, query, reader = self.context.view(search), parse_query(search), self.context.reader
        records = requested_records(view, query) if view is not None else []
        if view is None or reader is None or not records:
            return [], False
        tried = [reader.read(view.info.name, r.result.spec.key) for r in records]
        readings = [reading for reading in tried if reading is not None]
        if len(readings) < len(records):
            detail = "The store is read for curves and answers."
            return empty("TrialDetails", detail, small=True), True
        colours, retry = palette(theme), any(reading.problem for reading in readings)
        if len(records) == 1:
            return trial.readings(records[0], readings[0], colours, weighing_of(view)), retry
        return compare.readings(records, readings, colours), retry


def _connect(app: Dash, context: PageContext) -> None:
    callbacks = _Callbacks(context)
    address = State("url", "search")
    search = Output("url", "search", allow_duplicate=True)
    ticked = Input("trials-ticked", "data")
    app.callback(
        Output("trials-head", "children"),
        Output("trials-list", "hidden"),
        Output("trials-near", "children"),
        RESULTS,
        ADDRESS,
    )(callbacks.head)
    app.callback(Output("trials-running", "children"), VERSION, ADDRESS)(callbacks.running)
    app.callback(
        Output("trials-place", "children"),
        Output("trials-drawn", "data"),
        RESULTS,
        ADDRESS,
        State("trials-asked", "data"),
        State("trials-drawn", "data"),
    )(callbacks.place)
    app.callback(
        Output("trials-table", "getRowsResponse"),
        Output("trials-asked", "data"),
        search,
        Input("trials-table", "getRowsRequest"),
        address,
        prevent_initial_call=True,
    )(callbacks.rows)
    app.callback(Output("trials-menu", "children"), RESULTS, ADDRESS, ticked)(callbacks.menu)
    app.callback(search, Input("trials-table", "cellClicked"), address, prevent_initial_call=True)(
        callbacks.open
    )
    app.callback(
        Output("trials-ticked", "data"),
        Output("address", "data", allow_duplicate=True),
        Input("trials-table", "selectedRows"),
        State("url", "pathname"),
        address,
        prevent_initial_call=True,
    )(callbacks.ticked)
    app.callback(Output("trials-bar", "children"), ticked, ADDRESS)(callbacks.bar)
    app.callback(
        Output("trials-closer", "children"),
        Output("trials-waits", "data"),
        RESULTS,
        ADDRESS,
        THEME,
        Input("trials-again", "data"),
    )(callbacks.readings)
    app.clientside_callback(
        ClientsideFunction("sftTrials", "again"),
        Output("trials-again", "data"),
        Input("tick", "n_intervals"),
        State("trials-waits", "data"),
    )
    app.clientside_callback(
        ClientsideFunction("sftTrials", "refresh"), Output("trials-fresh", "data"), RESULTS
    )


def rows(frame: pd.DataFrame, request: RowsRequest) -> dict[str, Any]:
    """The answer to AG Grid's *request* for rows: ``rowData``, and ``rowCount`` of all that pass."""
    order = select(frame, state_of(request, frame.columns))
    start = max(0, int(request.get("startRow") or 0))
    end = min(int(request.get("endRow") or 0), start + BLOCK)
    return {"rowData": plain_rows(frame.iloc[order[start:end]]), "rowCount": len(order)}


def state_text(state: GridState) -> str:
    """Sort and filters as one text, to compare two states."""
    return href("", state.put_in(Query()))


def shown_fields(columns: Sequence[Column], query: Query) -> list[str]:
    """The columns to show: the usual ones without ``hide`` and with ``show`` of the address."""
    hidden, added = set(query.many("hide")), set(query.many("show"))
    return [c.field for c in columns if c.field in added or (c.usual and c.field not in hidden)]


def put_fields(columns: Sequence[Column], chosen: Sequence[str], query: Query) -> Query:
    """*query* with the columns *chosen*; the inverse of :func:`shown_fields`."""
    return query.put(
        hide=[c.field for c in columns if c.usual and c.field not in chosen],
        show=[c.field for c in columns if not c.usual and c.field in chosen],
    )


def grid(frame: pd.DataFrame, query: Query, sweep: str, ticked: Sequence[int] = ()) -> list[Any]:
    """The grid in the state *query* with the trials *ticked*."""
    columns = columns_of(frame.columns)
    words = {column.field for column in columns if column.words}
    keys = [str(key) for key in frame.loc[frame["number"].isin(list(ticked)), "key"]]
    table = dag.AgGrid(
        id="trials-table",
        className="trials",
        rowModelType="infinite",
        columnDefs=definitions(columns, shown_fields(columns, query)),
        getRowId="params.data.key",
        defaultColDef={"sortable": True, "filter": True, "resizable": True},
        selectedRows={"ids": keys} if keys else [],
        dashGridOptions={
            "theme": {"function": _GRID_THEME},
            "initialState": initial_state(state_in(query, frame.columns), words),
            "suppressFieldDotNotation": True,
            "rowClassRules": {"excluded": "isExcluded(params)"},
            "animateRows": False,
            "cacheBlockSize": BLOCK,
            "maxBlocksInCache": BLOCKS,
            "maxConcurrentDatasourceRequests": 1,
            "rowSelection": {"mode": "multiRow", "headerCheckbox": False},
            "selectionColumnDef": {"pinned": "left", "width": 48},
            "enableCellTextSelection": True,
            # Arrows walk the cells; Tab leaves them, or it would lead through every one of ten thousand rows.
            "tabToNextCell": {"function": "false"},
        },
        style={"width": "100%", "height": "min(72vh, 760px)"},
    )
    keyboard = "By keyboard: arrows walk the rows, Enter opens a trial, Space ticks it, Tab leaves."
    return [
        html.Div(table, role="region", **{"aria-label": f"Trials of {sweep}"}),
        html.P(keyboard, className="note"),
    ]


def menu(columns: Sequence[Column], query: Query) -> list[html.Li]:
    """A link per column, which shows or hides it."""
    shown = shown_fields(columns, query)

    def toggled(field: str) -> str:
        kept = [f for f in shown if f != field]
        return href(PATH, put_fields(columns, kept if field in shown else [*shown, field], query))

    return [
        html.Li(link(Choice(c.title, toggled(c.field), c.field in shown)))
        for c in columns
        if c.field != "number"
    ]


def ticked_text(ticked: Sequence[int]) -> str:
    """Ticked trials as they stand in an address, which must not grow without end."""
    return ",".join(map(str, ticked[:_MAX_TICKED]))


def bar(ticked: Sequence[int], query: Query) -> list[Any]:
    """How many rows are ticked, and the link to the trial or to the comparison."""
    if not ticked:
        return []
    query = query.put(ticked=ticked_text(ticked))
    compared = ticked[: compare.MOST]
    numbers = " and ".join(map(str, compared))
    words = f"Compare {numbers if len(compared) == 2 else f'{len(compared)} trials'}"
    choice = _choice(words, query.put(compare=",".join(map(str, compared))))
    if len(ticked) == 1:
        choice = _choice(f"See trial {numbers}", query.put(trial=numbers))
    more = f"; the first {compare.MOST} are compared" if len(ticked) > compare.MOST else ""
    return [html.Span(f"{plural(len(ticked), 'trial')} ticked{more}"), link(choice)]


PAGE = Page(PATH, TITLE, _frame, _connect)
