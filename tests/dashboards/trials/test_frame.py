"""The rows and columns of the trials grid."""

import json

import pytest

from dashboards.analysis import PageAnalysis
from dashboards.exports import csv_text
from dashboards.pages.trials import shown_fields
from dashboards.state import Query
from dashboards.trials.frame import columns_of, definitions, plain_rows, trial_frame
from tracker.trial import Objective


@pytest.fixture(scope="module")
def frame(analysis):
    return analysis.trials


def test_one_row_per_trial_newest_first_and_absent_is_none(frame, records):
    found = plain_rows(frame)
    assert [r["number"] for r in found] == [r.number for r in reversed(records)]
    assert found[0]["status"] == "failed"
    assert found[0]["quality"] is None
    assert found[0]["reason"] == "failed: for the test"
    json.dumps(found, allow_nan=False)


def test_every_column_is_in_the_rows_and_the_usual_ones_are_shown(frame):
    columns = columns_of(frame.columns)
    assert {c.field for c in columns} <= set(frame.columns)
    assert {"score.intent", "forgetting.english", "over_reach.intent"} <= {c.field for c in columns}
    shown = shown_fields(columns, Query())
    hidden = {d["field"] for d in definitions(columns, shown) if d["hide"]}
    assert "over_reach.intent" in hidden
    assert "quality" not in hidden


def test_tasks_stand_in_the_objective_s_order_and_then_by_name(analysis):
    def order(**weights):
        frame = trial_frame(analysis.with_objective(Objective(weights=weights)))
        shown = [c.field for c in columns_of(frame.columns) if c.field.startswith("score.")]
        assert shown == [name for name in frame.columns if name.startswith("score.")]
        assert csv_text(frame, Query()).index(shown[0]) < csv_text(frame, Query()).index(shown[1])
        return shown

    assert order(slots=1, intent=2) == ["score.slots", "score.intent"]
    assert order(intent=2, slots=1) == ["score.intent", "score.slots"]
    assert order(slots=1) == ["score.slots", "score.intent"]
    assert order(unknown=1) == ["score.intent", "score.slots"]


def test_excluded_trials_are_listed_with_their_reason_and_count_for_nothing(records, analysis):
    out = records[-2].model_copy(update={"excluded": "its rows were mixed up"})
    counted = [record for record in records if record.number != out.number]
    page = PageAnalysis(counted, analysis.objective, excluded=[out])
    frame = page.trials
    assert [r["number"] for r in plain_rows(frame)] == [r.number for r in reversed(records)]
    why = {row["number"]: row["excluded"] for row in plain_rows(frame) if row["excluded"]}
    assert why == {out.number: "its rows were mixed up"}
    assert "excluded" in {column.field for column in columns_of(frame.columns)}
    assert out.result.spec.key not in set(page.table["key"])
    same = [name for name in analysis.trials.columns if name not in ("quality", "excluded")]
    assert (
        frame[same].dtypes.astype(str).tolist() == analysis.trials[same].dtypes.astype(str).tolist()
    )
    assert page.version != PageAnalysis(counted, analysis.objective).version
    alone = PageAnalysis([], analysis.objective, excluded=[out])
    assert len(alone.trials) == 1
