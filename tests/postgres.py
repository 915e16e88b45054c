"""A PostgreSQL server for one test session, in a folder of its own and on no port."""

from __future__ import annotations

import importlib.util
import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

#: Where Debian keeps the programs that it puts on no path.
_PROGRAMS = "/usr/lib/postgresql"


def missing() -> str | None:
    """What keeps the server from being started or spoken to, and how to get it."""
    if importlib.util.find_spec("psycopg") is None:
        return "no psycopg: pip install 'sft-select[postgres]'"
    if _program("initdb") is None or _program("pg_ctl") is None:
        return "no PostgreSQL server: apt-get install postgresql"
    return None


@contextmanager
def server() -> Iterator[Callable[[], str]]:
    """Start a server; every call makes an empty database and returns its URI."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # the path of a socket is at most 107 bytes
    owner = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
    if owner:
        shutil.chown(folder, owner)
    data = str(folder / "data")
    options = f"-k {folder} -c listen_addresses= -c fsync=off"
    try:
        _run("initdb", "-D", data, "-U", "sft", "-A", "trust", "-E", "UTF8", owner=owner)
        started = ("-D", data, "-o", options, "-l", f"{folder}/log", "-w", "start")
        _run("pg_ctl", *started, owner=owner)
        numbers = itertools.count()

        def database() -> str:
            name = f"db{next(numbers)}"
            _run("createdb", "-h", str(folder), "-U", "sft", name, owner=owner)
            return f"postgresql://sft@/{name}?host={folder}"

        try:
            yield database
        finally:
            _run("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop", owner=owner)
    finally:
        shutil.rmtree(folder)


def _program(name: str) -> str | None:
    folders = sorted(map(str, Path(_PROGRAMS).glob("*/bin")))
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join(folders))


def _run(name: str, *arguments: str, owner: str | None) -> None:
    program = _program(name)
    assert program
    subprocess.run(
        [program, *arguments], check=True, user=owner, cwd="/", stdout=subprocess.DEVNULL
    )
