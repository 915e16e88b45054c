"""The generalisation page: loss of general ability and on untrained tasks, false positives on negatives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from dash import html

from dashboards.charts.false_positives import (
    ANSWER_MEASURES,
    AnswerPanel,
    AnswerQuality,
    AnswerRates,
    answer_quality,
    answer_rates,
    answer_sentences,
    axis_title,
    draw_answer_panel,
)
from dashboards.charts.forgetting import Forgetting, draw_forgetting, forgetting_of
from dashboards.charts.generalisation import (
    ALL,
    TOGETHER,
    TRANSFER,
    ConfigurationPoint,
    Generalisation,
    GeneralisationState,
    cost_sentence,
    draw_generalisation,
    generalisation_of,
    generalisation_state,
    loss_range,
    model_options,
    points_at,
    suites_of,
    untrained_tasks,
    weighted_tasks,
)
from dashboards.charts.marks import LawLine
from dashboards.charts.theme import Palette, method_label, ordered_methods, palette
from dashboards.charts.tuned import mixes_of, sizes_of, tasks_of, tuned_of, volumes_of
from dashboards.charts.wording import estimate_short
from dashboards.components import (
    Choice,
    Facet,
    Links,
    behind,
    card,
    data_table,
    empty,
    facets,
    legend,
    link,
    models_heading,
    page_head,
    picker,
    pill,
)
from dashboards.page import no_results, slow
from dashboards.snapshot import SweepView
from dashboards.state import Query, href
from tracker.cache import Latest, SingleFlightCache
from tracker.errors import SftSelectError
from tracker.numbers import ABSENT, count, limits, percent, plural, points, quality

TITLE = "Generalisation"
PATH = "/generalisation"
_PATIENCE = 0.15
#: Rows of the table of every task's rates.
_MAX_RATES = 300


def content(
    view: SweepView, query: Query, theme: str | None, answers: SingleFlightCache | None = None
) -> list[Any]:
    """The page for *view* in the state *query*; without *answers* it waits for the laws."""
    lead = (
        "A fine-tuned model is better at its tasks and may be worse at everything else. This page shows "
        "what each method gained and what it lost."
    )
    head = "Quality gained, general ability lost"
    state = generalisation_state(view.analysis, query)
    if state is None:
        detail = "Gains and losses appear with the first tuned model."
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
    answered = answer_quality(
        view.analysis.table, task=task, model=one, mix=state.mix, settings=settings
    )
    return [
        page_head(head, lead, badge=badge),
        _pickers(view, query, state),
        tradeoff_card(data, groups, state.volume, colours, absent=_absent(view, query, state)),
        forgetting_card(_forgetting(view, state, laws, models), laws, colours, log_x=state.log_x)
        if state.cost != TRANSFER
        else None,
        answers_card(
            answered,
            answer_rates(view.analysis.table),
            state.volume,
            colours,
            log_x=state.log_x,
            of_all=state.task == ALL,
        ),
    ]


def _absent(view: SweepView, query: Query, state: GeneralisationState) -> tuple[str, list[Any]]:
    """Heading and reason for a combination in which nothing was measured."""
    if state.cost != TRANSFER:
        why = f"No trial of mix {state.mix} has both this task and {state.cost} measured."
        if not suites_of(view.analysis.table):
            why = "The sweep measured no general suite: list one under general in the sweep file."
        return "Nothing measured here", [why]
    mixes = untrained_tasks(view.analysis.table)
    if not mixes:
        return "No task was left untrained", [
            "Every mix trains every task, so no score on an untrained task was measured. To measure it, "
            "list a mix that leaves a task out under mixes in the sweep file."
        ]
    others: list[Any] = []
    for mix, tasks in mixes.items():
        models = _models_tuned_with(view, mix)
        if state.model in (*models, ALL, TOGETHER):
            if mix == state.mix:
                continue  # this is what has nothing to show
            there, of = query.put(mix=mix), ""
        else:
            there, of = query.put(mix=mix, model=models[0]), f" on {models[0]}"
        named = link(Choice(f"Show mix {mix}{of}", href(PATH, there), False))
        others += [html.Br(), named, f", which was not trained on {', '.join(tasks)}."]
    if state.mix in mixes:
        why = (
            f"Mix {state.mix} leaves out {', '.join(mixes[state.mix])}, but no trial of it on this model "
            "measured such a task and the tasks of the quality, beside the untouched base."
        )
        return "Nothing measured here", [why, *others]
    why = (
        f"Mix {state.mix} trains every task, so it has no score on an untrained task. "
        f"{'This mix has' if len(mixes) == 1 else 'These mixes have'} one:"
    )
    return f"Mix {state.mix} leaves no task untrained", [why, *others]


def _models_tuned_with(view: SweepView, mix: str) -> list[str]:
    """Models tuned with *mix*, the largest first."""
    tuned = tuned_of(view.analysis.table)
    return list(reversed(sizes_of(tuned[tuned["mix"] == mix])))


def _laws(view: SweepView, answers: SingleFlightCache | None) -> Latest:
    analysis = view.analysis
    try:
        if answers is None:
            return Latest(analysis.forgetting_laws, True)
        return answers.get_in_background(
            _question(view), analysis.version, lambda: analysis.forgetting_laws, _PATIENCE
        )
    except SftSelectError:
        return Latest(None, True)


def _question(view: SweepView) -> tuple[str, str]:
    return view.info.name, "forgetting"


def _forgetting(
    view: SweepView, state: GeneralisationState, laws: Latest, models: list[str]
) -> list[Forgetting]:
    if laws.value is None:
        return []
    at = {"mix": state.mix, "suite": state.cost}
    return [forgetting_of(view.analysis, laws.value, model=model, **at) for model in models]


def _pickers(view: SweepView, query: Query, state: GeneralisationState) -> html.Div:
    table = view.analysis.table
    tuned = tuned_of(table)
    choices = Links(PATH, query).choices
    tasks = [(t, t) for t in tasks_of(tuned)]
    if weighted_tasks(view.analysis):
        tasks.insert(0, (ALL, "All, weighted"))
    costs = [*((s, s) for s in suites_of(table)), (TRANSFER, "Untrained tasks")]
    words = {ALL: "All, apart", TOGETHER: "All, together"}
    models = [(m, words.get(m, m)) for m in model_options(tuned)]
    volumes = volumes_of(tuned[tuned["mix"] == state.mix], ahead=False)
    return html.Div(
        [
            picker("Quality on", choices("task", tasks, state.task)),
            picker("Cost on", choices("cost", costs, state.cost)),
            picker("Model", choices("model", models, state.model)),
            picker("Task mix", choices("mix", [(m, m) for m in mixes_of(tuned)], state.mix)),
            picker(
                "Sentences at",
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
    """Quality against loss, a chart per group of models; *absent*: heading and reason for an empty card."""
    title = "Quality against what is lost elsewhere"
    lead = (
        "Every path begins at the untouched model, the cross, and follows one method through more and "
        "more examples. Up is better at the task; right is more lost elsewhere. The grey steps are the "
        "Pareto front: nothing loses less and scores more than a point on it."
    )
    models = [model for group in groups for model in group]
    if not any(path.model in models for path in data.paths):
        heading, why = absent
        return card(title, empty(heading, why, small=True))
    sentences = [
        html.Li([html.Strong(f"{model}. "), cost_sentence(point, data)])
        for model in models[-1:]  # of several the largest: the charts and the table show them all
        for point in points_at(data, model, volume)
    ]
    charts = [
        Facet(
            models_heading(group, data.sizes),
            draw_generalisation(data, colours, models=group),
            _spoken(data, group),
            460 if len(groups) == 1 else 380,
        )
        for group in groups
    ]
    note = (
        "Bars: 80 % interval, from the rows evaluated and the noise between seeds. The number at a "
        "path's end is its largest training-set size; marks grow with the size. Pale marks: settings of the "
        f"method other than the one run at the most sizes{_outside(data, groups)}."
    )
    return card(
        title,
        _answers(volume, sentences),
        legend(data.methods, [("cross", "untouched base"), ("solid", "Pareto front")]),
        facets(charts),
        html.P(note, className="note"),
        behind("Show the numbers", _points_table(data, models)),
        lead=lead,
    )


def _answers(volume: int, sentences: list[html.Li]) -> html.Div | None:
    if not sentences:
        return None
    head = html.P(f"At {count(volume)} examples:")
    return html.Div([head, html.Ul(sentences, className="points answers")])


def _outside(data: Generalisation, groups: Sequence[list[str]]) -> str:
    """How many pale marks lie outside the range drawn."""
    number = 0
    for group in groups:
        low, high = loss_range(data, group)
        losses = [s.lost.value for s in data.others if s.model in group]
        number += sum(not low <= lost <= high for lost in losses)
    return f"; {number} of them lie outside and are in the table" if number else ""


def _spoken(data: Generalisation, group: list[str]) -> str:
    what = "untrained tasks" if data.cost == TRANSFER else data.cost
    methods = ", ".join(method_label(m) for m in data.methods)
    return f"Quality against what is lost on {what}, for {', '.join(group)} by {methods}"


def _points_table(data: Generalisation, models: Sequence[str]) -> html.Div:
    front = {model: set(data.front(models)) for model in models}
    points = [p for path in data.paths for p in path.points] + list(data.others)
    write = partial(quality, scored=data.scored)
    rows = [_point_row(p, front[p.model], write) for p in points if p.model in models]
    bases = [
        (model, "Untouched base", "0", write(base.value), limits(base.low, base.high, write),
         percent(0.0), ABSENT, ABSENT)
        for model, base in data.bases.items()
        if model in models
    ]  # fmt: skip
    head = (
        "Model", "Setting", "Examples", "Quality", "80 % interval", "Lost", "80 % interval",
        "On the front",
    )  # fmt: skip
    return data_table(head, [*bases, *rows], text=(0, 1))


def _point_row(
    point: ConfigurationPoint,
    front: set[tuple[float, float]],
    write: Callable[[float | None], str],
) -> tuple[str, ...]:
    lost, score = point.lost, point.quality
    return (
        point.model,
        point.setting,
        count(point.volume),
        write(score.value),
        limits(score.low, score.high, write),
        percent(lost.value),
        limits(lost.low, lost.high, percent),
        "yes" if (lost.value, score.value) in front else "no",
    )


def forgetting_card(
    found: Sequence[Forgetting], laws: Latest, colours: Palette, *, log_x: bool
) -> html.Section:
    """Forgetting of each method against training-set size, a chart per model."""
    title = "Forgetting against training examples"
    lead = (
        "Marks are runs of one learning rate for each method. Lines are laws fitted to them over examples, "
        "model sizes and replay; 80 of 100 runs should fall within the band. Dashed lines lie beyond "
        "anything measured. The dotted line is the untouched model."
    )
    if laws.value is None and not laws.fresh:
        return card(title, empty("Not yet", "The laws are being fitted.", small=True), lead=lead)
    shown = [data for data in found if data.curves]
    refused = dict(laws.value.refused) if laws.value is not None else {}
    reasons = html.Ul(
        [html.Li(f"{label}: {why}.") for label, why in refused.items()], className="note"
    )
    if not shown:
        detail = "A law of forgetting takes four runs of a method at three training-set sizes."
        nothing = empty("No law of forgetting here", detail, small=True)
        return card(title, nothing, reasons if refused else None, lead=lead)
    charts = [
        Facet(
            data.model,
            draw_forgetting(data, colours, log_x=log_x),
            f"General ability lost on {data.suite} against examples for {data.model}",
            340,
        )
        for data in shown
    ]
    return card(
        title,
        legend(
            ordered_methods(c.method for data in shown for c in data.curves),
            [("solid", "law"), ("dashed", "beyond the measurements"), ("band", "80 % band")],
        ),
        facets(charts),
        _without_line(shown),
        reasons if refused else None,
        behind("Show the laws", _law_table(shown)),
        lead=lead,
    )


def _without_line(found: Sequence[Forgetting]) -> html.P | None:
    """Note on methods without a line, and why."""
    curves = [curve for data in found for curve in data.curves if curve.line is None]
    if not curves:
        return None
    names = ", ".join(method_label(m) for m in ordered_methods(curve.method for curve in curves))
    words = (
        f"{names}: marks without a line. Either the model's size lies too far from those measured, or no law "
        "predicted the largest training-set size better than the average over all models, which is surely "
        "not this model's."
    )
    return html.P(words, className="note")


def _law_table(found: Sequence[Forgetting]) -> html.Div:
    rows = [
        (data.model, curve.label, _lost_at(curve.line, measured=True),
         _lost_at(curve.line, measured=False), percent(curve.held_out_error), curve.form or ABSENT)
        for data in found
        for curve in data.curves
    ]  # fmt: skip
    head = (
        "Model", "Method", "Lost at the largest size, 80 % interval", "At the end of the line",
        "Held-out error", "Form of the law",
    )  # fmt: skip
    return data_table(head, rows, text=(0, 1, 5))


def _lost_at(line: LawLine | None, *, measured: bool) -> str:
    """Loss predicted where the measurements end, or else where the line does."""
    return (
        ABSENT if line is None else estimate_short(line.at(line.last if measured else -1), percent)
    )


def answers_card(
    data: AnswerQuality,
    every: Sequence[AnswerRates],
    volume: int,
    colours: Palette,
    *,
    log_x: bool,
    of_all: bool,
) -> html.Section:
    """Recall, precision, over-reach and valid format, a panel each, and a table of *every* task's."""
    title = f"Right and wrong answers of {data.model} on {data.task}"
    hint = " Pick one task above to see another." if of_all else ""
    lead = (
        "A tuned model answers more. False positives on negatives (over-reach) are the rows without an "
        "answer that it answers all the same. Each panel shows the change from the untouched base, which is "
        f"the dotted line at zero.{hint}"
    )
    if not data.panels:
        detail = (
            "None of recall, precision, over-reach and valid format was measured for this task."
        )
        nothing = empty("Not measured", detail, small=True)
        return card(title, nothing, _every_rate(every), lead=lead)
    charts = [_panel(panel, data, colours, log_x=log_x) for panel in data.panels]
    names = ", ".join(ANSWER_MEASURES[measure][0].lower() for measure in data.missing)
    missing = f" Not measured for this task: {names}." if names else ""
    sentences = answer_sentences(data, volume)
    return card(
        title,
        _answers(volume, [html.Li(sentence) for sentence in sentences]),
        legend(data.methods, [("none", "untouched base")]),
        facets(charts, columns=4),
        html.P(
            "Bars: 80 % interval as if every validation row entered; precision and over-reach rest on "
            f"fewer rows, so their true intervals are at least as wide.{missing}",
            className="note",
        ),
        behind("Show the numbers", _answers_table(data)),
        _every_rate(every),
        lead=lead,
    )


