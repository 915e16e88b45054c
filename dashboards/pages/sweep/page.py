"""The sweep as it runs: how far, what now, what failed, what it reached for what it cost."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from dash import Dash, Output, html

from dashboards.charts.chart import Chart
from dashboards.charts.live_curves import draw_live_curves, live_curves
from dashboards.charts.progress import BestSoFar, draw_best_so_far
from dashboards.charts.theme import in_order, palette
from dashboards.components import card, empty, graph, legend
from dashboards.context import ADDRESS, THEME, VERSION, PageContext
from dashboards.page import Page, encoded
from dashboards.pages.sweep import cards, control
from dashboards.snapshot import SweepView
from tracker.cache import SingleFlightCache

TITLE = "Sweep"
_CHART_HEIGHT = 340
_KEPT = 8  # states of the page: of a few sweeps the last, light and dark
_HIDDEN = {"display": "none"}


class Content(NamedTuple):
    """What fills the page's frame, in the order of :data:`OUTPUTS`."""

    hidden: bool
    head: Any
    legend: Any
    figure: Chart
    figure_style: dict[str, str]
    table: Any
    idle: bool
    now: Any
    curves: Chart
    curves_style: dict[str, str]
    failures: Any
    log: Any


#: Component and property that each field of :class:`Content` fills.
OUTPUTS = (
    ("sweep-rest", "hidden"),
    ("sweep-head", "children"),
    ("sweep-best-legend", "children"),
    ("sweep-best", "figure"),
    ("sweep-best", "style"),
    ("sweep-best-table", "children"),
    ("sweep-now-card", "hidden"),
    ("sweep-now", "children"),
    ("sweep-curves", "figure"),
    ("sweep-curves", "style"),
    ("sweep-failures", "children"),
    ("sweep-log", "children"),
)


def layout() -> html.Div:
    """The page's frame. Charts are updated in place: a live page must not flicker."""
    best = card(
        "Best so far, over what it cost",
        html.Div(id="sweep-best-legend"),
        graph(Chart(), "Best quality so far", height=_CHART_HEIGHT, identity="sweep-best"),
        html.Div(id="sweep-best-table"),
    )
    label = "Training loss of each running trial over optimizer steps"
    now = card(
        "Running now",
        html.Div(id="sweep-now"),
        graph(Chart(), label, height=_CHART_HEIGHT, identity="sweep-curves"),
    )
    rest = html.Div(
        [
            html.Div(id=control.PLACE),
            html.Div(id="sweep-log"),
            html.Div(
                [best, html.Div(now, id="sweep-now-card", className="fill")],
                className="columns wide-first",
            ),
            html.Div(id="sweep-failures"),
        ],
        id="sweep-rest",
        className="stack",
    )
    return html.Div([html.Div(id="sweep-head", className="stack"), rest], className="stack")


def content(view: SweepView, theme: str | None, now: float | None = None) -> Content:
    """Everything the page shows; *now* in seconds since the epoch."""
    now = time.time() if now is None else now
    best = view.analysis.best
    curves = live_curves(view.running)
    return Content(
        False,
        [cards.silence(view, now), cards.head(view, now), cards.progress(view)],
        _legend(best),
        draw_best_so_far(best, palette(theme)),
        {"height": f"{_CHART_HEIGHT}px"} if best.has_cost else _HIDDEN,
        cards.best_table(best),
        not view.running and view.info.state == "finished",
        cards.now_running(view, now, cards.spending(view).workers),
        draw_live_curves(curves, palette(theme)),
        {"height": f"{curves.height}px"} if curves.panels else _HIDDEN,
        cards.what_failed(view),
        cards.log(view.log),
    )


def connect(app: Dash, context: PageContext) -> None:
    """Fill the frame anew whenever anything happens in the sweep."""

    pages = SingleFlightCache(_KEPT)

    def filled(_version: str | None, search: str | None, theme: str | None) -> tuple[Any, ...]:
        view = context.view(search)
        if view is None:
            return nothing(context.nothing(search))
        name = view.info.name

        def drawn() -> tuple[Any, ...]:
            return tuple(map(encoded, content(view, theme)))

        page: tuple[Any, ...] = pages.get((name, view.version, theme), drawn)
        return page

    app.callback([Output(*place) for place in OUTPUTS], VERSION, ADDRESS, THEME)(filled)
    control.connect(app, context)


def nothing(message: Any) -> Content:
    """The page where there is no sweep: the message alone."""
    figures = (Chart(), _HIDDEN)
    return Content(True, message, None, *figures, None, True, None, *figures, None, None)


def _legend(best: BestSoFar) -> Any:
    if not best.trials:
        detail = "A trial counts once it has a score on every weighted task."
        return empty("No scored trial yet", detail, small=True)
    if not best.has_cost:
        detail = (
            "What training cost is known of no trial; the grid of trials shows what each reached."
        )
        return empty("Nothing to set against a cost", detail, small=True)
    methods = in_order(t.method for t in best.trials)
    return legend(methods, [("solid", "best so far")], base="cross")


PAGE = Page("/", TITLE, layout, connect)
