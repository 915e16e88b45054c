"""Trials over the tiny model and task."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweeps.base_models import model_spec
from sweeps.data.examples import file_ref
from sweeps.spec import ModelEntry
from tracker.task import PromptTemplate, SuiteSpec, TaskSpec
from tracker.trial import EvaluationSpec, MethodSpec, MixSpec, ModelSpec, TrainSpec, TrialSpec

METHODS = {
    "full": MethodSpec(name="full", learning_rate=3e-3),
    "lora": MethodSpec(name="lora", variant="plain", rank=4, learning_rate=1e-2),
    "rslora": MethodSpec(name="lora", variant="rslora", rank=4, learning_rate=1e-2),
    "dora": MethodSpec(name="lora", variant="dora", rank=4, learning_rate=1e-2),
    "pissa": MethodSpec(name="lora", variant="pissa", rank=4, learning_rate=1e-2),
    "lora_plus": MethodSpec(name="lora", variant="lora_plus", rank=4, learning_rate=3e-3),
    "p_tuning_v1": MethodSpec(name="p_tuning", variant="v1", virtual_tokens=4, learning_rate=1e-2),
    "p_tuning_v2": MethodSpec(name="p_tuning", variant="v2", virtual_tokens=4, learning_rate=1e-2),
}


def model_at(path: Path) -> ModelSpec:
    """The model in *path* as a sweep names it, by its content."""
    return model_spec(ModelEntry(path=str(path)), Path())


@pytest.fixture(scope="session")
def make_spec(tiny_model: Path, tiny_data: Path) -> Callable[..., TrialSpec]:
    """``make_spec(method, **changes)``: a trial of 40 examples, two passes."""
    task = TaskSpec(
        name="intent",
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
            return TrialSpec(method=MethodSpec(name="none"), **(common | changes))
        common |= {
            "mix": MixSpec(name="intent", weights={"intent": 1}),
            "volume": 40,
            "examples": {"intent": 40},
            "seed": 1,
        }
        return TrialSpec(method=METHODS[method], **(common | changes))

    return make
