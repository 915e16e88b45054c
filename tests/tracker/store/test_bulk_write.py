"""Trials written many at a time are the trials that MLflow's client writes one by one."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tracker.errors import StoreError
from tracker.store import bulk_write
from tracker.store.bulk_write import NewRun, insert_runs
from tracker.store.store import Store
from tracker.store.tracking_uri import database_file
from tracker.trial import Objective, Status, TrialRecord

Records = Callable[..., TrialRecord]
ENDS = [Status.COMPLETE, Status.COMPLETE, Status.DIVERGED, Status.PRUNED, Status.COMPLETE]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One database for the module, with a blank in its path: creating its tables takes seconds."""
    return tmp_path_factory.mktemp("work space")


def begun(workspace: Path, project: str) -> Store:
    store = Store.open(workspace, project=project)
    store.begin_sweep(
        "s",
        spec_text="name: s\n",
        spec_digest="a" * 64,
        planned=None,
        datasets=[],
        objective=Objective(weights={"intent": 1.0}),
    )
    return store


def runs(store: Store) -> dict[str, Any]:
    found = store._runs.trials(store._runs.sweep("s").info.run_id, "tags.`sft.key` != ''")
    return {run.data.tags["sft.key"]: run for run in found}


def described(store: Store) -> dict[str, Any]:
    """All that MLflow holds of each trial, save what differs by run: ids and times."""
    contents = {}
    for key, run in runs(store).items():
        info = dict(run.info)
        assert info["end_time"] >= info["start_time"] > 1_700_000_000_000
        files = [file.path for file in store.client.list_artifacts(run.info.run_id)]
        tags = {k: v for k, v in run.data.tags.items() if k != "mlflow.parentRunId"}
        differing = (
            "run_id",
            "run_uuid",
            "experiment_id",
            "artifact_uri",
            "start_time",
            "end_time",
        )
        kept = {name: value for name, value in info.items() if name not in differing}
        contents[key] = (kept, tags, run.data.params, run.data.metrics, files)
    return contents


def test_both_ways_write_the_same_runs(
    workspace: Path, make_record: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [make_record(i, status=status, seed=i) for i, status in enumerate(ENDS)]
    together = begun(workspace, "together")
    together.end_trials("s", records)
    one_by_one = begun(workspace, "one-by-one")
    monkeypatch.setattr(bulk_write, "database_file", lambda uri: None)  # as for a server
    one_by_one.end_trials("s", records)
    assert len(described(together)) == len(ENDS)
    assert described(together) == described(one_by_one)
    assert together.records("s") == records
    for run in runs(together).values():
        (point,) = together.client.get_metric_history(run.info.run_id, "cost/flops")
        assert (point.value, point.step, point.timestamp) == (2.16e9, 0, run.info.start_time)


def test_what_is_there_stays_and_what_is_torn_is_mended(
    workspace: Path, make_record: Records
) -> None:
    records = [make_record(i, seed=i) for i in range(6)]
    store = begun(workspace, "again")
    store.end_trials("s", records[:3])
    store.begin_trial("s", 3, "design", records[3].result.spec)
    before = {key: run.info.run_id for key, run in runs(store).items()}
    store.end_trials("s", records)
    after = {key: run.info.run_id for key, run in runs(store).items()}
    assert len(after) == 6
    assert after.items() >= before.items()
    assert store.records("s") == records
    assert store.running("s") == []


def test_a_transaction_is_written_whole_or_not_at_all(
    workspace: Path, make_record: Records
) -> None:
    store = begun(workspace, "whole")
    store.end_trials("s", [make_record(0)])
    (pattern,) = runs(store).values()
    folder = store._runs.artifacts.folder(pattern.info.artifact_uri)
    database = database_file(f"sqlite:///{workspace}/mlflow.db")
    assert folder is not None
    assert database is not None
    good = NewRun("a", "FINISHED", pattern.data.tags, {"seed": "1"}, {}, {})
    bad = good._replace(status="NO SUCH STATUS")
    with pytest.raises(StoreError, match=r"tracking store sqlite:///.*; see that it is"):
        insert_runs(database, pattern.info.run_id, folder, [good, bad])
    assert len(runs(store)) == 1


def test_a_database_that_another_holds_is_one_line(
    workspace: Path, make_record: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tracker.store.bulk_write._WAIT_SECONDS", 0.1)
    store = begun(workspace, "held")
    store.end_trials("s", [make_record(0)])
    (pattern,) = runs(store).values()
    folder = store._runs.artifacts.folder(pattern.info.artifact_uri)
    assert folder is not None
    one = NewRun("a", "FINISHED", {}, {}, {}, {})
    with closing(sqlite3.connect(workspace / "mlflow.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="database is locked"):
            insert_runs(workspace / "mlflow.db", pattern.info.run_id, folder, [one])


def test_what_comes_near_mlflows_limits_is_left_to_mlflow(
    workspace: Path, make_record: Records
) -> None:
    run = NewRun("a", "FINISHED", {"t": "1"}, {"p": "1"}, {"eval/t 1/score": 1.0}, {})
    assert run.is_plain
    assert not run._replace(parameters={"p": "x" * 501}).is_plain
    for key in ("eval/../score", "/a", "a//b", "a=b", "x" * 251):
        assert not run._replace(metrics={key: 1.0}).is_plain
    records = [make_record(i, seed=i, origin="x" * i * 3000) for i in range(3)]
    store = begun(workspace, "limits")
    store.end_trials("s", records[:2])  # 3,000 characters are none too many for MLflow
    assert store.records("s") == records[:2]


def _import(store: Store, records: Iterable[TrialRecord]) -> None:
    store.import_sweep(
        "outside",
        records,
        spec_text="name: outside\n",
        spec_digest="0" * 64,
        planned=6,
        objective=Objective(weights={"intent": 1.0}),
    )


def _stopped(records: list[TrialRecord], error: BaseException) -> Iterator[TrialRecord]:
    yield from records
    raise error


def _left(store: Store) -> tuple[int, int]:
    """Runs of the store's experiment, and files of runs whose experiment it is."""
    found = list(store._runs.search("attributes.status != 'no such'"))
    root = store._runs.artifacts.folder(
        f"{store.client.get_experiment(store._runs.experiment_id).artifact_location}/x/artifacts"
    )
    assert root is not None
    return len(found), sum(path.is_file() for path in root.parents[1].rglob("*"))


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_an_import_that_fails_leaves_nothing(
    workspace: Path,
    make_record: Records,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
) -> None:
    """And one that was killed is no sweep; the next import of it removes what it left."""
    monkeypatch.setattr(bulk_write, "_RUNS_PER_TRANSACTION", 2)
    records = [make_record(i, seed=i) for i in range(6)]
    store = Store.open(workspace, project=f"import-{type(error).__name__}")
    before = _left(store)[1]
    with pytest.raises((KeyboardInterrupt, StoreError)):
        _import(store, _stopped(records[:5], error))
    assert _left(store) == (0, before)
    with monkeypatch.context() as killed:
        killed.setattr(bulk_write, "discard", lambda *_: None)
        with pytest.raises((KeyboardInterrupt, StoreError)):
            _import(store, _stopped(records[:5], error))
    assert _left(store)[0] > 0
    assert list(store.sweeps()) == []
    _import(store, records)
    assert [info.state for info in store.sweeps()] == ["finished"]
    assert store.records("outside") == records
    assert _left(store)[0] == 7
    _import(store, records)
    assert _left(store)[0] == 7
