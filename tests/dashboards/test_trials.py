import json

from dashboards.trials import column_defs, trial_rows
from tracker.record.table import results_table


def test_one_row_per_trial_newest_first_and_absent_is_none(findings, records):
    rows = trial_rows(findings.table, findings.weights)
    assert [r["number"] for r in rows] == [r.number for r in reversed(records)]
    assert rows[0]["status"] == "failed"
    assert rows[0]["quality"] is None
    assert rows[0]["reason"] == "failed: for the test"
    json.dumps(rows, allow_nan=False)


def test_every_column_shown_is_in_the_rows(findings):
    rows = trial_rows(findings.table, findings.weights)
    fields = [column["field"] for column in column_defs(findings.table)]
    assert set(fields) <= set(rows[0])
    assert {"score.intent", "score.slots", "forgetting.english"} <= set(fields)


def test_no_trials_no_rows():
    table = results_table([])
    assert trial_rows(table, {"intent": 1.0}) == []
    assert column_defs(table)
