import pytest

from dashboards.charts.failures import failure_groups
from tracker.trial import Cost, Status


@pytest.fixture
def ended(records):
    """``ended(number, status, reason)``: a record that ended so."""

    def make(number, status, reason):
        result = records[10].result.model_copy(
            update={"status": status, "reason": reason, "cost": Cost(device="cpu")}
        )
        return records[10].model_copy(update={"number": number, "result": result})

    return make


def test_equal_reasons_are_one_group_whatever_their_numbers(ended):
    found = failure_groups(
        [
            ended(1, Status.INFEASIBLE, "out of memory: 3.2 GB wanted"),
            ended(2, Status.FAILED, "worker ended by SIGKILL, 3 times"),
            ended(5, Status.INFEASIBLE, "out of memory: 4.1 GB wanted"),
            ended(6, Status.COMPLETE, None),
        ]
    )
    assert [(group.status, group.numbers) for group in found] == [
        (Status.INFEASIBLE, (5, 1)),
        (Status.FAILED, (2,)),
    ]
    assert found[0].reason == "out of memory: 4.1 GB wanted"
    assert found[0].where == ("en-0.1m · lora",)
    assert "train.batch_size" in found[0].advice
    assert "fewer workers" in found[1].advice


@pytest.mark.parametrize("status", [s for s in Status if s is not Status.COMPLETE])
def test_every_end_has_advice_also_without_a_reason(ended, status):
    group = failure_groups([ended(1, status, None)])[0]
    assert group.advice
    assert group.reason == "no reason was recorded"


def test_what_was_stopped_by_hand_says_who_knows(ended):
    assert (
        "log of requests" in failure_groups([ended(1, Status.PRUNED, "stopped by hand")])[0].advice
    )


def test_nothing_went_wrong(records):
    assert failure_groups([r for r in records if r.result.status is Status.COMPLETE]) == ()
