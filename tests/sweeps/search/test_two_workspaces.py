"""A sweep whose store and study are shared: a PostgreSQL server that restarts, and two workspaces."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sweeps.resolve import ResolvedSweep
from sweeps.search import run as run_module
from sweeps.search.driver import Driver
from sweeps.search.run import run_sweep
from sweeps.search.workspace import SweepFolder
from tests.postgres import Server
from tests.sweeps.search.formula import FormulaEngine, drive
from tracker.decision.analysis import Analysis
from tracker.decision.recommend import recommend
from tracker.errors import OwnedError, StoreError
from tracker.store.journal import Journal
from tracker.store.store import Store
from tracker.trial import TrialRecord

MakeSweep = Callable[..., tuple[ResolvedSweep, Path]]


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> list[FormulaEngine]:
    """The engine of each run, which answers by formula."""
    made: list[FormulaEngine] = []

    @contextmanager
    def by_formula(_: ResolvedSweep) -> Iterator[FormulaEngine]:
        made.append(FormulaEngine(2))
        yield made[-1]

    monkeypatch.setattr(run_module, "_engine", by_formula)
    return made


def choice(sweep: ResolvedSweep, records: list[TrialRecord]) -> str:
    return recommend(Analysis(records, sweep.spec.objective)).model_dump_json()


def check(store: Store, records: list[TrialRecord]) -> None:
    """Every trial has one result, the store has them all, and no run is open."""
    keys = [record.result.spec.key for record in records]
    assert len(set(keys)) == len(keys)
    assert store.records("tiny") == records
    assert store.running("tiny") == []
    assert [info.state for info in store.sweeps()] == ["finished"]


def test_both_databases_may_restart_in_the_midst_of_a_sweep(
    engines: list[FormulaEngine],
    postgres_server: Server,
    make_sweep: MakeSweep,
    tmp_path: Path,
) -> None:
    sweep, path = make_sweep(budget={"trials": 6})
    whole = drive(sweep, SweepFolder(tmp_path / "whole", "tiny"), FormulaEngine(2), in_memory=True)
    store, study = postgres_server(), postgres_server()
    due = [2, 4]

    def watch(driver: Driver) -> None:
        if due and len(driver.records) >= due[0] and driver.running:
            due.pop(0)
            postgres_server.control("restart", "-m", "immediate")

    done = run_sweep(path, tmp_path / "runs", store_uri=store, study_uri=study, watch=watch)
    assert not due
    assert not done.undelivered
    assert len(engines[0].ran) == len(set(engines[0].ran)) == 6
    assert choice(sweep, done.records) == choice(
        sweep, [whole.records[number] for number in range(6)]
    )
    check(Store.open(tmp_path / "runs", store), done.records)


def test_what_ended_in_one_workspace_is_not_run_again_in_another(
    engines: list[FormulaEngine], make_sweep: MakeSweep, tmp_path: Path
) -> None:
    _, path = make_sweep(budget={"trials": 6})
    uris = {"store_uri": f"sqlite:///{tmp_path}/m.db", "study_uri": f"sqlite:///{tmp_path}/s.db"}

    def meet(driver: Driver) -> None:
        """A second driver is refused; the first ends half way."""
        if len(driver.records) == 2:
            with pytest.raises(OwnedError, match=f"workspace {tmp_path}/a, since"):
                run_sweep(path, tmp_path / "b", **uris)
        driver.stopped = len(driver.records) >= 4

    first = run_sweep(path, tmp_path / "a", **uris, watch=meet)
    assert first.stopped
    second = run_sweep(path, tmp_path / "b", **uris)
    ran = [key for engine in engines for key in engine.ran]
    assert len(ran) == len(set(ran)) == 6
    store = Store.open(tmp_path / "b", uris["store_uri"])
    check(store, second.records)
    folder = SweepFolder(tmp_path / "b", "tiny")
    for record in first.records:
        key = record.result.spec.key
        assert Journal(folder.journal(key)).steps() == store.history("tiny", key)
    assert run_sweep(path, tmp_path / "a", **uris).records == second.records
    assert len(engines[-1].ran) == 0


def test_a_driver_that_was_fenced_writes_nothing_more(
    engines: list[FormulaEngine], make_sweep: MakeSweep, tmp_path: Path
) -> None:
    """The second driver takes over while the first stands still, as in its *watch*."""
    _, path = make_sweep(budget={"trials": 6})
    uris = {"store_uri": f"sqlite:///{tmp_path}/m.db", "study_uri": f"sqlite:///{tmp_path}/s.db"}
    taken = []

    def stand_still(driver: Driver) -> None:
        if len(driver.records) >= 3 and not taken:
            lease = driver.study._lease
            assert lease is not None
            lease._sure_until, lease._confirmed_at = 0.0, math.inf  # none of its threads asks
            lease._released.set()
            lease._thread.join()
            with lease.engine.begin() as connection:
                connection.exec_driver_sql("UPDATE sft_select_owners SET until = 0")
            taken.append(run_sweep(path, tmp_path / "b", **uris))
            lease._confirmed_at = 0.0

    with pytest.raises(OwnedError, match=f"workspace {tmp_path}/b has taken this sweep over"):
        run_sweep(path, tmp_path / "a", **uris, watch=stand_still)
    check(Store.open(tmp_path / "b", uris["store_uri"]), taken[0].records)


def test_one_database_for_both_is_refused_before_anything_is_made(
    make_sweep: MakeSweep, tmp_path: Path
) -> None:
    _, path = make_sweep()
    for store, study in (
        (None, f"sqlite:///{tmp_path}/runs/mlflow.db"),
        ("postgresql://me:secret@host/db", "postgresql+psycopg://host:5432/db"),
    ):
        with pytest.raises(
            StoreError, match="one database for the tracking store and the study"
        ) as r:
            run_sweep(path, tmp_path / "runs", store_uri=store, study_uri=study)
        assert "secret" not in str(r.value)
        assert "\n" not in str(r.value)
    assert not (tmp_path / "runs").exists()
