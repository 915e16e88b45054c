"""The dashboard as a pure factory: a store in, a Dash application out; nothing at import.

The address is the state. One callback notices that the store has changed (``version``), one puts the
page in place, and each page has one that fills it from (version, address, theme).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html

from dashboards.desk import Desk
from dashboards.pages import recommend, sweep
from dashboards.security import harden
from dashboards.snapshot import Snapshot
from tracker.record.store import Store

_INDEX = """<!doctype html>
<html lang="en">
<head>
{%metas%}
<title>{%title%}</title>
{%favicon%}
{%css%}
</head>
<body>
{%app_entry%}
<noscript>This dashboard draws its charts with JavaScript; please allow it for this page.</noscript>
<footer hidden>{%config%}{%scripts%}{%renderer%}</footer>
</body>
</html>
"""


def create_app(
    store: Store, *, default_sweep: str | None = None, refresh_seconds: float = 2.0
) -> Dash:
    """The dashboard over *store*. *default_sweep* is shown where the address names none."""
    app = Dash(
        __name__,
        title="sft-select",
        update_title=None,
        index_string=_INDEX,
        serve_locally=True,
        suppress_callback_exceptions=True,
        meta_tags=[{"name": "viewport", "content": "width=device-width, initial-scale=1"}],
        add_log_handler=False,
    )
    desk = Desk(Snapshot(store, interval=refresh_seconds), default_sweep)
    app.layout = shell(refresh_seconds)
    _connect(app, desk)
    recommend.serve_export(app.server, desk.export)
    harden(app.server, app.csp_hashes())
    return app


def shell(refresh_seconds: float) -> html.Div:
    """What surrounds every page."""
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
            dcc.Store(id="version"),
            dcc.Store(id="results"),
            dcc.Store(id="theme"),
            dcc.Store(id="title"),
            dcc.Store(id="title-set"),
            html.A("To the content", href="#main", className="skip"),
            html.Header(top, className="top"),
            html.Main(
                [html.Div(id="warning", **{"aria-live": "polite"}), html.Div(id="page")],
                id="main",
                tabIndex=-1,
            ),
        ]
    )


def _connect(app: Dash, desk: Desk) -> None:
    address, version, theme = (
        Input("url", "search"),
        Input("version", "data"),
        Input("theme", "data"),
    )
    results = Input("results", "data")
    app.callback(
        Output("version", "data"),
        Output("results", "data"),
        Input("tick", "n_intervals"),
        address,
        State("version", "data"),
        State("results", "data"),
    )(desk.refresh)
    app.callback(
        Output("tabs", "children"),
        Output("sweep-menu", "children"),
        Output("warning", "children"),
        Output("title", "data"),
        version,
        Input("url", "pathname"),
        address,
    )(desk.header)
    app.callback(Output("page", "children"), Input("url", "pathname"))(desk.page)

    def fill(outputs: Sequence[tuple[str, str]], when: Input, by: Callable[..., Any]) -> None:
        def filled(_changed: str, search: str, theme: str) -> Any:
            return by(search, theme)

        app.callback([Output(*place) for place in outputs], when, address, theme)(filled)

    fill(sweep.OUTPUTS, version, desk.sweep_page)
    fill([("scaling-content", "children")], results, lambda *state: [desk.scaling_page(*state)])
    fill([("recommend-content", "children")], results, lambda *state: [desk.recommend_page(*state)])
    app.clientside_callback(
        ClientsideFunction("sft", "theme"),
        Output("theme", "data"),
        Input("theme-button", "n_clicks"),
    )
    app.clientside_callback(
        ClientsideFunction("sft", "title"), Output("title-set", "data"), Input("title", "data")
    )
