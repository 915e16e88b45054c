"""Answers by label and by likelihood: words and numbers of the cards, against counts by hand."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from dashboards.charts.risk_coverage import risk_coverage
from dashboards.charts.theme import LIGHT
from dashboards.pages.by_label import choice_cards, confusions_card, labels_card, likelihood_card
from dashboards.tables import DataTable
from tracker.abstention import confidence, threshold
from tracker.decision.answer_quality import WorstLabel
from tracker.labels import label_results, share
from tracker.store.worst_answers import Confusion, worst_of
from tracker.task import LabelCounts


def tables(node: Any) -> list[DataTable]:
    if isinstance(node, DataTable):
        return [node]
    children = node if isinstance(node, list | tuple) else getattr(node, "children", None)
    if children is None or isinstance(children, str):
        return []
    children = children if isinstance(children, list | tuple) else [children]
    return [found for child in children for found in tables(child)]


def texts(table: DataTable) -> list[list[str]]:
    return [[entry.children for entry in row.children] for row in table.body]


def counts(labels: int) -> LabelCounts:
    """Label k has ten rows, of which k are hit, and k + 1 answers."""
    each = range(labels)
    return LabelCounts(
        names=tuple(f"标签{k}" for k in each),
        truths=(10,) * labels,
        answers=tuple(k + 1 for k in each),
        hits=tuple(each),
    )


def test_the_worst_labels_are_in_sight_and_the_others_behind() -> None:
    card = labels_card("intent", label_results([counts(10)]))
    first, rest = tables(card)
    assert [row[0] for row in texts(first)] == [f"标签{k}" for k in range(8)]
    assert [row[0] for row in texts(rest)] == ["标签8", "标签9"]
    assert texts(first)[3][:4] == ["标签3", "10", "4", "3"]
    found = share(3, 4)
    assert found is not None
    assert texts(first)[3][4].startswith("75.0 % (")
    assert texts(first)[3][4].endswith(f"{100 * (found.high or 0):.1f} %)")


def test_a_task_without_counts_has_no_card() -> None:
    assert labels_card("intent", ()) is None
    assert choice_cards((), ()) == []


def test_confused_pairs_are_counted_the_most_frequent_first() -> None:
    pairs = [("退款", "物流")] * 3 + [("物流", "退款")] * 2 + [("发票", "物流"), ("退款", "退款")]
    text = "\n".join(
        json.dumps({"row": i, "truth": t, "answer": a, "score": float(t == a)}, ensure_ascii=False)
        for i, (t, a) in enumerate(pairs)
    )
    found = worst_of("intent", "validation", text)
    assert found.confusions == (Confusion("退款", "物流", 3, 4), Confusion("物流", "退款", 2, 2))
    (table,) = tables(confusions_card(found))
    assert texts(table) == [["退款", "物流", "3", "75 %"], ["物流", "退款", "2", "100 %"]]
    assert confusions_card(found._replace(confusions=())) is None


def test_thresholds_and_precision_at_a_recall_stand_below_the_curve() -> None:
    nats = np.arange(100) / 100
    kept = confidence(nats, nats < 0.5, due=100)
    assert kept is not None
    thresholds, recalls, numbers = tables(likelihood_card(risk_coverage("intent", kept), LIGHT))
    assert [row[:3] for row in texts(thresholds)] == [
        ["90 %", "0.613", "50 %"],
        ["95 %", "0.613", "50 %"],
        ["99 %", "not surely reached", "–"],
    ]
    assert texts(recalls)[0][:3] == ["50 %", "0.613", "50 %"]
    assert texts(recalls)[1][-1] == "not reached"
    assert len(numbers.body) == 20


def test_the_recommendation_names_labels_and_thresholds() -> None:
    kept = confidence([0.1] * 40 + [0.9] * 20, [1.0] * 40 + [0.0] * 20, due=60)
    assert kept is not None
    worst = WorstLabel(task="intent", label="发票", rows=2.5, recall=share(0, 20))
    labels, withheld = choice_cards([worst], [threshold("intent", kept, 0.9)])
    assert texts(tables(labels)[0])[0][:4] == ["intent", "发票", "2.5", "never answered"]
    assert texts(tables(withheld)[0])[0][:4] == ["intent", "90 %", "0.905", "67 %"]
