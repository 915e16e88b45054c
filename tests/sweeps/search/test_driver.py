"""What may not depend on interruptions, speed or the number of workers: which trials run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from sweeps.resolve import ResolvedSweep
from sweeps.search.driver import Driver
from sweeps.search.engine import Died, Event, Job
from sweeps.search.folder import SweepFolder
from sweeps.search.ledger import Ledger
from tests.sweeps.search.formula import FormulaEngine, NoDelivery, drive
from tracker.record.journal import Journal
from tracker.record.trial import Status

MakeSweep = Callable[..., tuple[ResolvedSweep, Path]]
STRATEGIES = ["grid", "random", "tpe"]


def asked(driver: Driver) -> list[tuple[str, str]]:
    return [(trial.stage, trial.spec.key) for trial in driver.asked]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_neither_workers_nor_speed_change_the_trials(
    strategy: str, make_sweep: MakeSweep, tmp_path: Path
) -> None:
    search = {"strategy": strategy, "tuning": {"trials": 2}, "window": 4}
    sweep, _ = make_sweep(search=search, budget={"trials": 26})
    runs = [
        drive(sweep, SweepFolder(tmp_path / str(i), "tiny"), FormulaEngine(slots, seed=i))
        for i, slots in enumerate([1, 2, 4, 4])
    ]
    assert all(asked(run) == asked(runs[0]) for run in runs)
    assert len(runs[0].asked) == 26


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_interruption_changes_nothing_and_repeats_nothing(
    strategy: str, make_sweep: MakeSweep, tmp_path: Path
) -> None:
    search = {"strategy": strategy, "tuning": {"trials": 2}, "window": 4}
    sweep, _ = make_sweep(search=search, budget={"trials": 22})
    whole = drive(sweep, SweepFolder(tmp_path / "whole", "tiny"), FormulaEngine(2))
    folder = SweepFolder(tmp_path / "cut", "tiny")
    ran: list[str] = []
    for attempt in range(4):
        engine = FormulaEngine(2, seed=attempt, die_after=5)
        with pytest.raises(KeyboardInterrupt):
            drive(sweep, folder, engine)
        ran += engine.ran
    last = FormulaEngine(2, seed=9)
    resumed = drive(sweep, folder, last)
    ran += last.ran
    assert asked(resumed) == asked(whole)
    assert len(ran) == len(set(ran)) == 22, "each trial ran to its end exactly once"
    states = Counter(trial.state for trial in resumed.ledger.trials())
    assert states == {optuna.trial.TrialState.COMPLETE: 22}


def test_finished_sweep_runs_nothing_more(make_sweep: MakeSweep, tmp_path: Path) -> None:
    sweep, _ = make_sweep()
    folder = SweepFolder(tmp_path / "runs", "tiny")
    first = drive(sweep, folder, FormulaEngine(2))
    again = FormulaEngine(2)
    assert asked(drive(sweep, folder, again)) == asked(first)
    assert again.ran == []


def test_study_holds_what_was_measured(make_sweep: MakeSweep, tmp_path: Path) -> None:
    sweep, _ = make_sweep(budget={"trials": 12})
    driver = drive(sweep, SweepFolder(tmp_path / "runs", "tiny"), FormulaEngine(2))
    for number, trial in enumerate(driver.ledger.trials()):
        record = driver.records[number]
        assert trial.value == driver.quality(record)
        if record.stage != "baseline":
            assert trial.params["volume" if "volume" in trial.params else "volume/replay"]
            assert trial.params["method"] == record.result.spec.method.name


def test_raised_budget_goes_on(make_sweep: MakeSweep, tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "runs", "tiny")
    small, _ = make_sweep(budget={"trials": 10})
    large, _ = make_sweep(budget={"trials": 16})
    first = drive(small, folder, FormulaEngine(2))
    engine = FormulaEngine(2)
    second = drive(large, folder, engine)
    assert asked(second)[:10] == asked(first)
    assert len(engine.ran) == 6


def test_budget_of_device_time_is_kept(make_sweep: MakeSweep, tmp_path: Path) -> None:
    """Trials of the formula take one second each."""
    sweep, _ = make_sweep(budget={"gpu_hours": 15 / 3600})
    driver = drive(sweep, SweepFolder(tmp_path / "runs", "tiny"), FormulaEngine(2))
    assert len(driver.asked) == 15


class _Deadly(FormulaEngine):
    """The worker of one trial dies *times* times."""

    def __init__(self, times: int) -> None:
        super().__init__(1)
        self.left, self.victim = times, ""

    def events(self, timeout: float):  # type: ignore[no-untyped-def]
        job: Job = self.jobs[0]
        self.victim = self.victim or job.key
        if job.key == self.victim and self.left:
            self.left -= 1
            self.jobs.pop()
            event: Event = Died(job.key, "worker ended by SIGKILL")
            yield event
        else:
            yield from super().events(timeout)


def test_trial_of_a_dead_worker_runs_again(make_sweep: MakeSweep, tmp_path: Path) -> None:
    sweep, _ = make_sweep(budget={"trials": 6})
    engine = _Deadly(times=2)
    driver = drive(sweep, SweepFolder(tmp_path / "runs", "tiny"), engine)
    assert len(engine.ran) == 6
    assert {r.result.status for r in driver.records.values()} == {Status.COMPLETE}


def test_trial_that_kills_its_workers_has_failed(make_sweep: MakeSweep, tmp_path: Path) -> None:
    sweep, _ = make_sweep(budget={"trials": 6})
    engine = _Deadly(times=99)
    folder = SweepFolder(tmp_path / "runs", "tiny")
    driver = drive(sweep, folder, engine)
    failed = [r.result for r in driver.records.values() if r.result.status is Status.FAILED]
    assert [r.reason for r in failed] == ["worker ended by SIGKILL, 3 times"]
    assert Journal(folder.journal(engine.victim)).result() == failed[0]
    assert len(driver.records) == 6, "the sweep goes on"


class _LateDeath(FormulaEngine):
    """The worker of one trial dies *times* times, the last time between its result and telling of it."""

    def __init__(self, times: int) -> None:
        super().__init__(1)
        self.left = times

    def events(self, timeout: float):  # type: ignore[no-untyped-def]
        if self.left == 0:
            yield from super().events(timeout)
            return
        self.left -= 1
        if self.left:
            event: Event = Died(self.jobs.pop().key, "worker ended by SIGKILL")
            yield event
        else:
            for ended in super().events(timeout):
                yield Died(ended.key, "worker ended by SIGKILL")  # type: ignore[union-attr]


@pytest.mark.parametrize("times", [1, 3])
def test_a_result_outlives_the_worker_that_could_not_tell_of_it(
    times: int, make_sweep: MakeSweep, tmp_path: Path
) -> None:
    sweep, _ = make_sweep(budget={"trials": 4})
    engine = _LateDeath(times)
    folder = SweepFolder(tmp_path / "runs", "tiny")
    driver = drive(sweep, folder, engine)
    assert {r.result.status for r in driver.records.values()} == {Status.COMPLETE}
    assert len(engine.ran) == len(set(engine.ran)) == 4, "no trial runs to its end twice"
    for key in engine.ran:
        events = [event["event"] for event in Journal(folder.journal(key)).events()]
        assert events.count("result") == 1


def test_known_prices_make_the_budget_exact(make_sweep: MakeSweep, tmp_path: Path) -> None:
    """What does not fit is not run, and has ended; cheaper trials still are."""
    sweep, _ = make_sweep(budget={"gpu_hours": 1000 / 3600})
    folder = SweepFolder(tmp_path / "runs", "tiny")
    folder.root.mkdir(parents=True)
    engine = FormulaEngine(2)
    ledger = Ledger(f"sqlite:///{folder.study_file}", sweep.spec)
    delivery: Any = NoDelivery()
    driver = Driver(sweep, folder, ledger, engine, delivery, price=lambda spec: float(spec.volume))
    driver.run()
    ran = [r for r in driver.records.values() if r.result.status is Status.COMPLETE]
    spent = sum(r.result.spec.volume for r in ran)
    assert 1000 - 40 < spent <= 1000, "the cheapest trial takes 40"
    assert len(ran) == len(engine.ran)
    assert {r.result.status for r in driver.records.values()} == {Status.COMPLETE, Status.PRUNED}
    assert len(driver.records) == len(driver.asked) == len(driver.told)


def test_a_sweep_repeated_from_another_first_seed_shares_no_trial_but_the_bases(
    make_sweep: MakeSweep, tmp_path: Path
) -> None:
    runs = []
    for first in (0, 1000):
        sweep, _ = make_sweep(first_seed=first, budget={"trials": 12})
        runs.append(drive(sweep, SweepFolder(tmp_path / str(first), "tiny"), FormulaEngine(2)))
    ours, other = ({trial.key: trial.spec for trial in run.asked} for run in runs)
    assert {ours[key].method.name for key in ours.keys() & other.keys()} == {"none"}
    tuned = [spec.seed for spec in other.values() if spec.method.name != "none"]
    assert tuned
    assert min(tuned) >= 1000
