"""Which fine-tune to take for what is asked, why, how sure that is, and the file that trains it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dash import ALL, Dash, Input, Output, State, ctx, dcc, html, no_update

from dashboards.answers import Answer, asked_of
from dashboards.components import card, empty, page_head
from dashboards.context import ADDRESS, RESULTS, PageContext
from dashboards.page import Page, connect_slow, slow_frame
from dashboards.pages.recommend.cards import (
    bounds,
    caveats,
    forecasts,
    hero,
    reached,
    runners,
    settling,
    take_away,
    tradeoffs,
    trainers_card,
    why,
    yaml_card,
)
from dashboards.pages.recommend.form import FIELD, ask, fields, form
from dashboards.snapshot import SweepView
from dashboards.state import Query, href, parse_query
from tracker.cache import SingleFlightCache
from tracker.decision.overrides import ObjectiveOverrides
from tracker.errors import InputError, NotEnoughDataError, NothingAdmittedError

TITLE = "Recommendation"
PATH = "/recommend"
_PLACE = "recommend"
#: Seconds that a page waits for its answer before it says that it is being worked out.
_PATIENCE = 0.8


def content(
    view: SweepView, query: Query, theme: str | None, answers: SingleFlightCache | None = None
) -> list[Any]:
    """The answer for *view* to the question in *query* as far as it is known; without *answers* it waits."""
    try:
        asked = asked_of(query)
        if answers is None:
            return shown(view.analysis.answer(asked), query, theme)
        name, version = _question(view, asked), view.analysis.version
        found = answers.get_later(name, version, lambda: view.analysis.answer(asked), _PATIENCE)
    except NotEnoughDataError as error:
        lead, title = "What to train, once enough is known.", "Too little is known for this"
        if isinstance(error, NothingAdmittedError):
            lead, title = "What to train, within other limits.", "Nothing keeps these limits"
        return _not_yet(lead, title, str(error).splitlines())
    except InputError as error:
        lead, title = "What to train, once the question is clear.", "The question is not clear"
        wrong = [f"{f.place.label}: {f.problem}" for f in fields(view.analysis, query) if f.problem]
        return _not_yet(lead, title, wrong or str(error).splitlines())
    if found.value is None:
        return _working(len(view.analysis.records))
    return shown(found.value, query, theme, older=not found.fresh)


def shown(found: Answer, query: Query, theme: str | None, *, older: bool = False) -> list[Any]:
    """The page of the answer *found*."""
    answer = found.recommendation
    left = html.Div([why(answer), tradeoffs(found, theme)], className="stack column")
    right = html.Div([caveats(answer), runners(answer, theme)], className="stack column")
    return [
        hero(found, take_away(found, query), older=older),
        reached(answer.target_quality),
        html.Div([left, right], className="columns"),
        settling(answer),
        bounds(answer),
        forecasts(found),
        yaml_card(found),
        trainers_card(found, query),
    ]


def _not_yet(lead: str, title: str, reasons: Sequence[str]) -> list[Any]:
    lines = [html.P(reason) for reason in reasons]
    return [page_head(TITLE, lead), card("Not yet", empty(title, lines, small=True))]


def _working(trials: int) -> list[Any]:
    words = f"{trials:,} trials take a moment. The answer comes by itself."
    lead = "Every configuration is being compared with every other."
    return [page_head(TITLE, lead), card("Not yet", empty("Working it out", words, small=True))]


def _question(view: SweepView, asked: ObjectiveOverrides) -> tuple[str, str, ObjectiveOverrides]:
    return ("recommendation", view.info.name, asked)


def _questions(view: SweepView, query: Query) -> tuple[tuple[str, str, ObjectiveOverrides], ...]:
    try:
        return (_question(view, asked_of(query)),)
    except InputError:
        return ()


def _frame() -> html.Div:
    form_of = [html.Div(id="recommend-form"), dcc.Store(id="recommend-asked")]
    return html.Div([*form_of, *slow_frame(_PLACE)], className="stack")


def _connect(app: Dash, context: PageContext) -> None:
    connect_slow(app, context, _PLACE, content, _questions)
    _connect_form(app, context)


def _connect_form(app: Dash, context: PageContext) -> None:
    entries = {"type": FIELD, "option": ALL, "name": ALL}

    def drawn(_results: Any, search: str | None, shown: str | None) -> tuple[Any, Any]:
        """The form; not drawn anew below the reader's hands unless the question has changed."""
        view = context.view(search)
        if view is None:
            return None, None
        query = parse_query(search)
        found = fields(view.analysis, query)
        now = repr((view.info.name, query.given, [field.place for field in found]))
        if now == shown:
            return no_update, no_update
        return form(PATH, query, found), now

    def asking(
        pressed: int | None, entered: list[int | None], texts: list[Any], search: str | None
    ) -> Any:
        view = context.view(search)
        if view is None or not (pressed or any(entered)):
            return no_update
        ids = [state["id"] for state in ctx.states_list[0]]
        given = [
            (one["option"], one["name"], str(text or ""))
            for one, text in zip(ids, texts, strict=True)
        ]
        return href("", ask(view.analysis, parse_query(search), given))

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
