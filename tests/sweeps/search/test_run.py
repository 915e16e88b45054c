"""Running a sweep file: resume, changed files, the lock, and the GPUs of its workers."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import sqlite3
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock
from typer.testing import CliRunner

from sweeps import cli
from sweeps.resolve import ResolvedSweep
from sweeps.search import devices as devices_module
from sweeps.search import outbox as outbox_module
from sweeps.search import run as run_module
from sweeps.search.devices import worker_devices
from sweeps.search.engines.engine import Job
from sweeps.search.identity import identity_of
from sweeps.search.run import (
    Interruption,
    SweepRun,
    Terminated,
    run_sweep,
)
from sweeps.search.workspace import SweepFolder
from sweeps.spec import Engine
from sweeps.standing import standing_of
from sweeps.terminal import status_lines
from tests.sweeps.search.formula import FormulaEngine
from tracker.errors import InputError, OwnedError, SftSelectError
from tracker.store import data_profile
from tracker.store.store import Store

MakeSweep = Callable[..., tuple[ResolvedSweep, Path]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], SweepRun]:
    """Runs a sweep file in ``runs``, by formula."""

    @contextmanager
    def by_formula(_: ResolvedSweep) -> Iterator[FormulaEngine]:
        yield FormulaEngine(2)

    monkeypatch.setattr(run_module, "_engine", by_formula)
    return lambda path: run_sweep(path, tmp_path / "runs")


@pytest.mark.parametrize("torn", ["", '{\n "file": {"na'])
def test_what_a_power_cut_tore_stops_nothing(
    torn: str, run: Callable[[Path], SweepRun], make_sweep: MakeSweep, tmp_path: Path
) -> None:
    _, path = make_sweep(budget={"trials": 3})
    first = run(path)
    folder = SweepFolder(tmp_path / "runs", "tiny")
    whole = folder.identity_file.read_text()
    folder.identity_file.write_text(torn)
    (folder.root / ".plan.json.abc").write_text(torn)
    (folder.root / data_profile.FILE).write_bytes(b"\xff{")
    assert run(path).records == first.records
    assert folder.identity_file.read_text() == whole
    assert not list(folder.root.glob(".*"))
    (info,) = Store.open(tmp_path / "runs").sweeps()
    assert info.state == "finished"
    assert abs(time.time() - float(info.facts["seen_at"])) < 600


def test_a_changed_file_is_refused_also_where_the_plan_was_torn(
    run: Callable[[Path], SweepRun], make_sweep: MakeSweep, tmp_path: Path
) -> None:
    _, path = make_sweep(budget={"trials": 3})
    run(path)
    folder = SweepFolder(tmp_path / "runs", "tiny")
    _, path = make_sweep(budget={"trials": 3}, first_seed=3)
    with pytest.raises(InputError, match="first_seed: was 0, is 3"):
        run(path)
    folder.identity_file.write_text("{")
    with pytest.raises(SftSelectError, match="was begun with a file of digest") as raised:
        run(path)
    assert "\n" not in str(raised.value)
    _, path = make_sweep(budget={"trials": 3})
    assert len(run(path).records) == 3, "the file it was begun with is still good"
    assert json.loads(folder.identity_file.read_text())["file"]["first_seed"] == 0


def test_a_sweep_whose_models_and_data_were_moved_goes_on(
    run: Callable[[Path], SweepRun],
    make_sweep: MakeSweep,
    tiny_model: Path,
    tiny_data: Path,
    tmp_path: Path,
) -> None:
    _, path = make_sweep(budget={"trials": 3})
    first = run(path)
    identity = SweepFolder(tmp_path / "runs", "tiny").identity_file.read_text()
    shutil.copytree(tiny_data, tmp_path / "rows")
    shutil.copytree(tiny_model, tmp_path / "base")
    text = path.read_text().replace(str(tiny_data), "rows").replace(str(tiny_model), "base")
    path.write_text(text)
    again = run(path)
    assert [r.result.spec.key for r in again.records] == [r.result.spec.key for r in first.records]
    assert SweepFolder(tmp_path / "runs", "tiny").identity_file.read_text() == identity

    path.write_text(text.replace("rows/train.jsonl", "rows/general.jsonl"))
    with pytest.raises(InputError):
        run(path)
    rows = tmp_path / "rows" / "train.jsonl"
    rows.write_text(rows.read_text() + '{"text": "quite another", "label": "weather"}\n')
    path.write_text(text)
    with pytest.raises(InputError, match=r"begun with another sweep file or data") as said:
        run(path)
    assert "train.jsonl" in str(said.value)


def test_a_file_of_an_earlier_release_keeps_the_best_models(
    run: Callable[[Path], SweepRun], make_sweep: MakeSweep, tmp_path: Path
) -> None:
    sweep, path = make_sweep(budget={"trials": 3}, keep="leaders")
    assert sweep.spec.keep == "best"
    first = run(path)
    begun_with = SweepFolder(tmp_path / "runs", "tiny").identity_file
    assert json.loads(begun_with.read_text())["file"]["keep"] == "leaders"
    for keep in ({"keep": "best"}, {}):
        _, path = make_sweep(budget={"trials": 3}, **keep)
        assert run(path).records == first.records, "a begun sweep goes on under the new name"


def test_a_workspace_that_cannot_be(run: Callable[[Path], SweepRun], make_sweep: MakeSweep) -> None:
    _, path = make_sweep()
    with pytest.raises(InputError, match=r"cannot be written \(Not a directory\)") as raised:
        run_sweep(path, Path("/dev/null/x"))
    assert "\n" not in str(raised.value)


def test_the_lock_is_gone_before_another_may_take_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = SweepFolder(tmp_path, "tiny")
    release = FileLock.release
    left: list[bool] = []

    def looked(self: FileLock, force: bool = False) -> None:
        left.append((folder.root / "driver.lock").exists())
        release(self, force)

    with folder.locked():
        with pytest.raises(OwnedError), folder.locked():
            pass
        monkeypatch.setattr(FileLock, "release", looked)
    assert left
    assert not any(left)
    assert list(folder.root.iterdir()) == []


@pytest.mark.parametrize(
    ("listed", "gpus", "workers", "devices"),
    [
        (None, 0, 2, [None, None]),
        (None, 2, "auto", ["0", "1"]),
        (None, 2, 3, ["0", "1", "0"]),
        ("2,3", 2, "auto", ["2", "3"]),
        ("2, 3", 2, 3, ["2", "3", "2"]),
        ("GPU-8932f937,MIG-GPU-1/2/0", 2, "auto", ["GPU-8932f937", "MIG-GPU-1/2/0"]),
        ("5,-1,6", 1, "auto", ["5"]),
        ("-1", 0, 1, [None]),
        ("", 0, 1, [None]),
    ],
)
def test_workers_get_the_gpus_that_this_process_may_use(
    listed: str | None,
    gpus: int,
    workers: int,
    devices: list[str | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(devices_module, "_gpu_count", lambda: gpus)
    if listed is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    assert worker_devices(Engine(workers=workers)) == devices


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]
)
def test_an_interruption_that_python_swallows_still_stops(
    number: signal.Signals, error: type[BaseException], capfd: pytest.CaptureFixture[str]
) -> None:
    class Referent:
        pass

    def interrupt(_reference: object) -> None:
        os.kill(os.getpid(), number)
        time.sleep(0)  # where Python calls the handler, inside this callback

    before, logger = signal.getsignal(number), logging.getLogger("sqlalchemy")
    level = logger.level
    with Interruption() as interruption:
        referent = Referent()
        kept = weakref.ref(referent, interrupt)
        interruption.check()
        del referent
        with pytest.raises(error):
            interruption.check()
    assert kept() is None
    assert signal.getsignal(number) == before
    logger.getChild("pool").error("a statement was cut off")
    logger.setLevel(level)
    assert capfd.readouterr() == ("", "")


def test_what_the_store_refuses_is_named_and_sent_once_it_takes_it(
    run: Callable[[Path], SweepRun],
    make_sweep: MakeSweep,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An integrity error for one trial: the others are there, exit code and status say so."""
    monkeypatch.setattr(outbox_module, "_FIRST_PAUSE_SECONDS", 0.01)
    _, path = make_sweep(budget={"trials": 4})
    workspace = ["--workspace", str(tmp_path / "runs")]
    Store.open(tmp_path / "runs")
    database = sqlite3.connect(tmp_path / "runs" / "mlflow.db")
    database.execute(
        "CREATE TRIGGER refuse BEFORE INSERT ON params WHEN NEW.key = 'model.name' AND NEW.value = 'b' "
        "BEGIN SELECT RAISE(ABORT, 'refused by the database'); END"
    )
    database.commit()
    first = CliRunner().invoke(cli.app, ["run", str(path), *workspace])
    assert first.exit_code == 4, first.output
    assert "trial 1: tracking store sqlite:" in first.stderr
    assert "to send it again: sft-select run" in first.stderr
    store = Store.open(tmp_path / "runs")
    assert [record.number for record in store.records("tiny")] == [0, 2, 3]
    assert store.running("tiny") == []
    shown = CliRunner().invoke(cli.app, ["status", *workspace]).stdout
    assert "\n    trial 1: tracking store sqlite:" in shown
    (info,) = json.loads(CliRunner().invoke(cli.app, ["status", "--json", *workspace]).stdout)
    assert [each["what"] for each in info["undelivered"]] == ["trial 1"]
    database.execute("DROP TRIGGER refuse")
    database.commit()
    again = CliRunner().invoke(cli.app, ["run", str(path), *workspace])
    assert (again.exit_code, "send" in again.stderr) == (0, False), again.output
    records = Store.open(tmp_path / "runs").records("tiny")
    assert [record.number for record in records] == [0, 1, 2, 3]
    assert "trial 1" not in CliRunner().invoke(cli.app, ["status", *workspace]).stdout


