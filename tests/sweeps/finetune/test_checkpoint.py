"""Checkpoints are whole or not there."""

from __future__ import annotations

import json
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
        save_checkpoint(tmp_path, step, lambda folder, step=step: write(f"step {step}", folder))
    return tmp_path


def loaded(root: Path) -> str | None:
    found = latest_checkpoint(root)
    return (found / "weights").read_text() if found else None


def test_the_newest_two_are_kept(root: Path) -> None:
    assert sorted(path.name for path in root.iterdir()) == ["step-00000010", "step-00000100"]
    assert loaded(root) == "step 100"


def test_nothing_saved_is_nothing_found(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path / "never") is None


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


@pytest.mark.parametrize(
    "harm", [flip_a_bit, lose_a_file, lose_the_manifest, cut_the_manifest, empty_the_manifest]
)
def test_a_broken_checkpoint_is_set_aside_and_the_one_before_used(harm, root: Path) -> None:  # type: ignore[no-untyped-def]
    harm(root / "step-00000100")
    assert loaded(root) == "step 10"
    assert (root / "broken-step-00000100").is_dir(), "kept to find out why"
    assert loaded(root) == "step 10", "found again without the broken one"
    harm(root / "step-00000010")
    assert loaded(root) is None


def test_the_step_can_be_saved_again_after_it_broke(root: Path) -> None:
    flip_a_bit(root / "step-00000100")
    assert loaded(root) == "step 10"
    save_checkpoint(root, 100, lambda folder: write("again", folder))
    assert loaded(root) == "again"
    flip_a_bit(root / "step-00000100")
    assert loaded(root) == "step 10"


def test_an_interrupted_write_leaves_what_was(root: Path) -> None:
    def interrupted(folder: Path) -> None:
        (folder / "weights").write_text("half")
        raise KeyboardInterrupt

    for step in (100, 105):
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(root, step, interrupted)
        assert loaded(root) == "step 100"
    save_checkpoint(root, 110, lambda folder: write("step 110", folder))
    assert loaded(root) == "step 110"
    assert not list(root.glob(".writing*")), "what interrupted writes left goes with the next"
