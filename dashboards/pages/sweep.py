"""The sweep as it runs: how far, what now, what failed, what it reached for what it cost."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import dash_ag_grid as dag
import plotly.graph_objects as go
from dash import Dash, Output, html

from dashboards.components import (
    behind,
    card,
    data_table,
    empty,
    graph,
    legend,
    page_head,
    pill,
    tiles,
)
from dashboards.desk import Desk
from dashboards.figures.progress import BestSoFar, Trial, best_so_far, draw_best_so_far, label
from dashboards.figures.theme import in_order, method_words, palette
from dashboards.figures.wording import compact, count, duration, percent, plural, quality
from dashboards.page import ADDRESS, THEME, VERSION, Page
from dashboards.snapshot import SweepView
from dashboards.trials import column_defs, trial_rows
from tracker.record.store import LiveTrial
from tracker.record.trial import Status, TrialRecord

TITLE = "Sweep"
STATUS_WORDS = {
    "complete": "finished",
    "running": "running now",
    "pruned": "stopped early",
    "infeasible": "did not fit the device",
    "diverged": "diverged",
    "failed": "failed",
    "waiting": "to go",
}
_MAX_FAILURES = 20
_CHART_HEIGHT = 340
#: The grid takes the sheet's colours, so that it follows light and dark by itself.
_GRID_THEME = (
    "themeQuartz.withParams({backgroundColor: 'var(--surface)', foregroundColor: 'var(--text)', "
    "headerBackgroundColor: 'var(--surface)', headerTextColor: 'var(--muted)', "
    "borderColor: 'var(--line)', accentColor: 'var(--accent)', fontFamily: 'var(--sans)', "
    "fontSize: 14, headerFontWeight: 500, spacing: 7, wrapperBorderRadius: 12, "
    "menuBackgroundColor: 'var(--surface)', rowHoverColor: 'var(--sunken)'})"
)


class Counts(NamedTuple):
    """Trials by where they are; ``planned`` is ``None`` where the sweep does not say."""

    planned: int | None
    by_status: dict[str, int]
    running: int

    @property
    def ended(self) -> int:
        return sum(self.by_status.values())

    @property
    def waiting(self) -> int:
        return max(0, (self.planned or 0) - self.ended - self.running)


class Content(NamedTuple):
    """What fills the page's frame, in the order of :data:`OUTPUTS`."""

    hidden: bool
    head: Any
    legend: Any
    figure: go.Figure
    figure_style: dict[str, str]
    table: Any
    now: Any
    failures: Any
    rows: list[dict[str, Any]]
    columns: list[dict[str, Any]]


#: Component and property that each field of :class:`Content` fills.
OUTPUTS = (
    ("sweep-rest", "hidden"),
    ("sweep-head", "children"),
    ("sweep-best-legend", "children"),
    ("sweep-best", "figure"),
    ("sweep-best", "style"),
    ("sweep-best-table", "children"),
    ("sweep-now", "children"),
    ("sweep-failures", "children"),
    ("trials-grid", "rowData"),
    ("trials-grid", "columnDefs"),
)


def counts(view: SweepView) -> Counts:
    """Where the trials of *view* are."""
    by_status = {s.value: 0 for s in Status}
    for record in view.findings.records:
        by_status[record.result.status.value] += 1
    return Counts(view.info.planned, by_status, len(view.running))


