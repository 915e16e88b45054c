"""The contract of a trial with its caller: folders to write to, and the reporter of its progress.

A module of its own, so that callers import it without torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol

LARGE_MODEL_BYTES = 1024**3  # of tuned models above it fewer are kept


class TrialHome(NamedTuple):
    """Folders of a trial: all that it may write to.

    ``baselines`` is shared by trials; ``model`` is given only if the tuned model is to be kept.
    ``checkpoint_seconds``: the least time between two checkpoints. ``model_limit_bytes``: a model of more
    stored bytes is kept only where the disk has room for another as large.
    """

    checkpoints: Path
    artifacts: Path
    baselines: Path
    model: Path | None = None
    checkpoint_seconds: float = 60.0
    model_limit_bytes: float = float("inf")


class Reporter(Protocol):
    """Receives a trial's progress; every call is a heartbeat."""

    def resume(self, step: int) -> None:
        """Training resumes from *step*; later steps are reported again."""

    def step(self, step: int, values: dict[str, float]) -> None:
        """Training reached a point of the learning curve."""

    def checkpoint(self, step: int) -> None:
        """The checkpoint of *step* is on disk."""

    def beat(self) -> None:
        """The trial is alive between steps, for instance after a batch of answers."""
