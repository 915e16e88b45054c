"""The trials a reader filtered, as a CSV file: ``/trials/<sweep>.csv?where=…&sort=…``."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

import pandas as pd
from flask import Flask, Response, abort, request

from dashboards.snapshot import SweepView
from dashboards.state import Query, href, parse_query
from dashboards.trial_query import select, wanted_in

#: A spreadsheet takes a text that begins so for a formula (OWASP, "CSV Injection").
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_path(sweep: str, query: Query) -> str:
    """Where the trials of *sweep* under the filters in *query* are downloaded."""
    kept = tuple(pair for pair in query.given if pair[0] in ("any", "sort", "where"))
    return href(f"/trials/{quote(sweep, safe='')}.csv", Query(None, kept))


def csv_text(frame: pd.DataFrame, query: Query) -> str:
    """The rows of *frame* that *query* asks for, all columns, in its order; absent is empty."""
    chosen = frame.iloc[select(frame, wanted_in(query, frame.columns))]
    texts = {
        str(name): chosen[name].astype("string").map(defused, na_action="ignore")
        for name in chosen.columns
        if not pd.api.types.is_numeric_dtype(chosen[name])
    }
    text: str = chosen.assign(**texts).rename(columns=defused).to_csv(index=False)
    return text


def defused(text: str) -> str:
    """*text* with a quote before it where a spreadsheet would run it."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def serve_csv(server: Flask, find: Callable[[str], SweepView | None]) -> None:
    """Add the route; *find* gives the view of a sweep by name, ``None`` where there is none."""

    @server.get("/trials/<sweep>.csv")
    def trials_csv(sweep: str) -> Response:
        view = find(sweep)
        if view is None:
            abort(404)
        query = parse_query(request.query_string.decode(errors="replace"))
        name = quote(f"{sweep}-trials.csv", safe="")
        headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{name}"}
        text = csv_text(view.findings.trials, query)
        return Response(text, mimetype="text/csv", headers=headers)
