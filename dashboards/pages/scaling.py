"""The scaling page: score or loss against examples and model size, critical data sizes, trust in the laws.

Laws of a large sweep take longer than a click, so they are fitted in the background: the marks are
there at once, the lines follow, and those of the trials before stay until the new ones are known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import pandas as pd
from dash import html

from dashboards.charts.crossover import (
    LEADS,
    MethodComparison,
    ModelComparison,
    chart_height,
    compare_methods,
    comparison_sentence,
    comparison_title,
    crossing_limits,
    draw_comparison,
    even_sizes,
)
from dashboards.charts.marks import LawLine
from dashboards.charts.scaling import (
    AHEAD,
    MAX_RUNS,
    Scaling,
    ScalingCurve,
    ScalingState,
    draw_scaling,
    sampled,
    scaling,
    scaling_state,
    with_interval,
)
from dashboards.charts.size import (
    SizeComparison,
    SizeCurve,
    draw_size,
    size,
    sizes_to_predict,
)
from dashboards.charts.theme import Palette, method_label, palette
from dashboards.charts.tuned import (
    METRIC_WORDS,
    mixes_of,
    pairs_of,
    sizes_of,
    tasks_of,
    tuned_of,
    volumes_of,
)
from dashboards.charts.wording import about, estimate_short
from dashboards.components import (
    Choice,
    Facet,
    Links,
    behind,
    card,
    data_table,
    empty,
    facets,
    graph,
    legend,
    models_heading,
    notice,
    page_head,
    picker,
    pill,
)
from dashboards.page import no_results, slow
from dashboards.snapshot import SweepView
from dashboards.state import Query, href
from dashboards.tables import DataTable
from tracker.cache import SingleFlightCache
from tracker.errors import SftSelectError
from tracker.laws.curves import CurveFits, CurveKey, Metric
from tracker.laws.fitted_law import BEND_WEIGHT, FORM, MAX_HELD_OUT_ERROR, FittedLaw, Parameter
from tracker.numbers import ABSENT, count, in_measure, limits, number, percent, probability

TITLE = "Scaling"
PATH = "/scaling"
#: Seconds that a page waits for its laws before it shows the marks alone.
_PATIENCE = 0.05
#: Rows of the table of runs: a browser must lay them all out.
_MOST_ROWS = 100
_SIZE_NOTE = (
    "Bars and bands: 80 %. The line predicts another model of that size, from all models, methods and "
    "settings together; the models that were run may lie well off it."
)
_WAIT = "The laws are being fitted; this appears by itself."


class Laws(NamedTuple):
    """Laws behind the page, ``None`` while they are being fitted. ``fresh``: of the trials shown.

    ``sizes``: of the models in ``predicted`` (name → parameters). ``lines``: of ``fits``, where known.
    ``problem``: why there are none.
    """

    fits: CurveFits | None
    sizes: Mapping[CurveKey, FittedLaw] | None
    predicted: Mapping[str, int]
    fresh: bool
    lines: Mapping[CurveKey, LawLine] = MappingProxyType({})
    problem: str = ""


def content(
    view: SweepView, query: Query, theme: str | None, answers: SingleFlightCache | None = None
) -> list[Any]:
    """The page for *view* in the state *query*; without *answers* it waits for its laws."""
    table = view.analysis.table
    state = scaling_state(table, query)
    lead = (
        "Each mark is a fine-tune that was run. Each line is a law fitted to them; 80 of 100 new runs should "
        "fall within its band. Dashed lines lie beyond anything measured."
    )
    if state is None:
        return [
            page_head("Scaling with training data and model size", lead),
            card("Curves", no_results(view, "Curves appear with the first results.")),
        ]
    laws = laws_of(view, state, answers)
    data = scaling(
        table,
        laws.fits,
        task=state.task,
        mix=state.mix,
        metric=state.metric,
        models=state.models,
        lines=laws.lines,
    )
    colours = palette(theme)
    links = Links(PATH, query)
    tuned = tuned_of(table)
    of_mix = tuned[tuned["mix"] == state.mix]
    volumes = [(str(v), count(v)) for v in volumes_of(of_mix)]
    pairs = [(p, " or ".join(map(method_label, p.split("~")))) for p in pairs_of(of_mix)]
    return [
        page_head("Scaling with training data and model size", lead, badge=_badge(laws)),
        notice("There are no laws here.", laws.problem) if laws.problem else None,
        _pickers(tuned, state, links),
        curves_card(data, state, colours),
        crossover_card(
            laws,
            state,
            {model: size for model, size in sizes_of(tuned).items() if model in state.models},
            links.choices("pair", pairs, state.pair),
            colours,
        ),
        size_card(data, laws, state, links.choices("volume", volumes, str(state.volume)), colours),
        laws_card(data, laws.fits, state.mix),
    ]


def laws_of(view: SweepView, state: ScalingState, answers: SingleFlightCache | None) -> Laws:
    """The laws behind *state*, as far as they are known by now."""
    analysis, version = view.analysis, view.analysis.version
    sizes = sizes_to_predict(sizes_of(tuned_of(analysis.table)).values())
    task, metric, mix = state.task, state.metric, state.mix
    try:
        if answers is None:
            of_sizes = analysis.size_laws(metric, sizes).get((task, mix), {}) if sizes else {}
            fits = analysis.fits_by_task(metric).get(task, CurveFits({}, {}))
            return Laws(fits, of_sizes, sizes, fresh=True)
        fits_name, sizes_name = _questions(view, state)
        fitted = answers.get_in_background(
            fits_name,
            version,
            lambda: (analysis.fits_by_task(metric), analysis.lines(metric)),
            _PATIENCE,
        )
        by_task, lines = fitted.value or (None, {})
        known = None if by_task is None else by_task.get(task, CurveFits({}, {}))
        if not sizes:
            return Laws(known, {}, sizes, fitted.fresh, lines)
        over_size = answers.get_in_background(
            sizes_name, version, lambda: analysis.size_laws(metric, sizes), _PATIENCE
        )
    except SftSelectError as error:
        return Laws(CurveFits({}, {}), {}, sizes, fresh=True, problem=str(error))
    size_laws = None if over_size.value is None else over_size.value.get((task, mix), {})
    return Laws(known, size_laws, sizes, fitted.fresh and over_size.fresh, lines)


def _questions(view: SweepView, state: ScalingState) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the two slow answers behind *state*: laws over data, and over model size."""
    name = view.info.name
    return (name, "fits", state.metric), (name, "sizes", state.metric)


