"""Setup of the tracking store's database: its driver, and MLflow's tables in an SQLite file.

MLflow makes its tables in place, by dozens of migrations that cannot be repeated: a database that
was half made when the process died is refused from then on. Here the tables are made in memory and
written beside the file's place, and the file is renamed when it is on disk.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from tracker.errors import StoreError
from tracker.files import sync, sync_folder
from tracker.store import tracking_uri

#: How a migration names the copy of a table that it is about to change.
_COPY = "_alembic_tmp_"
#: Tables in which MLflow's migrations themselves leave a row.
_OF_MIGRATIONS = frozenset({"alembic_version", "workspaces"})
_SIDE_FILES = ("-journal", "-wal", "-shm")
_WAIT_SECONDS = 20.0  # for another process that writes; as long as MLflow itself waits


def check_driver(uri: str, what: str = "tracking store") -> None:
    """StoreError where the database at *uri* needs a Python module that is not installed."""
    if not tracking_uri.is_database(uri):
        return
    from sqlalchemy import make_url

    try:
        make_url(uri).get_dialect().import_dbapi()
    except ImportError as error:
        reason = str(error).splitlines()[0]
        postgres = "`pip install 'sft-select[postgres]'` brings the one for postgresql://…"
        raise StoreError(
            f"{what} {tracking_uri.without_credentials(uri)}: its driver cannot be loaded ({reason}); "
            + (postgres if uri.startswith("postgresql") else "install it with pip")
        ) from error


def prepare(uri: str) -> None:
    """Check the driver and, in an SQLite file, make MLflow's tables; under the initialisation lock.

    A database of MLflow that records nothing yet is made anew, for it may be half made. One that
    holds rows keeps them, and loses only what a killed migration has left.
    StoreError where the driver is missing, or the file is no database or cannot be read; OSError or
    SQLAlchemyError where it cannot be written.
    """
    check_driver(uri)
    file = tracking_uri.sqlite_file(uri)
    if file is None:
        return
    try:
        _make(Path(os.path.realpath(file)))
    except sqlite3.Error as error:
        raise tracking_uri.store_error(uri, error) from error


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
