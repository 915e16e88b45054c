"""How tasks that share a mix help and hurt each other, and what replay, passes and sharing cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from dash import html

from dashboards.charts.mix import (
    MAX_SENTENCES,
    OTHERS,
    Cell,
    Compared,
    Matrix,
    Row,
    Sentence,
    cell_words,
    chance_note,
    default_volume,
    draw_forest,
    draw_replay,
    draw_weakest,
    effect_rows,
    matrix,
    matrix_sentences,
    measured,
    one_for_all,
    replay_lines,
    swap_rows,
    swap_sentences,
    unknown_notes,
    volumes,
    weakest_sentences,
)
from dashboards.charts.theme import Palette, method_words, palette
from dashboards.components import (
    Links,
    behind,
    card,
    data_table,
    empty,
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
from tracker.laws.fitted_law import MAX_HELD_OUT_ERROR, Parameter
from tracker.numbers import ABSENT, count, number, percent

TITLE = "Task mix"
PATH = "/mix"
_PATIENCE = 0.4  # seconds that a page waits for the law of mixes; it comes back for it
COMPARED: dict[Compared, str] = {
    "added": "Other tasks' data unchanged",
    "shifted": "Same volume in all",
}


class Shown(NamedTuple):
    """What the page shows: the query's wishes where they exist, the most telling otherwise."""

    model: str
    method: str
    volume: int
    compared: Compared


def setting(view: SweepView, query: Query) -> tuple[str, str] | None:
    """Model and method: the largest model and the method with the most mixes unless asked otherwise."""
    known = view.analysis.mixes.settings
    if not known:
        return None
    models = list(dict.fromkeys(model for model, _ in known))
    model = one_of([models[-1], *models], query.get("model"))
    methods = [method for m, method in known if m == model]
    return model, one_of(methods, query.get("method"))


def shown(view: SweepView, query: Query) -> Shown | None:
    """Settle *query* against what was measured; ``None`` before the first tuned result."""
    chosen = setting(view, query)
    if chosen is None:
        return None
    effects, points = view.analysis.mix_effects(*chosen), view.analysis.mix_points(*chosen)
    known = volumes(effects, points)
    if not known:
        return None
    wanted = query.get("volume")
    volume = next((v for v in known if str(v) == wanted), default_volume(effects, known))
    return Shown(*chosen, volume, one_of(list(COMPARED), query.get("compared")))


def content(
    view: SweepView, query: Query, theme: str | None, answers: SingleFlightCache | None = None
) -> list[Any]:
    """The page for *view* in the state *query*; the laws, which take longer, come from *answers*.

    Without *answers* they are waited for.
    """
    lead = (
        "Tasks that are trained together share one model: one task's examples can help another or get "
        "in its way. Each effect compares two mixes that differ in that alone."
    )
    head = page_head("How tasks help and hurt each other", lead)
    state = shown(view, query)
    if state is None:
        return [head, card("Task mix", _nothing(view))]
    points = view.analysis.mix_points(state.model, state.method)
    effects = view.analysis.mix_effects(state.model, state.method)
    found = matrix(points, effects, state.compared, state.volume)
    swapped, weak = replay_contrasts(points), worst_served(points, state.volume)
    colours = palette(theme)
    return [
        head,
        _pickers(view, query, state, volumes(effects, points)),
        _summary(found, points, swapped, weak, state),
        matrix_card(found, points, effects, COMPARED[state.compared]),
        one_for_all_card(
            one_for_all(points, effects, state.volume),
            laws(view, (state.model, state.method), answers),
            colours,
        ),
        replay_card(points, swapped, state.volume, colours),
        weakest_card(weak, state.volume, colours),
    ]


def _nothing(view: SweepView) -> Any:
    table = view.analysis.table
    if ((table["method"] != "none") & table["score"].notna()).any():
        detail = (
            "The trials do not say which tasks share their volume: give an outside table a column "
            "mix:TASK per task, with its share of the examples."
        )
        return empty("No mixes to compare", detail, small=True)
    return no_results(view, "Effects appear with the first results of two mixes.", small=True)


def _pickers(view: SweepView, query: Query, state: Shown, known: Sequence[int]) -> html.Div:
    settings = view.analysis.mixes.settings
    choices = Links(PATH, query).choices
    models = [(m, m) for m in dict.fromkeys(model for model, _ in settings)]
    methods = [(f, words_of(f)) for model, f in settings if model == state.model]
    at = [(str(v), count(v)) for v in known]
    return html.Div(
        [
            picker("Model", choices("model", models, state.model)),
            picker("Method", choices("method", methods, state.method)),
            picker("Volume, examples in all", choices("volume", at, str(state.volume))),
            picker(
                "What stays the same", choices("compared", list(COMPARED.items()), state.compared)
            ),
        ],
        className="pickers",
    )


