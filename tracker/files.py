"""Writing of files: YAML and JSON Lines that people and machines read, atomically, synced to disk."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tracker.errors import InputError

_WIDTH = 100


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
    """Write a file that a user named, atomically. InputError where it cannot be written."""
    try:
        write_atomically(path, text)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror}); name a file in a folder that can be"
        ) from error
    return path


def write_atomically(path: Path, text: str) -> None:
    """Write *text* to *path* as UTF-8, whole or not at all, also over a power cut.

    Of a link, what it points at is replaced. Raises OSError where it cannot be written, InputError where
    a device, a pipe or a socket is there: a file in its place would take it from everybody.
    """
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    _check_replaceable(path)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


@contextmanager
def whole_folder(folder: Path, staging: Path | None = None) -> Iterator[Path]:
    """Empty folder to fill, which takes the place of *folder* when it is complete.

    Nothing that *folder* held is left in it: what an earlier model left would be loaded with the new one.
    Where the block raises, *folder* stays as it was. *staging*: where the empty folder is to be, on the
    same disk; what lies there is removed.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = staging or folder.with_name(f".{folder.name}.writing")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    try:
        yield staging
        put_in_place(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def put_in_place(made: Path, folder: Path) -> None:
    """Sync *made* to disk and rename it to *folder*, which is removed where it exists.

    Both lie on one disk. Raises InputError where a device, a pipe or a socket is in its place.
    """
    _check_replaceable(folder)
    for path in made.rglob("*"):
        if path.is_file() or path.is_dir():
            sync(path)
    sync(made)
    replaced = folder.with_name(f".{folder.name}.replaced")
    shutil.rmtree(replaced, ignore_errors=True)
    if folder.exists():
        folder.rename(replaced)
    made.rename(folder)
    sync_folder(folder.parent)
    shutil.rmtree(replaced, ignore_errors=True)


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
