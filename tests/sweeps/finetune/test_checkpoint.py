"""Checkpoints are whole or not there."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.finetune.checkpoint import MANIFEST, latest_checkpoint, save_checkpoint


def write(text: str, folder: Path) -> None:
    (folder / "weights").write_text(text)
    (folder / "optimizer").write_text(f"state of {text}")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three checkpoints were saved."""
    for step in (5, 10, 100):
        save_checkpoint(
            tmp_path, "trial", step, lambda folder, step=step: write(f"step {step}", folder)
        )
    return tmp_path


def loaded(root: Path) -> str | None:
    found = latest_checkpoint(root, "trial", needed=["weights", "optimizer"])
    return (found / "weights").read_text() if found else None


def test_the_newest_two_are_kept(root: Path) -> None:
    assert sorted(path.name for path in root.iterdir()) == ["step-00000010", "step-00000100"]
    assert loaded(root) == "step 100"


def test_nothing_saved_is_nothing_found(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path / "never", "trial") is None


def flip_a_bit(folder: Path) -> None:
    content = bytearray((folder / "optimizer").read_bytes())
    content[3] ^= 1
    (folder / "optimizer").write_bytes(content)


def lose_a_file(folder: Path) -> None:
    (folder / "optimizer").unlink()


def lose_the_manifest(folder: Path) -> None:
    (folder / MANIFEST).unlink()


def cut_the_manifest(folder: Path) -> None:
    (folder / MANIFEST).write_text((folder / MANIFEST).read_text()[:-9])


def empty_the_manifest(folder: Path) -> None:
    (folder / MANIFEST).write_text(json.dumps({}))


def name_no_files(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(manifest | {"files": {}}))


def garble_the_manifest(folder: Path) -> None:
    (folder / MANIFEST).write_text(json.dumps(["weights", 5]))


def add_a_file(folder: Path) -> None:
    (folder / "adapter_model.bin").write_text("another")


def add_a_folder(folder: Path) -> None:
    (folder / "checkpoint-5").mkdir()


def swap_two_files(folder: Path) -> None:
    (folder / "weights").rename(folder / "kept")
    (folder / "optimizer").rename(folder / "weights")
    (folder / "kept").rename(folder / "optimizer")


def link_a_file(folder: Path) -> None:
    shutil.copyfile(folder / "weights", folder.parent / "elsewhere")
    (folder / "weights").unlink()
    (folder / "weights").symlink_to(folder.parent / "elsewhere")


def lose_a_file_and_its_entry(folder: Path) -> None:
    (folder / "optimizer").unlink()
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest["files"]["optimizer"]
    (folder / MANIFEST).write_text(json.dumps(manifest))


def take_an_older_one(folder: Path) -> None:
    shutil.rmtree(folder)
    shutil.copytree(folder.with_name("step-00000010"), folder)


def take_another_trials(folder: Path) -> None:
    other = folder.parent / "other"
    shutil.copytree(
        save_checkpoint(other, "another", 100, lambda made: write("step 100", made)),
        folder,
        dirs_exist_ok=True,
    )
    shutil.rmtree(other)


def take_another_trials_manifest(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(manifest | {"trial": "another"}))


def replace_by_a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("")


HARMS: list[Callable[[Path], None]] = [
    flip_a_bit,
    lose_a_file,
    lose_the_manifest,
    cut_the_manifest,
    empty_the_manifest,
    name_no_files,
    garble_the_manifest,
    add_a_file,
    add_a_folder,
    swap_two_files,
    link_a_file,
    lose_a_file_and_its_entry,
    take_an_older_one,
    take_another_trials,
    take_another_trials_manifest,
]


@pytest.mark.parametrize("harm", [*HARMS, replace_by_a_file])
def test_a_broken_checkpoint_is_set_aside_and_the_one_before_used(
    harm: Callable[[Path], None], root: Path
) -> None:
    harm(root / "step-00000100")
    assert loaded(root) == "step 10"
    assert (root / "broken-step-00000100").exists(), "kept to find out why"
    assert loaded(root) == "step 10", "found again without the broken one"
    if harm is not take_an_older_one:  # there is none
        harm(root / "step-00000010")
        assert loaded(root) is None


def test_the_order_of_a_manifests_keys_means_nothing(root: Path) -> None:
    file = root / "step-00000100" / MANIFEST
    manifest = json.loads(file.read_text())
    manifest["files"] = dict(reversed(manifest["files"].items()))
    file.write_text(json.dumps(dict(reversed(manifest.items()))))
    assert loaded(root) == "step 100"


def test_a_checkpoint_of_an_earlier_release_is_whole_too(root: Path) -> None:
    file = root / "step-00000100" / MANIFEST
    files = json.loads(file.read_text())["files"]
    file.write_text(json.dumps({name: facts["sha256"] for name, facts in files.items()}))
    assert loaded(root) == "step 100"
    add_a_file(root / "step-00000100")
    assert loaded(root) == "step 10"


def test_the_step_can_be_saved_again_after_it_broke(root: Path) -> None:
    flip_a_bit(root / "step-00000100")
    assert loaded(root) == "step 10"
    save_checkpoint(root, "trial", 100, lambda folder: write("again", folder))
    assert loaded(root) == "again"
    flip_a_bit(root / "step-00000100")
    assert loaded(root) == "step 10"


def test_an_interrupted_write_leaves_what_was(root: Path) -> None:
    def interrupted(folder: Path) -> None:
        (folder / "weights").write_text("half")
        raise KeyboardInterrupt

    for step in (100, 105):
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(root, "trial", step, interrupted)
        assert loaded(root) == "step 100"
    time.sleep(0.6)
    save_checkpoint(root, "trial", 110, lambda folder: write("step 110", folder))
    assert loaded(root) == "step 110"
    assert not list(root.glob(".*")), "what interrupted writes left goes with the next"
