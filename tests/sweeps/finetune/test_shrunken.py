"""Shrunken copies keep what matters of an architecture, whatever the size of the base."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import (
    DeepseekV3Config,
    FalconConfig,
    Gemma3TextConfig,
    GPTJConfig,
    GPTNeoConfig,
    LlamaConfig,
    MixtralConfig,
    PreTrainedConfig,
)

from sweeps.finetune.architecture import shrunken

LARGE: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(num_key_value_heads=8),
    "falcon": FalconConfig(),
    "gptj": GPTJConfig(),
    "gpt_neo": GPTNeoConfig(),
    "mixtral": MixtralConfig(),
    "gemma3": Gemma3TextConfig(),
}


@pytest.mark.parametrize("name", LARGE)
def test_a_copy_of_a_large_architecture_is_small(name: str) -> None:
    config = LARGE[name]
    small: Any = shrunken(config, trust=False)
    assert small is not None
    assert sum(p.numel() for p in small.parameters()) < 2_000_000
    assert small.config.model_type == config.model_type


def test_a_copy_keeps_shared_keys_and_every_kind_of_layer() -> None:
    llama: Any = shrunken(LARGE["llama"], trust=False)
    assert llama.config.num_attention_heads > llama.config.num_key_value_heads > 1
    gemma: Any = shrunken(LARGE["gemma3"], trust=False)
    assert set(gemma.config.layer_types) == {"sliding_attention", "full_attention"}


def test_what_cannot_be_copied_is_not_judged() -> None:
    assert shrunken(DeepseekV3Config(), trust=False) is None
