"""Tracking URI of the store: its kind and file, MLflow's environment and experiment, errors as one line.

A tracking URI is a database (``sqlite:///…``, ``postgresql://…``) or a server (``http://…``).
"""

from __future__ import annotations

import logging
import os
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tracker.errors import RefusedError, StoreError
from tracker.files import file_lock

#: ``postgres://`` is none that any library here opens: it is refused with the right name.
_DATABASES = frozenset({"sqlite", "postgresql", "postgres", "mysql", "mssql"})
SQLITE = "sqlite:///"
#: MLflow's error codes of a request that it would refuse again. Others may pass: a database that is locked
#: or restarts, a server that is down or overloaded.
_REFUSALS = frozenset(
    {
        *("INVALID_PARAMETER_VALUE", "INVALID_STATE", "MALFORMED_REQUEST"),
        *("RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS"),
    }
)
#: MLflow's environment variables: no telemetry, no pickle, no log lines, short patience.
_ENVIRONMENT = {
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # the journal keeps what a server does not take
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


def default_uri(workspace: Path) -> str:
    """Tracking URI of the SQLite database in the workspace."""
    return f"{SQLITE}{workspace / 'mlflow.db'}"


def sqlite_file(uri: str) -> Path | None:
    """File of an SQLite tracking URI, whatever its options; ``None`` for any other store."""
    if not uri.startswith(SQLITE):
        return None
    path = uri.removeprefix(SQLITE).partition("?")[0]
    return None if path in ("", ":memory:") or path.startswith("file:") else Path(path)


def is_writable(file: Path) -> bool:
    """Whether this process may write the SQLite database *file* and, beside it, its journal."""
    file = file.resolve()
    return os.access(file, os.W_OK) and os.access(file.parent, os.W_OK)


def is_database(uri: str) -> bool:
    """Whether MLflow's client opens the database itself, and so decides where artifacts lie."""
    return urlsplit(uri).scheme.partition("+")[0] in _DATABASES


def database_file(uri: str) -> Path | None:
    """File of an SQLite tracking URI without options; ``None`` for any other store."""
    return None if "?" in uri else sqlite_file(uri)


def is_local(uri: str) -> bool:
    """Whether what is written to the store stays on this machine, as far as its URI says."""
    return sqlite_file(uri) is not None or urlsplit(uri).scheme in ("", "file")


@contextmanager
def initialisation_lock(workspace: Path, uri: str) -> Iterator[None]:
    """Lock for opening a database: two processes that both create its tables would crash."""
    if not is_database(uri):
        yield
        return
    workspace.mkdir(parents=True, exist_ok=True)
    file = sqlite_file(uri)
    with file_lock(Path(f"{file}.lock") if file else workspace / "mlflow.lock"):
        yield


def experiment(client: Any, project: str, artifacts: Path | None, uri: str) -> str:
    """Id of the project's MLflow experiment; a new one keeps files in *artifacts*, or where MLflow does."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(project)
    if found is None:
        try:
            return str(client.create_experiment(project, artifacts and artifacts.as_uri()))
        except MlflowException as error:  # another process was faster
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        found = client.get_experiment_by_name(project)
    if found.lifecycle_stage == "deleted":
        shown = without_credentials(uri)
        hint = "" if shown == uri else " (add its credentials)"
        raise RefusedError(
            f"tracking store {shown}: MLflow experiment {project!r} is deleted, with all sweeps in it; "
            f"restore it with `MLFLOW_TRACKING_URI={shlex.quote(shown)} mlflow experiments restore "
            f"--experiment-id {found.experiment_id}`{hint}, or name another --workspace or --store"
        )
    return str(found.experiment_id)


def without_credentials(text: str) -> str:
    """Text without the user, password and query of any URI in it."""
    text = re.sub(r"(?<=://)[^/\s@]*(?::[^\s]*)?@", "", text)
    return re.sub(r"(://[^\s?]*)\?[^\s]*", r"\1", text)


def without_password(uri: str) -> str:
    """The URI with ``***`` in place of its password or token: for a command that its user completes."""
    uri = re.sub(r"(?<=://)([^/\s:@]*):[^\s]*@", r"\1:***@", uri)
    uri = re.sub(r"^(https?://)[^/\s:@]+@", r"\1***@", uri)
    return re.sub(r"((?:password|token|key)=)[^&\s]*", r"\1***", uri, flags=re.IGNORECASE)


def failures() -> tuple[type[Exception], ...]:
    """Exceptions of MLflow, its database and its migrations where a store cannot be opened."""
    from alembic.util import CommandError
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, SQLAlchemyError, CommandError, OSError


def store_error(uri: str, error: Exception) -> StoreError:
    """StoreError of one line: the store, the first line of *error*, what to do.

    RefusedError where MLflow would refuse the same again.
    """
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    if getattr(error, "error_code", None) in _REFUSALS:
        return RefusedError(
            f"tracking store {without_credentials(uri)}: {without_credentials(reason)}; it would refuse the "
            "same again"
        )
    remedy = "see that it is reachable and writable, then run the same command again"
    if is_damaged(reason):
        remedy = "move the file away and run the sweep's command again, which makes it anew from the journals"
    return StoreError(
        f"tracking store {without_credentials(uri)}: {without_credentials(reason)}; {remedy}"
    )


def is_damaged(reason: str) -> bool:
    """Whether *reason* is what SQLite says of a file that is none of its databases, or no longer."""
    return "not a database" in reason or "malformed" in reason


def set_environment() -> None:
    """Set MLflow's environment variables, before its import; those that the user has set stay."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def silence_logs() -> None:
    """Silence MLflow's log, after its import: its errors become StoreError, the log prints tracebacks."""
    for library in ("mlflow", "alembic"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
