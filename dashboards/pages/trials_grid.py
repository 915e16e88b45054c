"""The grid of the trials page: AG Grid's infinite row model, its columns, what its ticks lead to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dash_ag_grid as dag
import pandas as pd
from dash import html

from dashboards.charts.wording import plural
from dashboards.components import Choice, link
from dashboards.pages import compare
from dashboards.state import Query, href
from dashboards.trial_query import Wanted, grid_state, select, wanted_in, wanted_of
from dashboards.trials import Column, columns_of, definitions, plain_rows

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
