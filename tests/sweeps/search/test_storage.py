"""Storage of the study: locked, full, gone, shared; what it says, and that nothing is stored twice."""

from __future__ import annotations

import resource
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from sweeps.resolve import ResolvedSweep
from sweeps.search import storage as storage_module
from sweeps.search.control import Control
from sweeps.search.driver import Driver
from sweeps.search.engines.instant import NullListener
from sweeps.search.space import untouched_base
from sweeps.search.storage import DatabaseUnavailableError, Guard
from sweeps.search.strategies.strategy import Proposal
from sweeps.search.study import BudgetChange, Clone, StudyAdapter
from sweeps.search.workspace import SweepFolder
from tests.sweeps.search.formula import Asker, FormulaEngine
from tracker.errors import StoreError

MakeSweep = Callable[..., tuple[ResolvedSweep, Path]]
FREE = Proposal("sample", None)
Answer = TypeVar("Answer")


@contextmanager
def locked(file: Path, seconds: float) -> Iterator[None]:
    """Another process's transaction on the SQLite *file*, which ends by itself."""
    taken = threading.Event()

    def hold() -> None:
        with closing(sqlite3.connect(file, timeout=20)) as other:
            other.execute("BEGIN EXCLUSIVE")
            taken.set()
            time.sleep(seconds)
            other.rollback()

    holder = threading.Thread(target=hold)
    holder.start()
    assert taken.wait(20)
    try:
        yield
    finally:
        holder.join()


@contextmanager
def full_disk(file: Path) -> Iterator[None]:
    """No file of this process may grow beyond what *file* has."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def study(make_sweep: MakeSweep, tmp_path: Path) -> Iterator[StudyAdapter]:
    sweep, _ = make_sweep()
    with closing(StudyAdapter(f"sqlite:///{tmp_path}/study.db", sweep.spec)) as opened:
        yield opened


def test_a_locked_study_is_waited_for_and_nothing_is_stored_twice(
    study: StudyAdapter, tmp_path: Path
) -> None:
    said: list[str | None] = []

    def meanwhile(seconds: float) -> None:
        said.append(study.guard.problem)
        time.sleep(seconds)

    study.guard.meanwhile = meanwhile
    with locked(tmp_path / "study.db", 2.5):
        expected = StudyAdapter(None, study.spec).ask(0, FREE)
        assert study.ask(0, FREE) == expected
    study.tell(0, 0.5, {})
    assert [trial.value for trial in study.trials()] == [0.5]
    assert said
    assert str(said[0]).startswith("database is locked; trying again for up to 60 s")
    assert study.guard.problem is None


def test_a_sweep_goes_on_while_its_study_is_locked(make_sweep: MakeSweep, tmp_path: Path) -> None:
    sweep, _ = make_sweep(budget={"trials": 8})
    folder, engine = SweepFolder(tmp_path / "runs", "tiny"), FormulaEngine(2)
    folder.root.mkdir(parents=True)
    study = StudyAdapter(f"sqlite:///{folder.study_file}", sweep.spec)
    ran_while_locked: list[int] = []

    def watch(driver: Driver) -> None:
        if study.guard.problem:
            ran_while_locked.append(len(engine.ran))

    with closing(study):
        driver = Driver(
            sweep, folder, study, engine, NullListener(), watch=watch, control=Control(Asker({}))
        )
        with locked(folder.study_file, 2):
            driver.run()
        assert len(study.trials()) == len(driver.records) == 8
        assert len(engine.ran) == len(set(engine.ran))
    assert ran_while_locked


def test_tables_that_another_session_locks_are_waited_for(
    make_sweep: MakeSweep, postgres: str
) -> None:
    psycopg = pytest.importorskip("psycopg")
    sweep, _ = make_sweep()
    said: list[str] = []
    with (
        closing(StudyAdapter(postgres, sweep.spec, note=said.append)) as study,
        psycopg.connect(postgres) as other,
    ):
        other.execute("LOCK TABLE trials IN ACCESS EXCLUSIVE MODE")
        ending = threading.Timer(4, other.rollback)
        ending.start()
        study.ask(0, FREE)
        ending.join()
        assert len(study.trials()) == 1
    assert "canceling statement due to lock timeout; trying again" in said[0]


def test_a_study_that_never_answers_ends_in_one_line(study: StudyAdapter, tmp_path: Path) -> None:
    study.guard.patience_seconds = 1.5
    with locked(tmp_path / "study.db", 4), pytest.raises(StoreError) as raised:
        study.ask(0, FREE)
    assert str(raised.value) == (
        f"study sqlite:///{tmp_path}/study.db: database is locked, tried for 2 s; see that it is "
        "reachable and has room, then run the same command again: no trial that ended is run twice"
    )


def test_a_full_disk_is_named_and_the_study_goes_on_once_there_is_room(
    study: StudyAdapter, tmp_path: Path
) -> None:
    study.guard.patience_seconds = 0.1

    def fill() -> None:
        for number in range(100):
            study.ask(number, FREE)

    with full_disk(tmp_path / "study.db-wal"), pytest.raises(StoreError) as raised:
        fill()
    assert "invalid data" not in str(raised.value)
    assert "\n" not in str(raised.value)
    assert "disk" in str(raised.value)
    for number in range(3):
        study.ask(number, FREE)
        study.tell(number, 0.5, {})


class LosingGuard(Guard):
    """The connection is lost after the first try of every call, which was carried out."""

    lost = 0

    def __call__(self, call: Callable[[], Answer]) -> Answer:
        tries = iter((True, False))

        def lost_after() -> Answer:
            answer = call()
            if next(tries):
                self.lost += 1
                raise DatabaseUnavailableError("the connection was lost")
            return answer

        return super().__call__(lost_after)


def test_a_commit_whose_end_is_unknown_is_stored_once(study: StudyAdapter) -> None:
    study.guard = guard = LosingGuard(None)
    guard.meanwhile = lambda _: None
    base, clone = Proposal("baseline", untouched_base("a")), untouched_base("b")
    study.ask(0, base)
    study.add_clone(Clone(clone, 3, "request"), "key")
    study.tell(0, 0.5, {})
    study.raise_budget(BudgetChange(1, 9, None, "request"))
    assert [trial.value for trial in study.trials()] == [0.5, None]
    assert study.clone(1) == Clone(clone, 3, "request")
    assert len(study.raised()) == 1
    assert guard.lost > 8


def test_a_new_study_file_is_whole_or_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "study.db"

    def interrupted(*_: object, **__: object) -> None:
        assert not file.exists(), "the tables are made beside it"
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(storage_module, "write_atomically", interrupted)
        with pytest.raises(KeyboardInterrupt):
            storage_module.open_storage(f"sqlite:///{file}", storage_module.Guard(None))
    assert list(tmp_path.iterdir()) == []
    storage_module.open_storage(f"sqlite:///{file}", storage_module.Guard(None)).engine.dispose()
    assert [path.name for path in tmp_path.iterdir()] == ["study.db"]
