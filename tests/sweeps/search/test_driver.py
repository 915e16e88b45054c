"""The driver: what the study holds, workers that die, and what does not fit a budget."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.resolve import ResolvedSweep
from sweeps.search.engines.engine import Died, Ended, Event, Job
from sweeps.search.workspace import SweepFolder
from tests.sweeps.search.formula import FormulaEngine, drive
from tracker.store.journal import Journal
from tracker.trial import Status

MakeSweep = Callable[..., tuple[ResolvedSweep, Path]]


def test_study_holds_what_was_measured(make_sweep: MakeSweep, tmp_path: Path) -> None:
    sweep, _ = make_sweep(budget={"trials": 12})
    driver = drive(sweep, SweepFolder(tmp_path / "runs", "tiny"), FormulaEngine(2))
    for number, trial in enumerate(driver.study.trials()):
        record = driver.records[number]
        assert trial.value == driver.quality(record)
        if record.stage != "baseline":
            assert trial.params["volume" if "volume" in trial.params else "volume/replay"]
            assert trial.params["method"] == record.result.spec.method.name


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
    driver = drive(sweep, SweepFolder(tmp_path / "runs", "tiny"), engine, in_memory=True)
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
            for event in super().events(timeout):
                if isinstance(event, Ended):
                    yield Died(event.key, "worker ended by SIGKILL")


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
    folder, engine = SweepFolder(tmp_path / "runs", "tiny"), FormulaEngine(2)
    driver = drive(sweep, folder, engine, in_memory=True, price=lambda spec: float(spec.volume))
    ran = [r for r in driver.records.values() if r.result.status is Status.COMPLETE]
    spent = sum(r.result.spec.volume for r in ran)
    assert 1000 - 40 < spent <= 1000, "the cheapest trial takes 40"
    assert len(ran) == len(engine.ran)
    assert {r.result.status for r in driver.records.values()} == {Status.COMPLETE, Status.PRUNED}
    assert len(driver.records) == len(driver.trials) == len(driver.outcomes)


def test_a_sweep_repeated_from_another_first_seed_shares_no_trial_but_the_bases(
    make_sweep: MakeSweep, tmp_path: Path
) -> None:
    runs = []
    for first in (0, 1000):
        sweep, _ = make_sweep(first_seed=first, budget={"trials": 12})
        runs.append(
            drive(
                sweep, SweepFolder(tmp_path / str(first), "tiny"), FormulaEngine(2), in_memory=True
            )
        )
    ours, other = ({trial.key: trial.spec for trial in run.trials} for run in runs)
    assert {ours[key].method.name for key in ours.keys() & other.keys()} == {"none"}
    tuned = [spec.seed for spec in other.values() if spec.method.name != "none"]
    assert tuned
    assert min(tuned) >= 1000
