"""Setup of the tracking store's database: MLflow's tables in an SQLite file.

MLflow makes its tables in place, by dozens of migrations that cannot be repeated: a database that
was half made when the process died is refused from then on. Here the tables are made in memory and
written beside the file's place, and the file is renamed when it is on disk.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tracker.files import sync, sync_folder
from tracker.store import database_server, tracking_uri

#: How a migration names the copy of a table that it is about to change.
_COPY = "_alembic_tmp_"
#: Tables in which MLflow's migrations themselves leave a row.
_OF_MIGRATIONS = frozenset({"alembic_version", "workspaces"})
_SIDE_FILES = ("-journal", "-wal", "-shm")
_WAIT_SECONDS = 20.0  # for another process that writes; as long as MLflow itself waits


@contextmanager
def prepared(uri: str) -> Iterator[None]:
    """A database in which MLflow can be opened; under the initialisation lock.

    On a server MLflow makes its tables itself, one process at a time. In an SQLite file they are made here.
    A file that records nothing yet is made anew, for it may be half made. One that holds rows keeps them, and
    loses only what a killed migration has left.
    StoreError where the driver is missing, the server does not answer, or the file is no database or cannot
    be read; OSError or SQLAlchemyError where it cannot be written.
    """
    file = tracking_uri.sqlite_file(uri)
    if file is not None:
        try:
            _make(Path(os.path.realpath(file)))
        except sqlite3.Error as error:
            raise tracking_uri.store_error(uri, error) from error
    if file is not None or not tracking_uri.is_database(uri):
        yield
        return
    with database_server.tables_of("MLflow", uri, "tracking store"):
        yield


def _make(file: Path) -> None:
    beside = file.with_name(f".{file.name}.new")
    _remove(beside)
    if file.exists() and not _may_be_half_made(file):
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        _write_tables(beside)
        _remove(file)
        beside.replace(file)
    finally:
        _remove(beside)
    sync_folder(file.parent)


def _may_be_half_made(file: Path) -> bool:
    """Whether it is MLflow's and records nothing; drops the copies that a killed migration left."""
    with closing(sqlite3.connect(file, timeout=_WAIT_SECONDS)) as connection:
        found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        tables = {str(name) for (name,) in found if not name.startswith("sqlite_")}
        copies = {name for name in tables if name.startswith(_COPY)}
        empty = not any(
            connection.execute(f'SELECT 1 FROM "{name}" LIMIT 1').fetchone()
            for name in sorted(tables - copies - _OF_MIGRATIONS)
        )
        if empty and (not tables or "experiments" in tables):
            return True
        for copy in copies:
            if copy.removeprefix(_COPY) in tables:  # else the copy is all there is of the table
                connection.execute(f'DROP TABLE "{copy}"')
    return False


def _write_tables(file: Path) -> None:
    """Write a new database with MLflow's tables and no experiment, all of it on disk."""
    from mlflow.store.db.utils import _initialize_tables
    from sqlalchemy import create_engine

    engine = create_engine("sqlite://")  # in memory, with one connection per thread
    try:
        _initialize_tables(engine)
        with engine.connect() as connection:
            connection.exec_driver_sql("VACUUM INTO ?", (str(file),))
    finally:
        engine.dispose()
    sync(file)


def _remove(file: Path) -> None:
    """Remove a database, before its side files: what lies beside it may belong to it."""
    for path in (file, *(Path(f"{file}{suffix}") for suffix in _SIDE_FILES)):
        path.unlink(missing_ok=True)
