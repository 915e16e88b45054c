"""Files that are whole or not there, and telling a disk that refuses from a fault of a trial."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: What a full, broken or read-only disk says: nothing that another trial would do better.
_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG})
#: safetensors and torch write by themselves; of the system's error they keep the words alone.
_OS_ERROR = re.compile(r"\(os error (\d+)\)")
_TORCH_WRITE = re.compile(r"PytorchStreamWriter failed writing|inline_container.*unexpected pos")


def write_atomically(path: Path, text: str) -> None:
    """Have *text* at *path*, or what was there before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """An empty folder to fill, which takes the place of *folder* once it is whole.

    Nothing that *folder* held is left in it: what an earlier model left would be loaded with the new one.
    Where the block raises, *folder* stays as it was.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = folder.with_name(f".{folder.name}.writing")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    try:
        yield staging
        put_in_place(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def put_in_place(made: Path, folder: Path) -> None:
    """Rename *made* to *folder*, which is removed where it exists; both lie on one disk."""
    replaced = folder.with_name(f".{folder.name}.replaced")
    shutil.rmtree(replaced, ignore_errors=True)
    if folder.exists():
        folder.rename(replaced)
    made.rename(folder)
    shutil.rmtree(replaced, ignore_errors=True)


def refusal(error: BaseException) -> str | None:
    """One line on the disk's refusal that *error* is, or comes of; ``None`` for any other fault."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        if said := _said(link):
            return f"{said}; free or mend the disk, then run the same command again"
        link = link.__cause__ or link.__context__
    return None


def _said(error: BaseException) -> str | None:
    if isinstance(error, OSError) and error.errno in _ERRNOS:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}the disk refuses ({os.strerror(error.errno or 0)})"
    text = str(error)
    number = _OS_ERROR.search(text)
    if number and int(number[1]) in _ERRNOS:
        return f"the disk refuses ({os.strerror(int(number[1]))})"
    if _TORCH_WRITE.search(text):
        return "a checkpoint could not be written (the disk is full or refuses)"
    return None
