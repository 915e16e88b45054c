"""The Sweep page: progress, budget, running trials, best quality over cost, failures and requests."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from dash import Dash, Output, html

from dashboards.charts.chart import Chart
from dashboards.charts.failures import FailureGroup, failure_groups
from dashboards.charts.loss_curves import draw_live_curves, live_curves
from dashboards.charts.progress import BestSoFar, draw_best_so_far
from dashboards.charts.theme import method_label, ordered_methods, palette
from dashboards.charts.wording import compact
from dashboards.components import (
    Choice,
    behind,
    capitalised,
    card,
    data_table,
    empty,
    graph,
    legend,
    link,
    majority_notices,
    notice,
    page_head,
    pill,
    tiles,
)
from dashboards.context import ADDRESS, THEME, VERSION, PageContext
from dashboards.page import Page, encoded
from dashboards.pages import sweep_control
from dashboards.snapshot import SweepView
from dashboards.trials.fields import STATUS_TONES, STATUS_WORDS, Weighing, interval_words
from tracker.cache import SingleFlightCache
from tracker.decision.majority import Majority, majorities
from tracker.errors import NoRecommendationError, SftSelectError
from tracker.numbers import count, duration, limits, money, percent, plural, quality, time_span
from tracker.price import with_price
from tracker.spending import Forecast, ForecastInterval, Spending, forecast
from tracker.store import file_changes
from tracker.store.control import ControlRecord, request_text
from tracker.store.store import LiveTrial

TITLE = "Sweep"
_CHART_HEIGHT = 340
_HIDDEN = {"display": "none"}
_MAX_PAGES = 8  # cached: the last states of a few sweeps, light and dark
_STATE_TONES = {"running": "live", "finished": "good"}
#: From so many trials on, the best of them was probably lucky.
_MANY_TRIALS = 5
_MAX_LIVE = 8  # running trials in short
_MAX_TABLE_ROWS = 50
_MAX_GROUPS, _MAX_NUMBERS, _MAX_PLACES = 12, 12, 3  # of failures, and of trials and places in one
_REQUESTS_IN_SIGHT, _MAX_REQUESTS = 3, 30


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
    requests: Any


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
    running = card(
        "Running now",
        html.Div(id="sweep-now"),
        graph(Chart(), label, height=_CHART_HEIGHT, identity="sweep-curves"),
    )
    both = [best, html.Div(running, id="sweep-now-card", className="fill")]
    rest = [
        html.Div(id=sweep_control.PLACE),
        html.Div(id="sweep-log"),
        html.Div(both, className="columns wide-first"),
        html.Div(id="sweep-failures"),
    ]
    return html.Div(
        [
            html.Div(id="sweep-head", className="stack"),
            html.Div(rest, id="sweep-rest", className="stack"),
        ],
        className="stack",
    )


def content(view: SweepView, theme: str | None, now: float | None = None) -> Content:
    """Everything the page shows; *now* in seconds since the epoch."""
    now = time.time() if now is None else now
    best, cost = view.analysis.best, spending(view)
    curves = live_curves(view.running)
    return Content(
        False,
        [_silence(view, now), _head(view, cost, now), _progress(view, cost)],
        _legend(best),
        draw_best_so_far(best, palette(theme)),
        {"height": f"{_CHART_HEIGHT}px"} if best.has_cost else _HIDDEN,
        _best_table(best),
        not view.running and view.info.state == "finished",
        _now_running(view, now, cost.workers),
        draw_live_curves(curves, palette(theme)),
        {"height": f"{curves.height}px"} if curves.panels else _HIDDEN,
        _failures(view),
        _requests(view.log),
    )


def no_sweep(message: Any) -> Content:
    """The page where there is no sweep: *message* alone."""
    no_chart = (Chart(), _HIDDEN)
    return Content(True, message, None, *no_chart, None, True, None, *no_chart, None, None)


def connect(app: Dash, context: PageContext) -> None:
    """Fill the frame anew whenever anything happens in the sweep."""
    pages = SingleFlightCache(_MAX_PAGES)

    def fill(_version: str | None, search: str | None, theme: str | None) -> tuple[Any, ...]:
        view = context.view(search)
        if view is None:
            return no_sweep(context.nothing(search))
        page: tuple[Any, ...] = pages.get(
            (view.info.name, view.version, theme),
            lambda: tuple(map(encoded, content(view, theme))),
        )
        return page

    app.callback([Output(*place) for place in OUTPUTS], VERSION, ADDRESS, THEME)(fill)
    sweep_control.connect(app, context)


# -- progress and budget ---------------------------------------------------------------------------


def spending(view: SweepView) -> Spending:
    """What *view* has cost, and its limits as its driver gave them."""
    finished = view.info.state == "finished"
    return Spending.of(view.analysis.tally, view.info.facts, view.info.to_come, finished=finished)


def _silence(view: SweepView, now: float) -> html.Div | None:
    """A warning that the driver is probably gone, and what to do."""
    since = view.info.silent_since(now)
    if since is None:
        return None
    return notice(
        f"No word from the sweep's driver since {_clock(since, now)}.",
        "It was killed, or its machine sleeps or cannot reach the tracking store. Ended trials are kept; "
        "the same command (sft-select run) continues from there.",
        "bad",
    )


def _clock(at: float, now: float) -> str:
    """The time *at* as a reader at *now* would say it; both in epoch seconds."""
    another_day = time.localtime(at)[:3] != time.localtime(now)[:3]
    return time.strftime("%Y-%m-%d %H:%M" if another_day else "%H:%M", time.localtime(at))


def _head(view: SweepView, cost: Spending, now: float) -> html.Div:
    """Name, state, and the tiles: trials, time, device time and best quality, as far as known."""
    info, tally, running = view.info, view.analysis.tally, len(view.running)
    silent = info.silent_since(now)
    if tally.imported:  # no driver ran, had a budget or took its time
        facts = [("Trials", count(tally.ended), "measured elsewhere, imported from a table")]
    else:
        of = f" of {count(info.to_come)}" if info.to_come else ""
        under_way = f"{running} running now" if info.is_live or running else ""
        if not info.to_come and (info.planned or 0) > tally.ended:
            under_way = f"at most {count(info.planned)} were planned"
        if silent is not None:
            under_way = f"{running} begun"
        until = silent or (now if info.is_live or info.ended_at is None else info.ended_at)
        ahead = forecast(cost) if info.is_live and silent is None else None
        left = f"{time_span(*ahead.clock_seconds)} left" if ahead and ahead.clock_seconds else ""
        facts = [
            ("Trials ended", f"{count(tally.ended)}{of}", under_way),
            ("Elapsed", duration(until - info.started_at), left),
        ]
    if cost.seconds or not tally.imported:
        spent = duration(cost.spent if cost.seconds else None)
        paid = f"; {cost.price.text(cost.spent)}" if cost.price and cost.seconds else ""
        facts.append(("Device time", spent, f"training and evaluation{paid}"))
    facts.append(("Best quality so far" if info.is_live else "Best quality", *_best(view)))
    state = info.state if silent is None else f"no word since {_clock(silent, now)}"
    badge = pill(state, _STATE_TONES.get(state, "warn"))
    parts = [page_head(info.name, _lead(view), badge=badge), tiles(facts)]
    return html.Div([*parts, *_reading_aids(view)], className="stack")


def _reading_aids(view: SweepView) -> list[html.Div]:
    """What a quality of the head does not say: a majority of one answer, or that nothing follows from it."""
    analysis = view.analysis
    found = majority_notices(_best_majorities(view))
    if changes := file_changes.lines(view.info.facts):
        found.append(notice("The sweep file was changed", "; ".join(map(capitalised, changes))))
    tuned = analysis.table["method"] != "none"
    if view.info.is_live or (tuned & (analysis.table["status"] == "complete")).any():
        return found  # the Recommendation page answers, or will
    try:
        analysis.answer()
    except NoRecommendationError as error:
        found.append(
            notice(
                "No recommendation yet", f"{capitalised(error.why)}. To get one, {error.needed}."
            )
        )
    except SftSelectError:
        pass  # of the question: the Recommendation page says what is amiss
    return found


def _best_majorities(view: SweepView) -> tuple[Majority, ...]:
    """Majorities of the rows that the best trial was scored on."""
    analysis, best = view.analysis, view.analysis.best.best_trial
    runs = [r.result for r in analysis.records if best and r.result.spec.key == best.key]
    weighed = [task for task, weight in analysis.objective.weights.items() if weight > 0]
    return majorities(runs, weighed, analysis.measures)


def _lead(view: SweepView) -> str:
    table = view.analysis.table
    tuned = table[table["method"] != "none"]
    if tuned.empty:
        if view.info.is_live or table.empty:
            return "The first results appear here as soon as a trial ends."
        return "No fine-tune was measured, only untouched base models."
    models = plural(tuned["model"].nunique(), "base model")
    methods = plural(tuned["method"].nunique(), "method")
    volumes = plural(tuned["volume"].nunique(), "training-set size")
    mixes = tuned["mix"].nunique()
    so_far = " so far" * view.info.is_live
    return f"{models}, {methods}, {volumes} and {mixes} task mix{'es' * (mixes != 1)}{so_far}."


def _best(view: SweepView) -> tuple[str, str]:
    """The best trial's quality, and which it is with its interval."""
    best, analysis = view.analysis.best, view.analysis
    if best.best_trial is None:
        return percent(None), "no trial has all its scores yet"
    record = next(r for r in analysis.records if r.result.spec.key == best.best_trial.key)
    measured = Weighing(analysis.objective.weights, analysis.measures).quality(record.result)
    words = "" if measured is None else f"; {interval_words(measured)}"
    luck = "; the best of many is partly luck" if len(best.trials) > _MANY_TRIALS else ""
    shown = quality(best.best_trial.quality, scored=analysis.scores_alone)
    return shown, f"{best.best_trial.label}{words}{luck}"


