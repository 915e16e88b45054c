"""Storage of the study: its database opened, and every call on it guarded against one that does not answer.

A call that fails because the database is locked, restarts or has no room is repeated with growing pauses, and
training goes on meanwhile. Whether a failed commit was carried out is not known: what is guarded may be
repeated.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy import event, make_url
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError, SQLAlchemyError

from tracker.errors import StoreError
from tracker.files import write_atomically
from tracker.store import database_server
from tracker.store.tracking_uri import is_damaged, sqlite_file, without_credentials

#: How long a call is repeated, in a sweep that runs and while it opens.
PATIENCE_SECONDS = 180.0
_OPENING_SECONDS = 60.0
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 5.0
#: An SQLite call waits so long for another process that writes, in the thread that asks for it.
_LOCK_SECONDS = 1.0
#: As long on PostgreSQL; a transaction there that stands still is rolled back before its lease runs out.
_SERVER_SECONDS = {
    "lock_timeout": 2,
    "statement_timeout": 30,
    "idle_in_transaction_session_timeout": 20,
}
#: What SQLite says that another process holds, and at a table that another process makes just now.
_SOON = ("is locked", "already exists", "UNIQUE constraint failed")
Answer = TypeVar("Answer")


class DatabaseUnavailableError(Exception):
    """The study's database does not answer at present; the message says why, in one line."""


class Guard:
    """Repeats a call while the study's database at *uri* does not answer; ``problem``: why, at present.

    ``meanwhile``: what to do for so many seconds before the next try, at first to call *note*.
    ``patience_seconds``: how long to try.
    """

    def __init__(self, uri: str | None, note: Callable[[str], None] = lambda _: None) -> None:
        self.name = "study" if uri is None else f"study {without_credentials(uri)}"
        self.problem: str | None = None
        self.note = note
        self.meanwhile: Callable[[float], None] = self._wait
        self.patience_seconds = _OPENING_SECONDS

    def _wait(self, seconds: float) -> None:
        self.note(f"{self.name}: {self.problem}")
        time.sleep(seconds)

    def keep_running(self, go_on: Callable[[float], None]) -> None:
        """Try longer from now on, and call *go_on* in between."""
        self.meanwhile, self.patience_seconds = go_on, PATIENCE_SECONDS

    def __call__(self, call: Callable[[], Answer]) -> Answer:
        """The answer of *call*, which may be repeated. StoreError, of one line, after all tries."""
        end, pause = None, _FIRST_PAUSE_SECONDS
        while True:
            try:
                answer = call()
            except DatabaseUnavailableError as error:
                end = end or time.monotonic() + self.patience_seconds
                left = end - time.monotonic()
                if left <= 0:
                    raise StoreError(
                        f"{self.name}: {error}, tried for {self.patience_seconds:.0f} s; see that it is "
                        "reachable and has room, then run the same command again: no trial that ended "
                        "is run twice"
                    ) from error
                self.problem = f"{error}; trying again for up to {math.ceil(left)} s"
                self.meanwhile(min(pause, left))
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            else:
                self.problem = None
                return answer


def open_storage(uri: str, guard: Guard) -> RDBStorage:
    """The study's storage; SQLite in write-ahead mode. *guard* repeats the opening.

    A commit to SQLite then waits for no disk. It still survives the death of the process, and after a power
    cut the study is whole up to some earlier commit, from which the journals rebuild it.

    StoreError, of one line, where the driver is missing, the database does not answer or holds MLflow's
    tables. The calls of the storage raise DatabaseUnavailableError or StoreError in place of SQLAlchemy's
    errors.
    """
    storage = guard(lambda: _opened(uri))
    event.listen(storage.engine, "handle_error", _raise_ours)
    if storage.engine.dialect.name == "sqlite":
        event.listen(storage.engine, "connect", _write_ahead)
    elif storage.engine.dialect.name == "postgresql":
        event.listen(storage.engine, "connect", _bound_waits)
    storage.engine.dispose()  # connections made before now know nothing of it
    return storage


def _write_ahead(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def _bound_waits(connection: Any, _record: object) -> None:
    """PostgreSQL ends what waits for another session, and the transaction of a process that was suspended."""
    with connection.cursor() as cursor:
        for setting, seconds in _SERVER_SECONDS.items():
            cursor.execute("SELECT set_config(%s, %s, false)", (setting, f"{seconds}s"))
    connection.commit()


def _opened(uri: str) -> RDBStorage:
    """The storage with Optuna's tables, made where there are none."""
    url = make_url(uri)
    arguments = database_server.connect_arguments(url)
    if url.get_backend_name() == "sqlite" and "timeout" not in url.query:
        arguments = {"timeout": _LOCK_SECONDS}
    file = sqlite_file(uri)
    if file is not None and not file.exists() and file.parent.is_dir():
        with _raised_as_ours():  # before anything opens the file, which would make an empty one
            _make_whole(file)
    return making(uri, lambda: RDBStorage(uri, engine_kwargs={"connect_args": arguments}))


def _make_whole(file: Path) -> None:
    """Make Optuna's tables in a new SQLite *file*, which is there whole or not at all.

    Tables and their unique indexes are made in steps: a process that dies in between would leave a study of
    which every later start makes another of the same name. Where another process was faster, its file stays.
    """
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / file.name
        RDBStorage(f"sqlite:///{made}").engine.dispose()
        try:
            with contextlib.suppress(FileExistsError):
                write_atomically(file, made.read_bytes(), exclusive=True)
        except OSError as error:
            raise StoreError(
                f"study: {file}: cannot be written ({error.strerror}); check --study-uri"
            ) from error


def making(uri: str, make: Callable[[], Answer]) -> Answer:
    """What *make* returns, which makes tables of the study; on a server one process at a time."""
    with _raised_as_ours(), database_server.tables_of("Optuna", uri, "study"):
        return make()


@contextlib.contextmanager
def _raised_as_ours() -> Iterator[None]:
    try:
        yield
    except StorageInternalError as error:  # Optuna's, which blames the data for whatever went wrong
        raise _ours(error.__cause__ or error, opening=True) from error
    except SQLAlchemyError as error:
        raise _ours(error, opening=True) from error


def _raise_ours(context: ExceptionContext) -> None:
    """Raise ours in place of what the database raises, but for what Optuna itself looks for."""
    error = context.sqlalchemy_exception
    if error is not None and not isinstance(error, IntegrityError) and not context.is_pre_ping:
        raise _ours(error)


def _ours(error: BaseException, *, opening: bool = False) -> Exception:
    """The error as DatabaseUnavailableError where a later try may succeed, else as StoreError."""
    line = database_server.reason(error)
    may_pass = isinstance(error, (OperationalError, InterfaceError))
    if opening:
        may_pass = any(words in line for words in _SOON)
    if may_pass:
        return DatabaseUnavailableError(line)
    remedy = "check --study-uri"
    if line == "unable to open database file":
        remedy = (
            "see that study.db in the sweep's folder, and study.db-wal beside it, can be read and "
            "written, or check --study-uri"
        )
    if is_damaged(line):
        remedy = (
            "move study.db in the sweep's folder away and run the same command again, which makes it anew "
            "from the journals: no trial that ended is run twice"
        )
    return StoreError(f"study: {line}; {remedy}")
