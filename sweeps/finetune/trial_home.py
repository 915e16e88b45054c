"""Where a trial may write; apart from :mod:`sweeps.finetune.trial`, which imports torch."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class TrialHome(NamedTuple):
    """``baselines`` is shared by trials; ``model`` is given only if the tuned model is to be kept.

    ``checkpoint_seconds``: the least time between two checkpoints. ``model_limit_bytes``: a model that
    trained more is not written.
    """

    checkpoints: Path
    artifacts: Path
    baselines: Path
    model: Path | None = None
    checkpoint_seconds: float = 60.0
    model_limit_bytes: float = float("inf")
