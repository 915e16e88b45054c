"""Databases of MLflow and Optuna: driver, connection, whose tables they hold, one process that makes them.

Both libraries keep their version in a table of the same name, so one database (on PostgreSQL: one schema)
serves only one of them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from tracker.errors import StoreError
from tracker.store import tracking_uri

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine

Owner = Literal["MLflow", "Optuna"]
#: What a server says that will answer soon, and how long to wait for it.
_STARTING = ("starting up", "shutting down", "in recovery")
_STARTING_SECONDS = 30.0
_CONNECT_SECONDS = 10
_APART = (
    "give each a database of its own, or on PostgreSQL a schema: …?options=-csearch_path%3DNAME, after "
    "CREATE SCHEMA NAME"
)
_LOCK = 7_205_759  # PostgreSQL's advisory lock of whoever makes tables
_LOCK_SECONDS = 120


def check_driver(uri: str, what: str = "tracking store") -> None:
    """StoreError where the database at *uri* is of no known kind, or its driver is not installed."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    shown = tracking_uri.without_credentials(uri)
    try:
        make_url(uri).get_dialect().import_dbapi()
    except ArgumentError as error:  # also a kind that SQLAlchemy does not know
        raise StoreError(
            f"{what} {shown}: found no kind of database that is known; allowed: sqlite:///FILE or "
            "postgresql://USER@HOST/DATABASE"
        ) from error
    except ImportError as error:
        reason = str(error).splitlines()[0]
        postgres = "`pip install 'sft-select[postgres]'` brings the one for postgresql://…"
        raise StoreError(
            f"{what} {shown}: its driver cannot be loaded ({reason}); "
            + (postgres if uri.startswith("postgresql") else "install it with pip")
        ) from error


def reason(error: BaseException) -> str:
    """What a database said, in one line and without credentials."""
    said = str(getattr(error, "orig", None) or error).strip() or type(error).__name__
    return tracking_uri.without_credentials(" ".join(said.split("\n")[0].split()))


def connect_arguments(url: URL) -> dict[str, Any]:
    """Arguments of a connection that waits neither for ever nor for a server that is gone."""
    if url.get_driver_name() not in ("psycopg", "psycopg2"):
        return {}
    patience = {"connect_timeout": _CONNECT_SECONDS, "tcp_user_timeout": 1000 * _CONNECT_SECONDS}
    return {name: value for name, value in patience.items() if name not in url.query}


def refuse_one_database(store: str, study: str) -> None:
    """StoreError where both libraries would keep their tables in one place; nothing is opened."""
    if tracking_uri.is_database(store) and _address(store) == _address(study):
        raise StoreError(
            f"found one database for the tracking store and the study, "
            f"{tracking_uri.without_credentials(store)}; {_APART}"
        )


def _address(uri: str) -> object:
    """What tells a database from others: its file, or its server, name and options."""
    from sqlalchemy import make_url

    check_driver(uri)
    if (file := tracking_uri.sqlite_file(uri)) is not None:
        return os.path.realpath(file)
    url = make_url(uri)
    query = sorted((name, value) for name, value in url.query.items() if name != "password")
    return url.get_backend_name(), url.host, url.port or 5432, url.database, query


@contextmanager
def tables_of(owner: Owner, uri: str, what: str) -> Iterator[None]:
    """One process at a time makes tables for *owner* in the database server at *uri*.

    StoreError, of one line, where it cannot be reached or holds the other library's tables. An SQLite file
    is only looked at.
    """
    from sqlalchemy import create_engine, make_url, text
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.pool import NullPool

    check_driver(uri, what)
    url = make_url(uri)
    engine = create_engine(
        url, poolclass=NullPool, connect_args=connect_arguments(url), isolation_level="AUTOCOMMIT"
    )
    try:
        connection = _connected(engine)
    except SQLAlchemyError as error:
        advice = "that the server runs, and that address, user, password and database are right"
        if engine.dialect.name == "sqlite":
            advice = "that its folder is there and can be written"
        option = "--study-uri" if owner == "Optuna" else "--store"
        raise StoreError(
            f"{what} {tracking_uri.without_credentials(uri)}: {reason(error)}; check {option}: see {advice}"
        ) from error
    with connection:
        found = _owner(connection)
        if found is None and engine.dialect.name == "postgresql":
            connection.execute(text(f"SET lock_timeout = '{_LOCK_SECONDS}s'"))
            connection.execute(text(f"SELECT pg_advisory_lock({_LOCK})"))  # until it is closed
            found = _owner(connection)
        if found not in (owner, None):
            raise StoreError(
                f"{what} {tracking_uri.without_credentials(uri)}: holds {found}'s tables, found where "
                f"{owner}'s belong; {_APART}"
            )
        yield


def _connected(engine: Engine) -> Connection:
    """A connection; a server that is starting is waited for."""
    from sqlalchemy.exc import OperationalError

    end = time.monotonic() + _STARTING_SECONDS
    while True:
        try:
            return engine.connect()
        except OperationalError as error:
            if time.monotonic() > end or not any(words in str(error) for words in _STARTING):
                raise
        time.sleep(0.5)


def _owner(connection: Connection) -> Owner | None:
    """Whose tables the database holds, once they are whole: the version is written last.

    Optuna's versions are called ``v3.2.0.a``, MLflow's are digests.
    """
    from sqlalchemy import inspect, text

    if "alembic_version" not in inspect(connection).get_table_names():
        return None
    versions = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
    if not versions:
        return None
    return "Optuna" if str(versions[0]).startswith("v") else "MLflow"
