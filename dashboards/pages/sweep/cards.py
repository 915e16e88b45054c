"""The cards of the sweep page: how far, what it costs, what runs and who is at work, what went wrong."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from dash import html

from dashboards.charts.failures import FailureGroup, failure_groups
from dashboards.charts.forecast import Forecast, ForecastInterval, Spending, Tally, forecast
from dashboards.charts.progress import BestSoFar
from dashboards.charts.theme import method_words
from dashboards.charts.wording import compact, duration, time_span
from dashboards.components import (
    Choice,
    behind,
    card,
    data_table,
    empty,
    link,
    notice,
    page_head,
    pill,
    tiles,
)
from dashboards.snapshot import SweepView
from dashboards.trials.fields import STATUS_TONES, STATUS_WORDS, Weighing, interval_words
from tracker.numbers import count, percent, plural, quality
from tracker.store.control import ControlRecord, described
from tracker.store.store import LiveTrial

_STATE_TONES = {"running": "live", "finished": "good"}
_MANY = 5  # trials of which the best is likely better than it would be again
_MAX_GROUPS = 12
_MAX_NUMBERS = 12
_MAX_LOGGED = 30
_SHOWN_AT_ONCE = 3  # of the log; older ones unfold
_MAX_ROWS = 50


class Counts(NamedTuple):
    """Trials by where they are; ``planned`` is ``None`` where the sweep does not say."""

    planned: int | None
    tally: Tally
    running: int

    @property
    def ended(self) -> int:
        return self.tally.ended

    @property
    def waiting(self) -> int:
        return max(0, (self.planned or 0) - self.ended - self.running)


def counts(view: SweepView) -> Counts:
    """Where the trials of *view* are."""
    return Counts(view.info.planned, view.analysis.tally, len(view.running))


def spending(view: SweepView) -> Spending:
    """What *view* has cost, and its limits as its driver said them."""
    facts = view.info.facts
    hours, trials, workers = (
        _number(facts.get(name)) for name in ("budget_gpu_hours", "budget_trials", "workers")
    )
    done = view.analysis.tally
    return Spending(
        seconds=done.seconds,
        ended=done.ended,
        planned=view.info.planned,
        workers=int(workers) if workers else None,
        clock_per_device_second=done.clock_per_device_second,
        budget_trials=int(trials) if trials else None,
        budget_seconds=hours * 3600 if hours else None,
    )


def head(view: SweepView, now: float) -> html.Div:
    """Name, state and the four numbers that everybody asks for; *now* in seconds since the epoch.

    Of an imported sweep those that are known.
    """
    info, cost, done = view.info, spending(view), counts(view)
    imported = view.analysis.tally.imported  # no driver ran, had a budget or took its time
    silent = info.silent_since(now)
    until = silent or (now if info.is_live or info.ended_at is None else info.ended_at)
    ahead = forecast(cost) if info.is_live and silent is None else None
    of = f" of {count(done.planned)}" if done.planned else ""
    left = f"{time_span(*ahead.clock_seconds)} left" if ahead and ahead.clock_seconds else ""
    running = f"{done.running} running now" if info.is_live or done.running else ""
    running = running if silent is None else f"{done.running} begun"
    facts = [("Trials ended", f"{count(done.ended)}{of}", running)]
    if imported:
        facts = [("Trials", count(done.ended), "measured elsewhere, taken in from a table")]
    else:
        facts.append(("Elapsed", duration(until - info.started_at), left))
    if cost.seconds or not imported:
        spent = duration(cost.spent if cost.seconds else None)
        facts.append(("Device time", spent, "training and evaluation"))
    title = "Best quality so far" if info.is_live else "Best quality"
    facts.append((title, *_leader(view)))
    state = info.state if silent is None else f"no word since {clock(silent, now)}"
    badge = pill(state, _STATE_TONES.get(state, "warn"))
    return html.Div(
        [page_head(info.name, _lead(view), badge=badge), tiles(facts)], className="stack"
    )


def progress(view: SweepView) -> html.Section:
    """How many trials are where, as a bar, and what the budget holds."""
    done, cost = counts(view), spending(view)
    parts = [*done.tally.by_status.items(), ("running", done.running), ("waiting", done.waiting)]
    shares = [(name, number) for name, number in parts if number]
    words = ", ".join(f"{number} {STATUS_WORDS[name]}" for name, number in shares)
    bar = html.Div(
        [html.Span(className=name, style={"flex": number}) for name, number in shares],
        className="bar",
        role="img",
        **{"aria-label": words or "no trials yet"},
    )
    keys = html.Ul(
        [
            html.Li([html.Span(className=f"dot {name}"), html.B(count(number)), STATUS_WORDS[name]])
            for name, number in shares
        ],
        className="keys",
    )
    ahead = forecast(cost) if view.info.is_live else None
    known_of = [] if view.analysis.tally.imported else _budget(view, cost, ahead)
    facts = tiles(known_of, style="facts") if known_of else None
    note = (
        "Intervals hold in 4 of 5 cases if the trials to come are like those so far; later ones may be "
        "larger. Device time adds up over all workers."
    )
    return card("Progress", bar, keys, facts, html.P(note, className="note") if ahead else None)


def _budget(view: SweepView, cost: Spending, ahead: Forecast | None) -> list[tuple[str, str, str]]:
    if cost.budget_seconds:
        budget = (duration(cost.budget_seconds), "of device time")
    elif cost.budget_trials:
        budget = (plural(cost.budget_trials, "trial"), "")
    else:
        budget = ("None", "it ends when its design is done")
    spent = duration(cost.spent) if cost.budget_seconds else plural(cost.ended, "trial")
    live = view.info.is_live
    found = [
        ("Budget", *budget),
        ("Used so far" if live else "Used", percent(cost.budget_share, 0), spent),
    ]
    if live:
        early = ("Too early to say", "it takes a tenth of the trials, at least five")
        time_words = (time_span(*ahead.device_seconds), "80 % interval") if ahead else early
        trial_words = (_numbers(ahead.trials), "at most, in all") if ahead else early
        found += [("Device time at the end", *time_words), ("Trials at the end", *trial_words)]
    return found


def what_failed(view: SweepView) -> html.Section | None:
    """Trials without a result by reason, and what to do; nothing where all went well."""
    groups = failure_groups(view.analysis.records)
    if not groups:
        return None
    more = len(groups) - _MAX_GROUPS
    return card(
        "Trials without a result",
        html.Ul([_group(group) for group in groups[:_MAX_GROUPS]], className="rows"),
        html.P(f"{plural(more, 'further kind')} among the trials.", className="note")
        if more > 0
        else None,
        lead="The sweep goes on without them; they are never recommended.",
    )


def log(exchanges: tuple[ControlRecord, ...]) -> html.Section | None:
    """What was asked of the sweep while it ran, the newest first, and what became of it."""
    if not exchanges:
        return None
    rows = [_exchange(each) for each in exchanges[::-1][:_MAX_LOGGED]]
    older = html.Ul(rows[_SHOWN_AT_ONCE:], className="rows")
    return card(
        "Requests",
        html.Ul(rows[:_SHOWN_AT_ONCE], className="rows"),
        behind("Show earlier ones", older) if len(rows) > _SHOWN_AT_ONCE else None,
        lead="What people asked of this sweep, and what its driver answered. The driver looks every few "
        "seconds; nobody has to reach its machine.",
    )


def best_table(best: BestSoFar) -> Any:
    """The numbers behind the chart; of a long sweep those that raised the best, and the last ones."""
    if not best.trials:
        return None
    rows = list(zip(best.trials, best.best, strict=True))
    if len(rows) > 2 * _MAX_ROWS:
        raised = [row for row in rows[:-_MAX_ROWS] if row[0].quality == row[1]]
        rows = [*raised, *rows[-_MAX_ROWS:]]
    cells = [
        (str(t.number), t.label, compact(t.spent, "FLOP"), quality(t.quality), quality(value))
        for t, value in rows
    ]
    shown = "" if len(rows) == len(best.trials) else "The table holds those that raised the best. "
    left_out = (
        f"{plural(best.uncounted, 'trial')} without a counted cost or a score left out. "
        if best.uncounted
        else ""
    )
    thinned = f"{count(best.thinned)} further trials are not drawn. " if best.thinned else ""
    header = ("Trial", "Configuration", "Spent so far", "Quality", "Best so far")
    note = (left_out + thinned + shown).strip()
    return [
        html.P(note, className="note") if note else None,
        behind("Show the numbers", data_table(header, cells, text=(1,))),
    ]


def _lead(view: SweepView) -> str:
    table = view.analysis.table
    tuned = table[table["method"] != "none"]
    if tuned.empty:
        return "The first results appear here as soon as a trial ends."
    models = plural(tuned["model"].nunique(), "base model")
    methods = plural(tuned["method"].nunique(), "method")
    volumes = plural(tuned["volume"].nunique(), "data volume")
    mixes = tuned["mix"].nunique()
    so_far = " so far" * view.info.is_live
    return f"{models}, {methods}, {volumes} and {mixes} task mix{'es' * (mixes != 1)}{so_far}."


def _leader(view: SweepView) -> tuple[str, str]:
    best = view.analysis.best
    best_trial = best.best_trial
    if best_trial is None:
        return percent(None), "no trial has all its scores yet"
    weighing = Weighing(view.analysis.objective.weights, view.analysis.measures)
    record = next(r for r in view.analysis.records if r.result.spec.key == best_trial.key)
    known = weighing.quality(record.result)
    words = "" if known is None else f"; {interval_words(known)}"
    luck = "; the best of many is partly luck" if len(best.trials) > _MANY else ""
    return quality(best_trial.quality), f"{best_trial.label}{words}{luck}"


def _group(group: FailureGroup) -> html.Li:
    tone = STATUS_TONES[group.status]
    numbers = ", ".join(f"#{number}" for number in group.numbers[:_MAX_NUMBERS])
    more = len(group.numbers) - _MAX_NUMBERS
    numbers += f" and {more} more" if more > 0 else ""
    places = ", ".join(group.where[:3]) + (" and others" if len(group.where) > 3 else "")
    return html.Li(
        [
            html.Span(f"{len(group.numbers)} x", className="which"),
            html.Span(group.reason, className="what"),
            pill(STATUS_WORDS[group.status.value], tone),
            html.Span(f"{numbers} · {places}", className="how"),
            html.Span(["What to do: ", group.advice], className="how"),
        ]
    )


def _exchange(each: ControlRecord) -> html.Li:
    asked, answer = each
    at = time.strftime("%Y-%m-%d %H:%M", time.localtime(asked.requested_at))
    if answer is None:
        verdict, said = pill("waiting", "live"), "The driver has not answered yet."
    else:
        verdict = pill("done", "good") if answer.accepted else pill("refused", "warn")
        said = answer.words
    return html.Li(
        [
            html.Span(at, className="which"),
            html.Span(described(asked), className="what"),
            verdict,
            html.Span(said, className="how"),
            html.Span(f"asked by {asked.by}", className="how") if asked.by else None,
        ]
    )


def _numbers(span: ForecastInterval) -> str:
    return count(span.high) if span.low == span.high else f"{count(span.low)} to {count(span.high)}"


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


_MAX_LIVE = 8  # running trials above the grid of the ended ones


def clock(at: float, now: float) -> str:
    """The time *at* as a reader near *now* would say it; both in epoch seconds."""
    days = time.localtime(at)[:3] != time.localtime(now)[:3]
    return time.strftime("%Y-%m-%d %H:%M" if days else "%H:%M", time.localtime(at))


def silence(view: SweepView, now: float) -> html.Div | None:
    """Says that the driver is probably gone, and what to do."""
    since = view.info.silent_since(now)
    if since is None:
        return None
    return notice(
        f"No word from the sweep's driver since {clock(since, now)}.",
        "It was killed, or its machine sleeps or cannot reach the tracking store. What has ended is kept; "
        "the same command (sft-select run) goes on from there.",
        "bad",
    )


def now_running(view: SweepView, now: float, workers: int | None) -> list[Any]:
    """What each of the *workers* does; *now* in seconds since the epoch."""
    if not view.running:
        if view.analysis.tally.imported:
            words = "Its trials were measured elsewhere; no driver runs here."
            return [empty("No trial is running", words, small=True)]
        detail = {
            "running": "The driver is between two trials.",
            "paused": "The sweep is paused; it goes on when somebody resumes it.",
            "finished": "The sweep has ended.",
        }.get(view.info.state, "Run the same command again to go on; nothing finished runs twice.")
        return [empty("No trial is running", detail, small=True)]
    since = view.info.silent_since(now)
    words = _busy(len(view.running), workers)
    if since is not None:
        words = "Begun by a driver that gives no sign of life; each goes on from its checkpoint."
    return [
        html.P(words, className="quiet"),
        html.Ul([_live(trial, since or now) for trial in view.running], className="rows"),
    ]


def under_way(view: SweepView, now: float, way: str) -> html.Section | None:
    """The running trials in short, for a page of ended ones; *way* leads to where they are followed."""
    if not view.running or view.info.silent_since(now) is not None:
        return None
    more = len(view.running) - _MAX_LIVE
    return card(
        "Running now",
        html.Ul([_live(trial, now) for trial in view.running[:_MAX_LIVE]], className="rows"),
        html.P(f"{plural(more, 'further trial')} under way.", className="note")
        if more > 0
        else None,
        lead=[
            "Each joins the grid below when it ends; the ",
            link(Choice("Sweep page", way, False)),
            " follows their training.",
        ],
    )


def _busy(running: int, workers: int | None) -> str:
    if workers is None:
        return f"{plural(running, 'trial')} under way."
    if running <= workers:
        return f"{running} of {plural(workers, 'worker')} busy."
    # A driver that was killed leaves trials begun; they go on from their checkpoints, one by one.
    return (
        f"{plural(running, 'trial')} under way on {plural(workers, 'worker')}; some wait to go on."
    )


def _live(trial: LiveTrial, now: float) -> html.Li:
    what = f"{trial.model} · {method_words(trial.method)}"
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
