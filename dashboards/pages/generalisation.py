"""What tuning costs beyond its tasks: general ability, other tasks, and answers where none belong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dash import html

from dashboards.charts.forgetting import Forgetting, draw_forgetting, forgetting_of
from dashboards.charts.generalisation import (
    ALL,
    TOGETHER,
    TRANSFER,
    Generalisation,
    Shown,
    Spot,
    Value,
    cost_sentence,
    draw_generalisation,
    generalisation_of,
    models_of,
    reach,
    shown,
    spots_at,
    suites_of,
    untrained,
    weighted,
)
from dashboards.charts.overreach import (
    KINDS,
    Overreach,
    Panel,
    answer_sentences,
    axis_title,
    draw_panel,
    overreach,
)
from dashboards.charts.theme import Palette, in_order, method_words, palette
from dashboards.charts.tuned import mixes_of, sizes_of, tasks_of, tuned_of, volumes_of
from dashboards.charts.wording import compact
from dashboards.components import (
    Choice,
    Links,
    behind,
    card,
    data_table,
    empty,
    graph,
    legend,
    link,
    page_head,
    picker,
    pill,
)
from dashboards.page import no_results, slow
from dashboards.snapshot import SweepView
from dashboards.state import Query, href
from tracker.cache import Latest, SingleFlightCache
from tracker.errors import SftSelectError
from tracker.numbers import ABSENT, count, percent, quality, signed_percent

TITLE = "Generalisation"
PATH = "/generalisation"
_PATIENCE = 0.15


def content(
    view: SweepView, query: Query, theme: str | None, answers: SingleFlightCache | None = None
) -> list[Any]:
    """The page for *view* in the state *query*; without *answers* it waits for the laws."""
    lead = (
        "A fine-tuned model is better at its tasks and may be worse at everything else. Here is what "
        "each method gained, and what it cost."
    )
    head = "What tuning costs elsewhere"
    state = shown(view.analysis, query)
    if state is None:
        detail = "What was gained and lost appears with the first tuned model."
        return [page_head(head, lead), card("Quality and cost", no_results(view, detail))]
    laws = _laws(view, answers)
    badge = None if laws.fresh else pill("Fitting the laws of forgetting", "live")
    colours = palette(theme)
    data = generalisation_of(view.analysis, state)
    models = [m for m in data.sizes if state.model in (m, ALL, TOGETHER)]
    one = models[-1] if models else next(iter(sizes_of(tuned_of(view.analysis.table))))
    groups = [models] if state.model == TOGETHER else [[model] for model in models]
    task = state.task if state.task != ALL else tasks_of(tuned_of(view.analysis.table))[0]
    settings = {path.method: path.setting for path in data.paths if path.model == one}
    given = overreach(view.analysis.table, task=task, model=one, mix=state.mix, settings=settings)
    return [
        page_head(head, lead, badge=badge),
        _pickers(view, query, state),
        tradeoff_card(data, groups, state.volume, colours, absent=_absent(view, query, state)),
        forgetting_card(_forgetting(view, state, laws, models), laws, colours, log_x=state.log_x)
        if state.cost != TRANSFER
        else None,
        answers_card(given, state.volume, colours, log_x=state.log_x, of_all=state.task == ALL),
    ]


def _absent(view: SweepView, query: Query, state: Shown) -> tuple[str, list[Any]]:
    """A heading and words for why this combination has nothing to show, in case it has."""
    if state.cost != TRANSFER:
        why = f"No trial of mix {state.mix} has both this task and {state.cost} measured."
        if not suites_of(view.analysis.table):
            why = "The sweep measured no general suite: list one under general in the sweep file."
        return "Nothing measured here", [why]
    mixes = untrained(view.analysis.table)
    if not mixes:
        return "No task was left untrained", [
            "Every mix trains every task, so what tuning does to a task it has not seen was not "
            "measured. A mix that leaves a task out, listed under mixes in the sweep file, would tell."
        ]
    told: list[Any] = []
    for mix, tasks in mixes.items():
        models = _run_under(view, mix)
        if state.model in (*models, ALL, TOGETHER):
            if mix == state.mix:
                continue  # this is what has nothing to show
            there, of = query.put(mix=mix), ""
        else:
            there, of = query.put(mix=mix, model=models[0]), f" on {models[0]}"
        named = link(Choice(f"Show mix {mix}{of}", href(PATH, there), False))
        told += [html.Br(), named, f", which was not trained on {', '.join(tasks)}."]
    if state.mix in mixes:
        why = (
            f"Mix {state.mix} leaves out {', '.join(mixes[state.mix])}, but no trial of it on this model "
            "measured both such a task and what quality is asked of, beside the untouched base."
        )
        return "Nothing measured here", [why, *told]
    why = (
        f"Mix {state.mix} trains every task, so it cannot show what tuning does to a task it has not "
        f"seen. {'This mix tells' if len(mixes) == 1 else 'These mixes tell'}:"
    )
    return f"Mix {state.mix} leaves no task untrained", [why, *told]


def _run_under(view: SweepView, mix: str) -> list[str]:
    """Models tuned with *mix*, the largest first."""
    tuned = tuned_of(view.analysis.table)
    return list(reversed(sizes_of(tuned[tuned["mix"] == mix])))


def _laws(view: SweepView, answers: SingleFlightCache | None) -> Latest:
    analysis = view.analysis
    try:
        if answers is None:
            return Latest(analysis.forgetting_laws, True)
        return answers.get_later(
            _question(view), analysis.version, lambda: analysis.forgetting_laws, _PATIENCE
        )
    except SftSelectError:
        return Latest(None, True)


def _question(view: SweepView) -> tuple[str, str]:
    return view.info.name, "forgetting"


def _forgetting(view: SweepView, state: Shown, laws: Latest, models: list[str]) -> list[Forgetting]:
    if laws.value is None:
        return []
    at = {"mix": state.mix, "suite": state.cost}
    return [forgetting_of(view.analysis, laws.value, model=model, **at) for model in models]


def _pickers(view: SweepView, query: Query, state: Shown) -> html.Div:
    table = view.analysis.table
    tuned = tuned_of(table)
    choices = Links(PATH, query).choices
    tasks = [(t, t) for t in tasks_of(tuned)]
    if weighted(view.analysis):
        tasks.insert(0, (ALL, "All, weighted"))
    costs = [*((s, s) for s in suites_of(table)), (TRANSFER, "Untrained tasks")]
    words = {ALL: "All, apart", TOGETHER: "All, together"}
    models = [(m, words.get(m, m)) for m in models_of(tuned)]
    volumes = volumes_of(tuned[tuned["mix"] == state.mix], ahead=False)
    return html.Div(
        [
            picker("Quality on", choices("task", tasks, state.task)),
            picker("Cost on", choices("cost", costs, state.cost)),
            picker("Model", choices("model", models, state.model)),
            picker("Task mix", choices("mix", [(m, m) for m in mixes_of(tuned)], state.mix)),
            picker(
                "In words at",
                choices("volume", [(str(v), f"{v:,}") for v in volumes], str(state.volume)),
            ),
            picker(
                "Examples axis",
                choices(
                    "axis",
                    [("", "Log"), ("linear", "Linear")],
                    "" if state.log_x else "linear",
                ),
            ),
        ],
        className="pickers",
    )


def tradeoff_card(
    data: Generalisation,
    groups: Sequence[list[str]],
    volume: int,
    colours: Palette,
    *,
    absent: tuple[str, list[Any]],
) -> html.Section:
    """Quality against cost, a chart a group of models; *absent*: a heading and why there may be nothing."""
    title = "Quality against what it cost elsewhere"
    lead = (
        "Every path begins at the untouched model, the cross, and follows one method through more and "
        "more examples. Up is better at the task, right is more lost elsewhere. The grey steps are the "
        "Pareto front: nothing here loses less and scores more than what lies on it."
    )
    models = [model for group in groups for model in group]
    if not any(path.model in models for path in data.paths):
        heading, why = absent
        return card(title, empty(heading, why, small=True))
    sentences = [
        html.Li([html.Strong(f"{model}. "), cost_sentence(spot, data)])
        for model in models[-1:]  # of several the largest: the charts and the table show them all
        for spot in spots_at(data, model, volume)
    ]
    facets = [
        html.Div(
            [
                html.H3(_heading(group, data)),
                graph(
                    draw_generalisation(data, colours, models=group),
                    _in_words(data, group),
                    height=460 if len(groups) == 1 else 380,
                ),
            ],
            className="facet",
        )
        for group in groups
    ]
    note = (
        "Bars: 80 % interval, of the rows evaluated and of the chance between seeds. The number at a "
        "path's end is its largest volume; marks grow with volume. Faint marks: other settings of the "
        f"method than the one run at most volumes{_outside(data, groups)}."
    )
    return card(
        title,
        _answers(volume, sentences),
        legend(data.methods, [("cross", "untouched base"), ("solid", "Pareto front")]),
        html.Div(facets, className=f"facets of-{min(len(facets), 5)}"),
        html.P(note, className="note"),
        behind("Show the numbers", _spot_table(data, models)),
        lead=lead,
    )


def _answers(volume: int, sentences: list[html.Li]) -> html.Div | None:
    if not sentences:
        return None
    head = html.P(f"At {count(volume)} examples, with 80 % intervals in brackets:")
    return html.Div([head, html.Ul(sentences, className="points answers")])


def _outside(data: Generalisation, groups: Sequence[list[str]]) -> str:
    """How many faint marks lie beyond what is drawn."""
    number = 0
    for group in groups:
        low, high = reach(data, group)
        losses = [s.lost.value for s in data.others if s.model in group]
        number += sum(not low <= lost <= high for lost in losses)
    return f"; {number} of them lie outside and are in the table" if number else ""


def _heading(group: list[str], data: Generalisation) -> list[object]:
    if len(group) > 1:
        return [f"{', '.join(group)}: the larger the model, the stronger the colour"]
    size = data.sizes.get(group[0])
    words = "" if size is None else f" {compact(size)} parameters"
    return [group[0], html.Span(words, className="quiet")]


def _in_words(data: Generalisation, group: list[str]) -> str:
    what = "untrained tasks" if data.cost == TRANSFER else data.cost
    methods = ", ".join(method_words(m) for m in data.methods)
    return f"Quality against what is lost on {what}, for {', '.join(group)} by {methods}"


def _spot_table(data: Generalisation, models: Sequence[str]) -> html.Div:
    front = {model: set(data.front(models)) for model in models}
    spots = [s for path in data.paths for s in path.spots] + list(data.others)
    rows = [_spot_row(s, front[s.model]) for s in spots if s.model in models]
    bases = [
        (
            model,
            "Untouched base",
            "0",
            quality(base.value),
            _both(base),
            percent(0.0),
            ABSENT,
            ABSENT,
        )
        for model, base in data.bases.items()
        if model in models
    ]
    head = (
        "Model", "Setting", "Examples", "Quality", "80 % interval", "Lost", "80 % interval",
        "On the front",
    )  # fmt: skip
    return data_table(head, [*bases, *rows], text=(0, 1))


def _spot_row(spot: Spot, front: set[tuple[float, float]]) -> tuple[str, ...]:
    lost = spot.lost
    return (
        spot.model,
        spot.setting,
        count(spot.volume),
        quality(spot.quality.value),
        _both(spot.quality),
        percent(lost.value),
        ABSENT if lost.low is None else f"{percent(lost.low)} to {percent(lost.high)}",
        "yes" if (lost.value, spot.quality.value) in front else "no",
    )


def _both(value: Value) -> str:
    return ABSENT if value.low is None else f"{quality(value.low)} to {quality(value.high)}"


def forgetting_card(
    found: Sequence[Forgetting], laws: Latest, colours: Palette, *, log_x: bool
) -> html.Section:
    """What each method forgets against examples, a chart a model."""
    title = "What is forgotten as examples grow"
    lead = (
        "Runs of one learning rate for each method, and the law fitted to them over volumes, model "
        "sizes and replay, with the band in which 80 of 100 runs should fall. Dashed: ahead of "
        "anything measured. The dotted line is the untouched model."
    )
    if laws.value is None and not laws.fresh:
        return card(title, empty("Not yet", "The laws are being fitted.", small=True), lead=lead)
    known = [data for data in found if data.curves]
    refused = dict(laws.value.refused) if laws.value is not None else {}
    reasons = html.Ul(
        [html.Li(f"{label}: {why}.") for label, why in refused.items()], className="note"
    )
    if not known:
        detail = "A law of forgetting takes four runs at three volumes of a method."
        nothing = empty("No law of forgetting here", detail, small=True)
        return card(title, nothing, reasons if refused else None, lead=lead)
    facets = [
        html.Div(
            [
                html.H3(data.model),
                graph(
                    draw_forgetting(data, colours, log_x=log_x),
                    f"General ability lost on {data.suite} against examples for {data.model}",
                    height=340,
                ),
            ],
            className="facet",
        )
        for data in known
    ]
    return card(
        title,
        legend(
            in_order(c.method for data in known for c in data.curves),
            [("solid", "law"), ("dashed", "ahead of measurement"), ("band", "80 % band")],
        ),
        html.Div(facets, className=f"facets of-{min(len(facets), 5)}"),
        _without_line(known),
        reasons if refused else None,
        behind("Show the laws", _law_table(known)),
        lead=lead,
    )


def _without_line(found: Sequence[Forgetting]) -> html.P | None:
    """Which methods have marks alone, and why."""
    curves = [curve for data in found for curve in data.curves if not curve.examples]
    if not curves:
        return None
    names = ", ".join(method_words(m) for m in in_order(curve.method for curve in curves))
    words = (
        f"{names}: marks alone. No law foretold the largest volume better than the average over all models, "
        "and that is surely not this model's; or its size lies too far from those measured."
    )
    return html.P(words, className="note")


def _law_table(found: Sequence[Forgetting]) -> html.Div:
    rows = [
        (data.model, curve.label, *_ends(curve.value, curve.low, curve.high, curve.measured),
         percent(curve.held_out_error), curve.form or ABSENT)
        for data in found
        for curve in data.curves
    ]  # fmt: skip
    head = (
        "Model", "Method", "Lost at the largest volume", "At the end of the line",
        "Held-out error", "Form of the law",
    )  # fmt: skip
    return data_table(head, rows, text=(0, 1, 5))


def _ends(
    value: Sequence[float], low: Sequence[float], high: Sequence[float], measured: int
) -> tuple[str, str]:
    if not value:
        return ABSENT, ABSENT
    at = (measured - 1, len(value) - 1)
    words = [f"{percent(value[i])} ({percent(low[i])} to {percent(high[i])})" for i in at]
    return words[0], words[1]


def answers_card(
    data: Overreach, volume: int, colours: Palette, *, log_x: bool, of_all: bool
) -> html.Section:
    """Recall, precision, over-reach and valid format, each a panel."""
    title = f"What {data.model} answers on {data.task}, and what wrongly"
    hint = " Pick one task above to see another." if of_all else ""
    lead = (
        "A tuned model answers more. Whether it also answers wrongly more shows here: each against the "
        f"untouched base, the dotted line at zero.{hint}"
    )
    if not data.panels:
        detail = (
            "None of recall, precision, over-reach and valid format was measured for this task."
        )
        return card(title, empty("Not measured", detail, small=True), lead=lead)
    facets = [_panel(panel, data, colours, log_x=log_x) for panel in data.panels]
    lacking = ", ".join(KINDS[kind][0].lower() for kind in data.missing)
    missing = f" Not measured for this task: {lacking}." if lacking else ""
    sentences = answer_sentences(data, volume)
    return card(
        title,
        _answers(volume, [html.Li(sentence) for sentence in sentences]),
        legend(data.methods, [("none", "untouched base")]),
        html.Div(facets, className="facets of-4"),
        html.P(
            "Bars: 80 % interval as if every validation row entered; precision and over-reach rest on "
            f"fewer rows, so theirs are at least as wide.{missing}",
            className="note",
        ),
        behind("Show the numbers", _answers_table(data)),
        lead=lead,
    )


def _panel(panel: Panel, data: Overreach, colours: Palette, *, log_x: bool) -> html.Div:
    name, meaning = KINDS[panel.kind]
    base = "the base has none, so values stand as they are" if panel.base is None else (
        f"base {percent(panel.base)}"
    )  # fmt: skip
    return html.Div(
        [
            html.H3([name, html.Span(f" {meaning}; {base}", className="quiet")]),
            graph(
                draw_panel(panel, colours, log_x=log_x),
                f"{axis_title(panel)}, of {data.model} on {data.task}, against examples",
                height=280,
            ),
        ],
        className="facet",
    )


def _answers_table(data: Overreach) -> html.Div:
    rows = [
        (
            KINDS[panel.kind][0],
            method_words(trace.method),
            count(r.volume),
            percent(r.value),
            percent(panel.base),
            signed_percent(r.change) if panel.base is not None else ABSENT,
            ABSENT if r.low is None else f"{signed_percent(r.low)} to {signed_percent(r.high)}",
            str(r.runs),
        )
        for panel in data.panels
        for trace in panel.traces
        for r in trace.readings
    ]
    head = (
        "Quantity", "Method", "Examples", "Value", "Base", "Change", "80 % interval", "Runs",
    )  # fmt: skip
    return data_table(head, rows, text=(0, 1))


PAGE = slow(PATH, TITLE, content, lambda view, _query: (_question(view),))
