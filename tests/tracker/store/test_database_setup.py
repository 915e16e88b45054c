import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import optuna
import pytest

from tracker.errors import StoreError
from tracker.store.store import Store
from tracker.trial import Objective, TrialRecord

#: Opens a fresh store, or MLflow as it opens one itself, and ends itself by a signal at the statement.
CHILD = """
import os, signal, sys
from pathlib import Path
from tracker.store.tracking_uri import set_environment, silence_logs
set_environment()
import alembic.command
import mlflow.store.tracking.sqlalchemy_store  # here, so that no child imports it anew
from mlflow import MlflowClient
from sqlalchemy import event
from sqlalchemy.engine import Engine
from tracker.store.store import Store

silence_logs()
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it

def open_until(workspace, way, statement, number):
    def at(connection, cursor, said, *rest):
        if said.strip().startswith(statement):
            os.kill(os.getpid(), number)
    event.listen(Engine, "after_cursor_execute", at)
    if statement == "rename":
        sys.addaudithook(lambda name, _: name == "os.rename" and os.kill(os.getpid(), number))
    if way == "store":
        Store.open(workspace)
    else:
        workspace.mkdir()
        MlflowClient(f"sqlite:///{workspace}/mlflow.db").search_experiments()

for line in sys.stdin.read().splitlines():
    name, way, number, statement = line.split(" ", 3)
    child = os.fork()
    if child == 0:
        try:
            open_until(Path(name).resolve(), way, statement, int(number))
        except KeyboardInterrupt:
            os._exit(130)
        os._exit(0)
    print(name, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
STATEMENTS = {
    "copy": "CREATE TABLE _alembic_tmp_params",
    "file": "VACUUM INTO",
    "rename": "rename",
    "row": "INSERT INTO experiments",
}


class Death(NamedTuple):
    """How the process that made a store ended: who made it, by which signal, and when."""

    way: str
    number: int
    moment: str

    @property
    def folder(self) -> str:
        return f"{self.way}-{self.number:d}-{self.moment}"


IN_PLACE = Death("mlflow", signal.SIGKILL, "copy")  # as older versions made it
DEATHS = [
    *(Death("store", signal.SIGKILL, moment) for moment in STATEMENTS),
    *(Death("store", signal.SIGINT, moment) for moment in ("copy", "rename")),
    IN_PLACE,
]


@pytest.fixture(scope="module")
def workspaces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspaces that the deaths left."""
    folder = tmp_path_factory.mktemp("killed")
    lines = [
        f"{death.folder} {death.way} {death.number:d} {STATEMENTS[death.moment]}"
        for death in DEATHS
    ]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        input="\n".join(lines),
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    expected = {signal.SIGKILL: "-9", signal.SIGINT: "130"}
    ended = dict(line.split() for line in done.stdout.splitlines())
    assert ended == {death.folder: expected[death.number] for death in DEATHS}, done.stderr
    return folder


def begin(workspace: Path, uri: str | None = None) -> Store:
    store = Store.open(workspace, uri)
    store.begin_sweep(
        "s",
        spec_text="",
        spec_digest="0",
        planned=1,
        datasets=[],
        objective=Objective(weights={"a": 1}),
    )
    return store


@pytest.mark.slow
@pytest.mark.parametrize("death", DEATHS, ids=lambda death: death.folder)
def test_whenever_the_making_of_a_store_ends_the_next_process_opens_it(
    workspaces: Path, death: Death
) -> None:
    workspace = workspaces / death.folder
    assert (workspace / "mlflow.db").exists() == (death is IN_PLACE or death.moment == "row")
    assert [info.name for info in begin(workspace).sweeps()] == ["s"]
    left = {path.name for path in workspace.iterdir()}
    assert left == {"artifacts", "mlflow.db"}


def schema(file: Path) -> list[tuple[str, str, list[str]]]:
    """Of every table and index; MLflow's migrations leave its constraints in any order."""
    with closing(sqlite3.connect(file)) as connection:
        rows = connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
    return sorted((t, name, sorted(re.split(r",?\s*\n", sql or ""))) for t, name, sql in rows)


def test_the_tables_are_those_that_mlflow_makes(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    store = begin(tmp_path / "ours")
    client = MlflowClient(f"sqlite:///{tmp_path}/theirs.db")
    default = client.get_experiment("0").artifact_location
    assert schema(tmp_path / "ours" / "mlflow.db") == schema(tmp_path / "theirs.db")
    assert store.client.get_experiment("0").artifact_location == default


def test_what_a_killed_migration_left_is_dropped_and_what_is_recorded_stays(tmp_path: Path) -> None:
    begin(tmp_path)
    file = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(file)) as connection, connection:
        before = schema(file)
        connection.execute("CREATE TABLE _alembic_tmp_params (key TEXT)")
        connection.execute("CREATE TABLE _alembic_tmp_renamed (key TEXT)")
    assert [info.name for info in begin(tmp_path).sweeps()] == ["s"]
    left = {row[1] for row in schema(file)} - {row[1] for row in before}
    assert left == {"_alembic_tmp_renamed"}  # no other table holds its rows


def test_another_program_s_tables_stay(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("CREATE TABLE theirs (key TEXT)")
    begin(tmp_path)
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT count(*) FROM theirs").fetchone() == (0,)


def test_what_is_no_database_is_refused_in_one_line_and_stays(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    file.write_text("my notes, kept under this name by mistake\n" * 100)
    with pytest.raises(StoreError, match=r"^tracking store .*not a database.*$"):
        Store.open(tmp_path)
    assert file.read_text().startswith("my notes")


def test_a_database_that_another_program_migrates_is_refused_in_one_line(tmp_path: Path) -> None:
    optuna.create_study(storage=f"sqlite:///{tmp_path}/mlflow.db")
    with pytest.raises(StoreError, match=r"^tracking store .*revision.*$"):
        Store.open(tmp_path)


def test_an_empty_file_is_filled(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").touch()
    assert [info.name for info in begin(tmp_path).sweeps()] == ["s"]


@pytest.mark.parametrize(
    ("uri", "module", "way"),
    [
        ("postgresql://me:secret@host/db", "psycopg", "pip install 'sft-select[postgres]'"),
        ("postgresql+psycopg2://host/db", "psycopg2", "pip install 'sft-select[postgres]'"),
        ("mysql+pymysql://host/db", "pymysql", "with pip"),
    ],
)
def test_a_missing_driver_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, module: str, way: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    with pytest.raises(StoreError) as raised:
        Store.open(tmp_path, uri)
    said = str(raised.value)
    assert said.startswith(f"tracking store {uri.replace('me:secret@', '')}: its driver")
    assert module in said
    assert way in said
    assert "\n" not in said


def test_a_store_in_postgres(
    postgres: str, tmp_path: Path, make_record: Callable[..., TrialRecord]
) -> None:
    record = make_record(0)
    begin(tmp_path, postgres).end_trial("s", record)
    again = Store.open(tmp_path, postgres)
    assert again.records("s") == [record]
    assert again.sweeps()[0].counts == {"complete": 1}
