"""What the rooms of a trial share: a spec over the tiny model and task, and a quiet reporter."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sweeps.base_models import model_spec
from sweeps.data.examples import file_ref
from sweeps.data.prompts import Encoded
from sweeps.finetune.model import build_model, trained_parameters
from sweeps.finetune.trial_home import TrialHome
from sweeps.spec import ModelEntry
from tests.factories import method_spec, task_spec, trial_spec
from tracker.trial import (
    EvaluationSpec,
    MixSpec,
    ModelSpec,
    PromptTemplate,
    SuiteSpec,
    TrainSpec,
    TrialSpec,
)

METHODS = {
    "full": method_spec("full", learning_rate=3e-3),
    "lora": method_spec("lora", variant="plain", rank=4, learning_rate=1e-2),
    "rslora": method_spec("lora", variant="rslora", rank=4, learning_rate=1e-2),
    "dora": method_spec("lora", variant="dora", rank=4, learning_rate=1e-2),
    "pissa": method_spec("lora", variant="pissa", rank=4, learning_rate=1e-2),
    "lora_plus": method_spec("lora", variant="lora_plus", rank=4, learning_rate=3e-3),
    "p_tuning_v1": method_spec("p_tuning", variant="v1", virtual_tokens=4, learning_rate=1e-2),
    "p_tuning_v2": method_spec("p_tuning", variant="v2", virtual_tokens=4, learning_rate=1e-2),
}


def model_at(path: Path) -> ModelSpec:
    """The model in *path* as a sweep names it, by its content."""
    return model_spec(ModelEntry(path=str(path)), Path())


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


@pytest.fixture(scope="session")
def make_spec(tiny_model: Path, tiny_data: Path) -> Callable[..., TrialSpec]:
    """``make_spec(method, **changes)``: a trial of 40 examples, two passes."""
    task = task_spec(
        "intent",
        train=file_ref(tiny_data / "train.jsonl"),
        validation=file_ref(tiny_data / "validation.jsonl"),
        test=file_ref(tiny_data / "test.jsonl"),
        prompt=PromptTemplate(instruction="name the intent", input="{text}"),
        answer="{label}",
        score="macro_f1",
        negative="out_of_scope",
    )
    model = model_at(tiny_model).model_copy(update={"name": "tiny", "parameters": 30_000})
    suite = SuiteSpec(name="language", text=file_ref(tiny_data / "general.jsonl"))

    def make(method: str, **changes: Any) -> TrialSpec:
        common: dict[str, Any] = {
            "model": model,
            "tasks": (task,),
            "general": (suite,),
            "train": TrainSpec(epochs=2, batch_size=8, max_length=96),
            "evaluation": EvaluationSpec(rows=24, batch_size=8, max_new_tokens=12),
        }
        if method == "none":
            return trial_spec(method="none", **(common | changes))
        common |= {
            "mix": MixSpec(name="intent", weights={"intent": 1}),
            "volume": 40,
            "examples": {"intent": 40},
            "seed": 1,
        }
        return trial_spec(method=METHODS[method], **(common | changes))

    return make


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
