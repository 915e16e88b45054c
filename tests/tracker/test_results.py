from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from tracker.metrics import measures_of, se_of, weighted_quality, weighted_se
from tracker.results import quality_table, results_table
from tracker.task import SuiteScore, TaskScore
from tracker.trial import MethodSpec, Status, TrialRecord

Records = Callable[..., TrialRecord]


def with_scores(record: TrialRecord, *scores: TaskScore) -> TrialRecord:
    result = record.result.model_copy(update={"tasks": scores})
    return record.model_copy(update={"result": result})


def test_a_row_per_trial_and_task_by_number(make_record: Records) -> None:
    two = (
        TaskScore(task="slots", n=9, score_name="token_f1", score=0.5),
        TaskScore(task="intent", n=9, score_name="exact_match"),
    )
    table = results_table([make_record(1, seed=1), with_scores(make_record(0), *two)])
    assert table[["number", "task"]].to_numpy().tolist() == [
        [0, "slots"],
        [0, "intent"],
        [1, "intent"],
    ]
    assert table["examples"].tolist() == [0, 400, 400]  # the mix trains intent alone
    assert table["key"].nunique() == 2


def test_values_are_the_records(make_record: Records) -> None:
    record = make_record(2)
    (row,) = results_table([record]).to_dict("records")
    result, (score,) = record.result, record.result.tasks
    assert row["key"] == result.spec.key
    assert (row["model"], row["parameters"], row["method"]) == ("pg-30k", 30_000, "lora")
    assert (row["rank"], row["learning_rate"], row["mix"], row["volume"]) == (8, 1e-3, "even", 400)
    assert (row["loss_nats"], row["score"]) == (score.loss_nats, 0.75)
    assert row["score_se"] == se_of(score, "score") >= 0.03
    assert row["replicates"] == (0.7, 0.8)
    assert row["general.language.before"] == 2.0
    assert row["forgetting.language"] == pytest.approx(0.05)
    assert (row["train_tokens"], row["flops"], row["device"]) == (12_000, 2.16e9, "cpu")


def test_what_was_not_measured_is_missing_never_zero(make_record: Records) -> None:
    (row,) = results_table([make_record(0)]).to_dict("records")
    for column in ("bits_per_byte", "precision", "over_reach", "peak_bytes", "virtual_tokens"):
        assert pd.isna(row[column]), column


@pytest.mark.parametrize("status", [Status.FAILED, Status.DIVERGED, Status.INFEASIBLE])
def test_a_trial_without_scores_keeps_one_row(make_record: Records, status: Status) -> None:
    table = results_table([make_record(0), make_record(1, status=status, seed=1)])
    row = table.iloc[1]
    assert (row["number"], row["status"]) == (1, status.value)
    assert row["reason"] == "loss became infinite"
    assert pd.isna(row["task"])
    assert row["replicates"] == ()
    assert pd.isna(row["general.language.after"])


def test_the_untouched_base_trains_nothing(make_record: Records) -> None:
    base = make_record(0, method=MethodSpec(name="none"), mix=None, volume=0, examples={})
    (row,) = results_table([base]).to_dict("records")
    assert (row["method"], row["mix"], row["volume"], row["examples"]) == ("none", "", 0, 0)


def test_suites_of_all_trials_become_columns(make_record: Records) -> None:
    other = make_record(1, seed=1)
    suite = SuiteScore(suite="slots", measure="score", n=9, before=0.5, after=0.25)
    result = other.result.model_copy(update={"general": (suite,)})
    table = results_table([make_record(0), other.model_copy(update={"result": result})])
    assert table["forgetting.slots"].tolist()[1] == 0.25
    assert table["forgetting.slots"].isna().tolist() == [True, False]
    assert table["forgetting.language"].isna().tolist() == [False, True]


def test_no_records_make_a_table_with_columns() -> None:
    table = results_table([])
    assert table.empty
    assert {"key", "task", "score", "examples", "flops", "replicates"} <= set(table.columns)


def test_the_table_s_quality_is_that_of_every_single_run(sweep: list[TrialRecord]) -> None:
    """Whatever the weights: a task of weight 0 does not count, whether it was measured or not."""
    table = results_table(sweep)
    measures = measures_of(record.result for record in sweep)
    for weights in (
        {"intent": 2.0, "slots": 1.0},
        {"intent": 1.0, "nothing": 0.0},
        {"nothing": 1.0},
    ):
        found = quality_table(table, weights, measures)
        for record in sweep:
            single = weighted_quality(record.result, weights, measures)
            error = weighted_se(record.result, weights, measures)
            if single is None or record.result.status is not Status.COMPLETE:
                assert record.result.spec.key not in found.index
                continue
            row = found.loc[record.result.spec.key]
            assert row["value"] == pytest.approx(single)
            assert (None if np.isnan(row["se"]) else row["se"]) == (error and pytest.approx(error))
