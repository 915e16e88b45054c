"""The further cards of the page on mixes: one model for all, replay and boosts, the weakest task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dash import html

from dashboards.charts.mix import Row, replay_lines, swap_rows
from dashboards.charts.mix_chart import draw_forest, draw_replay, draw_weakest
from dashboards.charts.theme import Palette
from dashboards.charts.wording import ABSENT, count, percent
from dashboards.components import behind, card, data_table, empty, graph
from tracker.decision.mix_effects import Swap, Weakest
from tracker.decision.mix_points import MixPoints


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
    points: MixPoints, swapped: Sequence[Swap], volume: int, colours: Palette
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


def _swap_table(swapped: Sequence[Swap], points: MixPoints) -> html.Div:
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


def weakest_card(found: Sequence[Weakest], volume: int, colours: Palette) -> html.Section:
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