def _progress(view: SweepView, cost: Spending) -> html.Section:
    """How many trials have ended, run and wait, as a bar, and the budget."""
    tally, running = view.analysis.tally, len(view.running)
    waiting = max(0, (view.info.to_come or 0) - tally.ended - running)
    by_status = [*tally.by_status.items(), ("running", running), ("waiting", waiting)]
    shares = [(name, number) for name, number in by_status if number]
    words = ", ".join(f"{number} {STATUS_WORDS[name]}" for name, number in shares)
    bar = html.Div(
        [html.Span(className=name, style={"flex": number}) for name, number in shares],
        className="bar",
        role="img",
        **{"aria-label": words or "no trials yet"},
    )
    keys = [
        html.Li([html.Span(className=f"dot {name}"), html.B(count(number)), STATUS_WORDS[name]])
        for name, number in shares
    ]
    ahead = forecast(cost) if view.info.is_live else None
    facts = None if tally.imported else tiles(_budget(view, cost, ahead), style="facts")
    note = (
        "Forecasts are 80 % intervals, for coming trials like those so far; later ones may be larger. "
        "Device time adds up over all workers."
    )
    return card(
        "Progress",
        bar,
        html.Ul(keys, className="keys"),
        facts,
        html.P(note, className="note") if ahead else None,
    )


