"""The contract of a trial: where it may write, and who hears of its progress.

Apart from what runs trials, for their callers are to know it without importing torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol


class TrialHome(NamedTuple):
    """Where a trial may write.

    ``baselines`` is shared by trials; ``model`` is given only if the tuned model is to be kept.
    ``checkpoint_seconds``: the least time between two checkpoints. ``model_limit_bytes``: a model that
    trained more is not written.
    """

    checkpoints: Path
    artifacts: Path
    baselines: Path
    model: Path | None = None
    checkpoint_seconds: float = 60.0
    model_limit_bytes: float = float("inf")


class Reporter(Protocol):
    """Who hears of a trial's progress; every call is a sign of life."""

    def resume(self, step: int) -> None:
        """Training goes on from *step*; what was reported after it will be reported again."""

    def step(self, step: int, values: dict[str, float]) -> None:
        """A point of the learning curve."""

    def checkpoint(self, step: int) -> None:
        """A whole checkpoint of *step* is on disk."""

    def beat(self) -> None:
        """Something was done that is no training step, such as a batch of answers."""
