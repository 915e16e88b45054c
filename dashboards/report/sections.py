"""The report's sections: the contents of the pages in the order of reading, and the best trials."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from dash import html

from dashboards.answers import FILE_NAME
from dashboards.charts.generalisation import ALL
from dashboards.components import behind, card, data_table, empty
from dashboards.pages import data, generalisation, mix, recommend, scaling
from dashboards.report.document import Section
from dashboards.snapshot import SweepView
from dashboards.state import Query
from dashboards.trials.frame import plain_rows
from tracker.errors import SftSelectError
from tracker.numbers import ABSENT, count, duration, in_measure, percent, plural, quality
from tracker.price import Price, with_price

#: Rows of the table of the best trials.
MAX_TRIALS = 50
#: Tasks with a part of their own in the scaling section.
MAX_TASKS = 8
#: Rows of the longest table that is not folded.
MAX_UNFOLDED = 6
TRIALS = "Trials"
Content = Callable[[SweepView, Query, str | None], Any]


def sections(view: SweepView, question: Query) -> list[Section]:
    """The sections of the report of *view*; *question*: the query with the question to recommend for."""
    plain = Query(question.sweep)

    def part(title: str, content: Content, query: Query = plain) -> Section:
        anchor = title.lower().replace(" ", "-")
        return Section(anchor, title, lambda theme: _or_reason(content, view, query, theme))

    return [
        part(recommend.TITLE, _recommendation, question),
        part(scaling.TITLE, _by_task),
        part(generalisation.TITLE, _generalisation),
        part(mix.TITLE, _mixes),
        part(TRIALS, lambda view, _query, _theme: [best_trials(view)]),
        part(data.TITLE, data.content),
    ]


def head(view: SweepView) -> list[Any]:
    """The title, and the state of the sweep when the report was written."""
    statuses = Counter(str(record.result.status.value) for record in view.analysis.records)
    counts = ", ".join(f"{count(n)} {status}" for status, n in statuses.most_common())
    seconds = [r.result.cost.device_seconds for r in view.analysis.records]
    spent = sum(s for s in seconds if s is not None)
    price = Price.of_facts(view.info.facts)
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(view.read_at))
    facts = [
        f"{plural(sum(statuses.values()), 'trial')} ended ({counts or 'none'})",
        f"{with_price(duration(spent), price, spent)} of device time" if spent else "",
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
    tasks = [name for name in scored.columns if name.startswith(("score.", "error."))]
    suites = [name for name in scored.columns if name.startswith("forgetting.")]
    best = scored.sort_values(["quality", "number"], ascending=[False, True]).head(MAX_TRIALS)
    columns = ("Trial", "Model", "Method", "Examples", "Mix", "Quality")
    table = data_table(
        (
            *columns,
            *(
                name.removeprefix("score.")
                if name.startswith("score.")
                else f"{name.removeprefix('error.')}, lower is better"
                for name in tasks
            ),
            *(f"Lost on {name.removeprefix('forgetting.')}" for name in suites),
            "Device time",
        ),
        [_trial(row, tasks, suites, view.analysis.scores_alone) for row in plain_rows(best)],
        text=(1, 2, 4),
    )
    lead = f"{count(len(best))} of {plural(len(scored), 'scored trial')}, by weighted quality."
    return card(title, table, lead=lead)


def _trial(
    row: dict[str, Any], tasks: list[str], suites: list[str], scored: bool
) -> tuple[str, ...]:
    variant = row["variant"] or ""
    rank = "" if row["rank"] is None else f"rank {count(row['rank'])}"
    return (
        count(row["number"]),
        str(row["model"]),
        " ".join(part for part in (row["method"], variant, rank) if part),
        count(row["volume"]),
        str(row["mix"] or ABSENT),
        quality(row["quality"], scored=scored),
        *(
            percent(row[task]) if task.startswith("score.") else in_measure(row[task], "error")
            for task in tasks
        ),
        *(percent(row[suite]) for suite in suites),
        duration(row["device_seconds"]),
    )


def _recommendation(view: SweepView, query: Query, theme: str | None) -> list[Any]:
    """The Recommendation page with its file folded, which is long and here without folders."""
    page = html.Div(recommend.content(view, query, theme), className="stack")
    try:
        text = page["yaml-text"]
    except KeyError:  # there is no choice, or it cannot be trained here
        return [page]
    note = "Without the folders of its files; this command writes the whole file:"
    page["yaml-text"] = html.Div(
        [behind(f"Show {FILE_NAME}", text), html.P(note, className="note")],
    )
    return [page]


def _generalisation(view: SweepView, query: Query, theme: str | None) -> list[Any]:
    """The Generalisation page with all models side by side, as a report has no picker."""
    return generalisation.content(view, query.put(model=ALL), theme)


def _by_task(view: SweepView, query: Query, theme: str | None) -> list[Any]:
    """The Scaling page of each weighted task, one after the other under one heading."""
    tasks = [task for task, weight in view.analysis.objective.weights.items() if weight > 0][
        :MAX_TASKS
    ]
    pages = [scaling.content(view, query.put(task=task), theme) for task in tasks]
    return [folded(part) for i, page in enumerate(pages) for part in page[min(i, 1) :]]


def folded(part: Any) -> Any:
    """The card *part* with its long tables behind a line that opens them."""
    for i, child in enumerate(part.children if isinstance(part, html.Section) else ()):
        if "scroll" in str(getattr(child, "className", "")).split():
            rows = child.children.children[1].children
            if len(rows) > MAX_UNFOLDED:
                part.children[i] = behind(f"Show the {len(rows)} rows", child)
    return part


def _mixes(view: SweepView, query: Query, theme: str | None) -> list[Any]:
    """The Task mix page, with a note on the one model and method that it shows."""
    parts = mix.content(view, query, theme)
    if chosen := mix.model_and_method(view, query):
        model, method = chosen
        words = f"{model} by {mix.method_name(method)}. The dashboard shows every model and method."
        parts.insert(1, html.P(words, className="note"))
    return [html.Div(parts, className="stack")]


def _or_reason(content: Content, view: SweepView, query: Query, theme: str) -> list[Any]:
    """The *content*, or the reason why it cannot be shown."""
    try:
        return list(content(view, query, theme))
    except SftSelectError as error:
        return [card("This cannot be shown yet", empty("Not yet", str(error), small=True))]
