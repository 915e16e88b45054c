"""Which fine-tune to take for what is asked, why, how sure that is, and the file that trains it."""

from __future__ import annotations

from typing import Any

from dash import ALL, Dash, Input, Output, State, ctx, dcc, html, no_update

from dashboards.answers import Answer, asked_of
from dashboards.components import card, empty, page_head
from dashboards.desk import Desk
from dashboards.later import Later
from dashboards.page import ADDRESS, RESULTS, THEME, Page
from dashboards.pages.recommend_choice import hero
from dashboards.pages.recommend_evidence import caveats, runners, tradeoffs, why
from dashboards.pages.recommend_files import take_away, trainers_card, yaml_card
from dashboards.pages.recommend_form import FIELD, ask, fields, form
from dashboards.pages.recommend_question import bounds, forecasts, reached
from dashboards.snapshot import SweepView
from dashboards.state import Query, href, parse_query
from tracker.errors import InputError, NotEnoughDataError
from tracker.select.asked import Asked

TITLE = "Recommendation"
PATH = "/recommend"
#: Seconds that a page waits for its answer before it says that it is being worked out.
_PATIENCE = 0.8


def content(view: SweepView, query: Query, theme: str | None) -> list[Any]:
    """The answer for *view* to the question in *query*, worked out on the spot."""
    return draw(view, query, theme)[0]


def draw(
    view: SweepView, query: Query, theme: str | None, later: Later | None = None
) -> tuple[list[Any], bool]:
    """The page as far as it is known, and whether that is all of it; without *later* it waits."""
    try:
        asked = asked_of(query)
        if later is None:
            return shown(view.findings.answer(asked), query, theme), True
        name, version = _question(view, asked), view.findings.version
        found = later.get(name, version, lambda: view.findings.answer(asked), _PATIENCE)
    except NotEnoughDataError as error:
        lead, title = "What to train, once enough is known.", "Too little is known for this"
        return _not_yet(lead, title, error), True
    except InputError as error:
        lead, title = "What to train, once the question is clear.", "The question is not clear"
        return _not_yet(lead, title, error), True
    if found.value is None:
        return _working(len(view.findings.records)), False
    return shown(found.value, query, theme, older=not found.fresh), found.fresh


def shown(found: Answer, query: Query, theme: str | None, *, older: bool = False) -> list[Any]:
    """The page of the answer *found*."""
    answer = found.recommendation
    left = html.Div([why(answer), tradeoffs(found, theme)], className="stack column")
    right = html.Div([caveats(answer), runners(answer, theme)], className="stack column")
    return [
        hero(found, take_away(found, query), older=older),
        reached(answer.reach),
        html.Div([left, right], className="columns"),
        bounds(answer),
        forecasts(found),
        yaml_card(found),
        trainers_card(found, query),
    ]


def _not_yet(lead: str, title: str, error: Exception) -> list[Any]:
    lines = [html.P(line) for line in str(error).splitlines()]
    return [page_head(TITLE, lead), card("Not yet", empty(title, lines, small=True))]


def _working(trials: int) -> list[Any]:
    words = f"{trials:,} trials take a moment. The answer comes by itself."
    lead = "Every configuration is being compared with every other."
    return [page_head(TITLE, lead), card("Not yet", empty("Working it out", words, small=True))]


def _question(view: SweepView, asked: Asked) -> tuple[str, str, Asked]:
    return ("recommendation", view.info.name, asked)


def _frame() -> html.Div:
    stores = [dcc.Store(id=f"recommend-{name}") for name in ("drawn", "news", "asked")]
    return html.Div(
        [
            html.Div(id="recommend-form"),
            html.Div(id="recommend-content", className="stack"),
            *stores,
        ],
        className="stack",
    )


def _connect(app: Dash, desk: Desk) -> None:
    _connect_answer(app, desk)
    _connect_form(app, desk)


def _connect_answer(app: Dash, desk: Desk) -> None:
    later = Later()

    def state_of(view: SweepView, query: Query, ready: bool | None = None) -> str | None:
        """Which answer belongs on the page, and whether it is there."""
        try:
            question = _question(view, asked_of(query))
        except InputError:
            return None
        version = view.findings.version
        there = later.ready(question, version) if ready is None else ready
        return repr((question, version, there))

    def filled(_results: Any, search: str | None, theme: str | None, _news: Any) -> tuple[Any, Any]:
        drawn: list[str | None] = [None]

        def build(view: SweepView, query: Query) -> list[Any]:
            page, complete = draw(view, query, theme, later)
            drawn[0] = state_of(view, query, complete)
            return page

        return desk.show(search, build), drawn[0]

    def news(_ticks: Any, search: str | None, drawn: str | None) -> Any:
        """Draw anew when the answer has come since; *drawn* is what the page shows."""
        view = desk.view(search)
        now = state_of(view, parse_query(search)) if view else None
        return no_update if now in (None, drawn) else now

    app.callback(
        Output("recommend-content", "children"),
        Output("recommend-drawn", "data"),
        RESULTS,
        ADDRESS,
        THEME,
        Input("recommend-news", "data"),
    )(filled)
    app.callback(
        Output("recommend-news", "data"),
        Input("tick", "n_intervals"),
        State("url", "search"),
        State("recommend-drawn", "data"),
    )(news)


def _connect_form(app: Dash, desk: Desk) -> None:
    entries = {"type": FIELD, "option": ALL, "name": ALL}

    def drawn(_results: Any, search: str | None, shown: str | None) -> tuple[Any, Any]:
        """The form; not drawn anew below the reader's hands unless the question has changed."""
        view = desk.view(search)
        if view is None:
            return None, None
        query = parse_query(search)
        found = fields(view.findings, query)
        now = repr((view.info.name, query.given, [field.place for field in found]))
        if now == shown:
            return no_update, no_update
        return form(PATH, query, found), now

    def asking(
        pressed: int | None, entered: list[int | None], texts: list[Any], search: str | None
    ) -> Any:
        view = desk.view(search)
        if view is None or not (pressed or any(entered)):
            return no_update
        ids = [state["id"] for state in ctx.states_list[0]]
        given = [
            (one["option"], one["name"], str(text or ""))
            for one, text in zip(ids, texts, strict=True)
        ]
        return href("", ask(view.findings, parse_query(search), given))

    app.callback(
        Output("recommend-form", "children"),
        Output("recommend-asked", "data"),
        RESULTS,
        ADDRESS,
        State("recommend-asked", "data"),
    )(drawn)
    app.callback(
        Output("url", "search"),
        Input("recommend-ask", "n_clicks"),
        Input(entries, "n_submit"),
        State(entries, "value"),
        State("url", "search"),
        prevent_initial_call=True,
    )(asking)


PAGE = Page(PATH, TITLE, _frame, _connect)
