import numpy as np
import pytest

from tests.dashboards.conftest import make_records
from tracker.spending import ForecastInterval, Spending, forecast, tally
from tracker.trial import TakenOver


@pytest.fixture(scope="module")
def records():
    return make_records()


def test_equal_trials_are_predicted_exactly():
    ahead = forecast(Spending((10.0,) * 10, 10, 40, workers=2))
    assert ahead.device_seconds == pytest.approx(ForecastInterval(400, 400))
    assert ahead.trials == ForecastInterval(40, 40)
    assert ahead.clock_seconds == pytest.approx(ForecastInterval(150, 150))


def test_a_budget_of_device_time_bounds_trials_and_time():
    ahead = forecast(Spending((10.0,) * 10, 10, 40, budget_seconds=200.0))
    assert ahead.trials == ForecastInterval(20, 20)
    assert ahead.device_seconds == pytest.approx(ForecastInterval(200, 200))
    assert ahead.clock_seconds is None, "nobody said how many workers there are"


@pytest.mark.parametrize(
    ("seconds", "planned"), [((1.0,) * 4, 8), ((1.0,) * 9, 100), ((1.0,) * 9, None), ((), 5)]
)
def test_it_may_be_too_early_to_say(seconds, planned):
    assert forecast(Spending(seconds, len(seconds), planned)) is None


def test_the_interval_holds_in_four_of_five_cases():
    """Sums of log-normal times, known after 12 of 40 trials, over 2,000 sweeps."""
    rng = np.random.default_rng(5)
    times = rng.lognormal(1.0, 0.4, size=(2000, 40))
    kept = []
    for row in times:
        ahead = forecast(Spending(tuple(row[:12]), 12, 40))
        kept.append(ahead.device_seconds.low <= row.sum() <= ahead.device_seconds.high)
    assert np.mean(kept) == pytest.approx(0.8, abs=0.03)


def test_trials_that_wait_for_more_than_the_device_take_longer_on_the_clock(records):
    assert tally(records).clock_per_device_second == pytest.approx(1.0)
    slow = []
    for record in records:
        result = record.result.model_copy(update={"started_at": record.result.started_at - 1})
        slow.append(record.model_copy(update={"result": result}))
    seconds = sum(record.result.cost.device_seconds for record in slow)
    assert tally(slow).clock_per_device_second == pytest.approx(1 + len(slow) / seconds)
    assert tally([]).clock_per_device_second == 1.0
    ahead = forecast(Spending((10.0,) * 10, 10, 40, workers=2, clock_per_device_second=1.5))
    assert ahead.clock_seconds == pytest.approx(ForecastInterval(225, 225))


def test_what_is_burnt_is_a_share_of_the_budget_else_of_the_plan():
    assert Spending((30.0,), 1, 10, budget_seconds=60.0).budget_share == 0.5
    assert Spending((30.0,), 1, None, budget_trials=4).budget_share == 0.25
    assert Spending((30.0,), 1, 10).budget_share == 0.1
    assert Spending((30.0,), 1, None).budget_share is None


def test_trials_that_never_ran_are_no_measure(records):
    first, result = records[0], records[0].result
    never = [
        result.model_copy(
            update={"cost": result.cost.model_copy(update={"device_seconds": seconds})}
        )
        for seconds in (None, 0.0)
    ]
    found = tally([first, *(first.model_copy(update={"result": each}) for each in never)])
    assert found.seconds == (result.cost.device_seconds,)
    assert found.ended == 3
    assert not found.imported


def test_what_was_taken_over_is_shown_and_not_spent(records):
    origin = TakenOver(sweep="before", key=records[0].result.spec.key)
    taken = records[0].model_copy(update={"taken_over": origin})
    found = tally([taken, records[1]])
    assert found.seconds == (records[1].result.cost.device_seconds,)
    assert found.ended == 2
