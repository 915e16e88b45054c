"""Artifacts of MLflow runs: where they lie, read and written.

MLflow records the absolute place of each run's artifacts, and a workspace may be moved or copied. What was
recorded below the ``artifacts`` of a workspace is looked for, and written, below those of the workspace
that was opened; the database is changed by :mod:`tracker.store.relocation` alone. Artifacts on this disk
are written whole or not at all, without MLflow's client, which would make its recorded folder again. Those of
a server or an object store go through the client.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import url2pathname

from tracker.errors import StoreError
from tracker.files import copy_atomically, is_leftover, whole_folder, write_atomically
from tracker.store import tracking_uri

#: What mends an artifact of a sweep that is not as it was written.
WRITTEN_ANEW = "run the sweep's command again, which writes it anew"
#: The folder of artifacts in a workspace.
FOLDER = "artifacts"


class Artifact(NamedTuple):
    """A file or folder of a run: its path within the run's artifacts; ``bytes`` of a file, where known."""

    path: str
    bytes: int | None
    is_folder: bool


class Artifacts:
    """Artifacts of the runs of the store at *uri*, opened with *workspace*."""

    def __init__(self, client: Any, workspace: Path, uri: str) -> None:
        self.client = client
        self._workspace = workspace
        file = tracking_uri.sqlite_file(uri)
        self._database = None if file is None else file.resolve()

    def folder(self, artifact_uri: str) -> Path | None:
        """Folder of a run whose artifacts were recorded at *artifact_uri*; ``None`` if not on this disk."""
        recorded = local_path(artifact_uri)
        if recorded is None or len(recorded.parents) < 2:
            return recorded
        root = recorded.parents[1]  # of all runs: <root>/<run id>/artifacts
        return self.root(root) / recorded.relative_to(root)

    def root(self, recorded: Path) -> Path:
        """Where the artifacts lie that were recorded below the folder *recorded*."""
        if recorded.name != FOLDER:  # a place that somebody chose
            return recorded
        if self._database is not None:
            beside = self._database.with_name(FOLDER)
            if self._database.parent == self._workspace or beside.is_dir():
                return beside
        return recorded if recorded.is_dir() else self._workspace / FOLDER

    def text(self, run_id: str, artifact_uri: str, name: str) -> str:
        """Text artifact of a run; raises OSError where it cannot be read, StoreError where it is no text."""
        if (folder := self.folder(artifact_uri)) is not None:
            try:
                return (folder / name).read_text(encoding="utf-8")
            except UnicodeDecodeError:
                raise StoreError(f"{folder / name}: found no text; {WRITTEN_ANEW}") from None
        with tempfile.TemporaryDirectory() as temporary:
            path = self.client.download_artifacts(run_id, name, temporary)
            return Path(path).read_text(encoding="utf-8")

    def holds(self, run: Any, text: str, name: str) -> bool:
        """Whether the artifact *name* of *run* is *text*; one that is not on this disk counts as such."""
        folder = self.folder(run.info.artifact_uri)
        try:
            return folder is None or (folder / name).read_bytes() == text.encode()
        except OSError:
            return False

    def log_text(self, run: Any, text: str, name: str) -> None:
        """Write a text artifact of *run*; raises OSError where it cannot be written."""
        folder = self.folder(run.info.artifact_uri)
        if folder is None:
            self.client.log_text(run.info.run_id, text, name)
        else:
            write_atomically(folder / name, text)

    def log_folder(self, run: Any, source: Path, within: str = "") -> None:
        """Copy the files below *source* to the artifacts of *run*; or in place of the folder *within* them.

        What a killed worker left half written stays behind. Raises OSError where they cannot be written.
        """
        folder = self.folder(run.info.artifact_uri)
        if folder is None:
            self.client.log_artifacts(run.info.run_id, str(source), within or None)
        elif within:
            with whole_folder(folder / within) as made:
                shutil.copytree(source, made, dirs_exist_ok=True, copy_function=shutil.copyfile)
        else:
            for path in sorted(source.rglob("*")):
                if path.is_file() and not is_leftover(path):
                    copy_atomically(path, folder / path.relative_to(source))

    def list(self, run: Any) -> list[Artifact]:
        """Files and folders at the top of the artifacts of *run*, by name."""
        folder = self.folder(run.info.artifact_uri)
        if folder is None:
            found = self.client.list_artifacts(run.info.run_id)
            return [Artifact(str(each.path), each.file_size, each.is_dir) for each in found]
        if not folder.is_dir():
            return []
        return [
            Artifact(path.name, None if path.is_dir() else path.stat().st_size, path.is_dir())
            for path in sorted(folder.iterdir())
        ]

    def uri(self, run: Any, name: str) -> str:
        """URI at which the artifact *name* of *run* is read."""
        folder = self.folder(run.info.artifact_uri)
        return f"{run.info.artifact_uri}/{name}" if folder is None else (folder / name).as_uri()


def local_path(uri: str) -> Path | None:
    """Path of a ``file:`` URI; ``None`` for any other."""
    place = urlsplit(uri)
    return Path(url2pathname(place.path)) if place.scheme == "file" else None
