"""Base models, and the three ways to tune one.

Learning rates are not touched here: a method's scale factors are constants below, with their source, so
that the learning rate of a trial means the same in every sweep.
"""

from __future__ import annotations

import copy
import inspect
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PrefixTuningConfig, PromptEncoderConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from tracker.errors import InputError
from tracker.record.trial import MethodSpec, ModelSpec

#: Constant over ranks, which keeps the best learning rate nearly constant too (LoRA Without Regret, 2025).
LORA_ALPHA = 32
#: Ratio of B's to A's learning rate (Hayou et al. 2024, LoRA+, arXiv 2402.12354).
LORA_PLUS_RATIO = 16
TRAINED_WEIGHTS = "trained.safetensors"


@lru_cache(maxsize=8)
def load_tokenizer(model: ModelSpec) -> PreTrainedTokenizerBase:
    """The model's tokenizer; a missing pad token is set to the end-of-sequence token."""
    tokenizer = AutoTokenizer.from_pretrained(
        model.path, revision=model.revision, trust_remote_code=model.trust_remote_code
    )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


@lru_cache(maxsize=4)
def load_base(model: ModelSpec) -> PreTrainedModel:
    """The untouched base in host memory, shared by a worker's trials: copy it, never change it.

    Weights are float32 whatever the checkpoint's dtype: otherwise full tuning would update bfloat16
    weights while adapters are float32, and the methods could not be compared.
    """
    return AutoModelForCausalLM.from_pretrained(
        model.path,
        revision=model.revision,
        dtype=torch.float32,
        use_safetensors=True,
        trust_remote_code=model.trust_remote_code,
    )


def build_model(model: ModelSpec, method: MethodSpec, device: torch.device) -> nn.Module:
    """A fresh copy of the base on *device*, prepared for *method*; what trains has ``requires_grad``."""
    base = copy.deepcopy(load_base(model))
    if method.name in ("none", "full"):
        return base.requires_grad_(method.name == "full").to(device)
    tuned = get_peft_model(base, adapter_config(method, base.config.hidden_size))
    return tuned.to(device)


def adapter_config(method: MethodSpec, hidden_size: int) -> Any:
    """The peft configuration of an adapter method; P-tuning v2 is peft's prefix tuning."""
    if method.name == "lora":
        return LoraConfig(
            task_type="CAUSAL_LM",
            r=_required(method, "rank"),
            lora_alpha=LORA_ALPHA,
            target_modules="all-linear",
            use_rslora=method.variant == "rslora",
            use_dora=method.variant == "dora",
            init_lora_weights="pissa" if method.variant == "pissa" else True,
        )
    tokens = _required(method, "virtual_tokens")
    if method.variant == "v2":
        return PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=tokens)
    return PromptEncoderConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=tokens, encoder_hidden_size=hidden_size
    )


def prepended_tokens(method: MethodSpec) -> int:
    """How many positions the method puts before the prompt in the logits (v2 lives in the cache)."""
    if method.name == "p_tuning" and method.variant != "v2":
        return _required(method, "virtual_tokens")
    return 0


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that train, by name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def save_trained(model: nn.Module, folder: Path) -> None:
    """Every trained weight, a prompt encoder's own ones too (peft would keep only its output)."""
    weights = {name: p.detach().cpu().contiguous() for name, p in trained_parameters(model).items()}
    save_file(weights, folder / TRAINED_WEIGHTS)


def load_trained(model: nn.Module, folder: Path) -> None:
    """Put back what :func:`save_trained` wrote, exactly."""
    weights = load_file(folder / TRAINED_WEIGHTS)
    own = trained_parameters(model)
    if own.keys() != weights.keys():
        raise InputError(
            f"{folder}: holds {len(weights)} trained weights, this trial has {len(own)}; remove the folder"
        )
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(weights[name])


def accepts_logits_to_keep(model: nn.Module) -> bool:
    """Whether the model can skip the logits of positions that carry no loss."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return "logits_to_keep" in inspect.signature(base.forward).parameters


def _required(method: MethodSpec, field: str) -> int:
    value = getattr(method, field)
    if value is None:
        raise InputError(f"method {method.name}: {field} is missing; give a positive number")
    return int(value)
