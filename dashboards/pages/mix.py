"""The task mix page: effects of tasks on each other, shared models, replay, the weakest task of a mix."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from dash import html

from dashboards.charts.forest import ForestRow, draw_forest
from dashboards.charts.mix import (
    OTHERS,
    Compared,
    EffectMatrix,
    MatrixEntry,
    Sentence,
    chance_note,
    compared_sizes,
    default_size,
    draw_replay,
    draw_worst_served,
    effect_matrix,
    effect_rows,
    entry_words,
    matrix_sentences,
    replay_curves,
    replay_rows,
    replay_sentences,
    shared_model_rows,
    unknown_notes,
    unsigned_points,
    weakest_sentences,
)
from dashboards.charts.theme import Palette, method_label, palette
from dashboards.charts.wording import estimate_short
from dashboards.components import (
    Facet,
    Links,
    behind,
    card,
    data_table,
    empty,
    facets,
    graph,
    page_head,
    picker,
)
from dashboards.page import no_results, slow
from dashboards.snapshot import SweepView
from dashboards.state import Query, one_of
from tracker.cache import SingleFlightCache
from tracker.decision.law_report import refusal_lines
from tracker.decision.mix_effects import (
    Effect,
    ReplayContrast,
    WorstServed,
    replay_contrasts,
    worst_served,
)
from tracker.decision.mix_points import MixPoints
from tracker.errors import SftSelectError
from tracker.laws.auxiliary import AuxiliaryLaws
from tracker.laws.fitted_law import MAX_HELD_OUT_ERROR
from tracker.numbers import ABSENT, count, limits, number, percent, quality_gap

TITLE = "Task mix"
PATH = "/mix"
_PATIENCE = 0.4  # seconds that a page waits for the law of mixes; it comes back for it
COMPARED: dict[Compared, str] = {
    "added": "Other tasks' data unchanged",
    "shifted": "Same training-set size",
}
#: More sentences than these are read by nobody.
MAX_SENTENCES = 8


class MixState(NamedTuple):
    """State of the page: what the address names where it exists, otherwise the option that shows most."""

    model: str
    method: str
    volume: int
    compared: Compared


def model_and_method(view: SweepView, query: Query) -> tuple[str, str] | None:
    """Model and method that *query* names; else the largest model and the method with the most mixes."""
    settings = view.analysis.mixes.settings
    if not settings:
        return None
    models = list(dict.fromkeys(model for model, _ in settings))
    model = one_of([models[-1], *models], query.get("model"))
    methods = [method for m, method in settings if m == model]
    return model, one_of(methods, query.get("method"))


def mix_state(view: SweepView, query: Query) -> MixState | None:
    """The state that *query* names, as far as it was measured; ``None`` before the first tuned result."""
    chosen = model_and_method(view, query)
    if chosen is None:
        return None
    effects = view.analysis.mix_effects(*chosen)
    sizes = compared_sizes(effects, view.analysis.mix_points(*chosen))
    if not sizes:
        return None
    wanted = query.get("volume")
    size = next((s for s in sizes if str(s) == wanted), default_size(effects, sizes))
    return MixState(*chosen, size, one_of(list(COMPARED), query.get("compared")))


def content(
    view: SweepView, query: Query, theme: str | None, answers: SingleFlightCache | None = None
) -> list[Any]:
    """The page for *view* in the state *query*; the laws, which take longer, come from *answers*.

    Without *answers* it waits for them.
    """
    lead = (
        "Tasks that are trained together share one model: examples of one task can raise or lower the score "
        "of another. Each effect compares two mixes that differ in one thing alone."
    )
    head = page_head("How tasks help and hurt each other", lead)
    state = mix_state(view, query)
    if state is None:
        return [head, card("Task mix", _nothing(view))]
    points = view.analysis.mix_points(state.model, state.method)
    effects = view.analysis.mix_effects(state.model, state.method)
    matrix = effect_matrix(points, effects, state.compared, state.volume)
    contrasts, weakest = replay_contrasts(points), worst_served(points, state.volume)
    colours = palette(theme)
    return [
        head,
        _pickers(view, query, state, compared_sizes(effects, points)),
        _summary(matrix, points, contrasts, weakest, state),
        matrix_card(matrix, points, effects),
        shared_model_card(
            shared_model_rows(points, effects, state.volume),
            law_table(view, (state.model, state.method), answers),
            colours,
        ),
        replay_card(points, contrasts, state.volume, colours),
        weakest_card(weakest, state.volume, colours),
    ]


def _nothing(view: SweepView) -> Any:
    table = view.analysis.table
    if ((table["method"] != "none") & table["score"].notna()).any():
        detail = (
            "The trials do not say which tasks share their examples. Give an outside table a column mix:TASK "
            "per task, with its share of the examples."
        )
        return empty("No mixes to compare", detail, small=True)
    return no_results(view, "Effects appear with the first results of two mixes.", small=True)


def _pickers(view: SweepView, query: Query, state: MixState, sizes: Sequence[int]) -> html.Div:
    settings = view.analysis.mixes.settings
    choices = Links(PATH, query).choices
    models = [(m, m) for m in dict.fromkeys(model for model, _ in settings)]
    methods = [(f, method_name(f)) for model, f in settings if model == state.model]
    at = [(str(size), count(size)) for size in sizes]
    same = list(COMPARED.items())
    return html.Div(
        [
            picker("Model", choices("model", models, state.model)),
            picker("Method", choices("method", methods, state.method)),
            picker("Training examples, all tasks", choices("volume", at, str(state.volume))),
            picker("What stays the same", choices("compared", same, state.compared)),
        ],
        className="pickers",
    )


def method_name(method: str) -> str:
    """A method with its variant as a page writes it: ``LoRA plain r=8``."""
    name, _, rest = method.partition(" ")
    return f"{method_label(name)} {rest}".strip()


# -- what helps and what hurts ---------------------------------------------------------------------


def _summary(
    matrix: EffectMatrix,
    points: MixPoints,
    contrasts: Sequence[ReplayContrast],
    weakest: Sequence[WorstServed],
    state: MixState,
) -> html.Section:
    sentences = (
        *matrix_sentences(matrix, points),
        *replay_sentences(contrasts, points, state.volume),
        *weakest_sentences(weakest),
    )
    title = "What helps and what hurts"
    lead = f"{state.model}, {method_name(state.method)}, {count(state.volume)} examples or the nearest."
    if points.learning_rate is not None:
        lead += f" All at learning rate {points.learning_rate:.3g}, within a factor of 1.4."
    if points.left_out:
        lead += (
            f" Left out: {', '.join(points.left_out)}, which were run at other rates alone; the rate matters "
            "more than the mix."
        )
    if not sentences:
        nothing = "Every measured effect could be noise: its 80 % interval holds zero."
        heading = "No effect is clear"
        if not matrix.effects and not contrasts:
            heading, nothing = "Nothing to compare yet", _advice(points)
        return card(title, empty(heading, nothing, small=True), lead=lead)
    columns = [_sentence_list(kind, sentences) for kind in ("helps", "hurts")]
    return card(title, html.Div(columns, className="columns"), lead=lead)


def _sentence_list(kind: str, sentences: Sequence[Sentence]) -> html.Div:
    texts = [s.text for s in sentences if s.verdict == kind][:MAX_SENTENCES]
    items = [html.Li(text) for text in texts or [f"Nothing clearly {kind}."]]
    return html.Div(
        [html.H3(kind.capitalize(), className=f"mix-{kind}"), html.Ul(items, className="points")],
        className="column",
    )


def _advice(points: MixPoints) -> str:
    mixes = list(points.mixes)
    add = "Add mixes that give one task three times its weight, or that train one task alone."
    if points.left_out:
        return (
            f"No mix can be compared with {', '.join(mixes)} at this learning rate. Run "
            f"{', '.join(points.left_out)} at it as well: strategy grid gives every mix the same rate."
        )
    if len(mixes) < 2:
        return f"Only the mix {mixes[0] if mixes else ABSENT} was run here. {add}"
    return f"No two of the mixes {', '.join(mixes)} differ in one task alone at sizes that match. {add}"


# -- the matrix ------------------------------------------------------------------------------------


def matrix_card(matrix: EffectMatrix, points: MixPoints, effects: Sequence[Effect]) -> html.Section:
    """Matrix of each task's data on every task, the effects not measured, and all comparisons."""
    shown = matrix.measured()
    last = " In the last column the row's own examples are unchanged." * (OTHERS in shown.columns)
    lead = (
        "Row: the task scored. Column: the task whose examples were increased, as the small figures say; "
        f"{COMPARED[matrix.compared].lower()}. In points of the score, with the 80 % interval below; "
        f"coloured where the interval leaves out zero.{last}"
    )
    unknown = unknown_notes(matrix, points)
    head = (
        "Task scored", "More data of", "What stays the same", "Examples of that data", "Own examples",
        "With less", "With more", "Effect", "80 % interval", "Interpolated between sizes",
    )  # fmt: skip
    return card(
        "What each task's data does to every other task",
        _grid(shown, points) if shown.effects else None,
        html.P(chance_note(matrix), className="note") if matrix.effects else None,
        _unknown(unknown) if unknown else None,
        behind(
            f"Show all {len(effects)} comparisons",
            data_table(head, effect_rows(effects, points), text=(0, 1, 2, 5, 6, 9)),
        )
        if effects
        else None,
        lead=lead,
    )


