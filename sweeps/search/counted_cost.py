"""Counted cost of a trial before it runs: training operations, trained weights, bytes to store."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from accelerate import init_empty_weights
from peft import get_peft_model
from transformers import AutoConfig

from sweeps.data.encoding import training_stream
from sweeps.finetune.model import adapter_config, prepended_tokens, stored_bytes
from sweeps.finetune.weights import empty_model
from tracker.trial import MethodSpec, ModelSpec, TrialSpec

_WEIGHT_BYTES = 4  # trained weights are kept in float32


class CountedWork(NamedTuple):
    """Counts of a training: ``rows`` and ``tokens`` of all passes, tokens of the ``longest`` row.

    ``flops``: training operations, as :class:`tracker.trial.Cost` counts them.
    """

    rows: int
    tokens: int
    longest: int
    flops: float


class Adapter(NamedTuple):
    """Number of ``weights`` that train, and bytes ``stored`` beside the base model."""

    weights: int
    stored: int


def counted_work(spec: TrialSpec) -> CountedWork:
    """Count the rows, tokens and operations of training *spec*; reads and encodes its data."""
    stream = training_stream(spec)
    tokens = sum(len(row) for row in stream)
    virtual = len(stream) * prepended_tokens(spec.method)
    trained = adapter(spec.model, spec.method).weights
    flops = float((tokens + virtual) * (4 * spec.model.size + 2 * trained))
    longest = max(len(row) for row in stream) + (spec.method.virtual_tokens or 0)
    return CountedWork(len(stream), tokens, longest, flops)


def adapter(model: ModelSpec, method: MethodSpec) -> Adapter:
    """Count the weights that *method* trains and the bytes that it stores, on a model without memory."""
    deciding = method.settings.keys() & _OF_WEIGHTS
    return _adapter(
        model, MethodSpec(name=method.name, **{name: getattr(method, name) for name in deciding})
    )


#: Hyper-parameters that decide how many weights there are.
_OF_WEIGHTS = {"variant", "rank", "virtual_tokens", "target_modules"}


@lru_cache(maxsize=256)
def _adapter(model: ModelSpec, method: MethodSpec) -> Adapter:
    if method.name == "full":
        return Adapter(model.size, _WEIGHT_BYTES * model.size)
    config = model_config(model)
    # PiSSA starts from a decomposition of weights, which a model without memory does not have.
    variant = "plain" if method.variant == "pissa" else method.variant
    plain = method.model_copy(update={"variant": variant})
    with init_empty_weights():
        base = empty_model(config, trust=model.trust_remote_code)
        tuned = get_peft_model(base, adapter_config(plain, base))
    weights = sum(p.numel() for p in tuned.parameters() if p.requires_grad)
    if method.name == "p_tuning":
        # A prompt encoder is stored as its output alone, a prefix as it is.
        output = (method.virtual_tokens or 0) * config.get_text_config(decoder=True).hidden_size
        kept = weights if method.variant == "v2" else output
        return Adapter(weights, _WEIGHT_BYTES * kept)
    return Adapter(weights, stored_bytes(tuned, method))


@lru_cache(maxsize=64)
def model_config(model: ModelSpec) -> Any:
    """The model's configuration, from its folder."""
    return AutoConfig.from_pretrained(
        model.path, revision=model.revision, trust_remote_code=model.trust_remote_code
    )