def _budget(view: SweepView, cost: Spending, ahead: Forecast | None) -> list[tuple[str, str, str]]:
    budget = ("None", "it ends when its design is done")
    if cost.budget_seconds:
        budget = (
            with_price(duration(cost.budget_seconds), cost.price, cost.budget_seconds),
            "of device time",
        )
    elif cost.budget_trials:
        budget = (plural(cost.budget_trials, "trial"), "")
    spent = duration(cost.spent) if cost.budget_seconds else plural(cost.ended, "trial")
    live = view.info.is_live
    facts = [
        ("Budget", *budget),
        ("Used so far" if live else "Used", percent(cost.budget_share, 0), spent),
    ]
    if live:
        early = ("Too early to say", "it takes a tenth of the trials, at least five")
        seconds = (time_span(*ahead.device_seconds), "80 % interval") if ahead else early
        trials = (_count_span(ahead.trials), "at most, in all") if ahead else early
        if ahead and cost.price:
            currency = cost.price.currency
            low, high = map(cost.price.of, ahead.device_seconds)
            ends = limits(low, high, lambda amount: money(amount, currency))
            seconds = (seconds[0], f"{ends}; 80 % interval")
        facts += [("Device time at the end", *seconds), ("Trials at the end", *trials)]
    return facts


def _count_span(span: ForecastInterval) -> str:
    return count(span.high) if span.low == span.high else limits(*span, count)