def _unknown(notes: Sequence[str]) -> html.Div:
    """Effects that are not in the matrix, and the mixes that would measure them."""
    return html.Div(
        [
            html.H3("What these mixes do not measure"),
            html.Ul([html.Li(note) for note in notes], className="points"),
        ],
        className="further",
    )


def _grid(matrix: EffectMatrix, points: MixPoints) -> html.Div:
    head = [html.Th(title, scope="col") for title in ("Task scored", *matrix.columns)]
    largest = max(abs(effect.gap.value) for effect in matrix.effects) or 1.0
    body = [
        html.Tr(
            [
                html.Th(task, scope="row"),
                *(_entry(matrix.at(task, column), points, largest) for column in matrix.columns),
            ]
        )
        for task in matrix.tasks
    ]
    table = html.Table([html.Thead(html.Tr(head)), html.Tbody(body)], className="mix-matrix")
    return html.Div(
        table,
        className="scroll short",
        tabIndex=0,
        role="region",
        **{"aria-label": "Matrix of tasks"},
    )


def _entry(entry: MatrixEntry, points: MixPoints, largest: float) -> html.Td:
    effect = entry.effect
    if effect is None:
        return html.Td("not measured", className="unknown", title=entry.why)
    value, interval, change = entry_words(effect, points)
    strength = 14 + 40 * abs(effect.gap.value) / largest
    sides = f"{effect.before.mix or 'untouched base'} → {effect.after.mix}"
    clear = effect.verdict != "unclear"
    return html.Td(
        [
            html.Strong(value),
            html.Span(interval),
            html.Span(change, className="quiet"),
            html.Span(f", {effect.verdict}", className="unseen"),
        ],
        className=f"mix-{effect.verdict}",
        style={"--strength": f"{strength:.0f}%"} if clear else None,
        title=f"{sides}, {count(effect.after.volume)} examples: {effect.verdict}",
    )


