"""Train an exported configuration: the closing of the loop."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from sweeps.finetune.trial import run_trial
from sweeps.finetune.trial_home import TrialHome
from tracker.errors import SftSelectError
from tracker.export.config import Config
from tracker.record.store import Store
from tracker.record.trial import Status, TaskScore, TrialResult

ALIAS = "recommended"


class FinalModel(NamedTuple):
    """``version`` of the registered model ``name``; ``folder`` holds its files."""

    result: TrialResult
    folder: Path
    name: str
    version: str

    def scores(self, split: str) -> list[TaskScore]:
        """The task scores on *split*: ``validation`` or ``test``."""
        return [score for score in self.result.tasks if score.split == split]


class _Console:
    """A reporter that shows steps and keeps nothing."""

    def __init__(self, show: Callable[[int, dict[str, float]], None]) -> None:
        self.show = show

    def resume(self, step: int) -> None:
        """Nothing to undo."""

    def step(self, step: int, values: dict[str, float]) -> None:
        """Show it."""
        self.show(step, values)

    def checkpoint(self, step: int) -> None:
        """Nothing to note."""

    def beat(self) -> None:
        """Nobody watches for a hang."""


def train_config(
    config: Config,
    config_text: str,
    folder: Path,
    store: Store,
    *,
    show: Callable[[int, dict[str, float]], None] = lambda _step, _values: None,
) -> FinalModel:
    """Train ``config.trial``, evaluate it on validation and test, register it with an alias.

    The model's files go to *folder*. As many threads as the sweep's workers had: on the same CPU and
    versions the weights, and with them the validation scores, are then the same to the last bit. Raises
    SftSelectError when training does not complete.
    """
    torch.set_num_threads(int(config.versions.get("threads", "1")))
    with tempfile.TemporaryDirectory(prefix="sft-select-") as scratch:
        home = TrialHome(
            checkpoints=Path(scratch) / "checkpoints",
            artifacts=folder.parent / f"{folder.name}-records",
            baselines=Path(scratch) / "baselines",
            model=folder,
        )
        result = run_trial(config.trial, home, _Console(show), splits=("validation", "test"))
    if result.status is not Status.COMPLETE:
        raise SftSelectError(f"training ended {result.status.value}: {result.reason}")
    scores = {
        f"eval/{score.task}/{score.split}/score": score.score
        for score in result.tasks
        if score.score is not None
    }
    name = f"{config.sweep}-{config.trial.method.name}"
    version = store.register_model(config.sweep, folder, name, ALIAS, config_text, scores)
    return FinalModel(result, folder, name, version)
