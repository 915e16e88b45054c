"""Writing of files: YAML and JSON Lines that people and machines read, atomically, synced to disk."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import yaml

from tracker.errors import InputError

_WIDTH = 100
#: Name of what is not whole yet, or about to be replaced, beside its place; characters of the name shown.
#: Earlier releases named folders without a number.
_LEFTOVER = re.compile(
    r"\.(?P<name>.+?)(?:\.[0-9a-f]{8}\.(?P<kind>tmp|writing|replaced)|\.(?P<old>writing|replaced))"
)
_SHOWN = 60
_JUST_MADE_SECONDS = 0.5
_READER_SECONDS = 10.0  # for a process to open the other end of a pipe
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class _Dumper(yaml.SafeDumper):
    """YAML dumper that quotes every text which YAML 1.1 or 1.2 would read as something else; no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


class Inline(dict[str, Any]):
    """Mapping that :func:`yaml_text` writes on one line: ``{rows: 200, seed: 0}``."""


def _inline(dumper: _Dumper, mapping: Inline) -> yaml.MappingNode:
    return dumper.represent_mapping("tag:yaml.org,2002:map", mapping, flow_style=True)


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    # Only double quotes keep these: elsewhere they are line breaks, and a line break is folded.
    style = '"' if re.search("[\x85\u2028\u2029\ufeff]", text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(Inline, _inline)
# YAML 1.1, which PyYAML follows, takes `12e4` for text; YAML 1.2 does not, and digests look so.
_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?$"), None
)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^0o[0-7]+$"), None)


def yaml_text(data: Mapping[str, Any], *, width: int | None = _WIDTH) -> str:
    """Block YAML of *data*, in its own order; lines are broken at *width*, or nowhere with ``None``."""
    return yaml.dump(
        dict(data),
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=float("inf") if width is None else width,
        default_flow_style=False,
    )


def comment(text: str) -> str:
    """YAML comment lines of *text*, whatever line breaks it holds."""
    return "".join(f"# {line}".rstrip() + "\n" for line in text.splitlines())


