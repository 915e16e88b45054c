"""Answers by label and by likelihood, as the pages of a trial and of the recommendation show them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dash import html

from dashboards.charts.risk_coverage import RiskCoverage, draw_risk_coverage
from dashboards.charts.theme import Palette
from dashboards.charts.wording import estimate_short
from dashboards.components import behind, card, data_table, graph, note
from tracker.abstention import Threshold, at_recall
from tracker.decision.answer_quality import WorstLabel
from tracker.labels import LabelResult, worst_first
from tracker.metrics import Estimate
from tracker.numbers import ABSENT, count, likelihood, mean_count, percent, plural, score
from tracker.store.worst_answers import TaskExamples

_LABELS_IN_SIGHT = 8
_RECALLS = (0.5, 0.7, 0.8, 0.9, 0.95)
_HEIGHT = 300
_HEAD = ("Label", "Rows", "Answered", "Right", "Precision (80 %)", "Recall (80 %)")


def labels_card(title: str, results: Sequence[LabelResult]) -> html.Section | None:
    """Precision and recall of each label of a task, the worst first; nothing where none was counted."""
    found = worst_first(results)
    if not found:
        return None
    rows = [
        (
            each.name,
            mean_count(each.truths),
            mean_count(each.answers),
            mean_count(each.hits),
            _share(each.precision),
            _share(each.recall),
        )
        for each in found
    ]
    rest = rows[_LABELS_IN_SIGHT:]
    unseen = len(results) - len(found)
    return card(
        f"By label: {title}",
        data_table(_HEAD, rows[:_LABELS_IN_SIGHT]),
        behind(f"Show {plural(len(rest), 'more label')}", data_table(_HEAD, rest))
        if rest
        else None,
        note(f"No row has, and no answer is, {plural(unseen, 'other label')}.", unseen > 0),
        lead="The worst first, by F1. Precision: of the answers with the label, the share that is right; "
        "recall: of the rows that have it, the share that is answered with it.",
    )


def confusions_card(task: TaskExamples) -> html.Section | None:
    """The answers most often given in place of another; nothing where no mistake recurs."""
    if not task.confusions:
        return None
    rows = [
        (each.truth, each.answer or "nothing", count(each.rows), percent(each.rows / each.of, 0))
        for each in task.confusions
    ]
    split = "" if task.split == "validation" else f", {task.split} rows"
    head = ("Truth", "Answered", "Rows", "Of the truth's rows")
    return card(
        f"Most confused: {task.task}{split}",
        data_table(head, rows, text=(0, 1)),
        lead="The mistakes that recur most, the most frequent first.",
    )


def likelihood_card(data: RiskCoverage, colours: Palette, split: str = "") -> html.Section:
    """Precision of the likeliest answers, with the thresholds for a wanted precision."""
    words = (
        f"Share of answers to {data.task} that is right, from the likeliest "
        f"{percent(data.points[0].coverage, 0)} ({percent(data.points[0].precision.value)}) to all "
        f"({percent(data.overall.precision.value)})"
    )
    numbers = [
        (
            likelihood(point.nats),
            percent(point.coverage, 0),
            count(point.kept),
            _share(point.precision),
            _share(point.recall),
        )
        for point in data.points
    ]
    head = ("Likelihood from", "Answers given", "Rows", "Precision (80 %)", "Recall (80 %)")
    return card(
        f"Answers by likelihood: {data.task}{split}",
        graph(draw_risk_coverage(data, colours), words, height=_HEIGHT),
        thresholds_table(data.thresholds),
        behind("Show precision at a fixed recall", _at_recall(data)),
        behind("Show the numbers", data_table(head, numbers)),
        lead="The likeliest answers first: how many are right if the others are withheld. An answer that "
        "claims nothing (the negative one, or one out of the format) is not counted. Where an answer may be "
        "right in part, its score counts.",
    )


def thresholds_table(thresholds: Sequence[Threshold], *, named: bool = False) -> html.Div:
    """Thresholds by wanted precision; *named*: with their task."""
    head: tuple[str, ...] = (
        "Wanted precision",
        "Withhold below",
        "Answers given",
        "Found (80 %)",
        "Recall (80 %)",
    )
    rows: list[tuple[str, ...]] = [
        (
            percent(each.precision, 0),
            "not surely reached" if each.nats is None else likelihood(each.nats),
            ABSENT if each.coverage is None else percent(each.coverage, 0),
            _share(each.found),
            _share(each.recall),
        )
        for each in thresholds
    ]
    if named:
        head = ("Task", *head)
        rows = [(each.task, *row) for each, row in zip(thresholds, rows, strict=True)]
    return data_table(head, rows)


def choice_cards(
    worst: Sequence[WorstLabel], thresholds: Sequence[Threshold]
) -> list[html.Section]:
    """The worst labels of a recommendation and its thresholds, a card each where they are known."""
    cards = []
    if worst:
        head = ("Task", "Label", "Rows", "Precision (80 %)", "Recall (80 %)")
        rows = [
            (
                each.task,
                each.label,
                mean_count(each.rows),
                "never answered" if each.precision is None else _share(each.precision),
                _share(each.recall),
            )
            for each in worst
        ]
        lead = "Of each task the labels that the choice does worst on, by F1, on validation rows."
        cards.append(card("Worst labels", data_table(head, rows, text=(0, 1)), lead=lead))
    if thresholds:
        lead = (
            "The likelihood below which to withhold an answer, so that the others are surely of a wanted "
            "precision. Found on the validation rows of this trial; exp(-answer_nats) of an answer compares."
        )
        table = thresholds_table(thresholds, named=True)
        cards.append(card("Withholding unlikely answers", table, lead=lead))
    return cards


def _at_recall(data: RiskCoverage) -> Any:
    rows = []
    for recall in _RECALLS:
        point = at_recall(data.points, recall)
        shown = (ABSENT, ABSENT, "not reached") if point is None else (
            likelihood(point.nats), percent(point.coverage, 0), _share(point.precision)
        )  # fmt: skip
        rows.append((percent(recall, 0), *shown))
    return data_table(
        ("Recall of at least", "Likelihood from", "Answers given", "Precision (80 %)"), rows
    )


def _share(found: Estimate | None) -> str:
    return ABSENT if found is None else estimate_short(found, score)
