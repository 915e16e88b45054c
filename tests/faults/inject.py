"""Crash points: every write, sync, rename, commit and send of a run, and a fault at any one of them.

``python -m tests.faults.inject --folder F [--limit 200] [--only rename]``

A crash point is the kind of an operation and the place in our code that asks for it, such as
``rename tracker/files.py:replacing < sweeps/finetune/trial.py:_save_records``. A first run of the fake
sweep, start-up included, lists them with how often each fired. Then for each, at its first and its last
operation, a fresh run is killed there, and another gets an error from it (a full disk, a broken disk, a
closed pipe). The run may end with a line and a code, never with a traceback; rerun unharmed it exits 0, and
every invariant is checked. Nothing of this is in the product: the functions of ``os``, ``io``, ``sqlite3``
and of pipes are replaced in forked processes (:mod:`tests.faults.fork_server`).
"""

from __future__ import annotations

import argparse
import errno
import functools
import io
import json
import os
import shutil
import signal
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Literal, NamedTuple

from tests.faults import fork_server
from tests.faults.programme import PATIENCE, Sweep, check, prepare, start

Mode = Literal["kill", "error"]

_ROOT = str(Path(__file__).resolve().parents[2]) + os.sep
_OURS = tuple(_ROOT + room + os.sep for room in ("tracker", "sweeps"))
_WRITES = frozenset("wax+")


class Point(NamedTuple):
    """The *n*-th operation of a name in one process, and what happens there."""

    name: str
    n: int
    mode: Mode


