"""How each method and size gains from more examples: measured points, laws, and how far to trust them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import pandas as pd
from dash import html

from dashboards.components import (
    Choice,
    behind,
    card,
    data_table,
    empty,
    graph,
    legend,
    page_head,
    picker,
)
from dashboards.figures.scaling import AHEAD, Curve, Scaling, scaling
from dashboards.figures.scaling_chart import draw_scaling
from dashboards.figures.theme import method_words, palette
from dashboards.figures.wording import ABSENT, compact, count, percent
from dashboards.page import whole
from dashboards.snapshot import SweepView
from dashboards.state import Query, href, one_of
from tracker.select.curves import Metric

TITLE = "Scaling"
PATH = "/scaling"
METRIC_WORDS: dict[Metric, str] = {
    "score": "Score",
    "bits_per_byte": "Bits per byte",
    "loss_nats": "Loss, nats",
}


class Shown(NamedTuple):
    """What the page shows: the query's wishes where they exist, the first of each otherwise."""

    task: str
    metric: Metric
    mix: str
    models: tuple[str, ...]
    log_x: bool
    together: bool


def shown(table: pd.DataFrame, query: Query) -> Shown | None:
    """Settle *query* against what was measured; ``None`` before the first tuned result."""
    tuned = table[(table["method"] != "none") & table["task"].notna()]
    if tuned.empty:
        return None
    tasks, mixes = _tasks(tuned), _mixes(tuned)
    metrics = [m for m in METRIC_WORDS if tuned[m].notna().any()]
    if not metrics:
        return None
    models = _models(tuned)
    return Shown(
        task=one_of(tasks, query.get("task")),
        metric=one_of(metrics, query.get("metric")),
        mix=one_of(mixes, query.get("mix")),
        models=tuple(m for m in models if m in query.many("models")) or models,
        log_x=query.get("axis") != "linear",
        together=query.get("view") == "together",
    )


def _tasks(tuned: pd.DataFrame) -> list[str]:
    """Trained tasks first, then those only evaluated."""
    trained = tuned[tuned["examples"] > 0]["task"].unique().tolist()
    return list(dict.fromkeys([*trained, *tuned["task"].unique().tolist()]))


def _mixes(tuned: pd.DataFrame) -> list[str]:
    """The mix measured most often first: it has the longest curves."""
    return [str(mix) for mix in tuned["mix"].value_counts().index]


def _models(tuned: pd.DataFrame) -> tuple[str, ...]:
    ordered = tuned.sort_values("parameters").drop_duplicates("model")["model"]
    return tuple(str(model) for model in ordered)


def content(view: SweepView, query: Query, theme: str | None) -> list[Any]:
    """The page for *view* in the state *query*."""
    table = view.findings.table
    state = shown(table, query)
    lead = (
        "Each mark is a real fine-tune. Each line is a law fitted to them, with the band in which "
        "80 of 100 further runs should fall. Dashed means ahead of anything measured."
    )
    head = page_head("What more data buys", lead)
    if state is None:
        return [
            head,
            card("Curves", empty("No trials yet", "Curves appear with the first results.")),
        ]
    data = scaling(
        table,
        view.findings.fits(state.task, state.metric),
        task=state.task,
        mix=state.mix,
        metric=state.metric,
        models=state.models,
    )
    return [head, _pickers(table, query, state), _charts(data, state, theme), _laws(data)]


def _pickers(table: pd.DataFrame, query: Query, state: Shown) -> html.Div:
    tuned = table[(table["method"] != "none") & table["task"].notna()]

    def choices(field: str, options: Iterable[tuple[str, str]], now: str) -> list[Choice]:
        return [
            Choice(words, href(PATH, query.put(**{field: value})), value == now)
            for value, words in options
        ]

    models = _models(tuned)
    metrics = [(m, words) for m, words in METRIC_WORDS.items() if tuned[m].notna().any()]
    return html.Div(
        [
            picker("Task", choices("task", [(t, t) for t in _tasks(tuned)], state.task)),
            picker("Measure", choices("metric", metrics, state.metric)),
            picker("Task mix", choices("mix", [(m, m) for m in _mixes(tuned)], state.mix)),
            picker("Models", _model_choices(models, query, state)),
            picker(
                "Examples axis",
                choices(
                    "axis",
                    [("", "Log"), ("linear", "Linear")],
                    "" if state.log_x else "linear",
                ),
            ),
            picker(
                "Models side by side",
                choices(
                    "view",
                    [("", "Apart"), ("together", "Together")],
                    "together" if state.together else "",
                ),
            )
            if len(state.models) > 1
            else None,
        ],
        className="pickers",
    )


def _model_choices(models: tuple[str, ...], query: Query, state: Shown) -> list[Choice]:
    """Toggles: a press takes a model out or puts it back; the last one cannot be taken out."""
    found = []
    for model in models:
        kept = tuple(m for m in models if (m in state.models) != (m == model))
        wanted = () if len(kept) == len(models) else kept or (model,)
        link = href(PATH, query.put(models=wanted))
        found.append(Choice(model, link, model in state.models))
    return found