def _badge(laws: Laws) -> html.Span | None:
    if laws.fresh:
        return None
    if laws.fits is None or laws.sizes is None:
        return pill("Fitting the laws; the lines appear by themselves", "live")
    return pill("Laws of earlier trials; the newest are being fitted", "live")


def _pickers(tuned: pd.DataFrame, state: ScalingState, links: Links) -> html.Div:
    models = tuple(sizes_of(tuned))
    of_task = tuned[tuned["task"] == state.task]
    metrics = [(m, words) for m, words in METRIC_WORDS.items() if of_task[m].notna().any()]
    axes, axis = [("", "Log"), ("linear", "Linear")], "" if state.log_x else "linear"
    views = [("", "Apart"), ("together", "Together")]
    view = "together" if state.together else ""
    tasks, mixes = [(t, t) for t in tasks_of(tuned)], [(m, m) for m in mixes_of(tuned)]
    return html.Div(
        [
            picker("Task", links.choices("task", tasks, state.task)),
            picker("Measure", links.choices("metric", metrics, state.metric)),
            picker("Task mix", links.choices("mix", mixes, state.mix)),
            picker("Models", _model_choices(models, links.query, state)),
            picker("Axes", links.choices("axis", axes, axis)),
            picker("Models side by side", links.choices("view", views, view))
            if len(state.models) > 1
            else None,
        ],
        className="pickers",
    )


