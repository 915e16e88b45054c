"""A workspace that was moved or copied: nothing is read or written at its old place."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.tracker.store.stores import Records, begin
from tracker.errors import InputError
from tracker.store.model_registry import Model
from tracker.store.relocation import Move, relocate
from tracker.store.store import Store


def begun(workspace: Path, record: Records) -> Store:
    """A workspace with one finished trial."""
    store = Store.open(workspace)
    begin(store)
    store.end_trial("support", record(0))
    return store


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("how", ["moved", "copied", "copied before its first artifact"])
def test_a_workspace_goes_on_in_another_place(
    how: str, tmp_path: Path, make_record: Records
) -> None:
    old, new = tmp_path / "old runs", tmp_path / "else" / "runs"
    before = begun(old, make_record)
    config = before.spec_text("support")
    if how == "moved":
        new.parent.mkdir()
        old.rename(new)
    else:
        shutil.copytree(old, new)
    if how == "copied before its first artifact":
        shutil.rmtree(new / "artifacts")
    there = tree(old)
    (new / "model").mkdir()
    (new / "model" / "weights.safetensors").write_bytes(b"weights")

    store = Store.open(new)
    if how != "copied before its first artifact":
        assert store.spec_text("support") == config
        assert [record.number for record in store.records("support")] == [0]
    record = make_record(1)
    key = record.result.spec.key
    begin(store)
    store.begin_trial("support", 1, "design", record.result.spec)
    store.end_trial("support", record, new / "model")
    store.keep_model("support", key, new / "model")
    store.end_trials("support", [make_record(2), make_record(3)])
    store.register_model("support", Model(new / "model", "m", "best", "c: 1\n"), {})
    assert key in {record.result.spec.key for record in Store.open(new).records("support")}
    (version,) = store.client.search_model_versions("name = 'm'")
    assert version.source.startswith((new / "artifacts").as_uri())
    assert tree(old) == there, "the old place is as it was"
    assert old.exists() == (how != "moved")


def test_relocating_changes_what_mlflow_reads_once(tmp_path: Path, make_record: Records) -> None:
    begun(tmp_path / "old", make_record)
    assert relocate(tmp_path / "old") == []
    (tmp_path / "old").rename(tmp_path / "new")
    new = tmp_path / "new" / "artifacts"
    moves = relocate(tmp_path / "new")
    rows = {"experiments": 1, "runs": 2}
    assert moves == [Move(tmp_path / "old" / "artifacts", new, rows)]
    assert relocate(tmp_path / "new") == []
    store = Store.open(tmp_path / "new")
    for run in store._runs.search(""):
        assert run.info.artifact_uri.startswith(new.as_uri())
        assert store.client.list_artifacts(run.info.run_id)
    assert not (tmp_path / "old").exists()
    with pytest.raises(InputError, match="found a tracking server; allowed: a database"):
        relocate(tmp_path / "new", "http://user:secret@host:1")


def test_a_place_that_somebody_chose_stays(tmp_path: Path, make_record: Records) -> None:
    """One store for two workspaces keeps the artifacts of both where the first one is."""
    uri = f"sqlite:///{tmp_path / 'shared.db'}"
    for name in ("one", "two"):
        store = Store.open(tmp_path / name, uri)
        begin(store)
        store.end_trial("support", make_record(0))
    assert (tmp_path / "one" / "artifacts").is_dir()
    assert not (tmp_path / "two" / "artifacts").exists()
    assert relocate(tmp_path / "two", uri) == []
    (tmp_path / "one").rename(tmp_path / "three")
    assert Store.open(tmp_path / "three", uri).spec_text("support")
    (move,) = relocate(tmp_path / "three", uri)
    assert move.present == tmp_path / "three" / "artifacts"
