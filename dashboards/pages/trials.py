"""Every trial in a grid to sort and filter; one of them from near, or a few side by side.

The grid asks for the rows it shows (AG Grid's infinite row model) and stays in the page while a trial is
looked at, so that going back finds it as it was. Its sort and filters are written into the address; it
is made anew only where the address says otherwise (a deep link, the browser's back button).
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

import dash_ag_grid as dag
import pandas as pd
from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html, no_update

from dashboards.charts.theme import palette
from dashboards.components import Choice, empty, link, notice, page_head
from dashboards.context import ADDRESS, RESULTS, THEME, VERSION, PageContext
from dashboards.exports import csv_path
from dashboards.page import Page
from dashboards.pages import compare, trial
from dashboards.pages.sweep import running_in_short
from dashboards.snapshot import SweepView
from dashboards.state import Query, href, parse_query
from dashboards.trials.fields import Weighing
from dashboards.trials.frame import Column, columns_of, definitions, plain_rows
from dashboards.trials.query import Wanted, grid_state, select, wanted_in, wanted_of
from tracker.numbers import count, plural
from tracker.trial import TrialRecord

TITLE = "Trials"
PATH = "/trials"
#: Rows that the grid asks for at a time, and blocks of them that it keeps.
BLOCK, BLOCKS = 100, 10
#: The grid takes the sheet's colours, so that it follows light and dark by itself.
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
_MARKS = 100  # ticked trials kept in an address
_MODES = (("", "All fields"), ("differences", "Only differences"))


def numbers_in(query: Query, name: str) -> tuple[int, ...]:
    """Trial numbers in the address, such as ``compare=3,9``; each once."""
    found = re.findall(r"\d{1,9}", query.get(name) or "")
    return tuple(dict.fromkeys(int(number) for number in found))


def records_of(view: SweepView, numbers: Sequence[int]) -> list[TrialRecord]:
    """The ended trials with *numbers*, in that order; those that there are."""
    known = {r.number: r for r in view.analysis.records}
    return [known[number] for number in numbers if number in known]


def wanted_near(query: Query) -> tuple[int, ...]:
    """The numbers of the trials that the address asks to see from near: none, one, or two to five."""
    wanted = numbers_in(query, "compare")
    if len(wanted) < 2:
        wanted = (*numbers_in(query, "trial"), *wanted)[:1]
    return wanted[: compare.MOST]


def looked_at(view: SweepView, query: Query) -> list[TrialRecord]:
    """Those of them that there are."""
    return records_of(view, wanted_near(query))


def weighing_of(view: SweepView) -> Weighing:
    """What the trials of *view* are judged by."""
    return Weighing(view.analysis.objective.weights, view.analysis.measures)


def is_near(query: Query) -> bool:
    """Whether the address asks for single trials, be they there or not."""
    return bool(numbers_in(query, "trial") or numbers_in(query, "compare"))


def head(view: SweepView, query: Query) -> list[Any]:
    """Title, what is where, and the way to take it away."""
    frame = view.analysis.trials
    wanted = wanted_in(query, frame.columns)
    ended = plural(len(frame), "ended trial")
    if wanted.where or wanted.any_of:
        passed = len(select(frame, wanted))
        ended = f"{count(passed)} of {ended} {'passes' if passed == 1 else 'pass'} the filters"
    lead = (
        f"{ended}. Press a row to see it from near, tick two to five to compare them. A heading "
        "sorts; the funnel beside it filters."
    )
    way = csv_path(view.info.name, query)
    download = html.A("CSV of the rows as filtered", href=way, className="button", download=True)
    return [page_head("Every trial", lead), html.Div(download, className="actions")]


def near(view: SweepView, query: Query) -> list[Any]:
    """One trial, or a few side by side, from what is known without the store."""
    back = query.put(trial=None, compare=None, only=None)
    found = looked_at(view, query)
    gone = [n for n in wanted_near(query) if n not in {record.number for record in found}]
    if not found:
        words = "It may still be running, or its run was deleted; the grid holds all that ended."
        ways = trial.actions([Choice("All trials", href(PATH, back), False)])
        return [ways, empty("There is no such ended trial", words)]
    numbers = ",".join(str(record.number) for record in found)
    weighing = weighing_of(view)
    if len(found) > 1:
        ways = [Choice("All trials", href(PATH, back.put(ticked=numbers)), False)]
        alone = back.put(ticked=numbers)
        ways += [
            Choice(f"Trial {r.number}", href(PATH, alone.put(trial=str(r.number))), False)
            for r in found
        ]
        modes = [
            Choice(words, href(PATH, query.put(only=only)), (query.get("only") or "") == only)
            for only, words in _MODES
        ]
        return [_missing(gone), *compare.content(found, ways, modes, weighing)]
    ways = [Choice("All trials", href(PATH, back), False), *_beside(view, found[0], query)]
    return [_missing(gone), *trial.content(found[0], ways, weighing)]


def _missing(gone: Sequence[int]) -> Any:
    """Says which trials of the address are not shown."""
    if not gone:
        return None
    words = "It may still be running, or its run was deleted; the others are shown."
    return notice(f"There is no ended trial {' and no '.join(map(str, gone))}.", words)


def _beside(view: SweepView, record: TrialRecord, query: Query) -> list[Choice]:
    """The trials before and after in the grid's order."""
    frame = view.analysis.trials
    order = frame["number"].to_numpy()[select(frame, wanted_in(query, frame.columns))]
    at = [int(place) for place in (order == record.number).nonzero()[0]]
    if not at:
        return []
    near_by = [("Previous", at[0] - 1), ("Next", at[0] + 1)]
    return [
        Choice(f"{words} in the grid", href(PATH, query.put(trial=str(int(order[place])))), False)
        for words, place in near_by
        if 0 <= place < len(order)
    ]