# -- one model for all, or one each ----------------------------------------------------------------


def shared_model_card(rows: Sequence[ForestRow], laws: list[Any], colours: Palette) -> html.Section:
    """Each task in a shared model against a model of its own; the law of transfer between tasks."""
    lead = (
        "A task in a shared model against a model of its own, with the same number of its examples. "
        "Right of zero, sharing helps. A hollow mark cannot be distinguished from noise."
    )
    detail = (
        "No mix trains one task alone with as many of its examples as a shared mix holds. Add a mix such as "
        "{TASK: 1} at those training-set sizes."
    )
    shared = [empty("No model of one task to compare", detail, small=True)]
    if rows:
        shared = [
            _forest(rows, "Shared model minus a model of its own", colours),
            behind("Show the numbers", _row_table(rows)),
        ]
    return card(
        "One model for all, or one each",
        html.Div(shared),
        html.Div(laws, className="further"),
        lead=lead,
    )


def _forest(rows: Sequence[ForestRow], title: str, colours: Palette) -> html.Figure:
    facet = _forest_facet(rows, title, title, colours)
    return graph(facet.chart, facet.label, height=facet.height)


def _forest_facet(rows: Sequence[ForestRow], heading: str, title: str, colours: Palette) -> Facet:
    label = "; ".join(f"{row.label}: {row.verdict}" for row in rows)
    return Facet(heading, draw_forest(rows, title, colours), label, 80 + 52 * len(rows))


