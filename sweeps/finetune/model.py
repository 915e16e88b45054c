"""Models: the base, the methods that tune it (full, LoRA, P-tuning), saving and loading trained weights.

Learning rates are not touched here: a method's scale factors are constants below, with their source, so
that the learning rate of a trial means the same in every sweep.
"""

from __future__ import annotations

import copy
import shutil
import warnings
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
import transformers
from peft import (
    LoraConfig,
    LoraModel,
    PeftModel,
    PrefixTuningConfig,
    PromptEncoderConfig,
    get_peft_model,
    get_peft_model_state_dict,
)
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from sweeps.base_models import checked_folder
from sweeps.base_weights import weight_files
from sweeps.data.prompts import load_tokenizer
from sweeps.finetune.weights import load_model
from tracker.errors import InputError
from tracker.files import whole_folder
from tracker.trial import ALL_LINEAR, DType, MethodSpec, ModelSpec

TRAINED_WEIGHTS = "trained.safetensors"
#: Bytes of bases that a process holds side by side, and of the largest that is copied, not given away.
_KEPT_BYTES, COPIED_BYTES = 1 << 30, 1 << 28
_CPU = torch.device("cpu")


def quieten() -> None:
    """Silence progress bars and deprecation warnings of transformers and peft in this process.

    No user can act on them.
    """
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers|peft")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


class _Loaded(NamedTuple):
    """A base that this process holds; ``config`` and ``generation``: its settings as loaded."""

    base: PreTrainedModel
    config: dict[str, Any]
    generation: GenerationConfig | None


class _BaseKey(NamedTuple):
    """What a base is loaded for: its spec, the dtype of what is not quantised, its device."""

    model: ModelSpec
    compute: DType
    device: torch.device


#: Bases that this process holds, the last used last, and those of them that a trial has at present.
_loaded: dict[_BaseKey, _Loaded] = {}
_lent: set[_BaseKey] = set()


def load_base(
    model: ModelSpec, device: torch.device = _CPU, compute: DType = "float32"
) -> PreTrainedModel:
    """The untouched base on *device*, weights in the dtype that *model* says, shared by a worker's trials.

    Where the spec says none they are float32 whatever the checkpoint's dtype: otherwise full tuning would
    update bfloat16 weights while adapters are float32, and the methods could not be compared. A process
    holds one base, and several where they are small. Raises InputError as
    :func:`sweeps.base_models.checked_folder` and :func:`sweeps.finetune.weights.load_model`.
    """
    key = _BaseKey(model, compute, device)
    if key in _loaded and key not in _lent:
        _loaded[key] = _loaded.pop(key)
        return _loaded[key].base
    forget_base(key)  # an earlier trial that failed may have left anything on it
    folder = Path(checked_folder(model))
    _make_room(sum(path.stat().st_size for path in weight_files(folder)))
    base = load_model(
        folder, trust=model.trust_remote_code, base=model.base, compute=compute, device=device
    ).requires_grad_(False)
    _loaded[key] = _Loaded(base, dict(vars(base.config)), base.generation_config)
    return base


def forget_base(key: _BaseKey | None = None) -> None:
    """Drop the base that is loaded as *key*, or all."""
    for each in [key] if key else list(_loaded):
        _lent.discard(each)
        _loaded.pop(each, None)


def _make_room(size: int) -> None:
    """Drop bases, the least used first, until another of *size* bytes may be loaded beside the rest."""
    while _loaded and size + sum(_bytes(loaded.base) for loaded in _loaded.values()) > _KEPT_BYTES:
        forget_base(next(iter(_loaded)))


def _bytes(base: nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in base.parameters())


