"""The dashboard's factory: a Dash application over a store, with all pages, downloads and security.

The address is the state. One callback notices that the store has changed (``version``), one puts the page in
place, and those of each page fill it from (version, address, theme).
"""

from __future__ import annotations

from dash import ClientsideFunction, Dash, Input, Output, State

from dashboards.access import Access
from dashboards.callbacks import CheckedDash
from dashboards.context import ADDRESS, VERSION, PageContext
from dashboards.exports import serve_csv, serve_exports
from dashboards.pages import data, generalisation, mix, recommend, scaling, sweep, trials
from dashboards.security import compress, harden
from dashboards.shell import Frame, shell
from dashboards.snapshot import Snapshot
from dashboards.trials.reader import TrialReader
from tracker.store.store import Store

#: The tabs in their order.
PAGES = (
    *(sweep.PAGE, scaling.PAGE, generalisation.PAGE, mix.PAGE, trials.PAGE, recommend.PAGE),
    data.PAGE,
)

# Most of every page is the library of the charts: the browser fetches it beside all else (assets/charts.js).
_INDEX = """<!doctype html>
<html lang="en">
<head>
{%metas%}
<title>{%title%}</title>
{%favicon%}
{%css%}
<script async id="plotly-script" src="/_dash-component-suites/plotly/package_data/plotly.min.js"></script>
</head>
<body>
{%app_entry%}
<noscript>This dashboard draws its charts with JavaScript; please allow it for this page.</noscript>
<footer hidden>{%config%}{%scripts%}{%renderer%}</footer>
</body>
</html>
"""


def create_app(
    store: Store,
    *,
    default_sweep: str | None = None,
    refresh_seconds: float = 2.0,
    access: Access = Access(),  # noqa: B008 - frozen
    control: bool = False,
    mlflow_url: str | None = None,
) -> Dash:
    """The dashboard over *store*. *default_sweep*: the sweep of an address that names none.

    *control*: visitors may control a running sweep; without it no such callback exists. *mlflow_url*: address
    for links to runs, as :func:`mlflow_address` gives it.
    """
    app = CheckedDash(
        __name__,
        title="sft-select",
        update_title=None,
        index_string=_INDEX,
        serve_locally=True,
        suppress_callback_exceptions=True,
        meta_tags=[{"name": "viewport", "content": "width=device-width, initial-scale=1"}],
        add_log_handler=False,
    )
    add_request = store.add_request if control else None
    context = PageContext(
        Snapshot(store, interval=refresh_seconds),
        default_sweep,
        add_request,
        TrialReader(store, mlflow_url),
    )
    app.layout = shell(refresh_seconds)
    _connect(app, context)
    for page in PAGES:
        page.connect(app, context)
    serve_exports(app.server, context.export)
    serve_csv(app.server, context.trials)
    harden(app.server, app.csp_hashes(), access)
    app.refuse_malformed()
    if access.token is not None:  # visitors come over a network
        compress(app.server)
    return app


def _connect(app: Dash, context: PageContext) -> None:
    """The callbacks that belong to no page."""
    frame = Frame(context, PAGES)
    app.callback(
        Output("version", "data"),
        Output("results", "data"),
        Input("tick", "n_intervals"),
        ADDRESS,
        State("version", "data"),
        State("results", "data"),
    )(context.refresh)
    app.callback(
        Output("tabs", "children"),
        Output("sweep-menu", "children"),
        Output("warning", "children"),
        Output("title", "data"),
        Output("address", "data"),
        VERSION,
        Input("url", "pathname"),
        ADDRESS,
    )(frame.header)
    app.callback(Output("page", "children"), Input("url", "pathname"))(frame.page)
    app.clientside_callback(
        ClientsideFunction("sft", "theme"),
        Output("theme", "data"),
        Input("theme-button", "n_clicks"),
    )
    app.clientside_callback(
        ClientsideFunction("sft", "title"), Output("title-set", "data"), Input("title", "data")
    )
    app.clientside_callback(
        ClientsideFunction("sft", "address"),
        Output("address-set", "data"),
        Input("address", "data"),
    )
