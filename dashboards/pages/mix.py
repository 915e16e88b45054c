"""How tasks that share a mix help and hurt each other, and what replay, passes and sharing cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from dash import html

from dashboards.background import BackgroundJobs
from dashboards.charts.mix import (
    Compared,
    Matrix,
    default_volume,
    matrix,
    one_for_all,
    volumes,
)
from dashboards.charts.mix_words import (
    MAX_SENTENCES,
    Sentence,
    law_rows,
    matrix_sentences,
    swap_sentences,
    weakest_sentences,
)
from dashboards.charts.theme import method_words, palette
from dashboards.charts.wording import ABSENT, count, percent
from dashboards.components import (
    Links,
    card,
    data_table,
    empty,
    page_head,
    picker,
)
from dashboards.pages.mix_cards import one_for_all_card, replay_card, weakest_card
from dashboards.pages.mix_matrix import matrix_card
from dashboards.pages.unscored import no_results
from dashboards.slow_page import slow
from dashboards.snapshot import SweepView
from dashboards.state import Query, one_of
from tracker.decision.mix_effects import Swap, Weakest, swaps, weakest
from tracker.decision.mix_points import MixPoints
from tracker.errors import SftSelectError
from tracker.laws.auxiliary_text import refusals
from tracker.laws.fitted_law import TRUSTED

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
    known = view.findings.mixes.settings
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
    effects, points = view.findings.mix_effects(*chosen), view.findings.mix_points(*chosen)
    known = volumes(effects, points)
    if not known:
        return None
    wanted = query.get("volume")
    volume = next((v for v in known if str(v) == wanted), default_volume(effects, known))
    return Shown(*chosen, volume, one_of(list(COMPARED), query.get("compared")))


def content(
    view: SweepView, query: Query, theme: str | None, later: BackgroundJobs | None = None
) -> list[Any]:
    """The page for *view* in the state *query*; the laws, which take longer, come from *later*.

    Without *later* they are waited for.
    """
    lead = (
        "Tasks that are trained together share one model: one task's examples can help another or get "
        "in its way. Each effect compares two mixes that differ in that alone."
    )
    head = page_head("How tasks help and hurt each other", lead)
    state = shown(view, query)
    if state is None:
        return [head, card("Task mix", _nothing(view))]
    points = view.findings.mix_points(state.model, state.method)
    effects = view.findings.mix_effects(state.model, state.method)
    found = matrix(points, effects, state.compared, state.volume)
    swapped, weak = swaps(points), weakest(points, state.volume)
    colours = palette(theme)
    return [
        head,
        _pickers(view, query, state, volumes(effects, points)),
        _summary(found, points, swapped, weak, state),
        matrix_card(found, points, effects, COMPARED[state.compared]),
        one_for_all_card(
            one_for_all(points, effects, state.volume),
            laws(view, (state.model, state.method), later),
            colours,
        ),
        replay_card(points, swapped, state.volume, colours),
        weakest_card(weak, state.volume, colours),
    ]


def _nothing(view: SweepView) -> Any:
    table = view.findings.table
    if ((table["method"] != "none") & table["score"].notna()).any():
        detail = (
            "The trials do not say which tasks share their volume: give an outside table a column "
            "mix:TASK per task, with its share of the examples."
        )
        return empty("No mixes to compare", detail, small=True)
    return no_results(view, "Effects appear with the first results of two mixes.", small=True)


def _pickers(view: SweepView, query: Query, state: Shown, known: Sequence[int]) -> html.Div:
    settings = view.findings.mixes.settings
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
    swapped: Sequence[Swap],
    weak: Sequence[Weakest],
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


def laws(view: SweepView, chosen: tuple[str, str], later: BackgroundJobs | None) -> list[Any]:
    """What an example of the other tasks is worth to each, by the law for model and method *chosen*."""
    findings = view.findings
    try:
        found = (
            findings.mix_laws(*chosen)
            if later is None
            else later.get(
                _question(view, chosen),
                findings.version,
                lambda: findings.mix_laws(*chosen),
                _PATIENCE,
            ).value
        )
    except SftSelectError as error:
        return [html.P(str(error), className="note")]
    if found is None:
        return [html.P("The law of mixes is being fitted…", className="note", role="status")]
    rows = law_rows(found)
    head = (
        "Task", "Own examples that one of the others is worth", "Verdict", "Held-out error",
        "Without transfer", "Runs",
    )  # fmt: skip
    note = (
        "A law fitted to all mixes and volumes at once: how many examples of its own one example of the "
        "other tasks is worth, 80 % interval. It takes a verdict only if it foretells the held-out largest "
        f"volume better than a law without transfer, and by less than {percent(TRUSTED, 0)} off."
    )
    return [
        html.H3("What the other tasks' examples are worth"),
        html.P(note, className="note"),
        data_table(head, rows, text=(0, 2)) if rows else None,
        *(html.P(line, className="note") for line in refusals(found.refused)),
    ]


def _question(view: SweepView, chosen: tuple[str, str]) -> tuple[str, ...]:
    return view.info.name, "mix laws", *chosen


def _questions(view: SweepView, query: Query) -> tuple[tuple[str, ...], ...]:
    chosen = setting(view, query)
    return () if chosen is None else (_question(view, chosen),)


PAGE = slow(PATH, TITLE, content, _questions)