def words_of(method: str) -> str:
    """A method with its variant as a page writes it: ``LoRA plain r=8``."""
    name, _, rest = method.partition(" ")
    return f"{method_words(name)} {rest}".strip()


def _summary(
    found: Matrix,
    points: MixPoints,
    swapped: Sequence[ReplayContrast],
    weak: Sequence[WorstServed],
    state: Shown,
) -> html.Section:
    told = (
        *matrix_sentences(found, points),
        *swap_sentences(swapped, points, state.volume),
        *weakest_sentences(weak),
    )
    title = "What helps and what hurts"
    who = f"{state.model}, {words_of(state.method)}, {count(state.volume)} examples or the nearest."
    if points.learning_rate is not None:
        who += f" All at learning rate {points.learning_rate:.3g}, give or take a factor of 1.4."
    if points.left_out:
        who += (
            f" Left out: {', '.join(points.left_out)}, run at other rates alone, and the rate matters more "
            "than the mix."
        )
    if not told:
        if not found.known and not swapped:
            return card(
                title, empty("Nothing to compare yet", _advice(points), small=True), lead=who
            )
        detail = "Every effect measured could be noise: its 80 % interval holds zero."
        return card(title, empty("Nothing can be told from noise", detail, small=True), lead=who)
    helps = [s for s in told if s.verdict == "helps"][:MAX_SENTENCES]
    hurts = [s for s in told if s.verdict != "helps"][:MAX_SENTENCES]
    lists = [_sentences(words, found) for words, found in (("helps", helps), ("hurts", hurts))]
    return card(title, html.Div(lists, className="columns"), lead=who)


def _sentences(kind: str, found: Sequence[Sentence]) -> html.Div:
    nothing = {"helps": "Nothing is told to help.", "hurts": "Nothing is told to hurt."}[kind]
    items = [html.Li(sentence.text) for sentence in found] or [html.Li(nothing)]
    return html.Div(
        [html.H3(kind.capitalize(), className=f"mix-{kind}"), html.Ul(items, className="points")],
        className="column",
    )


def _advice(points: MixPoints) -> str:
    mixes = list(points.mixes)
    if points.left_out:
        return (
            f"Nothing can be set against {', '.join(mixes)} at this learning rate. Run "
            f"{', '.join(points.left_out)} at it as well: strategy grid gives every mix the same rate."
        )
    if len(mixes) < 2:
        return (
            f"Only the mix {mixes[0] if mixes else ABSENT} was run here. Add mixes to the sweep that give "
            "one task three times its weight, or train one task alone."
        )
    return (
        f"No two of the mixes {', '.join(mixes)} differ in one task alone at volumes that match. Add mixes "
        "that give one task three times its weight, or train one task alone."
    )