# -- the best so far -------------------------------------------------------------------------------


def _legend(best: BestSoFar) -> Any:
    if not best.trials:
        detail = "A trial counts once it has a score on every weighted task."
        return empty("No scored trial yet", detail, small=True)
    if not best.has_cost:
        detail = "No trial's training cost is known; the Trials page shows the quality that each reached."
        return empty("There is no cost to set quality against", detail, small=True)
    methods = ordered_methods(t.method for t in best.trials)
    return legend(methods, [("solid", "best so far")], base="cross")


def _best_table(best: BestSoFar) -> Any:
    """The numbers behind the chart; of a long sweep those that raised the best, and the last ones."""
    if not best.trials:
        return None
    pairs = list(zip(best.trials, best.best, strict=True))
    notes = []
    if best.uncounted:
        trials = plural(best.uncounted, "trial")
        notes.append(f"{trials} without a counted cost or a score left out.")
    if best.thinned:
        notes.append(f"The chart leaves out {plural(best.thinned, 'other trial')}.")
    if len(pairs) > 2 * _MAX_TABLE_ROWS:
        raised = [pair for pair in pairs[:-_MAX_TABLE_ROWS] if pair[0].quality == pair[1]]
        pairs = [*raised, *pairs[-_MAX_TABLE_ROWS:]]
        if len(pairs) < len(best.trials):
            notes.append("The table holds the trials that raised the best, and the last ones.")
    rows = [
        (
            str(t.number),
            t.label,
            compact(t.spent, "FLOP"),
            quality(t.quality, scored=best.scored),
            quality(value, scored=best.scored),
        )
        for t, value in pairs
    ]
    head = ("Trial", "Configuration", "Spent so far", "Quality", "Best so far")
    return [
        html.P(" ".join(notes), className="note") if notes else None,
        behind("Show the numbers", data_table(head, rows, text=(1,))),
    ]


# -- running trials --------------------------------------------------------------------------------


def _now_running(view: SweepView, now: float, workers: int | None) -> list[Any]:
    """What each of the *workers* does."""
    if not view.running:
        detail = {
            "running": "The driver is between two trials.",
            "paused": "The sweep is paused until somebody resumes it.",
            "finished": "The sweep has ended.",
        }.get(view.info.state, "Run the same command again to continue; no ended trial runs twice.")
        if view.analysis.tally.imported:
            detail = "Its trials were measured elsewhere; no driver runs here."
        return [empty("No trial is running", detail, small=True)]
    since = view.info.silent_since(now)
    words = _busy(len(view.running), workers)
    if since is not None:
        words = "Begun by a driver that no longer reports; each continues from its checkpoint."
    return [
        html.P(words, className="quiet"),
        html.Ul([_live(trial, since or now) for trial in view.running], className="rows"),
    ]


def running_in_short(view: SweepView, now: float, path: str) -> html.Section | None:
    """The running trials, for the page of the ended ones; *path* leads to the Sweep page."""
    if not view.running or view.info.silent_since(now) is not None:
        return None
    more = len(view.running) - _MAX_LIVE
    return card(
        "Running now",
        html.Ul([_live(trial, now) for trial in view.running[:_MAX_LIVE]], className="rows"),
        html.P(f"{plural(more, 'more trial')} under way.", className="note") if more > 0 else None,
        lead=[
            "Each joins the grid below when it ends. The ",
            link(Choice("Sweep page", path, False)),
            " shows their learning curves.",
        ],
    )


