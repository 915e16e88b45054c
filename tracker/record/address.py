"""The tracking store's address, and what is told of it: MLflow is not imported here.

A tracking URI is a database (``sqlite:///…``, ``postgresql://…``) or a server (``http://…``).
"""

from __future__ import annotations

import re
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock

from tracker.errors import StoreError

_DATABASES = frozenset({"sqlite", "postgresql", "mysql", "mssql"})
_SQLITE = "sqlite:///"


def default_uri(workspace: Path) -> str:
    """SQLite in the workspace."""
    return f"{_SQLITE}{workspace / 'mlflow.db'}"


def is_database(uri: str) -> bool:
    """Whether MLflow speaks to a database itself, and so decides where artifacts lie."""
    return urlsplit(uri).scheme.partition("+")[0] in _DATABASES


def initialisation_lock(workspace: Path, uri: str) -> AbstractContextManager[object]:
    """Two processes that open a fresh database at once would both create its tables, and crash."""
    if not is_database(uri):
        return nullcontext()
    workspace.mkdir(parents=True, exist_ok=True)
    if uri.startswith(_SQLITE):
        return FileLock(uri.removeprefix(_SQLITE).partition("?")[0] + ".lock")
    return FileLock(workspace / "mlflow.lock")


def without_credentials(text: str) -> str:
    """*text* with user, password and query of every URI in it left out."""
    text = re.sub(r"(?<=://)[^/\s@]*(?::[^\s]*)?@", "", text)
    return re.sub(r"(://[^\s?]*)\?[^\s]*", r"\1", text)


def store_error(uri: str, error: Exception) -> StoreError:
    """One line: the store, the first line of what it said, what to do."""
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return StoreError(
        f"tracking store {without_credentials(uri)}: {without_credentials(reason)}; see that it is "
        "reachable and writable, then run the same command again"
    )
