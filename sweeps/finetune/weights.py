"""Weights of a base model put into its architecture: what is missing or misshapen is an error, never random.

The folder's safetensors files alone are loaded, through transformers' own renaming and merging of
tensors; an adapter, a pickle or a second copy beside them changes nothing.
"""

from __future__ import annotations

import logging
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import safe_open
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    BitsAndBytesConfig,
    GenerationConfig,
    PreTrainedModel,
)
from transformers.utils import logging as transformers_logging

from sweeps.base_weights import TUNABLE, StoredTensor, stored_tensors, weight_files
from tracker.errors import InputError
from tracker.trial import Base, DType

_SHOWN = 3
_TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
#: A line of transformers' report on tensors that it could not merge, such as a layer's experts.
_UNMERGED = re.compile(r"^(\S+)\s*\|.*CONVERSION", re.MULTILINE)


def read_model_config(folder: Path, *, trust: bool) -> Any:
    """The model's configuration; raises InputError for an architecture that transformers does not know."""
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=trust)
    except Exception as error:  # each configuration class has checks of its own
        raise InputError(
            f"found a configuration in {folder / 'config.json'} that transformers "
            f"{transformers.__version__} does not take ({_first_line(error)}); allowed: an architecture "
            "that it knows, or trust_remote_code: true for code of your own"
        ) from None


def auto_class(config: Any) -> Any:
    """The class of transformers that builds and loads the model of *config*.

    One that reads images beside text is loaded whole, as those who serve it do. Where transformers has no
    causal language model of the kind, it has one that answers questions about images, which answers
    questions about text alone, too.
    """
    text = config.get_text_config(decoder=True)
    nested = text is not config and not config.is_encoder_decoder and not text.is_encoder_decoder
    if (
        nested
        and type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING
        and type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    ):
        return AutoModelForImageTextToText
    return AutoModelForCausalLM


def empty_model(config: Any, *, trust: bool) -> PreTrainedModel:
    """The architecture of *config* without memory, on the meta device.

    Raises InputError for one that is no causal language model.
    """
    try:
        with torch.device("meta"):
            model: PreTrainedModel = auto_class(config).from_config(config, trust_remote_code=trust)
            return model
    except Exception as error:  # shapes that make no sense fail in any way
        raise InputError(
            f"found the architecture {config.model_type!r}, which cannot be built as a causal language "
            f"model ({_first_line(error)}); allowed: a decoder that writes from left to right"
        ) from None


def weight_problems(folder: Path, *, trust: bool) -> list[str]:
    """A line for each kind of misfit between the stored tensors and the model that config.json describes.

    Tied weights may be absent, and so may buffers. Only headers are read: nothing is loaded.
    """
    try:
        model, info, stored = _tried(folder, trust)
    except InputError as error:
        return list(error.problems)
    return [*_missing(model, info, stored, folder), *_misshapen(info, stored, folder)]


def _tried(
    folder: Path, trust: bool
) -> tuple[PreTrainedModel, dict[str, Any], dict[str, StoredTensor]]:
    """The empty model, transformers' account of putting the headers' tensors into it, and the headers."""
    stored = stored_tensors(folder)
    state = {
        name: torch.empty(tensor.shape, dtype=_TYPES[tensor.dtype], device="meta")
        for name, tensor in stored.items()
        if tensor.dtype in TUNABLE
    }
    config = read_model_config(folder, trust=trust)
    layers = getattr(config.get_text_config(decoder=True), "num_hidden_layers", 0)
    if layers > len(stored):
        raise InputError(
            f"found {layers:,} layers in {folder / 'config.json'} and {len(stored):,} tensors in its "
            "weights; allowed: a tensor for each layer at least; take the config.json of these weights"
        )
    model = empty_model(config, trust=trust)
    return model, _loaded(model, state, folder, {"": "meta"})[1], stored


def surplus_tensors(folder: Path, *, trust: bool) -> list[str]:
    """A line on tensors of the loaded files that the model has no place for; none where there are none."""
    info, stored = _tried(folder, trust)[1:]
    surplus = sorted(name for name in info["unexpected_keys"] if name in stored)
    if not surplus:
        return []
    return [
        f"{folder}: {len(surplus)} of {len(stored)} tensors have no place in the model and are not loaded, "
        f"such as {surplus[0]}; see whether config.json is that of these weights"
    ]


