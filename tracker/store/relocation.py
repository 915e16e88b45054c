"""Relocation of a workspace: the places of artifacts that its database records, after it was moved or copied.

Our own commands need none: :mod:`tracker.store.artifacts` looks below the workspace that is opened. MLflow's
pages and client read what the database says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tracker.errors import InputError
from tracker.store import tracking_uri
from tracker.store.artifacts import Artifacts, local_path


class Move(NamedTuple):
    """Folder of artifacts as recorded and as it is; ``rows``: how many are changed, by what they are of."""

    recorded: Path
    present: Path
    rows: dict[str, int]


class _Column(NamedTuple):
    """Column that holds URIs of artifacts; ``depth``: folders of one below the folder of all."""

    table: str
    name: str
    depth: int
    what: str | None  # None: beside another column of the same rows


_COLUMNS = (
    _Column("experiments", "artifact_location", 0, "experiments"),
    _Column("runs", "artifact_uri", 2, "runs"),
    _Column("model_versions", "source", 3, "model versions"),
    _Column("model_versions", "storage_location", 3, None),
)


def relocate(workspace: Path, uri: str | None = None) -> list[Move]:
    """Record that the artifacts of the store at *uri* lie where they are found now; returns what changed.

    *uri*: by default the database of the *workspace*. All of it is changed or nothing; a second call finds
    nothing to change. The caller sees to it that no driver runs. Raises InputError for a store that is no
    database, StoreError where it cannot be read or written.
    """
    workspace = workspace.resolve()
    uri = uri or tracking_uri.default_uri(workspace)
    if not tracking_uri.is_database(uri):
        raise InputError(
            f"{tracking_uri.without_credentials(uri)}: found a tracking server; allowed: a database; its "
            "server decides where artifacts lie"
        )
    from sqlalchemy import create_engine

    engine = create_engine(uri)
    try:
        with engine.begin() as connection:
            return list(_moved(connection, Artifacts(None, workspace, uri)))
    except tracking_uri.failures() as error:
        raise tracking_uri.store_error(uri, error) from error
    finally:
        engine.dispose()


def _moved(connection: Any, artifacts: Artifacts) -> Iterator[Move]:
    """Change every row whose artifacts lie elsewhere, root by root."""
    from sqlalchemy import text

    roots: set[Path] = set()
    for column in _COLUMNS:
        found = connection.execute(text(f"SELECT DISTINCT {column.name} FROM {column.table}"))  # noqa: S608
        paths = [local_path(uri) for (uri,) in found if uri]
        roots |= {_above(path, column.depth) for path in paths if path is not None}
    for root in sorted(roots):
        present = artifacts.root(root)
        if present == root:
            continue
        old, new = root.as_uri(), present.as_uri()
        rows: Counter[str] = Counter()
        for column in _COLUMNS:
            name = column.name
            changed = connection.execute(
                text(
                    f"UPDATE {column.table} SET {name} = :new || substr({name}, :after) "  # noqa: S608
                    f"WHERE {name} = :old OR substr({name}, 1, :length) = :below"
                ),
                {
                    "new": new,
                    "old": old,
                    "below": f"{old}/",
                    "length": len(old) + 1,
                    "after": len(old) + 1,
                },
            )
            if column.what is not None and changed.rowcount:
                rows[column.what] += changed.rowcount
        yield Move(root, present, dict(rows))


def _above(path: Path, depth: int) -> Path:
    return path.parents[depth - 1] if 0 < depth <= len(path.parents) else path