def build_model(
    model: ModelSpec, method: MethodSpec, device: torch.device, compute: DType = "float32"
) -> nn.Module:
    """Build a model of its own on *device* for *method*; trained weights have ``requires_grad``.

    Of a large base there is no copy: it is given away, and loaded again when it is needed.
    """
    base = load_base(model, device, compute)
    if _bytes(base) <= COPIED_BYTES:
        base = copy.deepcopy(base)
    else:
        forget_base(_BaseKey(model, compute, device))
    if method.name == "full" or method.variant == "pissa":
        # Masters, which start from the values that the base has. What PiSSA takes off the weights would be
        # rounded in bfloat16, and its adapter then not fit the untouched base.
        base = base.float()
    return tune(base, method)


def borrow_model(
    model: ModelSpec, method: MethodSpec, device: torch.device, compute: DType = "float32"
) -> nn.Module:
    """The base that this process holds with *method* put on it; :func:`give_back` takes it off again.

    Methods that change the base's weights (full tuning, PiSSA) get a model of their own.
    """
    if method.name == "full" or method.variant == "pissa":
        return build_model(model, method, device, compute)
    base = load_base(model, device, compute)
    _lent.add(_BaseKey(model, compute, device))
    return tune(base, method)


def give_back(model: nn.Module) -> None:
    """Take off the base what :func:`borrow_model` put on it; a model of its own is left alone."""
    base = base_model(model)
    key = next((key for key, loaded in _loaded.items() if loaded.base is base), None)
    if key is None:
        return
    loaded = _loaded[key]
    if isinstance(model, PeftModel) and not model.active_peft_config.is_prompt_learning:
        cast("LoraModel", model.base_model).unload()
    if hasattr(base, "peft_config"):
        del base.peft_config
    if loaded.base.is_gradient_checkpointing:
        loaded.base.gradient_checkpointing_disable()
    vars(loaded.base.config).clear()
    vars(loaded.base.config).update(loaded.config)
    loaded.base.generation_config = loaded.generation
    loaded.base.requires_grad_(False).train(mode=False)
    _lent.discard(key)


def tune(base: PreTrainedModel, method: MethodSpec) -> nn.Module:
    """Prepare *base*, in place, to be tuned by *method*; what trains is float32."""
    if method.name in ("none", "full"):
        base.requires_grad_(False)
        for part in language_parts(base) if method.name == "full" else ():
            part.requires_grad_(True)
        whole: nn.Module = base
        return whole
    tuned: nn.Module = get_peft_model(base, adapter_config(method, base))
    if (
        method.name == "p_tuning"
    ):  # peft takes the first weight with as many rows as there are words
        tuned.word_embeddings = base.get_input_embeddings()
    for parameter in tuned.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(base.device, torch.float32)
    return tuned


def language_parts(base: PreTrainedModel) -> list[nn.Module]:
    """What *base* reads and writes text with: of a model of images, too, not what reads those."""
    if base.config.get_text_config(decoder=True) is base.config:
        return [base]
    parts = (base.get_decoder(), base.get_input_embeddings(), base.get_output_embeddings())
    return [part for part in parts if part is not None]


def adapter_config(method: MethodSpec, base: PreTrainedModel) -> Any:
    """The peft configuration of an adapter method for *base*; P-tuning v2 is peft's prefix tuning."""
    if method.name == "lora":
        inside = {module for part in language_parts(base) for module in part.modules()}
        outside = [name for name, module in base.named_modules() if name and module not in inside]
        return LoraConfig(
            task_type="CAUSAL_LM",
            r=_required(method, "rank"),
            lora_alpha=method.lora_alpha,
            lora_dropout=method.dropout or 0.0,
            target_modules=method.modules or ALL_LINEAR,
            exclude_modules=outside or None,
            use_rslora=method.variant == "rslora",
            use_dora=method.variant == "dora",
            init_lora_weights="pissa" if method.variant == "pissa" else True,
        )
    tokens = _required(method, "virtual_tokens")
    if method.variant == "v2":
        return PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=tokens)
    return PromptEncoderConfig(
        task_type="CAUSAL_LM",
        num_virtual_tokens=tokens,
        encoder_hidden_size=base.config.get_text_config(decoder=True).hidden_size,
    )