def test_no_run_is_left_open_where_the_sweep_ends_early(
    make_sweep: MakeSweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = FormulaEngine(2)

    @contextmanager
    def refusing(_: ResolvedSweep) -> Iterator[FormulaEngine]:
        yield engine

    submit = engine.submit

    def refuse_the_third(job: Job) -> None:
        submit(job)
        if len(engine.ran) >= 2:
            engine.refused[job.key] = "its template refuses a row"

    monkeypatch.setattr(engine, "submit", refuse_the_third)
    monkeypatch.setattr(run_module, "_engine", refusing)
    _, path = make_sweep(budget={"trials": 6})
    with pytest.raises(InputError, match="refuses a row"):
        run_sweep(path, tmp_path / "runs")
    store = Store.open(tmp_path / "runs")
    (info,) = store.sweeps()
    assert (info.state, store.running("tiny")) == ("interrupted", [])
    assert "starting" not in " ".join(status_lines(info, standing_of(store, info)))


def test_a_target_may_be_given_to_a_begun_sweep(make_sweep: MakeSweep) -> None:
    plain, _ = make_sweep(objective={"weights": {"intent": 1}})
    aimed, _ = make_sweep(objective={"weights": {"intent": 1}, "target": {"intent": 0.5}})
    assert aimed.spec.objective.target == {"intent": 0.5}
    assert identity_of(plain) == identity_of(aimed)
