"""What a sweep will take is learned from what trials took that went their whole way."""

from __future__ import annotations

import pytest

from sweeps.search.plan import learned_speed
from tests.factories import model_spec, task_spec, trial_record, trial_spec
from tracker.trial import Cost, Status, TrialRecord

SHORT = [s for s in Status if s is not Status.COMPLETE]
VOLUMES = (100, 400, 1600, 6400)


def record(number: int, volume: int, seconds: float, status: Status) -> TrialRecord:
    spec = trial_spec(
        model_spec(parameters=10**6), tasks=(task_spec("t"),), volume=volume, seed=number
    )
    cost = Cost(device="cpu", flops=6e8 * volume, device_seconds=seconds)
    return trial_record(spec, number, status=status, cost=cost)


@pytest.mark.parametrize("status", SHORT)
def test_a_trial_that_ended_early_teaches_no_speed(status: Status) -> None:
    whole = [record(i, v, 2.0 + 0.01 * v, Status.COMPLETE) for i, v in enumerate(VOLUMES)]
    known = learned_speed(whole)
    assert known.basis == "4 finished trials of this sweep"
    assert learned_speed([*whole, record(9, 6400, 0.1, status)]) == known
