"""Checkpoints, each whole or not there, with a manifest of digests.

Written to a temporary folder, every file named in a manifest with its SHA-256 and fsynced, then renamed. A
folder whose manifest does not match is quarantined on load and the one before it is used: a flipped bit or
a missing optimizer state would otherwise give other weights without a word.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from tracker.files import file_digest, whole_folder

MANIFEST = "manifest.json"
_KEEP = 2  # the newest, and the one to fall back to


def save_checkpoint(root: Path, step: int, write: Callable[[Path], None]) -> Path:
    """Write a checkpoint to ``root/step-<step>`` by *write*, seal it, and remove older ones."""
    final = root / f"step-{step:08d}"
    with whole_folder(final, root / ".writing-next") as made:
        write(made)
        digests = {path.name: file_digest(path) for path in sorted(made.iterdir())}
        (made / MANIFEST).write_text(json.dumps(digests, indent=1))
    for old in _checkpoints(root)[:-_KEEP]:
        shutil.rmtree(old)
    return final


def latest_checkpoint(root: Path) -> Path | None:
    """The newest checkpoint that matches its manifest; broken ones are renamed ``broken-…``."""
    for path in reversed(_checkpoints(root)):
        if _matches_manifest(path):
            return path
        quarantine = path.with_name(f"broken-{path.name}")
        shutil.rmtree(quarantine, ignore_errors=True)
        path.rename(quarantine)
    return None


def _checkpoints(root: Path) -> list[Path]:
    return sorted(root.glob("step-*")) if root.exists() else []


def _matches_manifest(path: Path) -> bool:
    try:
        digests = json.loads((path / MANIFEST).read_text())
        return bool(digests) and all(file_digest(path / n) == d for n, d in digests.items())
    except (OSError, ValueError):
        return False
