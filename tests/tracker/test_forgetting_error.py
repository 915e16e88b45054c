"""One error of forgetting, wherever it is used: the paired one, else a bound."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.tracker.decision import test_mix_effects as mixes
from tracker.constraints import satisfied
from tracker.decision.mix_points import mix_table
from tracker.metrics import Z, forgetting_se
from tracker.results import by_configuration, forgetting, results_table
from tracker.task import SuiteScore
from tracker.trial import TrialRecord

Record = Callable[..., TrialRecord]


def with_suite(record: TrialRecord, **changes: Any) -> TrialRecord:
    suites = tuple(s.model_copy(update=changes) for s in record.result.general)
    return record.model_copy(
        update={"result": record.result.model_copy(update={"general": suites})}
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"forgetting_se": 0.0003}, 0.0003),
        ({"forgetting_se": 0.0003, "after_se": None}, 0.0003),
        ({}, 0.002),
        ({"before": 4.0, "after": 4.1}, 0.0005),
        ({"measure": "score", "before": 0.5, "after": 0.4}, 0.002),
        ({"after_se": None}, None),
        ({"after": None, "forgetting_se": 0.1}, None),
    ],
)
def test_the_paired_error_where_it_is_known_else_that_of_after(
    changes: dict[str, Any], expected: float | None, record: Record
) -> None:
    run = with_suite(record(), **changes).result
    assert forgetting_se(run, "english") == (None if expected is None else pytest.approx(expected))
    assert forgetting_se(run, "german") is None


def test_the_untouched_base_has_none(record: Record) -> None:
    run = with_suite(record(method="none", forgetting=0.0), forgetting_se=0.1).result
    assert forgetting_se(run, "english") == 0


def test_a_candidate_and_its_limit_use_it(record: Record) -> None:
    """A limit two paired errors away is kept; by the error of `after` nobody could say."""
    limit = {"forgetting.english": 0.0206}
    found = {}
    for error in (0.0003, None):
        results = by_configuration([with_suite(record(forgetting=0.02), forgetting_se=error)])
        (lost,) = forgetting(results)
        stated = lost["english"]
        assert stated.value == 0.02, "what was lost is the same"
        assert stated.high == pytest.approx(0.02 + Z * (error or 0.002))
        (constraint,) = satisfied(results, 0, lost, limit)
        found[error] = constraint.probability
    assert found[0.0003] == pytest.approx(0.97725, abs=2e-4)  # a share of 4,000 draws
    assert found[None] == pytest.approx(0.618, abs=1e-3)


def test_the_points_of_a_mix_use_it() -> None:
    records = mixes.sweep()
    table = mix_table(results_table(records), records).rows
    rows = table[table["quantity"] == "forgetting.text"]
    assert rows.loc[rows["label"] == "none", "se"].tolist() == [0.0]
    assert set(rows.loc[rows["label"] != "none", "se"]) == {0.005}
    paired = [with_suite(r, forgetting_se=0.0004) for r in records]
    table = mix_table(results_table(paired), paired).rows
    rows = table[(table["quantity"] == "forgetting.text") & (table["label"] != "none")]
    assert set(rows["se"]) == {0.0004}


def test_a_result_of_before_it_was_kept_still_loads() -> None:
    old = {"suite": "english", "measure": "bits_per_byte", "before": 1.0, "after": 1.1}
    assert SuiteScore.model_validate(old).forgetting_se is None
