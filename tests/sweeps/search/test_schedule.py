"""Which trials a strategy is expected to run: the very ones it runs where results are as expected."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.resolve import ResolvedSweep, read_sweep
from sweeps.schedule_text import schedule_lines, schedule_rows
from sweeps.search.plan import Plan, make_plan
from sweeps.search.schedule import Schedule, expected_schedule, too_large
from sweeps.search.space import configurations, trial_spec
from tests.factories import sweep_text
from tests.sweeps.search.formula import answered
from tracker.trial import TrialRecord

MakeSweep = Callable[..., tuple[ResolvedSweep, Path]]
Planned = tuple[ResolvedSweep, Plan, Schedule]
LAW = {"strategy": "law", "tuning": {"trials": 2}, "window": 4}


def planned(sweep: ResolvedSweep, records: list[TrialRecord] | None = None) -> Planned:
    plan = make_plan(sweep, records or [], workers=2)
    schedule = expected_schedule(sweep, records or [], plan)
    assert schedule is not None
    return sweep, plan, schedule


@pytest.fixture(scope="module")
def law(tiny_model: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Planned:
    path = tmp_path_factory.mktemp("law") / "sweep.yaml"
    path.write_text(sweep_text(tiny_model, tiny_data, search=LAW))
    return planned(read_sweep(path))


def test_rounds_are_chosen_whole(law: Planned) -> None:
    _, _, schedule = law
    rounds = [trial.round for trial in schedule.trials]
    assert rounds == sorted(rounds)
    assert set(rounds) == set(range(max(rounds) + 1))
    assert [trial.number for trial in schedule.trials] == list(range(len(rounds)))
    first = [trial for trial in schedule.trials if trial.round == 0]
    assert {trial.stage for trial in first} == {"baseline"}


def test_prices_are_the_plans(law: Planned) -> None:
    _, plan, schedule = law
    prices = {tuple(planned.cell): planned.seconds for planned in plan.cells}
    for trial in schedule.trials[2:]:
        v = trial.values
        assert trial.seconds == prices[v["model"], v["method"], v["mix"], v["volume"]]
    assert schedule.extent.seconds == pytest.approx(sum(t.seconds for t in schedule.trials))
    assert not any(trial.done for trial in schedule.trials)


def test_the_grid_is_every_configuration_at_every_volume(law: Planned) -> None:
    sweep, plan, schedule = law
    mixes = [c["mix"] for c in configurations(sweep.spec)]
    trials = 3 * mixes.count("plain") + mixes.count("replay")
    assert schedule.grid.trials == 2 + trials
    assert schedule.grid.seconds > 2 * plan.base_seconds
    assert schedule.least.seconds <= schedule.extent.seconds <= schedule.most.seconds
    assert schedule.surfaces == 3


def test_a_budget_of_trials_ends_it(make_sweep: MakeSweep) -> None:
    _, _, schedule = planned(make_sweep(search=LAW, budget={"trials": 9})[0])
    assert schedule.extent.trials <= 9
    assert "budget" in schedule.stop


def test_a_budget_of_time_ends_it(make_sweep: MakeSweep, law: Planned) -> None:
    _, _, whole = law
    hours = whole.extent.seconds / 2 / 3600
    _, _, half = planned(make_sweep(search=LAW, budget={"gpu_hours": hours})[0])
    assert half.extent.trials < whole.extent.trials
    assert half.extent.seconds <= 1.2 * hours * 3600
    assert "budget" in half.stop


def test_halving_is_scheduled_by_rungs(make_sweep: MakeSweep) -> None:
    _, _, schedule = planned(make_sweep(search={**LAW, "strategy": "halving"})[0])
    assert schedule.stop == "every trial of the design has run"
    counts = [sum(t.round == i and t.stage == "halving" for t in schedule.trials) for i in range(3)]
    assert counts[0] > counts[1] > counts[2] > 0


@pytest.mark.parametrize("strategy", ["tpe", "random", "grid"])
def test_what_is_left_to_chance_has_no_schedule(make_sweep: MakeSweep, strategy: str) -> None:
    sweep = make_sweep(search={**LAW, "strategy": strategy})[0]
    assert expected_schedule(sweep, [], make_plan(sweep, [], workers=1)) is None


def test_a_design_too_large_to_play_through_says_so(make_sweep: MakeSweep) -> None:
    full = {"full": {"learning_rate": [1e-4 * 1.01**i for i in range(301)]}}
    sweep = make_sweep(methods=full, mixes={"plain": {"intent": 1}}, search=LAW)[0]
    assert "602 configurations" in (too_large(sweep) or "")
    assert expected_schedule(sweep, [], make_plan(sweep, [], workers=1)) is None


def test_what_has_run_counts_as_it_went(law: Planned) -> None:
    """After the first two rounds the schedule begins with them, at the seconds they took."""
    sweep, _, expected = law
    records = [
        TrialRecord(number=t.number, stage=t.stage, result=answered(trial_spec(sweep, t.values)))
        for t in expected.trials
        if t.round < 2
    ]
    _, plan, schedule = planned(sweep, records)
    begun = schedule.trials[: len(records)]
    assert [t.values for t in begun] == [t.values for t in expected.trials[: len(records)]]
    assert all(t.done and t.seconds == 1.0 for t in begun)
    assert not any(t.done for t in schedule.trials[len(records) :])
    assert schedule.measured == len(records) - len(sweep.models)
    assert any(f"{len(records)} of the" in line for line in schedule_lines(schedule, plan))


def test_asking_twice_is_the_same_schedule(law: Planned) -> None:
    sweep, plan, schedule = law
    assert expected_schedule(sweep, [], plan) == schedule


def test_rows_hold_every_trial_once_and_fold_when_long(law: Planned) -> None:
    _, _, schedule = law
    rows = schedule_rows(schedule)
    assert sum(int(row.trials) for row in rows) == len(schedule.trials)
    long = schedule._replace(
        trials=[t._replace(round=20 * i + t.round) for i in range(20) for t in schedule.trials]
    )
    folded = schedule_rows(long)
    assert len(folded) == len({t.round for t in long.trials})
    assert sum(int(row.trials) for row in folded) == len(long.trials)