def _charts(data: Scaling, state: Shown, theme: str | None) -> html.Section:
    colours = palette(theme)
    models = list(data.models)
    title = f"{data.task}, {METRIC_WORDS[data.metric].lower()} against examples"
    if not models:
        detail = "Pick another task, mix or model: this combination has no result yet."
        return card(title, empty("Nothing measured here", detail, small=True))
    groups = [models] if state.together or len(models) == 1 else [[model] for model in models]
    facets = [
        html.Div(
            [
                _facet_title(group, data),
                graph(
                    draw_scaling(data, colours, models=group, log_x=state.log_x),
                    _in_words(data, group),
                    height=440 if len(groups) == 1 else 360,
                ),
            ],
            className="facet",
        )
        for group in groups
    ]
    marks = [("none", "untouched base"), ("solid", "law"), ("dashed", "ahead of measurement")]
    mix = f"Mix {state.mix}. " if state.mix else ""
    note = (
        f"{mix}Error bars: 80 % interval from the validation rows. Lines run to "
        f"{AHEAD:g} times the largest volume measured. Hollow marks lie under no law: runs that "
        "looked for a learning rate, or too few volumes."
    )
    return card(
        title,
        legend(data.methods, [*marks, ("band", "80 % band")]),
        html.Div(facets, className=f"facets of-{min(len(facets), 5)}"),
        html.P(note, className="note"),
        behind("Show the measured points", _points_table(data)),
    )


def _facet_title(group: list[str], data: Scaling) -> html.H3:
    if len(group) == 1:
        known = data.models[group[0]]
        size = "" if known is None else f" {compact(known)} parameters"
        return html.H3([group[0], html.Span(size, className="quiet")])
    words = f"{', '.join(group)}: the larger the model, the stronger the colour"
    return html.H3(words)


def _in_words(data: Scaling, group: list[str]) -> str:
    names = [f"{method_words(c.method)} on {c.model}" for c in data.curves if c.model in group]
    return f"{data.title} of {data.task} against training examples for {', '.join(dict.fromkeys(names))}"


def _points_table(data: Scaling) -> html.Div:
    def value(number: float | None) -> str:
        return percent(number) if data.metric == "score" else _plain(number)

    curves = [(c.model, method_words(c.method), p) for c in data.curves for p in c.points]
    loose = [(model, method_words(method), point) for model, method, point in data.strays]
    rows: list[tuple[str, ...]] = [
        (
            model,
            method,
            count(p.examples),
            value(p.value),
            f"{value(p.low)} to {value(p.high)}" if p.low is not None else ABSENT,
            ABSENT if p.learning_rate is None else f"{p.learning_rate:.2g}",
            str(p.seed),
            str(p.number),
            "yes" if p.used else "no",
        )
        for model, method, p in [*curves, *loose]
    ]
    rows += [
        (base.model, "Untouched base", "0", value(base.value), *[ABSENT] * 5) for base in data.bases
    ]
    head = (
        "Model", "Method", "Examples", METRIC_WORDS[data.metric], "80 % interval",
        "Learning rate", "Seed", "Trial", "Under a law",
    )  # fmt: skip
    return data_table(head, rows, text=(0, 1))


def _laws(data: Scaling) -> html.Section:
    rows = [_law_row(curve, data.metric) for curve in data.curves]
    head: tuple[str, ...] = (
        "Model", "Setting", "Measured at", "At the largest volume", "At twice that",
        "Held-out error", "Note",
    )  # fmt: skip
    if not any(row[-1] for row in rows):
        head, rows = head[:-1], [row[:-1] for row in rows]
    lead = (
        "Held-out error: the law is fitted again without its largest volume, and asked for it. "
        + (
            "It is the relative error in one minus the score."
            if data.metric == "score"
            else "It is the relative error in the loss."
        )
    )
    return card("How far to trust each law", data_table(head, rows, text=(0, 1, 6)), lead=lead)


def _law_row(curve: Curve, metric: Metric) -> tuple[str, ...]:
    volumes = sorted({p.examples for p in curve.points})
    measured = ", ".join(count(v) for v in volumes)
    if curve.line is None:
        return curve.model, curve.setting, measured, ABSENT, ABSENT, ABSENT, curve.why_not or ""
    line = curve.line
    at_end = line.measured - 1
    double = min(range(len(line.examples)), key=lambda i: abs(line.examples[i] - 2 * volumes[-1]))
    note = "no volume to spare for a check" if curve.held_out_error is None else ""
    return (
        curve.model,
        curve.setting,
        measured,
        _band(line.value[at_end], line.low[at_end], line.high[at_end], metric),
        _band(line.value[double], line.low[double], line.high[double], metric),
        percent(curve.held_out_error),
        note,
    )


def _band(value: float, low: float, high: float, metric: Metric) -> str:
    if metric == "score":
        return f"{percent(value)} ({percent(low)} to {percent(high)})"
    return f"{_plain(value)} ({_plain(low)} to {_plain(high)})"


def _plain(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.3f}"


PAGE = whole(PATH, TITLE, content)