def _every_rate(every: Sequence[AnswerRates]) -> html.Div | None:
    """The rates of every task, model and mix, as measured."""
    if not every:
        return None
    rows = [
        (
            each.task,
            each.model,
            each.setting,
            each.mix or ABSENT,
            count(each.volume),
            *(percent(each.rates[measure]) for measure in ANSWER_MEASURES),
            str(each.runs),
        )
        for each in every[:_MAX_RATES]
    ]
    head = (
        "Task", "Model", "Method", "Mix", "Examples", "Recall", "Precision", "Over-reach",
        "Valid format", "Runs",
    )  # fmt: skip
    left_out = plural(len(every) - len(rows), "more configuration")
    more = f"{left_out} on the Trials page." if len(every) > len(rows) else None
    table = data_table(head, rows, text=(0, 1, 2, 3))
    note = html.P(more, className="note") if more else None
    return html.Div([behind("Show every task and model", table), note])


def _panel(panel: AnswerPanel, data: AnswerQuality, colours: Palette, *, log_x: bool) -> Facet:
    name, meaning = ANSWER_MEASURES[panel.measure]
    base = "the base has none, so the shares themselves are drawn"
    if panel.base is not None:
        base = f"base {percent(panel.base)}"
    return Facet(
        [name, html.Span(f" {meaning}; {base}", className="quiet")],
        draw_answer_panel(panel, colours, log_x=log_x),
        f"{name} of {data.model} on {data.task}, {axis_title(panel).lower()}, against examples",
        280,
    )


def _answers_table(data: AnswerQuality) -> html.Div:
    rows = [
        (
            ANSWER_MEASURES[panel.measure][0],
            method_label(series.method),
            count(share.volume),
            percent(share.share),
            percent(panel.base),
            ABSENT if panel.base is None else points(share.value),
            limits(share.low, share.high, percent if panel.base is None else points),
            str(share.runs),
        )
        for panel in data.panels
        for series in panel.methods
        for share in series.shares
    ]
    head = (
        "Quantity", "Method", "Examples", "Value", "Base", "Change", "80 % interval", "Runs",
    )  # fmt: skip
    return data_table(head, rows, text=(0, 1))


PAGE = slow(PATH, TITLE, content, lambda view, _query: (_question(view),))
