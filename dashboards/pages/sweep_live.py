"""What a sweep does now: its running trials, and whether anybody is still at work on it."""

from __future__ import annotations

import time
from typing import Any

from dash import html

from dashboards.charts.theme import method_words
from dashboards.charts.wording import count, duration, plural
from dashboards.components import Choice, card, empty, link, notice
from dashboards.snapshot import SweepView
from tracker.store.store import LiveTrial

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
        if view.findings.tally.imported:
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
