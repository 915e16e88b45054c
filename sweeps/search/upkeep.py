"""Upkeep of a workspace: sweeps and trials deleted, and files removed that nothing needs any more.

A running sweep is left alone: its lock is taken first. What other sweeps took over stays whole, for they hold
copies; untouched bases, measured for all sweeps, and registered models stay as well.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from sweeps.search.generations import APART_BY
from sweeps.search.retention import Retention
from sweeps.search.workspace import SweepFolder, sweep_folders
from sweeps.sweep_file import load_sweep
from tracker.errors import InputError, OwnedError, SftSelectError, StoreError
from tracker.files import leftovers, remove_folder, remove_leftovers
from tracker.store import artifacts
from tracker.store.journal import Journal
from tracker.store.removal import Holdings
from tracker.store.store import Store
from tracker.trial import Configuration, TrialRecord

#: Files that a driver holds while it owns a sweep's folder.
_LOCK = ("driver.lock", "driver.json")


class Garbage(NamedTuple):
    """A file or folder that nothing needs; ``kind``: why, in the plural."""

    kind: str
    path: Path
    bytes: int


def size_of(path: Path) -> int:
    """Bytes that removing *path* frees: a file that has another name elsewhere frees nothing."""
    files = [path] if path.is_file() else path.rglob("*")
    size = 0
    for file in files:
        with suppress(OSError):  # gone since
            found = file.lstat()
            size += found.st_size if file.is_file() and found.st_nlink == 1 else 0
    return size


# -- deletion ----------------------------------------------------------------------------------------


class Deletion(NamedTuple):
    """Sweep, or one trial ``key`` of it, to delete: its folder here, and what the store ``stored`` of it."""

    folder: SweepFolder
    key: str | None
    stored: Holdings

    @property
    def paths(self) -> list[Path]:
        """Its files and folders in the workspace."""
        folder, key = self.folder, self.key
        if key is None:
            return [folder.root] if folder.root.is_dir() else []
        parts = (folder.checkpoints(key), folder.model(key), folder.artifacts(key))
        return [path for path in (*parts, folder.journal(key)) if path.exists()]

    @property
    def bytes(self) -> int:
        """What it frees."""
        return sum(map(size_of, (*self.paths, *self.stored.folders)))


def deletion(store: Store, workspace: Path, sweep: str, key: str | None = None) -> Deletion:
    """What deleting *sweep*, or its trial *key*, would remove.

    Raises InputError where neither the store nor the workspace holds it, OwnedError while it runs.
    """
    folder = SweepFolder(workspace, sweep)
    found = Deletion(folder, key, store.holdings(sweep, key))
    if not found.paths and not found.stored.runs:
        store.records(sweep)  # says which sweeps there are
        raise InputError(f"{sweep}: found nothing of trial {key}; see `sft-select status {sweep}`")
    if folder.root.is_dir():
        with folder.owned():
            pass
    if not folder.study_file.exists():  # a driver elsewhere may run it: only its heartbeat says so
        _refuse_live(store, sweep)
    return found


def _refuse_live(store: Store, sweep: str) -> None:
    for info in store.sweeps():
        if info.name == sweep and info.is_live and info.silent_since(time.time()) is None:
            raise OwnedError(
                f"{sweep}: a driver runs this sweep; stop it with `sft-select control {sweep} stop`, then "
                "delete it"
            )


def delete(store: Store, found: Deletion, study_uri: str | None = None) -> None:
    """Delete what was *found*; given again after a kill, it does the rest.

    *study_uri*: where the sweep's study is, if not in its folder. Raises OwnedError while it runs.
    """
    folder = found.folder
    for record in store.excluded(folder.root.name) if found.key else ():
        if record.result.spec.key == found.key:  # if it is run again, it counts
            store.include(folder.root.name, record)
    if not folder.root.is_dir():
        store.remove(found.stored)
        _delete_study(study_uri, folder.root.name, found.key)
        return
    with folder.owned():
        # What is shown first, what a resume reads next: whatever is left of a killed deletion is no sweep.
        store.remove(found.stored)
        _delete_study(study_uri, folder.root.name, found.key)
        if found.key is not None:  # the journal first: without it the trial is one that never ended
            for path in (folder.journal(found.key), *found.paths):
                _remove(path)
            return
        for path in (folder.sweep_file, folder.identity_file, *sorted(folder.root.iterdir())):
            if path.name not in _LOCK:
                _remove(path)
    with suppress(OSError):  # a driver that began the sweep anew this moment
        folder.root.rmdir()


def _delete_study(uri: str | None, sweep: str, key: str | None) -> None:
    """Delete the studies of *sweep*, one a file that it had, in their database; not with one trial alone."""
    if uri is None or key is not None:
        return
    import optuna

    try:
        for name in optuna.get_all_study_names(uri):
            if name.partition(APART_BY)[0] == sweep:
                optuna.delete_study(study_name=name, storage=uri)
    except KeyError:  # it was never begun, or is deleted
        return
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise StoreError(
            f"study {sweep}: cannot be deleted ({reason}); check --study-uri"
        ) from error


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        remove_folder(path)
    else:
        path.unlink(missing_ok=True)


# -- garbage -----------------------------------------------------------------------------------------

_MODELS, _CHECKPOINTS = "models that are not kept", "checkpoints of ended trials"
_LEFTOVERS = "leftovers of killed processes"
_DELETED, _CACHES = "artifacts of deleted runs", "cached results of deleted sweeps"


class Found(NamedTuple):
    """What was found: ``garbage``, and a line for each sweep that was ``skipped``."""

    garbage: list[Garbage]
    skipped: list[str]


def collect(store: Store, workspace: Path, *, remove: bool) -> Found:
    """Find what nothing needs in *workspace*, and *remove* it; a sweep that runs now is skipped."""
    garbage: list[Garbage] = []
    skipped: list[str] = []
    for folder in sweep_folders(workspace):
        try:
            with folder.owned():
                garbage += _taken(_of_sweep(folder), remove)
        except OwnedError:
            skipped.append(f"{folder.root.name}: runs now, and was left alone")
        except SftSelectError as error:
            skipped.append(f"{folder.root.name}: was left alone: {error}")
    deleted, caches = store.garbage()
    shared = [workspace, workspace / "baselines", workspace / "cache"]
    shared += (workspace / artifacts.FOLDER).glob("*/artifacts")
    garbage += _taken(_leftovers(shared), remove)
    garbage += _taken([(_DELETED, path) for path in deleted], remove)
    garbage += _taken([(_CACHES, path) for path in caches], remove)
    return Found(garbage, skipped)


def _taken(found: Iterable[tuple[str, Path]], remove: bool) -> Iterator[Garbage]:
    for kind, path in list(found):
        yield Garbage(kind, path, size_of(path))
        if not remove:
            continue
        if kind == _LEFTOVERS:  # what was about to be replaced is put back
            remove_leftovers(path.parent)
        else:
            _remove(path)


def _of_sweep(folder: SweepFolder) -> Iterator[tuple[str, Path]]:
    parts = [folder.root / part for part in ("models", "checkpoints", "artifacts")]
    inner = [path for part in parts for path in part.glob("*/")]
    yield from _leftovers([folder.root, *parts, *inner])
    records = _records(folder)
    ended = {record.result.spec.key for record in records}
    for path in sorted((folder.root / "checkpoints").glob("[!.]*")):
        if path.name in ended:
            yield _CHECKPOINTS, path
    dropped = _dropped(folder, records)
    for path in sorted((folder.root / "models").glob("[!.]*")):
        if path.name in dropped:
            yield _MODELS, path


def _leftovers(folders: Iterable[Path]) -> Iterator[tuple[str, Path]]:
    for folder in folders:
        yield from ((_LEFTOVERS, path) for path in leftovers(folder))


def _records(folder: SweepFolder) -> list[TrialRecord]:
    """Ended trials by their journals. One that cannot be read is a reason to leave the sweep alone."""
    records = []
    for number, path in enumerate(sorted((folder.root / "journal").glob("*.jsonl"))):
        result = Journal(path).result()
        if result is not None:
            records.append(TrialRecord(number=number, stage="", result=result))
    return records


def _dropped(folder: SweepFolder, records: list[TrialRecord]) -> set[str]:
    """Keys of the ended trials whose models the sweep's ``keep`` does not keep, as its driver decides."""
    spec = load_sweep(folder.sweep_file)
    if spec.keep == "all":
        return set()
    if spec.keep == "none":
        return {record.result.spec.key for record in records}
    ended = [(Configuration.of(record.result.spec), record) for record in records]
    return set(Retention(spec.objective).outdone(ended))
