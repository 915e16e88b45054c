"""The driver: what the study holds, workers that die, and what does not fit a budget."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.resolve import ResolvedSweep
from sweeps.search.engines.engine import Died, Ended, Event, Job
from sweeps.search.engines.instant import NullListener
from sweeps.search.workspace import SweepFolder
from tests.sweeps.search.formula import FormulaEngine, drive
from tracker.store.journal import Journal
from tracker.trial import Status, TrialRecord, TrialResult

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
    assert [r.reason for r in failed] == ["worker ended by SIGKILL, 3 times without progress"]
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


class _Interrupted(_Deadly):
    """The worker of one trial dies *times* times, and then somebody interrupts the driver."""

    def events(self, timeout: float):  # type: ignore[no-untyped-def]
        if not self.left:
            raise KeyboardInterrupt
        yield from super().events(timeout)


def test_deaths_count_over_the_restart_of_a_driver(make_sweep: MakeSweep, tmp_path: Path) -> None:
    sweep, _ = make_sweep(budget={"trials": 4})
    folder = SweepFolder(tmp_path / "runs", "tiny")
    with pytest.raises(KeyboardInterrupt):
        drive(sweep, folder, _Interrupted(times=2))
    driver = drive(sweep, folder, _Deadly(times=1))
    assert [r.result.status for r in driver.records.values()].count(Status.FAILED) == 1


def test_a_death_after_progress_does_not_count(make_sweep: MakeSweep, tmp_path: Path) -> None:
    """A worker is killed again and again, always one step further; as by preemption."""
    sweep, _ = make_sweep(budget={"trials": 4})

    class Preempted(_Deadly):
        def events(self, timeout: float):  # type: ignore[no-untyped-def]
            if self.left:
                with Journal(Path(self.jobs[0].journal)) as journal:
                    step = {"event": "step", "step": 9 - self.left, "time_ms": 1, "values": {}}
                    journal.append(step)
            yield from super().events(timeout)

    driver = drive(sweep, SweepFolder(tmp_path / "runs", "tiny"), Preempted(times=8))
    assert {r.result.status for r in driver.records.values()} == {Status.COMPLETE}


def test_a_signal_from_outside_does_not_count(make_sweep: MakeSweep, tmp_path: Path) -> None:
    sweep, _ = make_sweep(budget={"trials": 4})

    class Terminated(_Deadly):
        def events(self, timeout: float):  # type: ignore[no-untyped-def]
            for event in super().events(timeout):
                yield event._replace(counts=False) if isinstance(event, Died) else event

    driver = drive(sweep, SweepFolder(tmp_path / "runs", "tiny"), Terminated(times=9))
    assert {r.result.status for r in driver.records.values()} == {Status.COMPLETE}


def test_a_trial_that_takes_its_driver_along_fails_in_the_end(
    make_sweep: MakeSweep, tmp_path: Path
) -> None:
    sweep, _ = make_sweep(budget={"trials": 4})
    folder = SweepFolder(tmp_path / "runs", "tiny")
    drive(sweep, folder, engine := FormulaEngine(1), in_memory=True)
    path = folder.journal(engine.ran[0])
    path.unlink()
    start = {"event": "start", "time": 1.0, "pid": 1, "host": "here"}
    with Journal(path) as journal:
        for _ in range(5):
            journal.append(start)
    assert drive(sweep, folder, FormulaEngine(1), in_memory=True).records[0].result.ended_at is None
    path.unlink()
    with Journal(path) as journal:
        for _ in range(6):
            journal.append(start)
    result = drive(sweep, folder, FormulaEngine(1), in_memory=True).records[0].result
    assert result.reason == "its worker died, or its driver with it, 6 times without progress"


class _Poisoned(FormulaEngine):
    """The worker of trial *number* dies whenever it runs; a driver is interrupted after some trials."""

    def __init__(self, number: int, die_after: int | None = None) -> None:
        super().__init__(1, die_after=die_after)
        self.number, self.keys = number, list[str]()

    def submit(self, job: Job) -> None:
        if job.key not in self.keys:
            self.keys.append(job.key)
        super().submit(job)
        if self.keys.index(job.key) == self.number:
            self.dying.add(job.key)


@pytest.mark.parametrize(
    ("strategy", "number"), [("grid", 0), ("grid", 3), ("halving", 3), ("law", 3)]
)
def test_a_failed_trial_is_run_again_on_request(
    strategy: str, number: int, make_sweep: MakeSweep, tmp_path: Path
) -> None:
    """The same trial, and no other twice; later runs of the command hold to it."""
    search = {"strategy": strategy, "tuning": {"trials": 2}, "window": 4}
    sweep, _ = make_sweep(budget={"trials": 12}, search=search)
    folder = SweepFolder(tmp_path / "runs", "tiny")
    with pytest.raises(KeyboardInterrupt):
        drive(sweep, folder, first := _Poisoned(number, die_after=6))
    key = first.keys[number]
    assert [event["event"] for event in Journal(folder.journal(key)).events()] == [
        *["death"] * 3,
        "result",
    ]
    with pytest.raises(KeyboardInterrupt):
        drive(sweep, folder, again := FormulaEngine(1, die_after=2), retry_failed=True)
    assert again.ran[0] == key
    driver = drive(sweep, folder, rest := FormulaEngine(1))
    assert {r.result.status for r in driver.records.values()} == {Status.COMPLETE}
    assert driver.records[number].result.spec.key == key
    ran = [*first.ran, *again.ran, *rest.ran]
    assert len(ran) == len(set(ran)) == len(driver.records) == 12
    drive(sweep, folder, nothing := FormulaEngine(1), retry_failed=True)
    assert nothing.ran == []


def test_a_retried_trial_leaves_the_sweep_as_if_it_had_not_failed(
    make_sweep: MakeSweep, tmp_path: Path
) -> None:
    sweep, _ = make_sweep(budget={"trials": 8})
    whole = drive(sweep, SweepFolder(tmp_path / "whole", "tiny"), FormulaEngine(1))
    folder = SweepFolder(tmp_path / "runs", "tiny")
    drive(sweep, folder, _Poisoned(1))
    retried = drive(sweep, folder, FormulaEngine(1), retry_failed=True)
    assert retried.records == whole.records


class _Kept(NullListener):
    """A listener that holds *results*, and keeps the records that are sent to it."""

    def __init__(self, results: dict[str, TrialResult]) -> None:
        self.results, self.records = results, list[TrialRecord]()

    def stored(self) -> dict[str, TrialResult]:
        return self.results

    def end(self, record: TrialRecord) -> None:
        self.records.append(record)


@pytest.mark.parametrize("kept", [0, 2, 5])
def test_results_in_journals_are_sent_whatever_the_study_lost(
    kept: int, make_sweep: MakeSweep, tmp_path: Path
) -> None:
    """An older copy of the study, with the first *kept* trials or gone, beside whole journals."""
    sweep, _ = make_sweep(budget={"trials": 8})
    folder = SweepFolder(tmp_path / "runs", "tiny")
    if kept:
        with pytest.raises(KeyboardInterrupt):
            drive(sweep, folder, FormulaEngine(1, die_after=kept))
    copy = folder.study_file.read_bytes() if kept else None
    whole = drive(sweep, folder, engine := _Poisoned(6))
    assert whole.records[6].result.status is (Status.FAILED if not kept else Status.COMPLETE)
    for path in folder.root.glob("study.db*"):
        path.unlink()
    if copy is not None:
        folder.study_file.write_bytes(copy)
    others = {r.result.spec.key: r.result for n, r in whole.records.items() if n != 3}
    listener = _Kept(others)
    again = drive(sweep, folder, idle := FormulaEngine(1), listener=listener)
    assert idle.ran == []
    assert again.records == whole.records
    assert listener.records == [whole.records[3]]
    assert engine.keys