def _model_choices(models: tuple[str, ...], query: Query, state: ScalingState) -> list[Choice]:
    """Toggles: a press takes a model out or puts it back; the last one cannot be taken out."""
    found = []
    for model in models:
        kept = tuple(m for m in models if (m in state.models) != (m == model))
        wanted = () if len(kept) == len(models) else kept or (model,)
        link = href(PATH, query.put(models=wanted))
        found.append(Choice(model, link, model in state.models))
    return found


def _question_names(view: SweepView, query: Query) -> tuple[tuple[str, ...], ...]:
    state = scaling_state(view.analysis.table, query)
    return () if state is None else _questions(view, state)


def curves_card(data: Scaling, state: ScalingState, colours: Palette) -> html.Section:
    """Score or loss against examples, a chart per model or all together."""
    models = list(data.models)
    title = f"{data.task}, {METRIC_WORDS[data.metric].lower()} against examples"
    if not models:
        detail = "Pick another task, mix or model: this combination has no result yet."
        return card(title, empty("Nothing measured here", detail, small=True))
    groups = [models] if state.together or len(models) == 1 else [[model] for model in models]
    charts = [
        Facet(
            models_heading(group, data.models),
            draw_scaling(data, colours, models=group, log_x=state.log_x),
            _spoken(data, group),
            440 if len(groups) == 1 else 360,
        )
        for group in groups
    ]
    marks = [("none", "untouched base"), ("solid", "law"), ("dashed", "beyond the measurements")]
    mix = f"Mix {state.mix}. " if state.mix else ""
    note = (
        f"{mix}Error bars: 80 % interval from the validation rows. Lines run to {AHEAD:g} times the largest "
        "training-set size measured; a law that is not to be relied on (see below) ends at that size. No law "
        "is fitted to hollow marks: they searched a learning rate, or were run at too few sizes. Small pale "
        "marks: a setting of the method other than the one measured at the most sizes."
    )
    return card(
        title,
        legend(data.methods, [*marks, ("band", "80 % band")]),
        facets(charts),
        html.P(f"{note}{_thinned(data)}", className="note"),
        behind("Show the measured runs", _runs_table(data)),
    )


def _thinned(data: Scaling) -> str:
    """Note on runs that the chart leaves out."""
    if all(len(sampled(curve.runs)) == len(curve.runs) for curve in data.curves):
        return ""
    return f" Of many runs at one size, {MAX_RUNS} from the lowest to the highest are drawn."


def _spoken(data: Scaling, group: list[str]) -> str:
    names = [f"{method_label(c.method)} on {c.model}" for c in data.curves if c.model in group]
    return f"{data.title} of {data.task} against training examples for {', '.join(dict.fromkeys(names))}"


def _runs_table(data: Scaling) -> html.Div:
    """The runs behind the chart, of a large sweep the first hundred."""
    write = partial(in_measure, metric=data.metric)
    fitted = [(c.model, method_label(c.method), run) for c in data.curves for run in c.runs]
    unfitted = [(model, method_label(method), run) for model, method, run in data.unfitted]
    rows: list[tuple[str, ...]] = [
        (
            model,
            method,
            count(run.examples),
            write(run.value),
            limits(run.low, run.high, write),
            ABSENT if run.learning_rate is None else f"{run.learning_rate:.2g}",
            str(run.seed),
            str(run.number),
            "yes" if run.used else "no",
        )
        for model, method, run in [*fitted, *unfitted][:_MOST_ROWS]
    ]
    more = len(fitted) + len(unfitted) - len(rows)
    rows += [
        (base.model, "Untouched base", "0", write(base.value), *[ABSENT] * 5) for base in data.bases
    ]
    head = (
        "Model", "Method", "Examples", METRIC_WORDS[data.metric], "80 % interval",
        "Learning rate", "Seed", "Trial", "In a law",
    )  # fmt: skip
    words = f"{count(more)} more runs are in the chart alone." if more > 0 else ""
    return html.Div([data_table(head, rows, text=(0, 1)), html.P(words, className="note")])


