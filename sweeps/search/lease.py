"""Lease of a study: its one owner among the drivers of all workspaces, kept in the study's own database.

A lease runs out unless it is renewed, which a thread does. Its fencing number grows with each owner, and
every transaction of the study ends by comparing it: what an owner writes that was suspended for longer than
its lease is rolled back. A lease is measured by a server's clock; where two hosts share an SQLite file, whose
clocks may differ, the next owner watches for the length of a lease that nobody renews it.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from optuna.storages import RDBStorage
from sqlalchemy import (
    Column,
    Connection,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    event,
    func,
    inspect,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from sweeps.search.storage import DatabaseUnavailableError, making
from tracker.errors import OwnedError, StoreError
from tracker.store.tracking_uri import sqlite_file

LEASE_SECONDS = 60.0
_RENEW_SECONDS = 10.0
_MARGIN_SECONDS = 5.0  # before its end, a lease is no longer relied on
_AGAIN_SECONDS = 5.0  # between two tries to confirm it
_TABLE = Table(
    "sft_select_owners",
    MetaData(),
    Column("study", String(512), primary_key=True),
    Column("fence", Integer, nullable=False),
    Column("beat", Integer, nullable=False),  # grows with each renewal
    Column("since", Float(53), nullable=False),  # epoch seconds, as "until"
    Column("until", Float(53)),  # null: released
    Column("owner", Text, nullable=False),  # JSON of Owner
)
_IDS = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")


class Owner(NamedTuple):
    """A driver: its process, host and workspace; ``folder`` and ``file`` are inodes.

    ``file`` is the SQLite file's: in a copy of it the lease of the copied one means nothing.
    """

    pid: int
    started: float
    host: str
    boot: str
    pid_namespace: str
    workspace: str
    folder: int
    file: int | None

    @property
    def words(self) -> str:
        return f"process {self.pid} on {self.host}, workspace {self.workspace}"

    @property
    def is_dead(self) -> bool:
        """Whether it is known to have ended: a process of this machine that is no longer there."""
        if (self.boot, self.pid_namespace) != _this_machine():
            return False
        try:
            process = psutil.Process(self.pid)
            return (
                process.status() == psutil.STATUS_ZOMBIE
                or abs(process.create_time() - self.started) > 2
            )
        except psutil.NoSuchProcess:
            return True
        except psutil.AccessDenied:
            return False


class Lease:
    """The lease of study *name* in *storage*, for the driver that holds the lock of the folder *root*."""

    def __init__(self, storage: RDBStorage, name: str, root: Path) -> None:
        self.engine, self.name, self.uri = storage.engine, name, storage.url
        file = sqlite_file(storage.url)
        self.me = Owner(
            pid=os.getpid(),
            started=psutil.Process().create_time(),
            host=socket.gethostname(),
            boot=_this_machine()[0],
            pid_namespace=_this_machine()[1],
            workspace=str(root.parent.resolve()),
            folder=root.stat().st_ino,
            file=file.stat().st_ino if file is not None else None,
        )
        self.fence = 0
        self._before: Owner | None = None  # in another workspace, whose lease was not given back
        self._lost: OwnedError | None = None
        self._sure_until = 0.0  # by _clock
        self._confirmed_at = 0.0  # monotonic: the last try
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._sessions = storage.scoped_session.session_factory

    def check(self) -> bool:
        """Whether the lease is certainly held; OwnedError where another driver has taken it."""
        if self._lost is None and _clock() >= self._sure_until:
            if time.monotonic() - self._confirmed_at < _AGAIN_SECONDS:
                return False
            self._confirmed_at = time.monotonic()
            with contextlib.suppress(DatabaseUnavailableError, StoreError, SQLAlchemyError):
                self._renew()
        if self._lost is not None:
            raise self._lost
        return _clock() < self._sure_until

    # -- taking and keeping it -------------------------------------------------------------------

    def take(self, note: Callable[[str], None]) -> None:
        """Become the owner. OwnedError, naming the owner, while there is another; may be repeated."""
        if not inspect(self.engine).has_table(_TABLE.name):
            making(self.uri, lambda: _TABLE.create(self.engine, checkfirst=True))
        watched: tuple[int, int] | None = None
        since = begun = _clock()
        while (row := self._tried(watched, silent=_clock() - since >= LEASE_SECONDS)) is not None:
            if watched is None:
                note(
                    f"{self.name}: owned by {_owner(row).words}; waiting up to {LEASE_SECONDS:.0f} s to "
                    "see whether it is still there"
                )
                watched, since = (row.fence, row.beat), _clock()
            time.sleep(1)
            begun = _clock()
        if self._before is not None:
            how = "which has ended" if self._before.is_dead else "whose lease ran out"
            note(f"{self.name}: taken over from {self._before.words}, {how}")
        self._sure_until = begun + LEASE_SECONDS - _MARGIN_SECONDS
        event.listen(self._sessions, "before_commit", self._compare)
        self._thread.start()

    def _tried(self, watched: tuple[int, int] | None, *, silent: bool) -> Any:
        """Take the lease where it is free, or *watched* and *silent*; else the row that is to be watched."""
        while True:
            with contextlib.suppress(IntegrityError), self.engine.begin() as connection:
                row, now = self._row(connection), self._now(connection)
                if row is not None and not self._is_free(row, now):
                    if self._has_clock_of(_owner(row)) or watched not in (
                        None,
                        (row.fence, row.beat),
                    ):
                        raise self._owned(row, now)
                    if watched is None or not silent:
                        return row
                if self._written(connection, row, now):
                    return None
            # Another driver was faster: it is the owner that is told.

    def _written(self, connection: Connection, row: Any, now: float) -> bool:
        """Write this driver in place of *row*; False where the row is no longer there."""
        values: dict[str, Any] = {"beat": 0, "since": now, "until": now + LEASE_SECONDS}
        values["owner"] = json.dumps(self.me._asdict())
        if row is None:
            self.fence = 1
            connection.execute(_TABLE.insert().values(study=self.name, fence=1, **values))
            return True
        self.fence = row.fence + 1
        if row.until is not None and _owner(row).workspace != self.me.workspace:
            self._before = _owner(row)
        unchanged = (
            (_TABLE.c.study == self.name)
            & (_TABLE.c.fence == row.fence)
            & (_TABLE.c.beat == row.beat)
        )
        change = update(_TABLE).where(unchanged).values(fence=self.fence, **values)
        return connection.execute(change).rowcount == 1

    def _is_free(self, row: Any, now: float) -> bool:
        """Whether nobody owns the study; the caller holds the lock of its own folder."""
        owner, me = _owner(row), self.me
        if row.until is None or owner.file != me.file or owner.is_dead:
            return True
        # A process that held the lock of this folder is gone, also if the folder was moved since.
        here = owner.boot == me.boot or owner.host == me.host
        same_place = owner.workspace == me.workspace or owner.file is not None
        if here and same_place and owner.folder == me.folder:
            return True
        return self._has_clock_of(owner) and now >= row.until

    def _has_clock_of(self, owner: Owner) -> bool:
        return self.me.file is None or owner.boot == self.me.boot

    def _owned(self, row: Any, now: float) -> OwnedError:
        here = time.time() - now  # what this clock is ahead
        since, until = (
            time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at + here))
            for at in (row.since, row.until)
        )
        return OwnedError(
            f"{self.name}: another driver runs this sweep: {_owner(row).words}, since {since}, its lease "
            f"until {until} unless it is renewed; wait for it, or stop it and run the same command again"
        )

    def _keep(self) -> None:
        while not self._released.wait(_RENEW_SECONDS) and self._lost is None:
            with contextlib.suppress(DatabaseUnavailableError, StoreError, SQLAlchemyError):
                self._renew()

    def _renew(self) -> None:
        begun = _clock()
        with self.engine.begin() as connection:
            until = self._now(connection) + LEASE_SECONDS
            change = update(_TABLE).where(_TABLE.c.study == self.name, _TABLE.c.fence == self.fence)
            values = {"beat": _TABLE.c.beat + 1, "until": until}
            if connection.execute(change.values(values)).rowcount != 1:
                self._lose(self._row(connection))
                return
        self._sure_until = begun + LEASE_SECONDS - _MARGIN_SECONDS

    def release(self) -> None:
        """Give the lease back: the next driver need not wait for its end."""
        self._released.set()
        if self._thread.is_alive():
            self._thread.join()
        if event.contains(self._sessions, "before_commit", self._compare):
            event.remove(self._sessions, "before_commit", self._compare)
        with (
            contextlib.suppress(DatabaseUnavailableError, StoreError, SQLAlchemyError),
            self.engine.begin() as connection,
        ):
            change = update(_TABLE).where(_TABLE.c.study == self.name, _TABLE.c.fence == self.fence)
            connection.execute(change.values(until=None))

    # -- the fence -------------------------------------------------------------------------------

    def _compare(self, session: Session) -> None:
        """Before a commit: OwnedError, and no commit, where the study has another owner by now."""
        session.flush()  # SQLite's lock is held from here on, PostgreSQL's row lock from the next line
        connection = session.connection()
        fence = connection.execute(
            select(_TABLE.c.fence).where(_TABLE.c.study == self.name).with_for_update(read=True)
        ).scalar_one_or_none()
        if fence != self.fence:
            raise self._lose(self._row(connection))

    def _lose(self, row: Any) -> OwnedError:
        taken = "another driver" if row is None else _owner(row).words
        self._lost = OwnedError(
            f"{self.name}: {taken} has taken this sweep over, because this driver was silent for longer "
            f"than its lease of {LEASE_SECONDS:.0f} s; it has written nothing since and ends"
        )
        return self._lost

    def _row(self, connection: Connection) -> Any:
        found = select(_TABLE).where(_TABLE.c.study == self.name)
        return connection.execute(found).one_or_none()

    def _now(self, connection: Connection) -> float:
        """Epoch seconds by the clock that all owners share."""
        if self.engine.dialect.name != "postgresql":
            return time.time()
        clock = select(func.extract("epoch", func.clock_timestamp()))
        return float(connection.execute(clock).scalar_one())


def _owner(row: Any) -> Owner:
    return Owner(**json.loads(row.owner))


def _clock() -> float:
    """Seconds that also pass while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _this_machine() -> tuple[str, str]:
    """This boot of the machine, and the space in which a process number means a process."""
    boot, namespace = _IDS
    try:
        return boot.read_text().strip(), str(namespace.stat().st_ino)
    except OSError:
        return socket.gethostname(), ""