def _row_table(rows: Sequence[ForestRow]) -> html.Div:
    head = ("Compared", "Difference", "80 % interval", "Verdict", "At")
    body = []
    for row in rows:
        write = partial(quality_gap, scored=row.scored)
        span = limits(row.low, row.high, write)
        body.append((row.label, write(row.value), span, row.verdict, row.detail))
    return data_table(head, body, text=(0, 3, 4))


def law_table(
    view: SweepView, chosen: tuple[str, str], answers: SingleFlightCache | None
) -> list[Any]:
    """Transfer rates of the mix laws of the model and method *chosen*, with their held-out errors."""
    analysis = view.analysis
    try:
        found = (
            analysis.mix_laws(*chosen)
            if answers is None
            else answers.get_in_background(
                _question(view, chosen),
                analysis.version,
                lambda: analysis.mix_laws(*chosen),
                _PATIENCE,
            ).value
        )
    except SftSelectError as error:
        return [html.P(str(error), className="note")]
    if found is None:
        return [html.P("The law of mixes is being fitted…", className="note", role="status")]
    rows = _law_rows(found)
    head = (
        "Task", "Transfer rate", "80 % interval", "Verdict", "Held-out error", "Without transfer", "Runs",
    )  # fmt: skip
    note = (
        "A law fitted to all mixes and training-set sizes at once. The transfer rate is the number of a "
        "task's own examples that one example of the other tasks replaces. The law has a verdict only if it "
        "predicts the held-out largest training-set size better than a law without transfer, with an error "
        f"below {percent(MAX_HELD_OUT_ERROR, 0)}."
    )
    return [
        html.H3("How much the other tasks' examples count"),
        html.P(note, className="note"),
        data_table(head, rows, text=(0, 3)) if rows else None,
        *(html.P(line, className="note") for line in refusal_lines(found.refused)),
    ]


def _law_rows(laws: AuxiliaryLaws) -> list[tuple[str, ...]]:
    """One row per fitted law."""

    def error(value: float | None) -> str:
        return percent(value) if value is not None else "not known"

    def rate(value: float) -> str:
        return number(value, 2).replace("-", "−")

    return [
        (
            key.task,
            rate(law.transfer_rate.value),
            limits(law.transfer_rate.low, law.transfer_rate.high, rate),
            {"helps": "they help", "hurts": "they hurt"}.get(law.effect, "unclear"),
            error(law.held_out_error),
            error(law.held_out_alone),
            str(len(law.used)),
        )
        for key, law in laws.mixes.items()
    ]


def _question(view: SweepView, chosen: tuple[str, str]) -> tuple[str, ...]:
    return view.info.name, "mix laws", *chosen


def _questions(view: SweepView, query: Query) -> tuple[tuple[str, ...], ...]:
    chosen = model_and_method(view, query)
    return () if chosen is None else (_question(view, chosen),)