def crossover_card(
    laws: Laws,
    state: ScalingState,
    models: Mapping[str, int | None],
    choices: Sequence[Choice],
    colours: Palette,
) -> html.Section:
    """Critical data sizes between two methods: sentences, a chart and a table."""
    title = "Critical data sizes: which method wins at how much data"
    lead = (
        "The size at which one method overtakes the other, and how sure that is. In strong colour one method "
        "is surely better; in pale colour the two are statistically tied. A dot marks where the lead "
        "changes, with its 80 % interval. Paler colour right of the dotted line lies beyond the measurements."
    )
    if laws.fits is None:
        return card(title, empty("Not yet", _WAIT, small=True), lead=lead)
    if not state.pair:
        detail = "One method alone was run with this mix."
        return card(title, empty("Nothing to compare", detail, small=True), lead=lead)
    data = compare_methods(laws.fits, state, models)
    methods = data.first, data.second
    missing = (
        f"{', '.join(data.without_laws)}: no law of both methods. It takes three training-set sizes of each, "
        "or two beside another curve."
        if data.without_laws
        else ""
    )
    if not data.models:
        detail = missing or "Run both methods at three training-set sizes or more."
        nothing = empty("Nothing to compare", detail, small=True)
        return card(title, picker("Methods", choices), nothing, lead=lead)
    sentences = [
        html.Li([html.Strong(f"{m.model}: "), comparison_sentence(m, *methods)])
        for m in data.models
    ]
    marks = [(f"pale from-{data.first} to-{data.second}", "statistically tied")]
    if any(m.crossings for m in data.models):
        marks.append(("even", "crossing, with its 80 % interval"))
    note = (
        f"A method leads where it is ahead with at least {probability(LEADS)} probability. A method with "
        "several settings counts at the best of them at each size. What is compared is the average of a "
        f"method, without the noise of a single run. {missing}"
    )
    return card(
        title,
        picker("Methods", choices),
        html.Ul(sentences, className="points answers"),
        legend(methods, marks),
        graph(
            draw_comparison(data, colours, log_x=state.log_x),
            f"{comparison_title(data)}, against training examples",
            height=chart_height(data),
        ),
        html.P(note, className="note"),
        behind("Show the probabilities", _comparison_table(data)),
        lead=lead,
    )


def _comparison_table(data: MethodComparison) -> html.Div:
    rows = [row for found in data.models for row in _comparison_rows(found)]
    head = ("Model", "Examples", f"P({method_label(data.first)} better)", "Measured", "Crossing")
    return data_table(head, rows, text=(0,))


def _comparison_rows(found: ModelComparison) -> Iterable[tuple[str, ...]]:
    crossings = "; ".join(f"{about(c.at)} ({crossing_limits(c, found)})" for c in found.crossings)
    if not crossings:
        even = even_sizes(found)
        crossings = f"none surely; even near {about(even[0])}" if len(even) == 1 else "none"
    every = 8
    for i in range(0, len(found.sizes), every):
        yield (
            found.model,
            about(found.sizes[i]),
            probability(found.p_first[i]),
            "yes" if i < found.measured else "beyond that",
            crossings,
        )