def laws(view: SweepView, chosen: tuple[str, str], answers: SingleFlightCache | None) -> list[Any]:
    """What an example of the other tasks is worth to each, by the law for model and method *chosen*."""
    analysis = view.analysis
    try:
        found = (
            analysis.mix_laws(*chosen)
            if answers is None
            else answers.get_later(
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
        "Task", "Own examples that one of the others is worth", "Verdict", "Held-out error",
        "Without transfer", "Runs",
    )  # fmt: skip
    note = (
        "A law fitted to all mixes and volumes at once: how many examples of its own one example of the "
        "other tasks is worth, 80 % interval. It takes a verdict only if it foretells the held-out largest "
        f"volume better than a law without transfer, and by less than {percent(MAX_HELD_OUT_ERROR, 0)} off."
    )
    return [
        html.H3("What the other tasks' examples are worth"),
        html.P(note, className="note"),
        data_table(head, rows, text=(0, 2)) if rows else None,
        *(html.P(line, className="note") for line in refusal_lines(found.refused)),
    ]


def _law_rows(laws: AuxiliaryLaws) -> list[tuple[str, ...]]:
    """Task, worth, verdict, held-out errors, runs; one row per fitted law."""

    def error(value: float | None) -> str:
        return percent(value) if value is not None else "not known"

    return [
        (
            key.task,
            _worth(law.transfer_rate),
            {"helps": "they help", "hurts": "they hurt"}.get(law.effect, "cannot be told"),
            error(law.held_out_error),
            error(law.held_out_alone),
            str(len(law.used)),
        )
        for key, law in laws.mixes.items()
    ]


def _worth(worth: Parameter) -> str:
    value, low, high = (number(x, 2) for x in (worth.value, worth.low, worth.high))
    return f"{value} ({low} to {high})".replace("-", "−")


def _question(view: SweepView, chosen: tuple[str, str]) -> tuple[str, ...]:
    return view.info.name, "mix laws", *chosen


def _questions(view: SweepView, query: Query) -> tuple[tuple[str, ...], ...]:
    chosen = setting(view, query)
    return () if chosen is None else (_question(view, chosen),)


def matrix_card(
    found: Matrix, points: MixPoints, effects: Sequence[Effect], same: str
) -> html.Section:
    title = "What each task's data does to every other task"
    shown = measured(found)
    last = " In the last column the row's own examples are unchanged." * (OTHERS in shown.columns)
    lead = (
        "Row: the task scored. Column: the task whose examples were increased, as the small figures say; "
        f"{same.lower()}. In points of the score, 80 % interval below; coloured "
        f"where it can be told from noise.{last}"
    )
    unknown = unknown_notes(found, points)
    head = (
        "Task scored", "More data of", "What stays the same", "Examples of that data", "Own examples",
        "With less", "With more", "Effect", "Low", "High", "Read off between volumes",
    )  # fmt: skip
    return card(
        title,
        _grid(shown, points) if shown.known else None,
        html.P(chance_note(found), className="note") if found.known else None,
        _unknown(unknown) if unknown else None,
        behind(
            f"Show all {len(effects)} comparisons",
            data_table(head, effect_rows(effects, points), text=(0, 1, 2, 5, 6, 10)),
        )
        if effects
        else None,
        lead=lead,
    )


def _unknown(notes: Sequence[str]) -> html.Div:
    """What is not in the matrix, and what would put it there."""
    return html.Div(
        [
            html.H3("What these mixes cannot tell"),
            html.Ul([html.Li(note) for note in notes], className="points"),
        ],
        className="further",
    )


def _grid(found: Matrix, points: MixPoints) -> html.Div:
    head = [html.Th("Task scored", scope="col")]
    head += [html.Th(column, scope="col") for column in found.columns]
    largest = max((abs(c.effect.gap.value) for c in found.cells if c.effect), default=1.0) or 1.0
    body = [
        html.Tr(
            [
                html.Th(task, scope="row"),
                *(_cell(found.at(task, column), points, largest) for column in found.columns),
            ]
        )
        for task in found.tasks
    ]
    table = html.Table([html.Thead(html.Tr(head)), html.Tbody(body)], className="mix-matrix")
    return html.Div(
        table,
        className="scroll short",
        tabIndex=0,
        role="region",
        **{"aria-label": "Matrix of tasks"},
    )


def _cell(cell: Cell, points: MixPoints, largest: float) -> html.Td:
    if cell.effect is None:
        return html.Td("not measured", className="unknown", title=cell.why)
    effect = cell.effect
    value, interval, change = cell_words(effect, points.measures[cell.task] == "score")
    told = effect.verdict != "unclear"
    strength = 14 + 40 * abs(effect.gap.value) / largest
    sides = f"{effect.before.mix or 'untouched base'} → {effect.after.mix}"
    return html.Td(
        [
            html.Strong(value),
            html.Span(interval),
            html.Span(change, className="quiet"),
            html.Span(f", {effect.verdict}", className="unseen"),
        ],
        className=f"mix-{effect.verdict}" if told else "untold",
        style={"--strength": f"{strength:.0f}%"} if told else None,
        title=f"{sides}, {effect.after.volume:,.0f} examples: {effect.verdict}",
    )


def one_for_all_card(rows: Sequence[Row], laws: list[Any], colours: Palette) -> html.Section:
    title = "One model for all, or one each"
    lead = (
        "A task in a shared model against a model of its own, with the same number of its examples. "
        "Right of zero, sharing helps. Hollow: cannot be told from noise."
    )
    if not rows:
        detail = (
            "No mix trains one task alone with as many of its examples as a shared mix holds. Add a mix "
            "such as {TASK: 1} at those volumes."
        )
        shared: Any = empty("No model of one task to compare", detail, small=True)
    else:
        shared = [
            graph(
                draw_forest(rows, colours, "Shared model minus a model of its own"),
                "; ".join(f"{row.label}: {row.verdict}" for row in rows),
                height=80 + 52 * len(rows),
            ),
            behind("Show the numbers", _row_table(rows)),
        ]
    return card(
        title,
        html.Div(shared),
        html.Div(laws, className="further"),
        lead=lead,
    )


def _row_table(rows: Sequence[Row]) -> html.Div:
    def value(row: Row, number: float | None) -> str:
        if number is None:
            return ABSENT
        text = f"{100 * number:+.1f} %" if row.scored else f"{number:+.3g}"
        return text.replace("-", "−")

    head = ("Compared", "Difference", "Low", "High", "Verdict", "At")
    return data_table(
        head,
        [
            (
                row.label,
                *(value(row, x) for x in (row.estimate.value, row.estimate.low, row.estimate.high)),
                row.verdict,
                row.detail,
            )
            for row in rows
        ],
        text=(0, 4, 5),
    )


def replay_card(
    points: MixPoints, swapped: Sequence[ReplayContrast], volume: int, colours: Palette
) -> html.Section:
    title = "Replay and boosts"
    lead = (
        "Replay: general text mixed into training, so that less is forgotten. A boost: further passes over "
        "one task's examples. Compared between mixes that differ in nothing else."
    )
    if not swapped:
        detail = (
            "No two mixes here differ in replay alone, or in passes alone. Add a mix with the same "
            "weights and another share of replay, or with extra_epochs: {TASK: 1}."
        )
        return card(title, empty("Nothing to compare", detail, small=True), lead=lead)
    rows = swap_rows(points, swapped, volume)
    lines = replay_lines(points, swapped)
    left = [
        html.Div(
            [
                html.H3(f"Forgotten of {suite.removeprefix('forgetting.')}, by share of replay"),
                graph(
                    draw_replay([line for line in lines if line.suite == suite], colours),
                    f"What was forgotten of {suite} against examples, one line per share of replay",
                    height=300,
                ),
            ],
            className="facet",
        )
        for suite in dict.fromkeys(line.suite for line in lines)
    ]
    right = html.Div(
        [
            html.H3("What it does to the tasks"),
            graph(
                draw_forest(rows, colours, "With minus without"),
                "; ".join(f"{row.label}: {row.verdict}" for row in rows),
                height=80 + 52 * len(rows),
            ),
        ],
        className="facet",
    )
    return card(
        title,
        html.Div([*left, right], className="facets"),
        behind("Show the numbers", _swap_table(swapped, points)),
        lead=lead,
    )


def _swap_table(swapped: Sequence[ReplayContrast], points: MixPoints) -> html.Div:
    def value(quantity: str, number: float | None) -> str:
        scored = quantity in points.suites or points.measures.get(quantity) == "score"
        return percent(number) if scored else ABSENT if number is None else f"{number:.3g}"

    head = (
        "Measured",
        "Without",
        "With",
        "Examples",
        "Value without",
        "Value with",
        "Difference",
        "Low",
        "High",
    )
    rows = [
        (
            s.quantity.replace("forgetting.", "lost of "),
            s.before.name,
            s.after.name,
            count(s.volume),
            *(value(s.quantity, v.value) for v in s.values),
            *(value(s.quantity, x) for x in (s.gap.value, s.gap.low, s.gap.high)),
        )
        for s in swapped
    ]
    return data_table(head, rows, text=(0, 1, 2))


def weakest_card(found: Sequence[WorstServed], volume: int, colours: Palette) -> html.Section:
    title = "What a mix costs the weakest task"
    lead = (
        f"Every mix at {count(volume)} examples: its tasks as rings, the one it serves worst in full "
        "with its 80 % interval, and how much better the best mix for that task does."
    )
    if not found:
        detail = "No mix was scored at this volume; pick another."
        return card(title, empty("Nothing measured here", detail, small=True), lead=lead)
    head = (
        "Mix",
        "Weakest task",
        "Its score",
        "80 % interval",
        "Best mix for it",
        "What this mix costs it",
    )
    rows = []
    for each in found:
        value, cost = each.values[each.task], each.cost
        rows.append(
            (
                each.mix,
                each.task if each.trained else f"{each.task} (not trained)",
                percent(value.value),
                f"{percent(value.low)} to {percent(value.high)}",
                each.best_mix if cost else "this one",
                ABSENT
                if cost is None
                else f"{percent(cost.value)} ({percent(cost.low)} to {percent(cost.high)})",
            )
        )
    words = "; ".join(f"{each.mix}: weakest is {each.task}" for each in found)
    return card(
        title,
        graph(draw_weakest(found, colours), words, height=80 + 56 * len(found)),
        data_table(head, rows, text=(0, 1, 4)),
        lead=lead,
    )


PAGE = slow(PATH, TITLE, content, _questions)