class _Injector:
    """Counts the operations of this process by name; records them, or fails at one point, once in all."""

    def __init__(self, point: Point | None, notes: Path) -> None:
        self.point, self.notes = point, notes
        self.counts: Counter[str] = Counter()
        self.write, self.busy = os.write, False

    def pass_by(self, kind: str) -> None:
        """An operation of *kind* is about to happen."""
        if self.busy:
            return
        name = f"{kind} {_place()}"
        self.counts[name] += 1
        if self.point is None:
            self._note(name)
        elif (name, self.counts[name]) == self.point[:2] and self._first():
            if self.point.mode == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise _error(kind)

    def _note(self, name: str) -> None:
        self.busy = True
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            descriptor = os.open(self.notes, flags, 0o644)
            self.write(descriptor, f"{os.getpid()} {name}\n".encode())
            os.close(descriptor)
        finally:
            self.busy = False

    def _first(self) -> bool:
        """Whether no process has failed at the point before."""
        self.busy = True
        try:
            os.close(os.open(self.notes, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
        except FileExistsError:
            return False
        finally:
            self.busy = False
        return True


def install(point: Point | None, notes: Path) -> None:
    """Replace the operations of this process and of those that it forks."""
    injector = _Injector(point, notes)

    def before(kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            injector.pass_by(kind)
            return function(*args, **kwargs)

        return wrapped

    for kind, name in (
        ("write", "write"),
        ("fsync", "fsync"),
        ("rename", "rename"),
        ("rename", "replace"),
        ("unlink", "unlink"),
        ("mkdir", "mkdir"),
    ):
        setattr(os, name, before(kind, getattr(os, name)))
    real_os_open, real_open = os.open, io.open

    def os_open(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR):
            injector.pass_by("open")
        return real_os_open(path, flags, *args, **kwargs)

    def open_file(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if isinstance(file, str | os.PathLike) and _WRITES & set(mode):
            injector.pass_by("open")
        return real_open(file, mode, *args, **kwargs)

    os.open = os_open  # type: ignore[assignment]
    io.open = open_file  # type: ignore[assignment]
    import builtins
    from multiprocessing.connection import Connection

    builtins.open = open_file  # type: ignore[assignment]
    Connection.send = before("send", Connection.send)  # type: ignore[method-assign]

    class Database(sqlite3.Connection):
        """A connection whose commits are crash points."""

        def commit(self) -> None:
            if self.in_transaction:
                injector.pass_by("commit")
            super().commit()

        def __exit__(self, *args: Any) -> Any:
            if args[0] is None and self.in_transaction:
                injector.pass_by("commit")
            return super().__exit__(*args)

    def connect(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        kwargs.setdefault("factory", Database)
        return _connect(*args, **kwargs)

    sqlite3.connect = sqlite3.dbapi2.connect = connect  # type: ignore[assignment, attr-defined]


_connect = sqlite3.connect


def points_of(notes: Path) -> dict[str, tuple[int, int]]:
    """By name: how often all processes passed it together, and the most that one of them did."""
    by_process = Counter(notes.read_text().splitlines())
    together: dict[str, tuple[int, int]] = {}
    for line, count in by_process.items():
        name = line.partition(" ")[2]
        total, most = together.get(name, (0, 0))
        together[name] = total + count, max(most, count)
    return together


def inject(sweep: Sweep, workspace: Path, point: Point) -> tuple[bool, list[str]]:
    """Run a fresh workspace with a fault at *point*, and rerun it: whether it fired, what was violated."""
    fired = workspace.parent / "log" / f"{workspace.name}.fired"
    fired.unlink(missing_ok=True)
    driver = start(sweep.file, workspace, sweep.trainer, lambda: install(point, fired))
    found = []
    try:
        ended = driver.wait(PATIENCE)
    except AssertionError as problem:
        found.append(f"hung: {problem}")
        ended = fork_server.Ended(-9, "")
    if "Traceback" in ended.output:
        found.append(f"traceback: {ended.output[-1500:]}")
    found += fork_server.outlives(driver)
    rerun = start(sweep.file, workspace, sweep.trainer).wait(PATIENCE)
    if rerun.code:
        found.append(f"I4: the rerun exits {rerun.code}: {rerun.output[-1500:]}")
    else:
        found += check(sweep, workspace)[0]
    return fired.exists(), found


def plan(points: dict[str, tuple[int, int]], only: str) -> list[Point]:
    """The first and the last operation of every point, killed and failed."""
    modes: tuple[Mode, ...] = ("kill", "error")
    return [
        Point(name, n, mode)
        for name, (_, most) in sorted(points.items())
        if only in name
        for n in sorted({1, most})
        for mode in modes
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """List the points and fail at each; 1 where a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=100_000, help="so many faults at most")
    parser.add_argument("--only", default="", help="points whose name holds this text")
    options = parser.parse_args(arguments)
    fork_server.preload()
    folder = options.folder.resolve()
    sweep = prepare(folder, "fake")
    notes, listed = folder / "operations", folder / "listed"
    for left in (notes, listed):
        shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)
    driver = start(sweep.file, listed, "fake", lambda: install(None, notes))
    ended = driver.wait(PATIENCE)
    assert ended.code == 0, ended.output
    points = points_of(notes)
    for name, (total, _) in sorted(points.items()):
        print(f"{total:6,} {name}")
    faults = plan(points, options.only)[: options.limit]
    print(f"{len(points)} crash points, {len(faults)} faults", flush=True)
    tried: Counter[tuple[str, str]] = Counter()
    kept: Counter[tuple[str, str]] = Counter()
    for number, point in enumerate(faults):
        workspace = folder / f"point-{number}"
        shutil.rmtree(workspace, ignore_errors=True)
        fired, found = inject(sweep, workspace, point)
        group = (point.name.split()[0], point.mode)
        tried[group] += fired
        kept[group] += fired and not found
        with (folder / "points.jsonl").open("a") as file:
            file.write(json.dumps(point._asdict() | {"fired": fired, "violations": found}) + "\n")
        for problem in found:
            print(f"{point}: {problem}", flush=True)
        if not found:
            shutil.rmtree(workspace)
    print("| operation | fault | tried | held |\n|---|---|---:|---:|")
    for kind, mode in sorted(tried):
        print(f"| {kind} | {mode} | {tried[kind, mode]} | {kept[kind, mode]} |")
    print(f"| all | | {sum(tried.values())} | {sum(kept.values())} |")
    return int(tried != kept)


def _place() -> str:
    """The innermost function of ours, and where it is of ``tracker/files.py`` who called that."""
    frame: FrameType | None = sys._getframe(2)
    names: list[str] = []
    while frame is not None and len(names) < 2:
        code = frame.f_code
        if code.co_filename.startswith(_OURS):
            file = code.co_filename.removeprefix(_ROOT)
            general = file == "tracker/files.py"
            if not general or not names:
                names.append(f"{file}:{code.co_name}")
            if not general:
                break
        frame = frame.f_back
    return " < ".join(names) or "elsewhere"


def _error(kind: str) -> Exception:
    if kind == "commit":
        return sqlite3.OperationalError("database or disk is full")
    if kind == "send":
        return BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
    number = errno.EIO if kind in ("fsync", "unlink") else errno.ENOSPC
    return OSError(number, os.strerror(number))


if __name__ == "__main__":
    sys.exit(main())