def load_model(
    folder: Path,
    *,
    trust: bool,
    base: Base | None = None,
    compute: DType = "float32",
    device: torch.device | None = None,
) -> PreTrainedModel:
    """The base model in *folder*, each tensor read straight to *device* (host memory) in the dtype of *base*.

    Of 4-bit weights what is not quantised (embeddings, norms, the output layer) has the dtype *compute*.
    Raises InputError where a tensor is missing or does not fit: such weights would be random; and where
    4-bit weights need bitsandbytes.
    """
    if problems := weight_problems(folder, trust=trust):
        raise InputError(problems)
    empty = empty_model(read_model_config(folder, trust=trust), trust=trust)
    with ExitStack() as files:
        state: dict[str, Any] = {}
        for path in weight_files(folder):
            file = files.enter_context(safe_open(path, framework="pt"))
            state |= {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        place = None if device is None or device.type == "cpu" else {"": str(device)}
        if base == "nf4":
            check_bitsandbytes("base nf4", "base bfloat16 or float32")
            place = place or {"": "cpu"}
        model, _ = _loaded(empty, state, folder, place, stored_in(base, compute), base)
    for layer in model.modules():
        # On some CPUs bitsandbytes would round the scales at the first evaluation, for good.
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False
    model.config.name_or_path = model.name_or_path = str(folder)
    if (folder / "generation_config.json").is_file():
        model.generation_config = GenerationConfig.from_pretrained(folder)
    return model


def stored_in(base: Base | None, compute: DType) -> torch.dtype:
    """Dtype of the weights of a *base*; of 4-bit ones, of what is not quantised."""
    if base == "nf4":
        return torch.bfloat16 if compute == "bfloat16" else torch.float32
    return torch.bfloat16 if base == "bfloat16" else torch.float32


def _nf4(compute: torch.dtype) -> BitsAndBytesConfig:
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute,
    )


def check_bitsandbytes(wanted: str, instead: str) -> None:
    """Raise InputError where *wanted* needs bitsandbytes, which is not installed."""
    if find_spec("bitsandbytes") is None:
        raise InputError(
            f"found {wanted} without the package bitsandbytes; allowed: with it (pip install "
            f"'sft-select[nf4]'), or {instead}"
        )


def stored_dtype(folder: Path) -> torch.dtype:
    """The dtype that most of the weights in *folder* are stored in."""
    sizes: Counter[str] = Counter()
    for tensor in stored_tensors(folder).values():
        sizes[tensor.dtype] += math.prod(tensor.shape)
    return _TYPES[sizes.most_common(1)[0][0]]


def _loaded(
    empty: PreTrainedModel,
    state: Mapping[str, Any],
    folder: Path,
    device_map: dict[str, str] | None,
    dtype: torch.dtype = torch.float32,
    base: Base | None = None,
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """The model with the tensors of *state*, and transformers' account of what was missing."""
    with _report() as report:
        try:
            model, info = type(empty).from_pretrained(
                None,
                config=empty.config,
                state_dict=dict(state),
                device_map=device_map,
                dtype=dtype,
                ignore_mismatched_sizes=True,  # said by us, with the file
                output_loading_info=True,
                **({"quantization_config": _nf4(dtype)} if base == "nf4" else {}),
            )
        except RuntimeError:
            unmerged = _UNMERGED.findall("\n".join(report))
            if not unmerged:
                raise
            raise InputError(
                f"found no complete set of tensors for {unmerged[0]}{_more(unmerged, 1)} in {folder}: a part "
                "is missing or misshapen; fetch the weights again"
            ) from None
    return model, info


@contextmanager
def _report() -> Iterator[list[str]]:
    """Collect transformers' warnings on loading, which name what it could not merge."""
    lines: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    logger = logging.getLogger("transformers.modeling_utils")
    handler, level, upward = Collect(), logger.level, logger.propagate
    bars = transformers_logging.is_progress_bar_enabled()
    logger.addHandler(handler)
    logger.setLevel(
        logging.INFO
    )  # at WARNING transformers would check plans for several devices, too
    logger.propagate = False  # a misfit is an error of ours, in one line
    transformers_logging.disable_progress_bar()
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = upward
        if bars:
            transformers_logging.enable_progress_bar()


def _missing(
    model: PreTrainedModel, info: Mapping[str, Any], stored: dict[str, StoredTensor], folder: Path
) -> list[str]:
    buffers = {name for name, _ in model.named_buffers()}
    missing = sorted(info["missing_keys"] - buffers)
    kept = {name: stored[name] for name in missing if name in stored}
    absent = [name for name in missing if name not in kept]
    problems = [
        f"found tensor {name} in {tensor.file} as {tensor.dtype}; allowed: {', '.join(sorted(TUNABLE))}; "
        "take the weights that it was made from"
        for name, tensor in list(kept.items())[:1]
    ]
    if absent:
        files = ", ".join(path.name for path in weight_files(folder)[:_SHOWN])
        problems.append(
            f"found no tensor {', '.join(absent[:_SHOWN])}{_more(absent)} in {folder} ({files}), which its "
            "config.json asks for; it would be random; fetch the weights again, or mend config.json"
        )
    return problems


def _misshapen(info: Mapping[str, Any], stored: dict[str, StoredTensor], folder: Path) -> list[str]:
    misfits = sorted(info["mismatched_keys"], key=lambda misfit: misfit[0])
    if not misfits:
        return []
    name, found, wanted = misfits[0]
    place = stored[name].file if name in stored else folder
    more = _more(misfits, 1)
    return [
        f"found tensor {name} of shape {tuple(found)} in {place}; allowed: {tuple(wanted)}, as its "
        f"config.json says{more and f';{more} do not fit'}; take the config.json of these weights"
    ]


def _more(found: list[Any], shown: int = _SHOWN) -> str:
    return f" and {len(found) - shown} more" if len(found) > shown else ""


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0][:160] or type(error).__name__
