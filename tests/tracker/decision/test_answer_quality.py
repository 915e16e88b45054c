"""Worst labels and thresholds of the choice, and the lines that name them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.factories import recommend, scored_record
from tracker.abstention import confidence
from tracker.decision.analysis import Analysis
from tracker.decision.answer_quality import abstention
from tracker.decision.explain import summary
from tracker.decision.recommendation import Recommendation
from tracker.export.config import config_of, read_config, write_config
from tracker.labels import share
from tracker.numbers import likelihood
from tracker.task import LabelCounts
from tracker.trial import Objective, TrialRecord

COUNTS = LabelCounts(
    names=("退款", "物流", "发票", "投诉", "other"),
    truths=(40, 30, 20, 10, 0),
    answers=(60, 20, 0, 10, 0),
    hits=(38, 18, 0, 10, 0),
)
NATS = np.arange(100) / 100
OBJECTIVE = Objective(weights={"intent": 1})


def record(seed: int = 0, **fields: object) -> TrialRecord:
    known = {"labels": COUNTS, "confidence": confidence(NATS, NATS < 0.5, due=100)}
    scores = {"intent": 0.66}
    return scored_record(scores=scores, seed=seed, number=seed, **{**known, **fields})


def answer(objective: Objective = OBJECTIVE, **fields: object) -> Recommendation:
    return recommend([record(**fields)], objective)


def test_the_worst_labels_are_named_with_precision_and_recall() -> None:
    worst = answer().worst_labels
    assert [each.label for each in worst] == ["发票", "物流", "退款"], "none that is always right"
    invoice, logistics, refund = worst
    assert (invoice.precision, invoice.recall) == (None, share(0, 20))
    assert (logistics.precision, logistics.recall, logistics.rows) == (
        share(18, 20),
        share(18, 30),
        30,
    )
    assert refund.precision == share(38, 60)


def test_two_lines_of_the_answer_say_it() -> None:
    _, _, *shown, _ = summary(answer())
    labels, precision = shown[-2:]
    assert labels == (
        "Worst labels of intent: 发票 (precision never answered, recall 0.0 %, 20 rows), 物流 (precision "
        "90.0 %, recall 60.0 %, 30 rows), 退款 (precision 63.3 %, recall 95.0 %, 40 rows)"
    )
    assert precision.startswith(
        "Precision: intent: with answers of a likelihood below 0.613 withheld, 100.0 % are right (80 % "
        "interval"
    )
    assert precision.endswith("and 50 % are given")


def test_a_threshold_is_for_the_precision_that_a_constraint_asks_for() -> None:
    assert [each.precision for each in answer().abstention] == [0.9, 0.95, 0.99]
    (results,) = Analysis([record()], OBJECTIVE).scored
    (only,) = abstention(results, ["intent"], {"precision.intent": 0.6})
    assert (only.precision, only.kept, only.found) == (0.6, 70, share(50, 70))


def test_what_needs_no_threshold_and_what_was_not_measured_has_none() -> None:
    right = confidence(NATS, np.ones(100), due=100)
    assert [each.precision for each in answer(confidence=right).abstention] == [0.99], "not surely"
    assert answer(confidence=right).abstention[0].nats is None
    assert answer(score_name="chrf").abstention == (), "a mean of scores is no precision"
    plain = answer(labels=None, confidence=None)
    assert (plain.worst_labels, plain.abstention) == ((), ())
    assert not any(line.startswith(("Worst", "Precision")) for line in summary(plain))
    assert "abstention" not in plain.model_dump_json()


def test_counts_are_means_over_seeds() -> None:
    other = COUNTS.model_copy(update={"hits": (36, 18, 0, 10, 0)})
    found = recommend([record(), record(seed=1, labels=other)], OBJECTIVE).worst_labels
    refund = next(each for each in found if each.label == "退款")
    assert refund.precision == share(37, 60)


def test_the_evidence_beside_the_file_holds_both(tmp_path: Path) -> None:
    found = answer()
    path = tmp_path / "recommended.yaml"
    write_config(config_of(found, [record()]), path)
    read = read_config(path)
    assert read.recommendation is not None
    assert read.recommendation.abstention == found.abstention
    assert read.recommendation.worst_labels == found.worst_labels
    assert "发票" in (tmp_path / "recommended.evidence.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("nats", [0.0, 0.5, 800.0])
def test_a_likelihood_is_written_whatever_its_size(nats: float) -> None:
    assert likelihood(nats) == {0.0: "1", 0.5: "0.607", 800.0: "10^-347"}[nats]