def seconds_left(done: Counts, elapsed: float | None) -> float | None:
    """A forecast from the mean pace so far; ``None`` before a tenth of the trials have ended."""
    if not done.planned or elapsed is None or done.ended < max(2, done.planned // 10):
        return None
    return elapsed / done.ended * (done.planned - done.ended)


def layout() -> html.Div:
    """The page's frame. Chart and grid are updated in place: a live page must not flicker."""
    grid = dag.AgGrid(
        id="trials-grid",
        className="trials",
        getRowId="params.data.key",
        defaultColDef={"sortable": True, "filter": True, "resizable": True},
        dashGridOptions={
            "theme": {"function": _GRID_THEME},
            "suppressFieldDotNotation": True,
            "animateRows": False,
            "pagination": True,
            "paginationPageSize": 20,
            "paginationPageSizeSelector": [20, 50, 200],
            "domLayout": "autoHeight",
            "enableCellTextSelection": True,
        },
        style={"width": "100%"},
    )
    best = card(
        "Best so far, over what it cost",
        html.Div(id="sweep-best-legend"),
        graph(go.Figure(), "Best quality so far", height=_CHART_HEIGHT, identity="sweep-best"),
        html.Div(id="sweep-best-table"),
    )
    rest = html.Div(
        [
            html.Div(
                [best, html.Div(id="sweep-now", className="fill")], className="columns wide-first"
            ),
            html.Div(id="sweep-failures"),
            card(
                "Trials", grid, lead="Press a heading to sort by it; the funnel beside it filters."
            ),
        ],
        id="sweep-rest",
        className="stack",
    )
    return html.Div([html.Div(id="sweep-head", className="stack"), rest], className="stack")


def content(view: SweepView, theme: str | None, now: float | None = None) -> Content:
    """Everything the page shows; *now* in seconds since the epoch."""
    now = time.time() if now is None else now
    done = counts(view)
    best = best_so_far(view.findings.table, view.findings.weights)
    table = view.findings.table
    return Content(
        False,
        [_head(view, done, best, now), _progress(done)],
        _legend(best),
        draw_best_so_far(best, palette(theme)),
        {"height": f"{_CHART_HEIGHT}px"} if best.trials else {"display": "none"},
        _best_table(best),
        _now(view, now),
        _failures(view.findings.records),
        trial_rows(table, view.findings.weights),
        column_defs(table),
    )


def connect(app: Dash, desk: Desk) -> None:
    """Fill the frame anew whenever anything happens in the sweep."""

    def filled(_version: str | None, search: str | None, theme: str | None) -> Content:
        view = desk.view(search)
        return nothing(desk.nothing(search)) if view is None else content(view, theme)

    app.callback([Output(*place) for place in OUTPUTS], VERSION, ADDRESS, THEME)(filled)


def nothing(message: Any) -> Content:
    """The page where there is no sweep: the message alone."""
    hide = {"display": "none"}
    return Content(True, message, None, go.Figure(), hide, None, None, None, [], [])


def _head(view: SweepView, done: Counts, best: BestSoFar, now: float) -> html.Div:
    info, findings = view.info, view.findings
    live = info.state == "running"
    until = now if live or info.ended_at is None else info.ended_at
    elapsed = until - info.started_at
    left = seconds_left(done, elapsed) if live else None
    device = [r.result.cost.device_seconds for r in findings.records]
    known = [seconds for seconds in device if seconds is not None]
    of = f" of {count(done.planned)}" if done.planned else ""
    badge = pill(info.state, {"running": "live", "finished": "good"}.get(info.state, "warn"))
    facts = [
        ("Trials ended", f"{count(done.ended)}{of}", f"{done.running} running now"),
        ("Elapsed", duration(elapsed), f"about {duration(left)} left" if left else ""),
        ("Device time", duration(sum(known) if known else None), "training and evaluation"),
        ("Best quality so far", *_leader(best.leader)),
    ]
    return html.Div(
        [page_head(info.name, _lead(view), badge=badge), tiles(facts)], className="stack"
    )


def _lead(view: SweepView) -> str:
    table = view.findings.table
    tuned = table[table["method"] != "none"]
    if tuned.empty:
        return "The first results appear here as soon as a trial ends."
    models = plural(tuned["model"].nunique(), "base model")
    methods = plural(tuned["method"].nunique(), "method")
    volumes = plural(tuned["volume"].nunique(), "data volume")
    mixes = tuned["mix"].nunique()
    return f"{models}, {methods}, {volumes} and {mixes} task mix{'es' * (mixes != 1)} so far."


def _leader(leader: Trial | None) -> tuple[str, str]:
    if leader is None:
        return percent(None), "no trial has all its scores yet"
    return quality(leader.quality), leader.label


def _shares(done: Counts) -> list[tuple[str, int]]:
    parts = [*done.by_status.items(), ("running", done.running), ("waiting", done.waiting)]
    return [(name, number) for name, number in parts if number]


def _progress(done: Counts) -> html.Section:
    shares = _shares(done)
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
    return card("Progress", bar, keys)


def _legend(best: BestSoFar) -> Any:
    if not best.trials:
        detail = "A trial counts once it has a score on every weighted task."
        return empty("No scored trial yet", detail, small=True)
    methods = in_order(t.method for t in best.trials)
    return legend(methods, [("solid", "best so far")], base="cross")


def _best_table(best: BestSoFar) -> Any:
    if not best.trials:
        return None
    rows = [
        (str(t.number), t.label, compact(t.spent, "FLOP"), quality(t.quality), quality(value))
        for t, value in zip(best.trials, best.best, strict=True)
    ]
    head = ("Trial", "Configuration", "Spent so far", "Quality", "Best so far")
    note = f"{plural(best.uncounted, 'trial')} without a counted cost or a score left out."
    return [
        html.P(note, className="note") if best.uncounted else None,
        behind("Show the numbers", data_table(head, rows, text=(1,))),
    ]


def _now(view: SweepView, now: float) -> html.Section:
    if not view.running:
        detail = {
            "running": "The driver is between two trials.",
            "finished": "The sweep has ended.",
        }.get(view.info.state, "Run the same command again to go on; nothing finished runs twice.")
        return card("Running now", empty("No trial is running", detail, small=True))
    return card(
        "Running now", html.Ul([_live(trial, now) for trial in view.running], className="rows")
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


def _failures(records: Sequence[TrialRecord]) -> html.Section | None:
    ended_badly = [r for r in records if r.result.status not in (Status.COMPLETE, Status.PRUNED)]
    if not ended_badly:
        return None
    newest = sorted(ended_badly, key=lambda r: r.number, reverse=True)
    more = len(newest) - _MAX_FAILURES
    return card(
        "Trials without a result",
        html.Ul([_failure(record) for record in newest[:_MAX_FAILURES]], className="rows"),
        html.P(f"{more} more in the table below.", className="note") if more > 0 else None,
        lead="The sweep goes on without them; they are never recommended.",
    )


def _failure(record: TrialRecord) -> html.Li:
    result = record.result
    tone = "bad" if result.status is Status.FAILED else "warn"
    spec = result.spec
    row = spec.method.model_dump() | {
        "method": spec.method.name,
        "model": spec.model.name,
        "volume": spec.volume,
        "mix": spec.mix.name if spec.mix else "",
    }
    return html.Li(
        [
            html.Span(f"#{record.number}", className="which"),
            html.Span(label(row), className="what"),
            pill(STATUS_WORDS[result.status.value], tone),
            html.Span(result.reason or "no reason was recorded", className="how"),
        ]
    )


PAGE = Page("/", TITLE, layout, connect)
