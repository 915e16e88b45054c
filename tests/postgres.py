"""A PostgreSQL server for one test session, in a folder of its own and on no port."""

from __future__ import annotations

import importlib.util
import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
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


class Server:
    """A running server; every call makes an empty database and returns its URI."""

    def __init__(self, folder: Path, owner: str | None) -> None:
        self.folder, self.owner = folder, owner
        self._numbers = itertools.count()

    def __call__(self) -> str:
        name = f"db{next(self._numbers)}"
        _run("createdb", "-h", str(self.folder), "-U", "sft", name, owner=self.owner)
        return f"postgresql://sft@/{name}?host={self.folder}"

    def control(self, verb: str, *options: str) -> None:
        """``pg_ctl`` *verb*: start, stop or restart, as after a power cut with ``-m immediate``."""
        data, log = f"{self.folder}/data", f"{self.folder}/log"
        _run("pg_ctl", "-D", data, "-l", log, "-w", *options, verb, owner=self.owner)


@contextmanager
def server() -> Iterator[Server]:
    """Start a server, which ends with the block."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # the path of a socket is at most 107 bytes
    owner = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
    if owner:
        shutil.chown(folder, owner)
    try:
        data = str(folder / "data")
        _run("initdb", "-D", data, "-U", "sft", "-A", "trust", "-E", "UTF8", owner=owner)
        started = Server(folder, owner)
        started.control("start", "-o", f"-k {folder} -c listen_addresses= -c fsync=off")
        try:
            yield started
        finally:
            started.control("stop", "-m", "immediate")
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