# -- replay, and the weakest task ------------------------------------------------------------------


def replay_card(
    points: MixPoints, contrasts: Sequence[ReplayContrast], volume: int, colours: Palette
) -> html.Section:
    """Effect of replay on forgetting, and of replay and more passes on the tasks."""
    title = "Replay and extra passes"
    lead = (
        "Replay mixes general text into training, so that less is forgotten. Extra passes repeat one task's "
        "examples. Each comparison is between mixes that differ in nothing else."
    )
    if not contrasts:
        detail = (
            "No two mixes here differ in replay alone, or in passes alone. Add a mix with the same "
            "weights and another share of replay, or with extra_epochs: {TASK: 1}."
        )
        return card(title, empty("Nothing to compare", detail, small=True), lead=lead)
    curves = replay_curves(points, contrasts)
    charts = [
        Facet(
            f"Forgetting of {suite.removeprefix('forgetting.')}, by share of replay",
            draw_replay([curve for curve in curves if curve.suite == suite], colours),
            f"Forgetting of {suite} against examples, one line per share of replay",
            300,
        )
        for suite in dict.fromkeys(curve.suite for curve in curves)
    ]
    rows = replay_rows(points, contrasts, volume)
    charts.append(_forest_facet(rows, "Effect on the tasks", "With minus without", colours))
    return card(
        title,
        facets(charts),
        behind("Show the numbers", _contrast_table(contrasts, points)),
        lead=lead,
    )


def _contrast_table(contrasts: Sequence[ReplayContrast], points: MixPoints) -> html.Div:
    head = (
        "Measured", "Without", "With", "Examples", "Value without", "Value with", "Difference",
        "80 % interval",
    )  # fmt: skip
    rows = []
    for contrast in contrasts:
        gap, quantity = contrast.gap, contrast.quantity
        scored = quantity in points.suites or points.measures.get(quantity) == "score"
        write = partial(quality_gap, scored=scored)
        values = (percent(v.value) if scored else f"{v.value:.3g}" for v in contrast.values)
        rows.append(
            (
                quantity.replace("forgetting.", "lost of "),
                contrast.before.name,
                contrast.after.name,
                count(contrast.volume),
                *values,
                write(gap.value),
                limits(gap.low, gap.high, write),
            )
        )
    return data_table(head, rows, text=(0, 1, 2))


def weakest_card(weakest: Sequence[WorstServed], volume: int, colours: Palette) -> html.Section:
    """Weakest task of every mix, and how much better it is under the best mix for it."""
    title = "What a mix costs the weakest task"
    lead = (
        f"Every mix at {count(volume)} examples. Rings are its tasks; the diamond is its weakest task, with "
        "the 80 % interval. The table shows how much better that task is under its best mix."
    )
    if not weakest:
        detail = "No mix was scored at this training-set size; pick another."
        return card(title, empty("Nothing measured here", detail, small=True), lead=lead)
    head = (
        "Mix", "Weakest task", "Its score", "80 % interval", "Best mix for it",
        "Cost of this mix, 80 % interval",
    )  # fmt: skip
    rows = []
    for mix in weakest:
        value, cost = mix.values[mix.task], mix.cost
        rows.append(
            (
                mix.mix,
                mix.task if mix.trained else f"{mix.task} (not trained)",
                percent(value.value),
                limits(value.low, value.high, percent),
                mix.best_mix if cost else "this one",
                ABSENT if cost is None else estimate_short(cost, unsigned_points),
            )
        )
    label = "; ".join(f"{mix.mix}: weakest is {mix.task}" for mix in weakest)
    return card(
        title,
        graph(draw_worst_served(weakest, colours), label, height=80 + 56 * len(weakest)),
        data_table(head, rows, text=(0, 1, 4)),
        lead=lead,
    )


PAGE = slow(PATH, TITLE, content, _questions)