def _frame() -> html.Div:
    """The page's frame: the grid's part, hidden while a trial is seen from near."""
    listing = html.Div(
        [
            html.Div(id="trials-bar", className="ticked", role="status"),
            html.Details(
                [html.Summary("Columns"), html.Ul(id="trials-menu")], className="menu column-menu"
            ),
            html.Div(id="trials-place", className="card grid-card"),
        ],
        id="trials-list",
        className="stack",
        hidden=True,
    )
    slow = dcc.Loading(
        html.Div(id="trials-closer", className="stack"), delay_show=400, type="dot",
        color="var(--accent)",
    )  # fmt: skip
    return html.Div(
        [
            dcc.Store(id="trials-asked"),
            dcc.Store(id="trials-drawn"),
            dcc.Store(id="trials-fresh"),
            dcc.Store(id="trials-ticked"),
            dcc.Store(id="trials-waits"),
            dcc.Store(id="trials-again"),
            html.Div(id="trials-head", className="stack"),
            html.Div(id="trials-running"),
            listing,
            html.Div(id="trials-near", className="stack"),
            slow,
        ],
        className="stack",
    )


class _Callbacks:
    """Each fills one part of the frame."""

    def __init__(self, context: PageContext) -> None:
        self.context = context

    def words(self, _results: str | None, search: str | None) -> tuple[Any, bool, Any]:
        """The head of the grid, whether it is hidden, and what stands in its place."""
        view, query = self.context.view(search), parse_query(search)
        if view is None:
            return [], True, self.context.nothing(search)
        if is_near(query):
            return [], True, near(view, query)
        if not view.analysis.records:
            none = empty("No trial has ended yet", "They appear here as they end.")
            return [], True, none
        return head(view, query), False, []

    def running(self, _version: str | None, search: str | None) -> Any:
        """The trials under way, above the grid of those that ended."""
        view, query = self.context.view(search), parse_query(search)
        if view is None or is_near(query):
            return None
        return running_in_short(view, time.time(), href("/", Query(query.sweep)))

    def place(
        self, _results: str | None, search: str | None, asked: Any, drawn: Any
    ) -> tuple[Any, Any]:
        """The grid, made anew only where it does not show what the address asks for."""
        view, query = self.context.view(search), parse_query(search)
        if view is None or not view.analysis.records:
            return [], None
        frame = view.analysis.trials
        columns = columns_of(frame.columns)
        shape = [view.info.name, [c.field for c in columns]]
        state = {
            "rows": asked_text(wanted_in(query, frame.columns)),
            "columns": shown_fields(columns, query),
        }
        known = {**(drawn or {}).get("state", {}), **(asked or {})}
        if drawn and drawn["shape"] == shape and known == state:
            return no_update, no_update
        ticked = numbers_in(query, "ticked")
        return grid(frame, query, view.info.name, ticked), {"shape": shape, "state": state}

    def rows(self, request: Any, search: str | None, asked: Any) -> tuple[Any, Any, Any]:
        """Rows for the grid; a new sort or filter goes into the address."""
        view = self.context.view(search)
        if not request or view is None:
            return no_update, no_update, no_update
        query, frame = parse_query(search), view.analysis.trials
        answer, wanted = rows(frame, request), wanted_of(request, frame.columns)
        text = asked_text(wanted)
        same = text == asked_text(wanted_in(query, frame.columns))
        return (
            answer,
            {**(asked or {}), "rows": text},
            no_update if same else href("", wanted.put_in(query)),
        )

    def menu(self, _results: Any, search: str | None, ticked: list[int] | None) -> Any:
        """The columns to choose from; choosing one keeps the ticks."""
        view, query = self.context.view(search), parse_query(search)
        if ticked:
            query = query.put(ticked=marks(ticked))
        return menu(columns_of(view.analysis.trials.columns), query) if view else []

    def opened(self, click: Any, search: str | None) -> Any:
        """The trial of a row that was pressed goes into the address."""
        view = self.context.view(search)
        if not click or view is None or click.get("colId") not in set(view.analysis.trials.columns):
            return no_update
        frame = view.analysis.trials
        number = frame.loc[frame["key"] == click.get("rowId"), "number"]
        if click["colId"] == "number" or number.empty:
            return no_update  # the number is a link itself
        return href("", parse_query(search).put(trial=str(int(number.iloc[0]))))

    def ticked(self, chosen: Any) -> list[int]:
        """The numbers of the rows ticked by now."""
        given = chosen if isinstance(chosen, list) else []
        return [int(row["number"]) for row in given if row and "number" in row]

    def bar(self, ticked: list[int] | None, search: str | None) -> Any:
        """What can be done with them."""
        return bar(ticked or [], parse_query(search))

    def closer(self, _results: Any, search: str | None, theme: str | None, _again: Any) -> Any:
        """Curves, worst answers and links of the trials seen from near; and whether more is to come."""
        view, query, reader = self.context.view(search), parse_query(search), self.context.reader
        found = looked_at(view, query) if view is not None and is_near(query) else []
        if view is None or reader is None or not found:
            return [], False
        known = [reader.read(view.info.name, r.result.spec.key) for r in found]
        readings = [reading for reading in known if reading is not None]
        if len(readings) < len(found):
            return empty("Reading", "The store is asked for curves and answers.", small=True), True
        colours, more = palette(theme), any(reading.problem for reading in readings)
        if len(found) == 1:
            return trial.closer(found[0], readings[0], colours, weighing_of(view)), more
        return compare.closer(found, readings, colours), more