def json_lines(rows: Iterable[Mapping[str, Any]]) -> str:
    """JSON Lines: one JSON object per line."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def write_text(path: Path, text: str) -> Path:
    """Write a file that a user named, whole or not at all; into a device or a pipe as it stands.

    Raises InputError, one line, where it cannot be written.
    """
    try:
        if is_special(path):
            _write_into(path, text.encode())
        elif path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        else:
            write_atomically(path, text)
    except OSError as error:
        if error.errno in _FULL:
            problem = f"the disk is full ({error.strerror}); free it, or name a file elsewhere"
        else:
            problem = f"cannot be written ({error.strerror}); name a file in a folder that can be"
        raise InputError(f"{path}: {problem}") from error
    return path


def is_special(path: Path) -> bool:
    """Whether *path* is written into as it stands: a device or a pipe, such as ``/dev/stdout``.

    Raises InputError for a socket and for a disk, which nothing may write into.
    """
    if not path.exists():
        return False
    kind = path.stat().st_mode
    if stat.S_ISSOCK(kind) or stat.S_ISBLK(kind):
        found = "socket" if stat.S_ISSOCK(kind) else "disk"
        raise InputError(f"{path}: found a {found}; allowed: a file; name another")
    # A stream that was redirected to a file is a file there, and whoever redirected it holds it open.
    stream = str(path.absolute()).startswith(("/dev/std", "/dev/fd/", "/proc/"))
    return (stream and stat.S_ISREG(kind)) or stat.S_ISCHR(kind) or stat.S_ISFIFO(kind)


def _write_into(path: Path, content: bytes) -> None:
    """Write into a device or a pipe; a pipe that nobody reads for some seconds is an OSError."""
    flags = os.O_WRONLY | os.O_CLOEXEC
    if not stat.S_ISFIFO(path.stat().st_mode):
        flags |= os.O_TRUNC
    until = time.monotonic() + _READER_SECONDS
    while True:
        try:
            descriptor = os.open(path, flags | os.O_NONBLOCK)
            break
        except OSError as error:
            if error.errno != errno.ENXIO or time.monotonic() > until:
                raise
            time.sleep(0.05)
    os.set_blocking(descriptor, True)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def write_atomically(
    path: Path, content: str | bytes, *, private: bool = False, exclusive: bool = False
) -> None:
    """Write *content* to *path*, text as UTF-8, whole or not at all, also over a power cut.

    *private*: only its owner may read it. *exclusive*: FileExistsError where it is there already. Raises
    as :func:`replacing` does.
    """
    data = content.encode() if isinstance(content, str) else content
    with replacing(path, private=private, exclusive=exclusive) as file:
        file.write(data)


def copy_atomically(source: Path, target: Path) -> None:
    """Copy the content of a file, whole or not at all; raises as :func:`replacing` does."""
    with source.open("rb") as read, replacing(target) as file:
        shutil.copyfileobj(read, file)


@contextmanager
def replacing(path: Path, *, private: bool = False, exclusive: bool = False) -> Iterator[IO[bytes]]:
    """Open file that takes the place of *path* when the block is done: whole, synced, or not at all.

    Of a link, what it points at is replaced; a file that is there keeps its permissions. What killed
    processes left in the folder is removed. Raises OSError where it cannot be written, InputError where a
    device, a pipe or a socket is there: a file in its place would take it from everybody.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    _check_replaceable(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    remove_leftovers(path.parent)
    temporary = _leftover_name(path, "tmp")
    mode = 0o600 if private else stat.S_IMODE(path.stat().st_mode) if path.exists() else None
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o666 if mode is None else 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            _hold(file.fileno())
            yield file
            file.flush()
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
            _rename(temporary, path, exclusive)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Empty folder to fill, which takes the place of *folder* when it is complete.

    Nothing that *folder* held is left in it: what an earlier model left would be loaded with the new one.
    Where the block raises, *folder* stays as it was; what killed processes left beside it is removed.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder.parent)
    staging = _leftover_name(folder, "writing")
    staging.mkdir()
    descriptor = os.open(staging, os.O_RDONLY)
    try:
        _hold(descriptor)
        yield staging
        put_in_place(staging, folder)
    finally:
        os.close(descriptor)
        shutil.rmtree(staging, ignore_errors=True)


