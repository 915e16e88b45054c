"""The Recommendation page: the configuration to train, the reasons, its certainty, and its file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from dash import ALL, Dash, Input, Output, State, ctx, dcc, html, no_update

from dashboards.answers import EVIDENCE_NAME, FILE_NAME, Answer, command, overrides_in
from dashboards.charts.forest import MAX_ROWS, draw_gaps, runner_up_gaps
from dashboards.charts.theme import ordered_methods, palette
from dashboards.charts.tradeoff import draw_tradeoff, suites_first, thinned, tradeoff_of
from dashboards.charts.wording import compact
from dashboards.components import (
    behind,
    card,
    data_table,
    empty,
    graph,
    legend,
    note,
    page_head,
    wrapped,
)
from dashboards.context import ADDRESS, RESULTS, PageContext
from dashboards.exports import export_path, rows_command
from dashboards.page import Page, connect_slow, slow_frame
from dashboards.pages.by_label import choice_cards
from dashboards.pages.recommend_choice import hero, target_words
from dashboards.pages.recommend_form import FIELD, fields, form, query_of
from dashboards.snapshot import SweepView
from dashboards.state import Query, href, parse_query
from tracker.cache import SingleFlightCache
from tracker.constraints import Rejection, SatisfiedConstraint
from tracker.decision.overrides import ObjectiveOverrides
from tracker.decision.predict import Forecast
from tracker.decision.recommendation import Recommendation
from tracker.errors import (
    InputError,
    NoRecommendationError,
    NotEnoughDataError,
    NothingAdmittedError,
)
from tracker.export import TRAINERS
from tracker.metrics import MEASURE_NAMES
from tracker.numbers import (
    ABSENT,
    count,
    in_measure,
    limits,
    percent,
    plural,
    probability,
    quality,
    quality_gap,
)
from tracker.price import Price

TITLE = "Recommendation"
PATH = "/recommend"
_PLACE = "recommend"
#: Seconds that a page waits for its answer before it says that the answer is being worked out.
_PATIENCE = 0.8
#: Rows of the table behind the trade-off chart.
_TABLE_ROWS = 100
#: Predictions in sight, and in all.
_PREDICTIONS_IN_SIGHT, _MAX_PREDICTIONS = 5, 100

_TIE = (
    "How far the choice is ahead of each, on the same validation rows. A hollow mark is a tie: another "
    "seed could turn the order round. Left of zero: predicted to score more, but at a higher cost"
)
_NEXT_EXPERIMENTS = (
    "Each plan with the expected regret that it removes, the probability that it distinguishes the choice "
    "from its likeliest rival, and the probability that another configuration is ahead afterwards."
)
_SEEDS_UNKNOWN = (
    "The noise between seeds is not known yet, so the value of a run is not known either. These runs would "
    "show it."
)


def content(
    view: SweepView, query: Query, theme: str | None, answers: SingleFlightCache | None = None
) -> list[Any]:
    """The page of *view* for the question in *query*; without *answers* it waits for the answer."""
    price = Price.of_facts(view.info.facts)
    try:
        overrides = overrides_in(query)
        if answers is None:
            return answered(view.analysis.answer(overrides), query, theme, price=price)
        name, version = _name(view, overrides), view.analysis.version
        latest = answers.get_in_background(
            name, version, lambda: view.analysis.answer(overrides), _PATIENCE
        )
    except NothingAdmittedError as error:
        lead, title = "What to train, within other limits.", "Nothing satisfies these limits"
        return _not_yet(lead, title, str(error).splitlines())
    except NoRecommendationError as error:
        lead, title = "What to train, once something was tuned.", "No recommendation yet"
        return _not_yet(lead, title, str(error).splitlines())
    except NotEnoughDataError as error:
        lead, title = "What to train, once there is enough data.", "Too little is known for this"
        return _not_yet(lead, title, str(error).splitlines())
    except InputError as error:
        lead, title = "What to train, once the question is clear.", "The question is not clear"
        wrong = [f"{f.place.label}: {f.problem}" for f in fields(view.analysis, query) if f.problem]
        return _not_yet(lead, title, wrong or str(error).splitlines())
    if latest.value is None:
        lead = "Every configuration is being compared with every other."
        words = f"{len(view.analysis.records):,} trials take a moment. The answer comes by itself."
        return _not_yet(lead, "Working it out", [words])
    return answered(latest.value, query, theme, outdated=not latest.fresh, price=price)


def answered(
    answer: Answer,
    query: Query,
    theme: str | None,
    *,
    outdated: bool = False,
    price: Price | None = None,
) -> list[Any]:
    """The page of *answer*. *outdated*: newer results are still being taken in. *price*: of device time."""
    found = answer.recommendation
    left = html.Div([_reasons(found), _tradeoff(answer, theme)], className="stack column")
    right = html.Div([_caveats(found), _runners_up(found, theme)], className="stack column")
    return [
        hero(answer, _file_buttons(answer, query), outdated=outdated, price=price),
        _target_quality(found),
        _task_results(found),
        *choice_cards(found.worst_labels, found.abstention),
        html.Div([left, right], className="columns"),
        _next_experiments(found),
        _constraints(found),
        _forecasts(answer),
        _yaml(answer),
        _other_trainers(answer, query),
    ]


def _not_yet(lead: str, title: str, reasons: Sequence[str]) -> list[Any]:
    lines = [html.P(reason) for reason in reasons]
    return [page_head(TITLE, lead), card("Not yet", empty(title, lines, small=True))]


def _name(view: SweepView, overrides: ObjectiveOverrides) -> tuple[str, str, ObjectiveOverrides]:
    return ("recommendation", view.info.name, overrides)


def _names(view: SweepView, query: Query) -> tuple[tuple[str, str, ObjectiveOverrides], ...]:
    try:
        return (_name(view, overrides_in(query)),)
    except InputError:
        return ()


def _frame() -> html.Div:
    question = [html.Div(id="recommend-form"), dcc.Store(id="recommend-asked")]
    return html.Div([*question, *slow_frame(_PLACE)], className="stack")


def _connect(app: Dash, context: PageContext) -> None:
    connect_slow(app, context, _PLACE, content, _names)
    inputs = {"type": FIELD, "option": ALL, "name": ALL}

    def show_form(_results: Any, search: str | None, shown: str | None) -> tuple[Any, Any]:
        """The form; while the question is the same it stays, so that nobody loses what they type."""
        view = context.view(search)
        if view is None:
            return None, None
        query = parse_query(search)
        current = fields(view.analysis, query)
        identity = repr((view.info.name, query.given, [field.place for field in current]))
        if identity == shown:
            return no_update, no_update
        return form(PATH, query, current), identity

    def submit(
        clicks: int | None,
        enters: list[int | None],
        texts: list[str | int | float | None],
        search: str | None,
    ) -> Any:
        view = context.view(search)
        if view is None or not (clicks or any(enters)):
            return no_update
        ids = [state["id"] for state in ctx.states_list[0]]
        typed = [
            (field["option"], field["name"], str(text or ""))
            for field, text in zip(ids, texts, strict=True)
        ]
        return href("", query_of(view.analysis, parse_query(search), typed))

    shown = ("recommend-asked", "data")
    app.callback(
        Output("recommend-form", "children"), Output(*shown), RESULTS, ADDRESS, State(*shown)
    )(show_form)
    app.callback(
        Output("url", "search"),
        Input("recommend-ask", "n_clicks"),
        Input(inputs, "n_submit"),
        State(inputs, "value"),
        State("url", "search"),
        prevent_initial_call=True,
    )(submit)


# -- reasons and rivals ----------------------------------------------------------------------------


def _reasons(found: Recommendation) -> html.Section:
    reasons = html.Ul([html.Li(reason) for reason in found.why], className="points")
    return card("Why this one", reasons, lead=f"The question: {found.question}.")


def _caveats(found: Recommendation) -> html.Section:
    noise = "No configuration has several seeds, so the noise between runs is assumed."
    if found.noise_floor is not None:
        scored = found.scored
        floor = quality_gap(found.noise_floor, scored=scored, signed=False)
        noise = f"Quality differs between seeds alone by a standard deviation of {floor}."
    points = [html.Li(line) for line in (*found.caveats, noise)]
    return card("Caveats", html.Ul(points, className="points caution"))


def _tradeoff(answer: Answer, theme: str | None) -> html.Section:
    """Quality against general ability lost, of every configuration."""
    found = answer.recommendation
    title = "Quality against forgetting"
    suites = suites_first(found)
    if not suites:
        detail = "The sweep has no general suite; add one under general to measure what is lost."
        return card(title, empty("Forgetting was not measured", detail, small=True))
    every = tradeoff_of(found, answer.candidates, suites[0])
    data = thinned(every)
    methods = [m for m in ordered_methods(spot.method for spot in data.points) if m != "none"]
    ranked = sorted(data.points, key=lambda spot: (not spot.front, -spot.quality))[:_TABLE_ROWS]
    rows = [
        (
            s.label,
            quality(s.quality, scored=data.scored),
            percent(s.forgetting),
            "yes" if s.front else "no",
        )
        for s in ranked
    ]
    head = ("Configuration", "Quality", f"Lost on {data.suite}", "On the front")
    return card(
        title,
        legend(methods, [("solid", "Pareto front: no other both scores more and forgets less")]),
        graph(
            draw_tradeoff(data, palette(theme)),
            f"Quality against general ability lost on {data.suite} for "
            f"{plural(len(data.points), 'configuration')}",
            height=400,
        ),
        note(
            f"The chart shows {len(data.points):,} of {plural(len(every.points), 'configuration')}.",
            len(every.points) > len(data.points),
        ),
        behind("Show the numbers", data_table(head, rows)),
        lead="Up and to the left is better.",
    )


def _runners_up(found: Recommendation, theme: str | None) -> html.Section:
    """The runners-up with their paired gaps."""
    data = runner_up_gaps(found)
    if not data:
        none = empty("There is no other candidate", "Only one was left to choose from.", small=True)
        return card("Runners-up", none)
    sized = found.target_quality is not None and found.target_quality.reached
    rows = [
        (
            gap.label,
            quality_gap(gap.value, scored=gap.scored),
            limits(gap.low, gap.high, partial(quality_gap, scored=gap.scored)),
            probability(gap.p_best),
            "no" if gap.distinguishable else "yes",
        )
        for gap in data
    ]
    head = ("Runner-up", "Gap", "80 % interval", "P(best)", "Tied with the choice")
    others = "1 runner-up" if len(data) == 1 else f"{len(data)} runners-up"
    return card(
        "Runners-up",
        graph(
            draw_gaps(data, palette(theme)),
            f"Gap in quality between the choice and {others}",
            height=70 + 62 * len(data),
        ),
        note(
            f"The closest {MAX_ROWS} of {len(found.runners_up)}.", len(found.runners_up) > len(data)
        ),
        behind("Show the numbers", data_table(head, rows)),
        lead=f"{_TIE}{'' if sized else ' and with no certain lead'}.",
    )


def _next_experiments(found: Recommendation) -> html.Section | None:
    if not found.next_experiments:
        return None
    head = (
        "Runs", "Cost", "Regret removed", "Distinguishes choice and rival", "Another is ahead then",
    )  # fmt: skip
    scored = found.scored
    rows = [
        (
            run.label,
            compact(run.flops, "FLOP"),
            quality_gap(run.regret_removed, scored=scored, signed=False),
            probability(run.p_distinguishes),
            probability(run.p_change),
        )
        for run in found.next_experiments
    ]
    unknown = any(run.regret_removed is None for run in found.next_experiments)
    table = wrapped(data_table(head, rows))
    return card("Next experiments", table, note(_SEEDS_UNKNOWN, unknown), lead=_NEXT_EXPERIMENTS)


# -- constraints, target quality, forecasts --------------------------------------------------------


def _constraints(found: Recommendation) -> html.Section | None:
    """What each constraint rejected and what that cost, and how surely the choice satisfies it."""
    if not found.rejected and not found.satisfied:
        return None
    rejected = {r.constraint: r for r in found.rejected}
    write = partial(quality, scored=found.scored)
    rows = [
        _constraint_row(kept, rejected.pop(kept.constraint, None), write)
        for kept in found.satisfied
    ]
    rows += [_constraint_row(None, rejection, write) for rejection in rejected.values()]
    head = (
        "Constraint", "Limit", "The choice has", "Surely satisfied", "Rejected", "Not measured",
        "The best of the rejected", "Its quality", "Its value",
    )  # fmt: skip
    lead = (
        "What each of your constraints rejected, what that cost, and the probability that the choice "
        "satisfies it on fresh rows and seeds."
    )
    return card("Your constraints", data_table(head, rows, text=(0, 6)), lead=lead)


def _constraint_row(
    satisfied: SatisfiedConstraint | None,
    rejection: Rejection | None,
    write: Callable[[float | None], str],
) -> tuple[str, ...]:
    constraint = satisfied or rejection
    assert constraint is not None
    name = constraint.constraint
    return (
        name,
        _value(name, constraint.limit),
        _value(name, satisfied.value if satisfied else None),
        probability(satisfied.probability if satisfied else None),
        count(rejection.count if rejection else 0),
        count(rejection.unmeasured if rejection else 0),
        (rejection and rejection.best) or ABSENT,
        write(rejection.best_quality if rejection else None),
        _value(name, rejection.best_value if rejection else None),
    )


def _value(name: str, number: float | None) -> str:
    """A value of the constraint *name* in its unit."""
    if name.startswith("min."):
        return quality(number)
    if name.startswith(("forgetting.", "over_reach.", "precision.", "recall.")):
        return percent(number)
    return count(number) if name.startswith("examples") else compact(number)


def _task_results(found: Recommendation) -> html.Section | None:
    """What the choice measured on each task."""
    if not found.task_results:
        return None
    rows = []
    for result in found.task_results:
        write = partial(in_measure, metric=result.measure)
        name = result.name or MEASURE_NAMES[result.measure]
        rows.append(
            (
                result.task,
                name if result.measure == "score" else f"{name}, lower is better",
                write(result.value.value),
                limits(result.value.low, result.value.high, write),
                count(result.rows),
            )
        )
    head = ("Task", "Measure", "Measured", "80 % interval", "Rows")
    lead = (
        "Means over the seeds that ran, on validation; the intervals are over other rows and seeds."
    )
    return card("The choice, task by task", data_table(head, rows), lead=lead)


def _target_quality(found: Recommendation) -> html.Section | None:
    """Whether anything measured reaches the target quality, and the data that would."""
    target = found.target_quality
    if target is None:
        return None
    goal, sure = target_words(found), probability(target.probability)
    title = f"What reaches {goal}"
    if target.reached:
        words = (
            f"The choice above is the smallest model, then the cheapest, that reaches {goal} with a "
            f"probability of at least 90 %. Its probability is {sure}."
        )
        return card(title, html.P(words))
    words = (
        f"Nothing that was measured reaches {goal} with a probability of 90 %. The choice above comes "
        f"closest, with {sure}."
    )
    if target.state == "unknown":
        words += " That is too much to say that the target is not met: more seeds of it would tell."
    if not target.needed:
        none = (
            "No scaling law reaches it within 16 times the measured data and satisfies the limits."
        )
        return card(title, html.P(words), note(none))
    rows = [
        (
            needed.label,
            f"about {count(needed.examples.value)}",
            limits(needed.examples.low, needed.examples.high, count),
            probability(needed.probability),
            count(needed.largest_measured),
        )
        for needed in target.needed
    ]
    head = (
        "More data for",
        "Examples, if it does",
        "80 % interval",
        "Reaches it",
        "Measured up to",
    )
    caution = (
        "By the scaling laws within 16 times the measured data. The examples are of those draws of a law "
        "that reach it, whose share is beside them. The list holds what could satisfy the limits, if tuning "
        "loses no more than measured so far."
    )
    return card(title, html.P(words), data_table(head, rows), note(caution))


def _forecasts(answer: Answer) -> html.Section | None:
    """Predictions of every curve at the examples on hand, measured there or not."""
    if not answer.forecasts:
        return None
    parts = [
        html.Div([html.H3(task), _forecast(forecast)], className="further")
        for task, forecast in answer.forecasts.items()
    ]
    lead = (
        "What the fitted laws predict for one run with all of it, also where nothing of that size was "
        "run. The recommendation above considers measured configurations alone."
    )
    return card(f"With {plural(answer.on_hand or 0, 'example')}", *parts, lead=lead)


def _forecast(forecast: Forecast | str) -> html.Div:
    if isinstance(forecast, str):
        return html.Div(note(f"No prediction: {forecast}"))
    write = partial(in_measure, metric=forecast.measure)
    rows = [
        (
            p.label,
            write(p.value),
            limits(p.intervals["80"].low, p.intervals["80"].high, write),
            probability(p.p_best),
            f"{p.extrapolation:,.3g} times" if p.extrapolation > 1 else "no",
        )
        for p in forecast.predictions[:_MAX_PREDICTIONS]
    ]
    head = ("Setting", "Predicted", "80 % interval", "P(best)", "Beyond measurement")
    first, rest = rows[:_PREDICTIONS_IN_SIGHT], rows[_PREDICTIONS_IN_SIGHT:]
    more = behind(f"Show {plural(len(rest), 'more setting')}", data_table(head, rest))
    return html.Div([data_table(head, first), more if rest else None])


# -- files -----------------------------------------------------------------------------------------


def _file_buttons(answer: Answer, query: Query) -> html.Div | None:
    """The buttons below the choice; none where nothing here can train it."""
    if answer.config is None:
        return None
    download = _download("Download YAML", FILE_NAME, answer, query, "button primary")
    evidence = _download("Download evidence", EVIDENCE_NAME, answer, query)
    copy = html.Button("Copy YAML", id="copy-yaml", className="button", type="button")
    copied = html.Span("", id="copied", className="quiet", role="status")
    return html.Div([download, evidence, copy, copied], className="actions")


def _download(words: str, name: str, answer: Answer, query: Query, style: str = "button") -> html.A:
    path = export_path(answer.sweep, query, name)
    return html.A(words, href=path, download=name, className=style)


def _yaml(answer: Answer) -> html.Section:
    """The whole file, and the command that writes it."""
    if answer.config is None:
        return card(FILE_NAME, empty("There is no file to train from", answer.no_file, small=True))
    lead = (
        f"Everything that determines this fine-tune; {EVIDENCE_NAME} holds the evidence for it. "
        f"sft-select train {FILE_NAME} trains exactly this model."
    )
    if answer.recommendation.choice.method.name == "none":
        lead = "The base model as it is, and the evidence that tuning would not pay."
    terminal = html.Code(command(answer.sweep, answer.overrides))
    return card(
        FILE_NAME,
        html.Pre(answer.config, className="yaml", id="yaml-text", tabIndex=0),
        html.P(["The same file in a terminal, in the folder where the sweep ran: ", terminal],
               className="note"),
        lead=lead,
    )  # fmt: skip


def _other_trainers(answer: Answer, query: Query) -> html.Section | None:
    """The same fine-tune as other trainers' files."""
    if answer.config is None:
        return None
    parts = [
        html.Div([html.H3(words), *_trainer(answer, to, query)], className="facet")
        for to, words in TRAINERS.items()
    ]
    lead = "The same fine-tune as other trainers' own files, with as many steps as it took here."
    return card("For another trainer", html.Div(parts, className="trainers"), lead=lead)


def _trainer(answer: Answer, to: str, query: Query) -> list[Any]:
    recipe = answer.recipes[to]
    if isinstance(recipe, str):
        return [note(recipe)]
    download = _download(f"Download {to}.zip", f"{to}.zip", answer, query)
    rows = ["This writes the rows, on the machine that has the data: ", html.Code(rows_command(to))]
    return [
        html.Div(download, className="actions"),
        html.P(rows, className="note"),
        *(
            behind(f"Show {name}", html.Pre(text, className="yaml", tabIndex=0))
            for name, text in recipe.items()
        ),
    ]


PAGE = Page(PATH, TITLE, _frame, _connect)