def _busy(running: int, workers: int | None) -> str:
    if workers is None:
        return f"{plural(running, 'trial')} under way."
    if running <= workers:
        return f"{running} of {plural(workers, 'worker')} busy."
    # A killed driver leaves begun trials behind, which continue from their checkpoints one by one.
    return f"{plural(running, 'trial')} under way on {plural(workers, 'worker')}; some wait."


def _live(trial: LiveTrial, now: float) -> html.Li:
    what = f"{trial.model} · {method_label(trial.method)}"
    if trial.volume:
        what += f" · {count(trial.volume)} examples · {trial.mix}"
    step = "starting" if trial.step is None else f"step {count(trial.step)}"
    loss = "" if trial.loss is None else f", loss {trial.loss:.3f} nats per token"
    return html.Li(
        [
            html.Span(f"#{trial.number}", className="which"),
            html.Span(what, className="what"),
            html.Span(duration(now - trial.started_at), className="side"),
            html.Span(f"{step}{loss}", className="how"),
        ]
    )


# -- failures and requests -------------------------------------------------------------------------


def _failures(view: SweepView) -> html.Section | None:
    """Trials without a result by reason, and what to do; nothing where all went well."""
    groups = failure_groups(view.analysis.records)
    if not groups:
        return None
    more = len(groups) - _MAX_GROUPS
    return card(
        "Trials without a result",
        html.Ul([_failure(group) for group in groups[:_MAX_GROUPS]], className="rows"),
        html.P(f"{plural(more, 'more kind')} of failure.", className="note") if more > 0 else None,
        lead="The sweep continues without them; they are never recommended.",
    )


def _failure(group: FailureGroup) -> html.Li:
    numbers = ", ".join(f"#{number}" for number in group.numbers[:_MAX_NUMBERS])
    more = len(group.numbers) - _MAX_NUMBERS
    numbers += f" and {more} more" if more > 0 else ""
    others = " and others" if len(group.where) > _MAX_PLACES else ""
    places = ", ".join(group.where[:_MAX_PLACES]) + others
    return html.Li(
        [
            html.Span(f"{len(group.numbers)} x", className="which"),
            html.Span(group.reason, className="what"),
            pill(STATUS_WORDS[group.status.value], STATUS_TONES[group.status]),
            html.Span(f"{numbers} · {places}", className="how"),
            html.Span(["What to do: ", group.advice], className="how"),
        ]
    )


def _requests(records: tuple[ControlRecord, ...]) -> html.Section | None:
    """Requests to the running sweep, the newest first, with the driver's answers."""
    if not records:
        return None
    rows = [_request(record) for record in records[::-1][:_MAX_REQUESTS]]
    in_sight, older = rows[:_REQUESTS_IN_SIGHT], rows[_REQUESTS_IN_SIGHT:]
    return card(
        "Requests",
        html.Ul(in_sight, className="rows"),
        behind("Show earlier ones", html.Ul(older, className="rows")) if older else None,
        lead="What people requested of this sweep, and what its driver answered. The driver reads requests "
        "from the tracking store every few seconds.",
    )


def _request(record: ControlRecord) -> html.Li:
    request, answer = record
    at = time.strftime("%Y-%m-%d %H:%M", time.localtime(request.requested_at))
    verdict, words = pill("waiting", "live"), "The driver has not answered yet."
    if answer is not None:
        verdict = pill("done", "good") if answer.accepted else pill("refused", "warn")
        words = answer.words
    return html.Li(
        [
            html.Span(at, className="which"),
            html.Span(request_text(request), className="what"),
            verdict,
            html.Span(words, className="how"),
            html.Span(f"requested by {request.by}", className="how") if request.by else None,
        ]
    )


PAGE = Page("/", TITLE, layout, connect)
