"""The matrix of tasks as a table: what each task's data does to every other, coloured where it is told."""

from __future__ import annotations

from collections.abc import Sequence

from dash import html

from dashboards.charts.mix import OTHERS, Cell, Matrix, measured
from dashboards.charts.mix_words import cell_words, chance_note, effect_rows, unknown_notes
from dashboards.components import behind, card, data_table
from tracker.decision.mix_effects import Effect
from tracker.decision.mix_points import MixPoints


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
    told = effect.verdict != "cannot be told"
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
