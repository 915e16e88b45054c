"""Lease of a study: one owner on SQLite and PostgreSQL, who takes over from whom, and late writes refused."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from sqlalchemy import text

from sweeps.resolve import ResolvedSweep
from sweeps.search import lease
from sweeps.search.strategies.strategy import Proposal
from sweeps.search.study import StudyAdapter
from tracker.errors import OwnedError, StoreError
from tracker.store.store import Store

MakeSweep = Callable[..., tuple[ResolvedSweep, Path]]
FREE = Proposal("sample", None)


@pytest.fixture(params=["sqlite", "postgresql"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/study.db"
    return str(request.getfixturevalue("postgres"))


@pytest.fixture
def drivers(
    uri: str, make_sweep: MakeSweep, tmp_path: Path
) -> Iterator[Callable[[str], StudyAdapter]]:
    """The study as the driver of a workspace sees it; the workspace's folder is made."""
    sweep, _ = make_sweep()
    with ExitStack() as opened:

        def driver(workspace: str) -> StudyAdapter:
            root(tmp_path, workspace).mkdir(parents=True, exist_ok=True)
            return opened.enter_context(closing(StudyAdapter(uri, sweep.spec)))

        yield driver


def root(folder: Path, workspace: str) -> Path:
    return folder / workspace / "tiny"


def owner_row(study: StudyAdapter, **changes: object) -> dict[str, object]:
    """The owner's facts in the database, after *changes* of them and, with ``until``, of the lease."""
    until = changes.pop("until", None)
    with study._storage.engine.begin() as connection:  # type: ignore[union-attr]
        found = connection.execute(text("SELECT owner FROM sft_select_owners")).scalar_one()
        facts = json.loads(found) | changes
        connection.execute(
            text("UPDATE sft_select_owners SET owner = :owner"), {"owner": json.dumps(facts)}
        )
        if until is not None:
            connection.execute(text("UPDATE sft_select_owners SET until = :at"), {"at": until})
    return dict(facts)


def test_a_study_has_one_driver_until_it_ends(
    drivers: Callable[[str], StudyAdapter], tmp_path: Path
) -> None:
    first, second = drivers("a"), drivers("b")
    with first.owned(root(tmp_path, "a")):
        first.ask(0, FREE)
        with pytest.raises(OwnedError) as raised, second.owned(root(tmp_path, "b")):
            pass
        said = str(raised.value)
        assert raised.value.exit_code == 3
        assert "\n" not in said
        assert f"workspace {tmp_path}/a, since 20" in said
        assert "its lease until 20" in said
        assert first.is_owned()
    with second.owned(root(tmp_path, "b")):
        assert second.is_owned()
        assert len(second.trials()) == 1


def test_a_suspended_owner_writes_no_more(
    drivers: Callable[[str], StudyAdapter], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "LEASE_SECONDS", 1.0)
    monkeypatch.setattr(lease, "_MARGIN_SECONDS", 0.1)
    monkeypatch.setattr(lease, "_RENEW_SECONDS", 60.0)  # as if the process stood still
    first, second = drivers("a"), drivers("b")
    store = Store.open(tmp_path / "a")
    with first.owned(root(tmp_path, "a")):
        store.fence(first.is_owned)
        first.ask(0, FREE)
        time.sleep(1.2)
        with second.owned(root(tmp_path, "b")):
            second.tell(0, 0.5, {})
            for late in (
                lambda: first.ask(1, FREE),
                lambda: first.tell(0, 0.1, {}),
                first.is_owned,
                store.sweeps,
            ):
                with pytest.raises(OwnedError, match=f"workspace {tmp_path}/b has taken"):
                    late()
            assert [trial.value for trial in second.trials()] == [0.5]
            assert second.is_owned()


def test_an_owner_that_nobody_followed_goes_on(
    drivers: Callable[[str], StudyAdapter], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "LEASE_SECONDS", 0.5)
    monkeypatch.setattr(lease, "_MARGIN_SECONDS", 0.1)
    monkeypatch.setattr(lease, "_RENEW_SECONDS", 60.0)
    first = drivers("a")
    with first.owned(root(tmp_path, "a")):
        time.sleep(0.6)
        first.ask(0, FREE)
        assert first.is_owned()


