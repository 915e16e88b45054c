"""Architecture probe: what a base model's architecture cannot do, tried on a shrunken random copy.

The copy keeps the architecture and its kinds of layers, and loses most of its size: a few layers, a
small vocabulary, narrow feed-forward parts, few experts. It takes a second whatever the base weighs, and it
needs no list of architectures. What a copy cannot be made of is not judged.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import logging as transformers_logging

from sweeps.base_models import checked_folder
from sweeps.data.prompts import Encoded
from sweeps.finetune.batch import IGNORED, answer_nats, collate, pack
from sweeps.finetune.evaluate import generated_ids
from sweeps.finetune.model import prepended_tokens, tune
from sweeps.finetune.weights import auto_class, empty_model, read_model_config
from tracker.trial import MethodSpec, ModelSpec, TrainSpec

#: A vocabulary of a prime number of words is no width of the model: peft finds embeddings by their size.
_VOCABULARY, _NARROW = 97, 64
_LAYERS, _MOST_LAYERS = 2, 8
_SMALL_HIDDEN, _HEADS, _HEAD_WIDTH = 256, 4, 32
_MOST_WEIGHTS = 20_000_000
#: Least difference, in nats or in standard deviations of the logits, that is no rounding error.
_TOLERANCE = 1e-3
_WIDTHS = (
    *("intermediate_size", "ffn_dim", "n_inner", "d_ff", "ffn_hidden_size"),
    *("moe_intermediate_size", "shared_expert_intermediate_size"),
)
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
_CHOSEN = ("num_experts_per_tok", "moe_top_k", "num_experts_per_token")
_EXPERT_GROUPS = ("n_group", "topk_group")
_KEY_HEADS = ("num_key_value_heads", "num_kv_heads")
_ROWS = (
    Encoded(prompt_ids=(5, 17, 23, 8, 41), answer_ids=(11, 12)),
    Encoded(prompt_ids=(31, 9, 77), answer_ids=(14, 15, 16)),
)


class Unfit(NamedTuple):
    """What the architecture cannot do; ``methods``: by name and variant, with the reason."""

    sees_ahead: bool
    mixes_packed_rows: bool
    methods: tuple[tuple[str, str | None, str], ...]


def unfit(model: ModelSpec, methods: Sequence[MethodSpec], train: TrainSpec) -> Unfit:
    """Try the architecture of *model*: reading from left to right, packed rows, and each of *methods*.

    Only the name and the variant of a method are tried; packing and gradient checkpointing where *train*
    has them. Raises InputError as :func:`sweeps.base_models.checked_folder`.
    """
    kinds = tuple(dict.fromkeys((method.name, method.variant) for method in methods))
    return _unfit(model, kinds, train.packing, train.gradient_checkpointing)


@lru_cache(maxsize=64)
def _unfit(
    model: ModelSpec,
    kinds: tuple[tuple[str, str | None], ...],
    packing: bool,
    checkpointing: bool,
) -> Unfit:
    with _quiet(), torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        trust = model.trust_remote_code
        config = read_model_config(Path(checked_folder(model)), trust=trust)
        small = shrunken(config, trust=trust)
        if small is None:
            return Unfit(False, False, ())
        generates = _reason(lambda: _generate(small, MethodSpec(name="none"))) is None
        failed = []
        for name, variant in kinds:
            method = MethodSpec(name=name, variant=variant, rank=2, virtual_tokens=3)
            reason = _reason(lambda m=method: _try(small, m, checkpointing, generates))  # type: ignore[misc]
            if reason is not None:
                failed.append((name, variant, reason))
        return Unfit(
            sees_ahead=_sees_ahead(small),
            mixes_packed_rows=packing and _mixes_packed_rows(small),
            methods=tuple(failed),
        )


# -- the shrunken copy -------------------------------------------------------------------------------


def shrunken(config: Any, *, trust: bool) -> PreTrainedModel | None:
    """The most shrunken copy that can be built and run; ``None`` where there is none of a bearable size."""
    for shrink in (
        (_small_words, _few_layers, _narrow, _few_experts, _few_heads),
        (_small_words, _few_layers, _narrow, _few_experts),
        (_small_words, _few_layers, _narrow),
        (_small_words, _few_layers),
        (_small_words,),
    ):
        smaller = copy.deepcopy(config)
        try:
            text = smaller.get_text_config(decoder=True)
            for step in shrink:
                step(text)
            weights = sum(p.numel() for p in empty_model(smaller, trust=trust).parameters())
            if weights > _MOST_WEIGHTS:
                continue
            model = auto_class(smaller).from_config(
                smaller, dtype=torch.float32, trust_remote_code=trust
            )
            _randomise(model)
            nats = answer_nats(model, collate(_ROWS, 0), prepended=0)
            if bool(torch.isfinite(nats).all()):
                return model.eval()
        except Exception:  # noqa: S112 - any fault of a copy says nothing of the model itself
            continue
    return None


def _small_words(config: Any) -> None:
    config.vocab_size = _VOCABULARY
    for name, value in (("pad_token_id", 0), ("bos_token_id", 1), ("eos_token_id", 1)):
        if getattr(config, name, None) is not None:
            setattr(config, name, value)


def _few_layers(config: Any) -> None:
    """Keep the first layers, as many as show every kind."""
    before = config.num_hidden_layers
    kinds = list(getattr(config, "layer_types", None) or [])
    firsts = [kinds.index(kind) for kind in set(kinds)]
    kept = min(before, _MOST_LAYERS, max([_LAYERS, *(first + 1 for first in firsts)]))
    for name, value in list(vars(config).items()):
        if isinstance(value, list) and len(value) == before:
            setattr(config, name, value[:kept])
    config.num_hidden_layers = kept


def _narrow(config: Any) -> None:
    for name in _WIDTHS:
        value = getattr(config, name, None)
        if isinstance(value, int) and value > 4 * _NARROW:
            setattr(config, name, _NARROW)


def _few_experts(config: Any) -> None:
    for names, most in ((_EXPERTS, 4), (_CHOSEN, 2), (_EXPERT_GROUPS, 1)):
        for name in names:
            value = getattr(config, name, None)
            if isinstance(value, int) and value > most:
                setattr(config, name, most)


def _few_heads(config: Any) -> None:
    """Four narrow heads, with as many keys and values for each as before; a small model stays as it is."""
    hidden, heads = config.hidden_size, config.num_attention_heads
    if hidden <= _SMALL_HIDDEN:
        return
    head = getattr(config, "head_dim", None) or hidden // heads
    for name in _KEY_HEADS:
        value = getattr(config, name, None)
        if isinstance(value, int) and value > 1:
            setattr(config, name, max(2, _HEADS * value // heads))
    config.num_attention_heads = _HEADS
    for name in ("head_dim", "rotary_dim"):
        value = vars(config).get(name)
        if isinstance(value, int):
            setattr(config, name, min(value, _HEAD_WIDTH))
    narrow = _HEADS * _HEAD_WIDTH * (1 if hidden == heads * head else 2)
    for name, value in list(vars(config).items()):  # other widths that are the same
        if value == hidden and name != "hidden_size":
            setattr(config, name, narrow)
    config.hidden_size = narrow


@torch.no_grad()
def _randomise(model: nn.Module) -> None:
    """Weights of a size at which every token that is seen shows in the logits."""
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.normal_(0.0, parameter.shape[-1] ** -0.5)


# -- what is tried -----------------------------------------------------------------------------------


@torch.no_grad()
def _sees_ahead(model: PreTrainedModel) -> bool:
    """Whether the last token changes the logits before it."""
    ids = torch.tensor([[*_ROWS[0].prompt_ids, 50], [*_ROWS[0].prompt_ids, 60]])
    logits: Tensor = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    before = logits[:, :-1]
    return bool((before[0] - before[1]).abs().max() > _TOLERANCE * before.std())


@torch.no_grad()
def _mixes_packed_rows(model: PreTrainedModel) -> bool:
    """Whether a row's loss depends on the rows that it is packed with, or packing fails."""
    apart = collate(_ROWS, 0)
    alone = answer_nats(model, apart, prepended=0)[apart["labels"] != IGNORED]
    try:
        batch = pack(_ROWS)
        packed = answer_nats(model, batch, prepended=0)[batch["labels"] != IGNORED]
    except Exception:
        return True
    return bool((alone - packed).abs().max() > _TOLERANCE)


def _try(small: PreTrainedModel, method: MethodSpec, checkpointing: bool, generates: bool) -> None:
    """One training step and one generation; raises whatever stands in the way."""
    model = tune(copy.deepcopy(small), method)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})  # type: ignore[operator]
    model.train()
    nats = answer_nats(model, collate(_ROWS, 0), prepended=prepended_tokens(method))
    nats.sum().backward()  # type: ignore[no-untyped-call]
    trained = [p for p in model.parameters() if p.requires_grad]
    if not any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in trained):
        raise RuntimeError("none of its weights changes the loss")
    if generates:
        _generate(model, method)


@torch.no_grad()
def _generate(model: nn.Module, method: MethodSpec) -> None:
    generated_ids(model.eval(), _ROWS, 2, pad_id=0, prepended=prepended_tokens(method))


def _reason(attempt: Callable[[], None]) -> str | None:
    """Why *attempt* fails, in one line; ``None`` where it does not."""
    try:
        attempt()
    except Exception as error:
        text = " ".join(str(error).split()) or "no reason given"
        return f"{type(error).__name__}: {text}"[:160]
    return None


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence warnings on the copy, whose settings are nobody's."""
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(level)
