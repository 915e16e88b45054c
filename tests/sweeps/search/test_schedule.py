"""Expected schedule: the very trials that run where results are as expected."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sweeps.plan_table import schedule_lines, schedule_rows
from sweeps.resolve import ResolvedSweep, read_sweep
from sweeps.search.plan import Plan, make_plan
from sweeps.search.schedule import (
    Schedule,
    expected_schedule,
    forecast_scores,
    prior_scores,
    too_large,
)
from sweeps.search.space import configurations, design_point, trial_spec, untouched_base
from tests.factories import sweep_text
from tests.sweeps.search.formula import answered
from tracker.trial import Status, TrialRecord

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
    prices = {planned.point: planned.seconds for planned in plan.points}
    for trial in schedule.trials[2:]:
        assert trial.seconds == prices[design_point(trial.configuration)]
    assert schedule.extent.seconds == pytest.approx(sum(t.seconds for t in schedule.trials))
    assert not any(trial.done for trial in schedule.trials)


def test_the_grid_is_every_configuration_at_every_volume(law: Planned) -> None:
    sweep, plan, schedule = law
    mixes = [curve.mix for curve in configurations(sweep.spec)]
    trials = 3 * mixes.count("plain") + mixes.count("replay")
    assert schedule.grid.trials == 2 + trials
    assert schedule.grid.seconds > 2 * plan.base_seconds
    assert schedule.least.seconds <= schedule.extent.seconds <= schedule.most.seconds
    assert schedule.samples == 3


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
        TrialRecord(
            number=t.number,
            stage=t.stage,
            result=answered(trial_spec(sweep, t.configuration, t.seed)),
        )
        for t in expected.trials
        if t.round < 2
    ]
    _, plan, schedule = planned(sweep, records)
    begun = schedule.trials[: len(records)]
    assert [t[:5] for t in begun] == [t[:5] for t in expected.trials[: len(records)]]
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


# -- what trials are expected to score ---------------------------------------------------------------


@pytest.fixture
def sweep(make_sweep: MakeSweep) -> ResolvedSweep:
    return make_sweep(volumes=[40, 80, 160])[0]


def test_more_data_is_expected_to_score_no_less(sweep: ResolvedSweep) -> None:
    for draw in range(5):
        scores = prior_scores(sweep, draw).scores
        assert scores.shape == (len(configurations(sweep.spec)), 3)
        assert ((scores >= 0) & (scores <= 1)).all()
        assert (np.diff(scores, axis=1) >= 0).all()
        assert np.ptp(scores[:, -1]) > 0.05, "there is something to choose"


def test_a_sample_of_the_prior_is_reproducible(sweep: ResolvedSweep) -> None:
    first, again, other = (prior_scores(sweep, draw).scores for draw in (0, 0, 1))
    assert (first == again).all()
    assert not (first == other).all()


def test_every_trial_of_the_design_has_a_score_and_no_other(sweep: ResolvedSweep) -> None:
    sample = prior_scores(sweep, 0)
    for row, curve in enumerate(configurations(sweep.spec)):
        spec = trial_spec(sweep, curve._replace(volume=80), 0)
        assert sample.score(spec) == sample.scores[row, 1]
    base = trial_spec(sweep, untouched_base("a"), 0)
    assert sample.score(base) is None


def test_what_was_measured_is_expected_again(sweep: ResolvedSweep) -> None:
    """All configurations but the last measured on an exact formula: the laws lie near it."""
    records: list[TrialRecord] = []
    for curve in configurations(sweep.spec)[:-1]:
        for volume in sweep.spec.volumes_of(curve.mix):
            result = answered(trial_spec(sweep, curve._replace(volume=volume), 0))
            records.append(TrialRecord(number=len(records), stage="law", result=result))
    sample, other, _ = forecast_scores(sweep, records, 3)
    assert not (sample.scores == other.scores).all()
    assert sample.measured == len(records)
    off = [
        abs((sample.score(r.result.spec) or 0.0) - (r.result.tasks[0].score or 0.0))
        for r in records
    ]
    assert float(np.median(off)) < 0.05
    last = trial_spec(sweep, configurations(sweep.spec)[-1]._replace(volume=80), 0)
    assert sample.score(last) is not None


def test_nothing_measured_gives_no_forecast(sweep: ResolvedSweep) -> None:
    spec = trial_spec(sweep, configurations(sweep.spec)[0]._replace(volume=80), 0)
    lost = answered(spec).model_copy(update={"status": Status.DIVERGED, "tasks": ()})
    assert forecast_scores(sweep, [], 3) == []
    assert forecast_scores(sweep, [TrialRecord(number=0, stage="law", result=lost)], 3) == []
