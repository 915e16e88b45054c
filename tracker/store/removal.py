"""Removal of sweeps and trials from MLflow, and of the artifacts that nothing names any more.

A run is deleted as MLflow deletes: it is hidden, and can be restored until its artifacts are gone. What a
registered model is read from stays. Artifacts on an object store or a server are MLflow's own to remove
(``mlflow gc``).
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tracker.store.runs import Run, Runs

_RUN_ID = re.compile(r"[0-9a-f]{32}")
_PAGE = 1000


class Holdings(NamedTuple):
    """What the store holds of a sweep or trial: its ``runs``, and the ``folders`` of their artifacts."""

    runs: tuple[Run, ...]
    folders: tuple[Path, ...]


def of_sweep(runs: Runs, name: str) -> Holdings:
    """What is removed with the sweep *name*: its run and its trials', not those of trained models."""
    parents = [run for run in runs.search("tags.`sft.kind` != 'trial'") if _is_sweep(run, name)]
    trials = [
        run for parent in parents for run in runs.trials(parent.info.run_id, "tags.`sft.key` != ''")
    ]
    return _stored(runs, [*trials, *parents])


def _is_sweep(run: Run, name: str) -> bool:
    tags = run.data.tags
    return tags.get("sft.kind") in ("sweep", "import") and tags.get("sft.sweep") == name


def of_trial(runs: Runs, sweep: str, key: str) -> Holdings:
    """What is removed with the trial *key* of *sweep*."""
    parent = runs.sweeps().get(sweep)
    found = [] if parent is None else runs.trials(parent.info.run_id, f"tags.`sft.key` = '{key}'")
    return _stored(runs, list(found))


def _stored(runs: Runs, found: list[Run]) -> Holdings:
    needed = registered_runs(runs)
    folders = [
        place.parent
        for run in found
        if run.info.run_id not in needed
        and (place := runs.artifacts.folder(run.info.artifact_uri)) is not None
        and place.parent.name == run.info.run_id
        and place.parent.is_dir()
    ]
    return Holdings(tuple(found), tuple(folders))


def remove(runs: Runs, stored: Holdings, cache: Path) -> None:
    """Delete the runs, trials before their sweep, then their artifacts and results in the folder *cache*."""
    for run in stored.runs:
        runs.client.delete_run(run.info.run_id)
        (cache / f"{run.info.run_id}.jsonl").unlink(missing_ok=True)
    for folder in stored.folders:
        shutil.rmtree(folder, ignore_errors=True)


def registered_runs(runs: Runs) -> set[str]:
    """Ids of the runs that a version of a registered model is read from."""
    found: set[str] = set()
    token: str | None = None
    while True:
        page = runs.client.search_model_versions(max_results=_PAGE, page_token=token)
        for version in page:
            found |= {str(version.run_id), *_RUN_ID.findall(str(version.source))}
        token = page.token
        if not token:
            return found


def artifacts_of_deleted(runs: Runs) -> Iterator[Path]:
    """Folders of artifacts on this disk whose runs were deleted: by us, or in MLflow's pages."""
    deleted = list(runs.search("tags.`sft.kind` != ''", deleted=True))
    yield from _stored(runs, deleted).folders if deleted else ()


def stale_caches(runs: Runs, workspace: Path) -> Iterator[Path]:
    """Cached results of sweeps that the store does not hold any more."""
    known = {run.info.run_id for run in runs.sweeps().values()}
    caches = workspace / "cache"
    for path in sorted(caches.iterdir()) if caches.is_dir() else ():
        if path.suffix == ".jsonl" and _RUN_ID.fullmatch(path.stem) and path.stem not in known:
            yield path
