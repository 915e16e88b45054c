"""What a report is made of: the pages' own contents in the order of reading, and the best trials."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from dash import html

from dashboards.answers import FILE_NAME
from dashboards.charts.generalisation import ALL
from dashboards.charts.wording import duration
from dashboards.components import behind, card, data_table, empty
from dashboards.pages import data, generalisation, mix, recommend, scaling
from dashboards.report.document import Section
from dashboards.snapshot import SweepView
from dashboards.state import Query
from dashboards.trials.frame import plain_rows
from tracker.errors import SftSelectError
from tracker.numbers import ABSENT, count, percent, plural, quality

#: Of the trials' table.
TOP = 50
#: A task each; a sweep with more shows these.
MAX_TASKS = 8
#: Tables of a page with more rows are folded away.
FOLDED = 6
TRIALS = "Trials"
Content = Callable[[SweepView, Query, str | None], Any]


def sections(view: SweepView, query: Query) -> list[Section]:
    """The parts of the report of *view*; *query* holds what is asked of the recommendation."""
    own = Query(query.sweep)

    def part(title: str, content: Content, asked: Query = own) -> Section:
        anchor = title.lower().replace(" ", "-")
        return Section(anchor, title, lambda theme: _held(lambda q: content(view, q, theme), asked))

    return [
        part(recommend.TITLE, _recommendation, query),
        part(scaling.TITLE, _by_task),
        part(generalisation.TITLE, _generalisation),
        part(mix.TITLE, _mixes),
        part(TRIALS, lambda view, _query, _theme: [best_trials(view)]),
        part(data.TITLE, data.content),
    ]


def head(view: SweepView) -> list[Any]:
    """The title, and how far the sweep was when this was written."""
    statuses = Counter(str(record.result.status.value) for record in view.analysis.records)
    counts = ", ".join(f"{count(n)} {status}" for status, n in statuses.most_common())
    seconds = [r.result.cost.device_seconds for r in view.analysis.records]
    spent = sum(s for s in seconds if s is not None)
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(view.read_at))
    facts = [
        f"{plural(sum(statuses.values()), 'trial')} ended ({counts or 'none'})",
        f"{duration(spent)} of device time" if spent else "",
        f"sweep {view.info.state}",
        f"as of {when}",
    ]
    return [
        html.P("sft-select report", className="quiet"),
        html.H1(view.info.name),
        html.P(" · ".join(fact for fact in facts if fact), className="lead quiet"),
    ]


def best_trials(view: SweepView) -> Any:
    """The trials with the best weighted quality, what they scored, lost and cost."""
    frame = view.analysis.trials
    scored = frame[frame["quality"].notna()]
    title = "The best trials"
    if scored.empty:
        return card(
            title, empty("No trial has a score yet", "Trials appear as they end.", small=True)
        )
    tasks = [name for name in scored.columns if name.startswith("score.")]
    suites = [name for name in scored.columns if name.startswith("forgetting.")]
    best = scored.sort_values(["quality", "number"], ascending=[False, True]).head(TOP)
    columns = ("Trial", "Model", "Method", "Examples", "Mix", "Quality")
    table = data_table(
        (
            *columns,
            *(name.removeprefix("score.") for name in tasks),
            *(f"Lost on {name.removeprefix('forgetting.')}" for name in suites),
            "Device time",
        ),
        [_trial(row, tasks, suites) for row in plain_rows(best)],
        text=(1, 2, 4),
    )
    lead = f"{count(len(best))} of {plural(len(scored), 'scored trial')}, by weighted quality."
    return card(title, table, lead=lead)


def _trial(row: dict[str, Any], tasks: list[str], suites: list[str]) -> tuple[str, ...]:
    variant = row["variant"] or ""
    rank = "" if row["rank"] is None else f"rank {count(row['rank'])}"
    return (
        count(row["number"]),
        str(row["model"]),
        " ".join(part for part in (row["method"], variant, rank) if part),
        count(row["volume"]),
        str(row["mix"] or ABSENT),
        quality(row["quality"]),
        *(percent(row[task]) for task in tasks),
        *(percent(row[suite]) for suite in suites),
        duration(row["device_seconds"]),
    )


def _recommendation(view: SweepView, query: Query, theme: str | None) -> list[Any]:
    """The page with its file folded away, which is long and here without folders."""
    page = html.Div(recommend.content(view, query, theme), className="stack")
    try:
        text = page["yaml-text"]
    except KeyError:  # nothing to choose from, or nothing here trains it
        return [page]
    note = "Here without the folders that its files lie in; this command writes it whole:"
    page["yaml-text"] = html.Div(
        [behind(f"Show {FILE_NAME}", text), html.P(note, className="note")],
    )
    return [page]


def _generalisation(view: SweepView, query: Query, theme: str | None) -> list[Any]:
    """All models side by side: nobody can pick another here."""
    return generalisation.content(view, query.put(model=ALL), theme)


def _by_task(view: SweepView, query: Query, theme: str | None) -> list[Any]:
    """The scaling page of each task that counts, one after the other under one heading."""
    tasks = [task for task, weight in view.analysis.objective.weights.items() if weight > 0][
        :MAX_TASKS
    ]
    pages = [scaling.content(view, query.put(task=task), theme) for task in tasks]
    return [folded(part) for i, page in enumerate(pages) for part in page[min(i, 1) :]]


def folded(part: Any) -> Any:
    """The card *part* with its long tables behind a line that opens them: a report is read from above."""
    for i, child in enumerate(part.children if isinstance(part, html.Section) else ()):
        if "scroll" in str(getattr(child, "className", "")).split():
            rows = child.children.children[1].children
            if len(rows) > FOLDED:
                part.children[i] = behind(f"Show the {len(rows)} rows", child)
    return part


def _mixes(view: SweepView, query: Query, theme: str | None) -> list[Any]:
    """The task mix page, which is of one model and method."""
    parts = mix.content(view, query, theme)
    if chosen := mix.model_and_method(view, query):
        model, method = chosen
        words = (
            f"Of {model} by {mix.method_name(method)}; the dashboard shows every model and method."
        )
        parts.insert(1, html.P(words, className="note"))
    return [html.Div(parts, className="stack")]


def _held(content: Callable[[Query], Any], query: Query) -> list[Any]:
    """The *content*, or in its place why it cannot be shown."""
    try:
        return list(content(query))
    except SftSelectError as error:
        return [card("This cannot be shown yet", empty("Not yet", str(error), small=True))]