def size_card(
    data: Scaling, laws: Laws, state: ScalingState, choices: Sequence[Choice], colours: Palette
) -> html.Section:
    """Score or loss against model size at one training-set size."""
    title = f"{data.task}, {METRIC_WORDS[data.metric].lower()} against model size"
    lead = (
        "All models at one training-set size. Filled marks were measured; hollow marks are predicted by the "
        "model's own law. The line is the law over all model sizes; 80 of 100 runs of such a model should "
        "fall within its band. It is dashed outside the sizes measured."
    )
    if laws.fits is None or laws.sizes is None:
        return card(title, empty("Not yet", _WAIT, small=True), lead=lead)
    found = size(
        data, laws.fits, laws.sizes, mix=state.mix, volume=state.volume, sizes=laws.predicted
    )
    unsized = (
        f" {', '.join(found.unsized)}: the number of parameters is not known."
        if found.unsized
        else ""
    )
    pick = picker("Examples", choices)
    if not any(curve.marks or curve.line for curve in found.curves):
        detail = f"Pick another number of examples.{unsized}"
        return card(title, pick, empty("Nothing known here", detail, small=True), lead=lead)
    sentences = [words for c in found.curves if (words := _growth(c, found))]
    ahead = "No run had so many examples. " if found.ahead else ""
    alone = "" if laws.predicted else "A law over model size takes two sizes; here is one. "
    return card(
        title,
        pick,
        html.Ul([html.Li(s) for s in sentences], className="points answers") if sentences else None,
        legend(
            [c.method for c in found.curves],
            [("solid", "law over size"), ("dashed", "outside the sizes measured")],
        ),
        graph(
            draw_size(found, colours, log_x=state.log_x),
            f"{found.title} of {found.task} against parameters at {count(found.volume)} examples",
            height=400,
        ),
        html.P(f"{ahead}{alone}{_SIZE_NOTE}{_withheld(found)}{unsized}", className="note"),
        behind("Show the numbers", _size_table(found)),
        lead=lead,
    )


def _withheld(data: SizeComparison) -> str:
    names = [method_label(curve.method) for curve in data.curves if curve.withheld]
    if not names:
        return ""
    return (
        f" {', '.join(names)}: no line. The measurements lie outside the law's band, or nearer to one "
        "value for all sizes than to the law."
    )


def _growth(curve: SizeCurve, data: SizeComparison) -> str:
    """The step from the smallest to the largest model measured, as a sentence."""
    marks = sorted(curve.marks, key=lambda m: m.parameters)
    if len(marks) < 2:
        return ""
    small, large = (
        f"{with_interval(m, data.metric)}{'' if m.runs else ', predicted,'} on {m.model}"
        for m in (marks[0], marks[-1])
    )
    times = marks[-1].parameters / marks[0].parameters
    return f"{method_label(curve.method)}: from {small} to {large}, {times:.2g} times the size."


def _size_table(data: SizeComparison) -> html.Div:
    rows: list[tuple[str, ...]] = []
    write = partial(in_measure, metric=data.metric)
    for curve in data.curves:
        method, line = method_label(curve.method), curve.line
        for m in curve.marks:
            value, span = write(m.value), limits(m.low, m.high, write)
            source = "measured" if m.runs else "predicted by its own law"
            rows.append((method, m.model, count(m.parameters), value, span, source))
        for i, parameters in enumerate(line.x if line else ()):
            assert line is not None
            outside = "" if line.first <= i <= line.last else ", outside the sizes measured"
            value = write(line.value[i])
            span = limits(line.low[i], line.high[i], write)
            rows.append((method, ABSENT, about(parameters), value, span, f"law over size{outside}"))
    head = (
        "Method", "Model", "Parameters", METRIC_WORDS[data.metric], "80 % interval", "Source",
    )  # fmt: skip
    return data_table(head, rows, text=(0, 1, 5))


