"""What must outlive a power cut is on disk before it has its name, and then its name is."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.factories import trial_result
from tracker.files import whole_folder, write_atomically
from tracker.store.journal import Journal


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Syncs, by the name of the file at that moment, and renames, by the new name, in their order."""
    seen: list[tuple[str, str]] = []
    sync = os.fsync

    def synced(descriptor: int) -> None:
        seen.append(("sync", Path(os.readlink(f"/proc/self/fd/{descriptor}")).name))
        sync(descriptor)

    def renamed(function: Callable[..., None]) -> Callable[..., None]:
        def rename(source: Any, target: Any, **options: Any) -> None:
            seen.append(("rename", f"{Path(source).name} -> {Path(target).name}"))
            function(source, target, **options)

        return rename

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", renamed(os.rename))
    monkeypatch.setattr(os, "replace", renamed(os.replace))
    return seen


def test_a_file(tmp_path: Path, order: list[tuple[str, str]]) -> None:
    write_atomically(tmp_path / "a.yaml", "text")
    (first, temporary), (second, renaming), last = order
    assert (first, second) == ("sync", "rename")
    assert renaming == f"{temporary} -> a.yaml"
    assert last == ("sync", tmp_path.name)


def test_a_folder(tmp_path: Path, order: list[tuple[str, str]]) -> None:
    with whole_folder(tmp_path / "model") as made:
        (made / "weights").write_text("1")
    at = [kind for kind, _ in order].index("rename")
    assert ("sync", "weights") in order[:at]
    assert ("sync", made.name) in order[:at]
    assert ("sync", tmp_path.name) in order[at:]


def test_a_journal(tmp_path: Path, order: list[tuple[str, str]]) -> None:
    with Journal(tmp_path / "a.jsonl") as journal:
        journal.append({"event": "start"})
        assert order == [("sync", tmp_path.name)]
        result = trial_result().model_dump(mode="json")
        journal.append({"event": "result", "result": result})
    assert order[1:] == [("sync", "a.jsonl")]