def _connect(app: Dash, context: PageContext) -> None:
    own = _Callbacks(context)
    address, asked = State("url", "search"), State("trials-asked", "data")
    search = Output("url", "search", allow_duplicate=True)
    ask = Output("trials-asked", "data", allow_duplicate=True)
    app.callback(
        Output("trials-head", "children"),
        Output("trials-list", "hidden"),
        Output("trials-near", "children"),
        RESULTS,
        ADDRESS,
    )(own.words)
    app.callback(Output("trials-running", "children"), VERSION, ADDRESS)(own.running)
    app.callback(
        Output("trials-place", "children"),
        Output("trials-drawn", "data"),
        RESULTS,
        ADDRESS,
        asked,
        State("trials-drawn", "data"),
    )(own.place)
    app.callback(
        Output("trials-table", "getRowsResponse"), ask, search,
        Input("trials-table", "getRowsRequest"), address, asked, prevent_initial_call=True,
    )(own.rows)  # fmt: skip
    ticked = Input("trials-ticked", "data")
    app.callback(Output("trials-menu", "children"), RESULTS, ADDRESS, ticked)(own.menu)
    app.callback(search, Input("trials-table", "cellClicked"), address, prevent_initial_call=True)(
        own.opened
    )
    app.callback(
        Output("trials-ticked", "data"),
        Input("trials-table", "selectedRows"),
        prevent_initial_call=True,
    )(own.ticked)
    app.callback(Output("trials-bar", "children"), ticked, ADDRESS)(own.bar)
    app.callback(
        Output("trials-closer", "children"),
        Output("trials-waits", "data"),
        RESULTS,
        ADDRESS,
        THEME,
        Input("trials-again", "data"),
    )(own.closer)
    app.clientside_callback(
        ClientsideFunction("sftTrials", "again"),
        Output("trials-again", "data"),
        Input("tick", "n_intervals"),
        State("trials-waits", "data"),
    )
    app.clientside_callback(
        ClientsideFunction("sftTrials", "refresh"), Output("trials-fresh", "data"), RESULTS
    )


