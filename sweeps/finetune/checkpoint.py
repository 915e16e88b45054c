"""Checkpoints, each whole or not there, with a manifest of digests.

Written to a temporary folder, every file named in a manifest with its SHA-256 and fsynced, then renamed. The
manifest says whose checkpoint it is, of which step, and names every file that there is. A folder that
differs from its manifest in anything is quarantined on load and the one before it is used: a flipped bit,
a missing optimizer state or another trial's weights would otherwise give other weights without a word.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from tracker.files import file_digest, whole_folder

MANIFEST = "manifest.json"
_KEEP = 2  # the newest, and the one to fall back to
_STEP = "step-"


def save_checkpoint(root: Path, trial: str, step: int, write: Callable[[Path], None]) -> Path:
    """Write a checkpoint to ``root/step-<step>`` by *write*, seal it, and remove older ones.

    *trial*: its key.
    """
    final = root / f"{_STEP}{step:08d}"
    with whole_folder(final) as made:
        write(made)
        files = {path.name: _facts(path) for path in sorted(made.iterdir())}
        manifest = {"trial": trial, "step": step, "files": files}
        (made / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    for old in _checkpoints(root)[:-_KEEP]:
        shutil.rmtree(old)
    return final


def latest_checkpoint(
    root: Path,
    trial: str,
    needed: Collection[str] = (),
    fits: Callable[[Path, int], bool] = lambda _folder, _step: True,
) -> Path | None:
    """The newest whole checkpoint of *trial*, by its key; broken ones are renamed ``broken-…``.

    *needed*: files without which nothing can go on. *fits*: whether the content of a folder is that of a
    step of this trial, as far as its files say so.
    """
    for path in reversed(_checkpoints(root)):
        step = _step(path)
        if step is not None and _is_whole(path, trial, step, needed) and fits(path, step):
            return path
        quarantine = path.with_name(f"broken-{path.name}")
        if quarantine.is_dir() and not quarantine.is_symlink():
            shutil.rmtree(quarantine)
        else:
            quarantine.unlink(missing_ok=True)
        path.rename(quarantine)
    return None


def _checkpoints(root: Path) -> list[Path]:
    return sorted(root.glob(f"{_STEP}*")) if root.exists() else []


def _step(path: Path) -> int | None:
    number = path.name.removeprefix(_STEP)
    return int(number) if number.isascii() and number.isdigit() else None


def _facts(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": file_digest(path)}


def _is_whole(path: Path, trial: str, step: int, needed: Collection[str]) -> bool:
    """Whether the folder holds what its manifest names, nothing else, and all that is *needed*."""
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        files = manifest
        if "files" in manifest:  # one of an earlier release is a digest by file and nothing more
            files = manifest["files"]
            if (manifest["trial"], manifest["step"]) != (trial, step):
                return False
        present = set(os.listdir(path)) - {MANIFEST}
        if not files or present != files.keys() or not files.keys() >= set(needed):
            return False
        return all(
            not (path / name).is_symlink()
            and (file_digest(path / name) == facts or _facts(path / name) == facts)
            for name, facts in files.items()
        )
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        return False