def laws_card(data: Scaling, fits: CurveFits | None, mix: str) -> html.Section:
    """Held-out error of each law, its form in words, and its parameters; doubtful laws are muted."""
    rows = [_law_row(curve, data.metric) for curve in data.curves]
    head: tuple[str, ...] = (
        "Model", "Setting", "Measured at", "At the largest size, 80 % interval", "At twice that",
        "Held-out error", "Note",
    )  # fmt: skip
    if not any(row[-1] for row in rows):
        head, rows = head[:-1], [row[:-1] for row in rows]
    lead = (
        "Held-out error: the law is fitted again without its largest training-set size, and predicts it. "
        + (
            "It is the relative error in one minus the score."
            if data.metric == "score"
            else "It is the relative error in the loss."
        )
    )
    doubted = [curve for curve in data.curves if not curve.trusted]
    if doubted:
        lead += (
            f" In grey, {len(doubted)} of {len(data.curves)}: no law, a law that was not checked, or a law "
            f"whose error is above {percent(MAX_HELD_OUT_ERROR, 0)}."
        )
    return card(
        "How far to trust each law",
        _muted(data_table(head, rows, text=(0, 1, 6)), [not c.trusted for c in data.curves]),
        behind("What form the laws have, and their parameters", _form(data, fits, mix)),
        lead=lead,
    )


def _muted(table: DataTable, rows: list[bool]) -> DataTable:
    """*table* with the marked ones of its *rows* in grey."""
    for row, quiet in zip(table.body, rows, strict=True):
        if quiet:
            row.className = "quiet"
            row.children[-1].style = {"whiteSpace": "normal", "minWidth": "110px"}  # the note
    return table


def _note(curve: ScalingCurve) -> str:
    error = curve.held_out_error
    if curve.line is None:
        return curve.why_not or "no law"
    if error is None:
        return "not checked: no size to spare"
    if error > MAX_HELD_OUT_ERROR:
        return "far off: do not rely on it"
    return ""


def _form(data: Scaling, fits: CurveFits | None, mix: str) -> html.Div:
    error = "one minus the score" if data.metric == "score" else "the loss"
    words = [
        f"All laws have one form, {FORM}, where D is the number of examples and the result {error}. "
        "They are fitted together, so that a curve with few points leans on those like it.",
        "E, the floor: no amount of such data would remove it.",
        "A, the height: the gain between no data and endless data.",
        "D0, the head start: the number of examples that equals what the model already knows. With fewer "
        "examples the curve is nearly flat.",
        "beta, the steepness: far above D0, ten times the data divide the error above the floor by 10 to the "
        "power of beta.",
        f"Beyond the largest size measured a line follows the law by {percent(BEND_WEIGHT, 0)} and its last "
        f"slope (on log axes) by {percent(1 - BEND_WEIGHT, 0)}; its band widens by the errors of such "
        "predictions before.",
        "The law over model size has the same form; its parameters change with the model's size, fitted to "
        "all models together. Read the predictions rather than single parameters: different parameters can "
        "draw the same curve.",
    ]
    models = set(data.models)
    rows: list[tuple[Any, ...]] = [
        (key.label.removesuffix(f", {key.task}"), *(_parameter(p) for p in law.parameters.values()))
        for key, law in (fits.laws.items() if fits else ())
        if key.mix == mix and key.model in models
    ]
    points = html.Ul([html.Li(word) for word in words], className="points")
    table = (
        data_table(("ScalingCurve (80 % intervals)", "E", "A", "D0", "beta"), rows)
        if rows
        else None
    )
    return html.Div([points, table])


def _parameter(p: Parameter) -> str:
    return estimate_short(p, lambda value: number(value).replace("-", "−"))


def _law_row(curve: ScalingCurve, metric: Metric) -> tuple[str, ...]:
    volumes = sorted({run.examples for run in curve.runs})
    measured = ", ".join(count(v) for v in volumes)
    if curve.line is None:
        return curve.model, curve.setting, measured, ABSENT, ABSENT, ABSENT, _note(curve)
    line, write = curve.line, partial(in_measure, metric=metric)
    double = min(range(len(line.x)), key=lambda i: abs(line.x[i] - 2 * volumes[-1]))
    return (
        curve.model,
        curve.setting,
        measured,
        estimate_short(line.at(line.last), write),
        estimate_short(line.at(double), write) if double > line.last else ABSENT,
        percent(curve.held_out_error),
        _note(curve),
    )


PAGE = slow(PATH, TITLE, content, _question_names)
