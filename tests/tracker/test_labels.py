"""Precision and recall by label, against counting by hand and scipy's Beta."""

from __future__ import annotations

import pytest
from scipy.stats import beta

from tracker.labels import label_results, share, worst_first
from tracker.task import LabelCounts

COUNTS = LabelCounts(
    names=("退款", "物流", "other", "never"),
    truths=(10, 6, 1, 0),
    answers=(12, 3, 0, 0),
    hits=(9, 1, 0, 0),
)


def test_a_share_has_jeffreys_interval() -> None:
    found = share(9, 12)
    assert found is not None
    assert found.value == 0.75
    assert (found.low, found.high) == pytest.approx(beta(9.5, 3.5).ppf([0.1, 0.9]))


def test_the_interval_of_rows_that_are_all_alike_reaches_the_limit() -> None:
    none, whole = share(0, 5), share(5, 5)
    assert none is not None
    assert whole is not None
    assert (none.value, none.low, whole.value, whole.high) == (0, 0, 1, 1)
    assert none.high == pytest.approx(beta(0.5, 5.5).ppf(0.9))
    assert whole.low == pytest.approx(beta(5.5, 0.5).ppf(0.1))


def test_what_has_no_rows_is_not_measured() -> None:
    refund, _, other, never = label_results([COUNTS])
    assert share(0, 0) is None
    assert refund.f1 == pytest.approx(18 / 22)
    assert other.precision is None
    assert other.recall is not None
    assert (never.precision, never.recall, never.f1) == (None, None, None)


def test_the_worst_label_is_not_one_of_a_single_row() -> None:
    found = worst_first(label_results([COUNTS]))
    assert [each.name for each in found] == ["物流", "other", "退款"]


def test_seeds_are_averaged_and_give_no_more_rows() -> None:
    other = COUNTS.model_copy(update={"hits": (7, 1, 0, 0), "answers": (8, 3, 0, 0)})
    refund = label_results([COUNTS, other])[0]
    assert (refund.truths, refund.answers, refund.hits) == (10, 10, 8)
    assert refund.precision == share(8, 10)


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="a count of each label"):
        LabelCounts(names=("a",), truths=(1, 2), answers=(1,), hits=(1,))
