"""Ownership of a folder by one process: a lock file, and beside it who holds it since when."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import Timeout

from tracker.errors import InputError, OwnedError
from tracker.files import file_lock, write_atomically


@contextmanager
def owned(stem: Path, refusal: Callable[[str], str], remedy: str) -> Iterator[None]:
    """Hold the lock ``<stem>.lock`` for this process; ``<stem>.json`` says who does.

    It ends with the process, however that ends; both files are there only while it is locked. Raises
    OwnedError, which *refusal* words from the owner, when another process has the lock, InputError, which
    ends with *remedy*, where there can be no such file.
    """
    owner = stem.with_name(f"{stem.name}.json")
    with ExitStack() as lock:
        try:
            stem.parent.mkdir(parents=True, exist_ok=True)
            lock.enter_context(file_lock(stem.with_name(f"{stem.name}.lock"), timeout=0))
        except Timeout:
            raise OwnedError(refusal(_described(owner))) from None
        except OSError as error:
            raise _unwritable(stem, error, remedy) from error
        if owner.is_dir() and not owner.is_symlink():
            raise InputError(f"{owner}: found a folder; allowed: a file; remove it")
        try:
            facts = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}
            try:
                owner.unlink(
                    missing_ok=True
                )  # a killed process's, or a link that somebody put there
                write_atomically(owner, json.dumps(facts))
            except OSError as error:
                raise _unwritable(stem, error, remedy) from error
            yield
        finally:
            owner.unlink(missing_ok=True)


def _unwritable(stem: Path, error: OSError, remedy: str) -> InputError:
    return InputError(f"{stem.parent}: cannot be written ({error.strerror}); {remedy}")


def _described(owner: Path) -> str:
    try:
        facts = json.loads(owner.read_text(encoding="utf-8"))
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(facts["since"]))
        return f"process {facts['pid']} on {facts['host']} since {since}"
    except (OSError, ValueError, KeyError, TypeError):
        return "just starting"
