"""Fixtures of a trial: folders, tuned models, rows, and a reporter that remembers."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from sweeps.data.prompts import Encoded
from sweeps.finetune.contract import TrialHome
from sweeps.finetune.model import build_model, trained_parameters
from tracker.trial import TrialSpec


class Notes:
    """A reporter that remembers; *stop_at* raises KeyboardInterrupt once that step is reported."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.steps: dict[int, dict[str, float]] = {}
        self.resumed: list[int] = []
        self.checkpoints: list[int] = []
        self.beats = 0
        self.stop_at = stop_at

    def resume(self, step: int) -> None:
        self.resumed.append(step)

    def step(self, step: int, values: dict[str, float]) -> None:
        self.steps[step] = values
        if self.stop_at is not None and step >= self.stop_at:
            raise KeyboardInterrupt

    def checkpoint(self, step: int) -> None:
        self.checkpoints.append(step)

    def beat(self) -> None:
        self.beats += 1


@pytest.fixture(scope="session", autouse=True)
def like_a_worker() -> None:
    """One thread, and libraries that each trial's garbage collection need not walk through."""
    torch.set_num_threads(1)
    gc.freeze()


@pytest.fixture
def home(tmp_path: Path) -> TrialHome:
    return TrialHome(
        checkpoints=tmp_path / "checkpoints",
        artifacts=tmp_path / "artifacts",
        baselines=tmp_path / "baselines",
    )


@pytest.fixture(scope="session")
def tuned(make_spec: Callable[..., TrialSpec]) -> Callable[[str], torch.nn.Module]:
    """``tuned(method)``: a model whose trained weights have all moved, as if it had been trained."""

    def build(method: str) -> torch.nn.Module:
        spec = make_spec(method)
        torch.manual_seed(0)
        model = build_model(spec.model, spec.method, torch.device("cpu")).eval()
        with torch.no_grad():
            for weight in trained_parameters(model).values():
                weight.add_(0.1 * torch.randn_like(weight))
        return model

    return build


@pytest.fixture(scope="session")
def some_rows() -> list[Encoded]:
    """Six rows of random tokens with prompts of 3 to 20 and answers of 1 to 6 tokens."""
    tokens = np.random.default_rng(0)
    lengths = [(3, 2), (20, 1), (7, 6), (12, 3), (5, 5), (9, 4)]
    return [
        Encoded(*(tuple(int(t) for t in tokens.integers(6, 300, size=n)) for n in pair))
        for pair in lengths
    ]
