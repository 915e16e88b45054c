"""Checkpoints of a real trial, tampered with and sealed anew: none that differs is gone on with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sweeps.finetune.checkpoint import MANIFEST, _facts
from sweeps.finetune.contract import TrialHome
from sweeps.finetune.model import TRAINED_WEIGHTS
from sweeps.finetune.trial import run_trial
from tests.sweeps.finetune.conftest import Notes
from tracker.trial import TrialResult, TrialSpec

MakeSpec = Callable[..., TrialSpec]


@pytest.fixture(scope="module")
def stopped(
    make_spec: MakeSpec, tmp_path_factory: pytest.TempPathFactory
) -> tuple[TrialSpec, TrialHome, TrialResult]:
    """A trial that was stopped, with its checkpoints of two steps, and what it comes to uninterrupted."""
    root = tmp_path_factory.mktemp("stopped")
    spec = make_spec("lora")
    whole = run_trial(spec, TrialHome(root / "never", root / "a", root / "baselines"), Notes())
    home = TrialHome(root / "steps", root / "a", root / "baselines", checkpoint_seconds=0.0)
    with pytest.raises(KeyboardInterrupt):
        run_trial(spec, home, Notes(stop_at=8))
    assert sorted(path.name for path in home.checkpoints.iterdir()) == [
        "step-00000006",
        "step-00000007",
    ]
    return spec, home, whole


def _lose_a_tensor(folder: Path) -> None:
    weights = load_file(folder / TRAINED_WEIGHTS)
    weights.pop(sorted(weights)[0])
    save_file(weights, folder / TRAINED_WEIGHTS)


def _add_a_tensor(folder: Path) -> None:
    weights = load_file(folder / TRAINED_WEIGHTS)
    save_file(weights | {"more": torch.zeros(1)}, folder / TRAINED_WEIGHTS)


def _reshape_a_tensor(folder: Path) -> None:
    weights = load_file(folder / TRAINED_WEIGHTS)
    name = sorted(weights)[0]
    save_file(weights | {name: weights[name].flatten()}, folder / TRAINED_WEIGHTS)


def _cut(name: str) -> Callable[[Path], None]:
    def cut(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return cut


def _lose(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _swap(folder: Path) -> None:
    content = (folder / "optimizer.pt").read_bytes()
    shutil.copyfile(folder / TRAINED_WEIGHTS, folder / "optimizer.pt")
    (folder / TRAINED_WEIGHTS).write_bytes(content)


def _say_another_step(folder: Path) -> None:
    state = json.loads((folder / "trainer_state.json").read_text())
    (folder / "trainer_state.json").write_text(json.dumps(state | {"global_step": 3}))


@pytest.mark.parametrize(
    "harm",
    [
        _lose_a_tensor,
        _add_a_tensor,
        _reshape_a_tensor,
        _say_another_step,
        _swap,
        *(_cut(n) for n in (TRAINED_WEIGHTS, "optimizer.pt", "scheduler.pt", "rng_state.pth")),
        _cut("trainer_state.json"),
        *(_lose(n) for n in ("optimizer.pt", "rng_state.pth", "scheduler.pt")),
        _lose("trainer_state.json"),
    ],
)
def test_a_checkpoint_that_cannot_be_of_this_trial_is_set_aside_though_its_manifest_fits(
    harm: Callable[[Path], None],
    stopped: tuple[TrialSpec, TrialHome, TrialResult],
    tmp_path: Path,
) -> None:
    spec, home, whole = stopped
    shutil.copytree(home.checkpoints, tmp_path / "steps")
    newest = tmp_path / "steps" / "step-00000007"
    harm(newest)
    manifest = json.loads((newest / MANIFEST).read_text())
    files = {path.name: _facts(path) for path in newest.iterdir() if path.name != MANIFEST}
    (newest / MANIFEST).write_text(json.dumps(manifest | {"files": files}))
    notes = Notes()
    moved = home._replace(checkpoints=tmp_path / "steps", checkpoint_seconds=60.0)
    result = run_trial(spec, moved, notes)
    assert notes.resumed == [6]
    assert (tmp_path / "steps" / "broken-step-00000007").is_dir()
    assert result.tasks == whole.tasks
    assert result.final_train_loss == whole.final_train_loss