def put_in_place(made: Path, folder: Path) -> None:
    """Sync *made* to disk and rename it to *folder*, which is removed where it exists.

    Both lie on one disk. Killed between the two renames it leaves what *folder* held, which
    :func:`remove_leftovers` puts back. Raises InputError where a device, a pipe or a socket is in its place.
    """
    _check_replaceable(folder)
    for path in made.rglob("*"):
        if path.is_file() or path.is_dir():
            sync(path)
    sync(made)
    replaced = _leftover_name(folder, "replaced")
    while True:
        if folder.exists():
            folder.rename(replaced)
        try:
            made.rename(folder)
            break
        except OSError as error:  # another process was faster
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            shutil.rmtree(replaced, ignore_errors=True)
    sync_folder(folder.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def remove_folder(folder: Path) -> None:
    """Remove *folder*, if there is one: it has its name as a whole or not at all. What cannot be stays."""
    removed = _leftover_name(folder, "writing")
    with suppress(OSError):
        folder.rename(removed)
    shutil.rmtree(removed, ignore_errors=True)


def is_leftover(path: Path) -> bool:
    """Whether the name is that of what is not whole yet: half a file or folder, beside its place."""
    return _LEFTOVER.fullmatch(path.name) is not None


def leftovers(folder: Path) -> list[Path]:
    """What killed processes left in *folder* while they wrote: half files, half folders.

    What a process that lives writes is locked, and is none.
    """
    with suppress(OSError):
        entries = [Path(entry.path) for entry in os.scandir(folder)]
        return [path for path in entries if is_leftover(path) and not _is_locked(path)]
    return []


def remove_leftovers(folder: Path) -> None:
    """Remove the :func:`leftovers` in *folder*.

    A folder that was about to be replaced is put back where nothing has come into its place. An OSError is
    no reason to stop.
    """
    for path in leftovers(folder):
        if found := _LEFTOVER.fullmatch(path.name):
            _remove_leftover(path, found["name"], found["kind"] or found["old"])


def _remove_leftover(path: Path, name: str, kind: str) -> None:
    with suppress(OSError):
        if kind == "tmp":
            path.unlink()
        elif kind == "replaced" and not path.with_name(name).exists():
            path.rename(path.with_name(name))
        else:
            shutil.rmtree(path)


def _leftover_name(path: Path, kind: str) -> Path:
    """New name beside *path* for what is not whole yet; *kind* as in :data:`_LEFTOVER`."""
    shown = path.name if kind == "replaced" else path.name[:_SHOWN]
    return path.with_name(f".{shown}.{secrets.token_hex(4)}.{kind}")


def _rename(temporary: Path, path: Path, exclusive: bool) -> None:
    if exclusive:
        try:
            os.link(temporary, path)
            return
        except OSError as error:
            if path.exists() or error.errno not in (errno.EPERM, errno.ENOTSUP):
                raise
            # A file system without hard links.
    temporary.replace(path)


def _hold(descriptor: int) -> None:
    """Say that a process writes what *descriptor* is open on, on a file system that has locks."""
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def _is_locked(path: Path) -> bool:
    """Whether a process that lives writes *path*, or may."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Just made, and not locked yet: whoever makes it does so at once.
        return time.time() - os.fstat(descriptor).st_mtime < _JUST_MADE_SECONDS
    except OSError:
        return True
    finally:
        os.close(descriptor)


@contextmanager
def file_lock(path: Path, timeout: float = -1) -> Iterator[None]:
    """Lock among processes by the file at *path*, which is there only while one holds it.

    It ends with the process, however that ends. Raises filelock.Timeout when another has it for *timeout*
    seconds, OSError where there can be no such file.
    """
    from filelock import FileLock

    lock = FileLock(path)
    lock.acquire(timeout)
    try:
        yield
    finally:
        # Before the release: after it, the file may be the next process's. One that had opened this file
        # sees that it has no name left, and makes its own.
        path.unlink(missing_ok=True)
        lock.release()


def file_digest(path: Path) -> str:
    """SHA-256, in hex, of the file at *path*; raises OSError, or InputError as :func:`check_file`."""
    check_file(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def absolute(path: str, base: Path) -> Path:
    """*path* from the root; a relative one starts from *base*, ``~`` is the home folder, links are followed.

    A link that leads to itself stays as it is. Raises InputError for the home of an unknown user.
    """
    try:
        return Path(os.path.realpath(base / Path(path).expanduser()))
    except RuntimeError:
        raise InputError(f"{path}: found no home folder of that user; write the path out") from None


def check_file(path: Path, max_bytes: int | None = None) -> None:
    """Raise InputError unless *path* is a file, of *max_bytes* at most; OSError where there is none.

    Reading a pipe, a socket or a device may never end.
    """
    facts = path.stat()
    if not stat.S_ISREG(facts.st_mode):
        kind = _KINDS.get(stat.S_IFMT(facts.st_mode), "no file")
        raise InputError(f"{path}: found a {kind}; allowed: a file")
    if max_bytes is not None and facts.st_size > max_bytes:
        raise InputError(f"{path}: found {facts.st_size:,} bytes; allowed: at most {max_bytes:,}")


def read_bounded(path: Path, max_bytes: int) -> bytes:
    """Content of the file at *path*; raises as :func:`check_file`."""
    check_file(path, max_bytes)
    with path.open("rb") as file:
        return file.read(max_bytes)


def sync_folder(folder: Path) -> None:
    """Sync the names in *folder* to disk, on a file system that can."""
    try:
        sync(folder)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a network share, which cannot
            raise


def sync(path: Path) -> None:
    """Sync the file or folder at *path* to disk; raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_KINDS = {
    stat.S_IFDIR: "folder",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
    stat.S_IFIFO: "pipe",
    stat.S_IFSOCK: "socket",
}


def _check_replaceable(path: Path) -> None:
    kind = _KINDS.get(stat.S_IFMT(path.stat().st_mode)) if path.exists() else None
    if kind not in (None, "folder"):
        raise InputError(f"{path}: found a {kind}, which nothing may replace; name another")