def base_model(model: nn.Module) -> nn.Module:
    """The transformers model inside peft's wrapping, or *model* itself."""
    if not isinstance(model, PeftModel):
        return model
    inner: nn.Module = model.get_base_model()
    return inner


def prepended_tokens(method: MethodSpec) -> int:
    """Number of positions that the method puts before the prompt in the logits (v2: in the cache, so 0)."""
    if method.name == "p_tuning" and method.variant != "v2":
        return _required(method, "virtual_tokens")
    return 0


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that train, by name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def stored_bytes(model: nn.Module, method: MethodSpec) -> int:
    """Bytes stored beside the base model, as :func:`save_model` writes them.

    Of a prompt encoder its output alone; of PiSSA its first weights, too.
    """
    weights = trained_parameters(model)
    if isinstance(model, PeftModel):
        weights = get_peft_model_state_dict(model, save_embedding_layers=False)
    size = sum(w.numel() * w.element_size() for w in weights.values())
    return 2 * size if method.variant == "pissa" else size


def save_model(model: nn.Module, base: ModelSpec, method: MethodSpec, folder: Path) -> None:
    """Save the model as transformers or peft load it, its tokenizer, and an adapter's exact weights.

    PiSSA changes the base's weights, so that its adapter would not fit the untouched base. It is saved as
    the LoRA of twice the rank that has the same effect on the untouched base. The earlier content of
    *folder* is removed once the model is whole: an adapter left there would be put on the next model.
    """
    with whole_folder(folder) as made:
        tokenizer = load_tokenizer(base)
        tokenizer.save_pretrained(made)
        _end_with(model, tokenizer).save_pretrained(made)
        if method.variant == "pissa":
            start = made / "start"  # a killed process's goes with the rest
            build_model(base, method, torch.device("cpu")).save_pretrained(start)  # type: ignore[operator]
            model.save_pretrained(made, path_initial_model_for_weight_conversion=str(start))  # type: ignore[operator]
            shutil.rmtree(start)
        else:
            model.save_pretrained(made)  # type: ignore[operator]
        if isinstance(model, PeftModel):
            save_trained(model, made)


def _end_with(model: nn.Module, tokenizer: PreTrainedTokenizerBase) -> GenerationConfig:
    """Have *model* generate up to the end token that it was trained on; a base may name another."""
    inner: Any = base_model(model)
    settings = copy.deepcopy(inner.generation_config)
    settings.eos_token_id, settings.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
    inner.generation_config = settings
    return cast(GenerationConfig, settings)


def save_trained(model: nn.Module, folder: Path) -> None:
    """Save every trained weight, of a prompt encoder too (peft would save its output alone)."""
    weights = {name: p.detach().cpu().contiguous() for name, p in trained_parameters(model).items()}
    save_file(weights, folder / TRAINED_WEIGHTS)


def holds_trained(model: nn.Module, folder: Path) -> bool:
    """Whether *folder* holds every trained weight of *model* in its shape, and no other."""
    shapes = {name: list(p.shape) for name, p in trained_parameters(model).items()}
    try:
        with safe_open(folder / TRAINED_WEIGHTS, "pt") as file:
            return {name: file.get_slice(name).get_shape() for name in file.keys()} == shapes  # noqa: SIM118
    except SafetensorError:
        return False


def load_trained(model: nn.Module, folder: Path) -> None:
    """Load the weights that :func:`save_trained` wrote, exactly."""
    weights = load_file(folder / TRAINED_WEIGHTS)
    parameters = trained_parameters(model)
    if parameters.keys() != weights.keys():
        raise InputError(
            f"{folder}: found {len(weights)} trained weights; allowed: the {len(parameters)} of this trial; "
            "remove the folder"
        )
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])


def _required(method: MethodSpec, field: str) -> int:
    value = getattr(method, field)
    if value is None:
        raise InputError(f"method {method.name}: {field} is missing; give a positive number")
    return int(value)