def test_neither_the_same_workspace_nor_one_that_finds_the_process_dead_waits(
    drivers: Callable[[str], StudyAdapter], tmp_path: Path
) -> None:
    killed = subprocess.Popen([sys.executable, "-c", ""])
    killed.wait()
    for pid, workspace in ((killed.pid, "b"), (1, "a")):
        with ExitStack() as left:
            first = drivers("a")
            left.enter_context(first.owned(root(tmp_path, "a")))
            owner_row(first, pid=pid)
            with drivers(workspace).owned(root(tmp_path, workspace)):
                pass


def test_a_copied_study_belongs_to_its_copier(make_sweep: MakeSweep, tmp_path: Path) -> None:
    sweep, _ = make_sweep()
    for workspace in ("a", "b"):
        root(tmp_path, workspace).mkdir(parents=True)
    file, copy = (root(tmp_path, workspace) / "study.db" for workspace in ("a", "b"))
    with (
        closing(StudyAdapter(f"sqlite:///{file}", sweep.spec)) as first,
        first.owned(root(tmp_path, "a")),
    ):
        with first._storage.engine.connect() as connection:  # type: ignore[union-attr]
            connection.exec_driver_sql("VACUUM INTO ?", (str(copy),))
        with (
            closing(StudyAdapter(f"sqlite:///{copy}", sweep.spec)) as second,
            second.owned(root(tmp_path, "b")),
        ):
            second.ask(0, FREE)
        assert first.is_owned()


def test_clocks_of_two_hosts_with_one_file_may_differ(
    make_sweep: MakeSweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other host's lease is watched, whatever its clock says."""
    monkeypatch.setattr(lease, "LEASE_SECONDS", 2.0)
    sweep, _ = make_sweep()
    for workspace in ("a", "b"):
        root(tmp_path, workspace).mkdir(parents=True)
    said: list[str] = []
    uri = f"sqlite:///{tmp_path}/study.db"
    with (
        closing(StudyAdapter(uri, sweep.spec)) as first,
        closing(StudyAdapter(uri, sweep.spec, note=said.append)) as second,
        first.owned(root(tmp_path, "a")),
    ):
        owner_row(first, boot="another", host="far", until=time.time() + 3600)
        begun = time.monotonic()
        with second.owned(root(tmp_path, "b")):
            assert 2 <= time.monotonic() - begun < 20
        owner_row(first, boot="another", host="far", until=time.time() - 3600)
        monkeypatch.setattr(lease, "LEASE_SECONDS", 60.0)
        monkeypatch.setattr(time, "sleep", lambda _: beat(first))
        with pytest.raises(OwnedError, match="on far"), second.owned(root(tmp_path, "b")):
            pass
    assert said[0].startswith("tiny: owned by process ")
    assert any("taken over from process" in line for line in said)


def test_a_renewal_is_seen_by_a_clock_of_another_host(
    drivers: Callable[[str], StudyAdapter], tmp_path: Path
) -> None:
    """Such a waiter watches the beat, since it cannot compare the times."""
    study = drivers("a")
    with study.owned(root(tmp_path, "a")):
        before = beats(study)
        study._lease._renew()  # type: ignore[union-attr]
        assert beats(study) == before + 1


def beats(study: StudyAdapter) -> int:
    with study._storage.engine.begin() as connection:  # type: ignore[union-attr]
        return int(connection.execute(text("SELECT beat FROM sft_select_owners")).scalar_one())


def beat(study: StudyAdapter) -> None:
    with study._storage.engine.begin() as connection:  # type: ignore[union-attr]
        connection.execute(text("UPDATE sft_select_owners SET beat = beat + 1"))


def test_the_store_waits_while_the_lease_is_in_doubt(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.fence(lambda: False)
    with pytest.raises(StoreError, match="waits until the study's database answers"):
        store.sweeps()