def rows(frame: pd.DataFrame, request: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to AG Grid's *request* for rows: ``rowData``, and ``rowCount`` of all that pass."""
    found = select(frame, wanted_of(request, frame.columns))
    start = max(0, int(request.get("startRow") or 0))
    end = min(int(request.get("endRow") or 0), start + BLOCK)
    return {"rowData": plain_rows(frame.iloc[found[start:end]]), "rowCount": len(found)}


def asked_text(wanted: Wanted) -> str:
    """Sort and filters as one text, to tell whether two states are the same."""
    return href("", wanted.put_in(Query()))


def shown_fields(columns: Sequence[Column], query: Query) -> list[str]:
    """The columns to show: the usual ones, less ``hide`` and more ``show`` of the address."""
    hidden, more = set(query.many("hide")), set(query.many("show"))
    return [c.field for c in columns if c.field in more or (c.usual and c.field not in hidden)]


def put_fields(columns: Sequence[Column], chosen: Sequence[str], query: Query) -> Query:
    """*query* with the columns *chosen*; the inverse of :func:`shown_fields`."""
    wanted = set(chosen)
    return query.put(
        hide=[c.field for c in columns if c.usual and c.field not in wanted],
        show=[c.field for c in columns if not c.usual and c.field in wanted],
    )


def grid(frame: pd.DataFrame, query: Query, sweep: str, ticked: Sequence[int] = ()) -> list[Any]:
    """The grid in the state *query* with the trials *ticked*."""
    columns = columns_of(frame.columns)
    shown = shown_fields(columns, query)
    words = {column.field for column in columns if column.words}
    keys = keys_of(frame, ticked)
    table = dag.AgGrid(
        id="trials-table",
        className="trials",
        rowModelType="infinite",
        columnDefs=definitions(columns, shown),
        getRowId="params.data.key",
        defaultColDef={"sortable": True, "filter": True, "resizable": True},
        selectedRows={"ids": keys} if keys else [],
        dashGridOptions={
            "theme": {"function": _GRID_THEME},
            "initialState": grid_state(wanted_in(query, frame.columns), words),
            "suppressFieldDotNotation": True,
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
    keys_note = (
        "By keyboard: arrows walk the rows, Enter opens a trial, Space ticks it, Tab leaves."
    )
    return [
        html.Div(table, role="region", **{"aria-label": f"Trials of {sweep}"}),
        html.P(keys_note, className="note"),
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


def keys_of(frame: pd.DataFrame, numbers: Sequence[int]) -> list[str]:
    """The keys of the trials with *numbers*."""
    return [str(key) for key in frame.loc[frame["number"].isin(list(numbers)), "key"]]


def marks(ticked: Sequence[int]) -> str:
    """Ticked trials as they stand in an address, which must not grow without end."""
    return ",".join(map(str, ticked[:_MARKS]))


def bar(ticked: Sequence[int], query: Query) -> list[Any]:
    """What can be done with the ticked rows."""
    if not ticked:
        return []
    first, kept = ticked[: compare.MOST], query.put(ticked=marks(ticked))
    ways = [
        link(Choice(f"See trial {ticked[0]}", href(PATH, kept.put(trial=str(ticked[0]))), False))
    ]
    if len(ticked) > 1:
        words = f"Compare {' and '.join(map(str, first))}" if len(first) < 3 else (
            f"Compare {len(first)} trials"
        )  # fmt: skip
        together = href(PATH, kept.put(compare=",".join(map(str, first))))
        ways = [link(Choice(words, together, False))]
    more = f"; the first {compare.MOST} are compared" if len(ticked) > compare.MOST else ""
    return [html.Span(f"{plural(len(ticked), 'trial')} ticked{more}"), *ways]


PAGE = Page(PATH, TITLE, _frame, _connect)
