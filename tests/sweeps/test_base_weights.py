"""Base models whose weights are missing, misshapen or no numbers are refused; surplus files are not read."""

from __future__ import annotations

import json
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from sweeps.base_models import checked_folder
from sweeps.finetune.model import load_base
from sweeps.finetune.weights import load_model, weight_problems
from tests.sweeps.conftest import model_at
from tracker.errors import InputError
from tracker.trial import ModelSpec

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
UP = "model.layers.1.mlp.up_proj.weight"
Weights = dict[str, Tensor]


@pytest.fixture
def base(tiny_model: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    shutil.copytree(tiny_model, folder)
    return folder


def save(folder: Path, change: Callable[[Weights], Any], name: str = WHOLE) -> None:
    weights = load_file(folder / name)
    change(weights)
    save_file(weights, folder / name, metadata={"format": "pt"})


def shard(folder: Path) -> list[Path]:
    """Spread the weights over three shards with an index."""
    weights = load_file(folder / WHOLE)
    names = sorted(weights)
    files = [folder / f"model-0000{i + 1}-of-00003.safetensors" for i in range(3)]
    mapped: dict[str, str] = {}
    for start, file in enumerate(files):
        part = {name: weights[name].clone() for name in names[start::3]}
        save_file(part, file, metadata={"format": "pt"})
        mapped |= dict.fromkeys(part, file.name)
    (folder / INDEX).write_text(json.dumps({"weight_map": mapped}))
    (folder / WHOLE).unlink()
    return files


def edit_header(folder: Path, **changes: Any) -> None:
    raw = (folder / WHOLE).read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    header[UP].update(changes)
    text = json.dumps(header).encode()
    (folder / WHOLE).write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + length :])


def put(name: str, value: Tensor) -> Callable[[Weights], Any]:
    return lambda weights: weights.update({name: value})


def _not_a_number(dtype: torch.dtype, value: float) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        def change(weights: Weights) -> None:
            for name in weights:
                weights[name] = weights[name].to(dtype)
            weights[UP][3, 4] = value

        save(folder, change)

    return spoil


def _index(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        shard(folder)
        content = json.loads((folder / INDEX).read_text())
        change(content)
        (folder / INDEX).write_text(json.dumps(content))

    return spoil


def _config(**changes: Any) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        content = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(content | changes))

    return spoil


SPOILT: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (lambda f: save(f, lambda w: w.pop(UP)), f"found no tensor {UP} in .*base "),
    "NaN": (
        _not_a_number(torch.float32, float("nan")),
        f"NaN or infinity in tensor {UP} of .*{WHOLE}",
    ),
    "-inf, bfloat16": (_not_a_number(torch.bfloat16, float("-inf")), f"infinity in tensor {UP}"),
    "inf, float16": (_not_a_number(torch.float16, float("inf")), f"infinity in tensor {UP}"),
    "NaN, float64": (_not_a_number(torch.float64, float("nan")), f"infinity in tensor {UP}"),
    "shape": (
        lambda f: save(f, put(UP, torch.ones(63, 32))),
        rf"{UP} of shape \(63, 32\) in .*{WHOLE}",
    ),
    "int8": (
        lambda f: save(f, put(UP, torch.ones(64, 32, dtype=torch.int8))),
        f"tensor {UP} in .*{WHOLE} as I8; allowed: BF16",
    ),
    "float8": (
        lambda f: save(f, put(UP, torch.ones(64, 32).to(torch.float8_e4m3fn))),
        f"tensor {UP} in .*{WHOLE} as F8_E4M3",
    ),
    "header lies on shape": (
        lambda f: edit_header(f, shape=[1, 1]),
        "no safetensors header in .*fits",
    ),
    "header lies on place": (
        lambda f: edit_header(f, data_offsets=[0, 4]),
        "no safetensors header in",
    ),
    "header lies on type": (lambda f: edit_header(f, dtype="I32"), f"tensor {UP} in .* as I32"),
    "shard gone": (lambda f: shard(f)[1].unlink(), "found no model-00002-of-00003.safetensors in"),
    "shard cut": (
        lambda f: (p := shard(f)[2]).write_bytes(p.read_bytes()[:-4]),
        "no safetensors header in .*00003-of-00003",
    ),
    "index without tensors": (
        _index(lambda c: c.update(weight_map={})),
        f"found a broken .*{INDEX}",
    ),
    "index of another folder": (
        _index(lambda c: c["weight_map"].update({UP: "../x.safetensors"})),
        "found '../x.safetensors' in",
    ),
    "index of nothing": (
        _index(lambda c: c["weight_map"].update(phantom="model-00001-of-00003.safetensors")),
        "found no tensor phantom in .*00001-of-00003.safetensors, where",
    ),
    "an adapter alone": (
        lambda f: (f / WHOLE).rename(f / "adapter_model.safetensors"),
        "found only adapter_model.safetensors as weights in .*merge the adapter",
    ),
    "quantised": (
        _config(quantization_config={"quant_method": "gptq", "bits": 4}),
        "found weights quantised by gptq .*; allowed: float32",
    ),
    "a layer too few": (
        _config(num_hidden_layers=3),
        "found no tensor model.layers.2.input_layern.* 6 more",
    ),
    "a million layers": (
        _config(num_hidden_layers=10**6),
        "found 1,000,000 layers in .* and 20 tensors",
    ),
    "no shape": (_config(hidden_size=-1), "cannot be built|does not take|of shape"),
    "no number": (_config(hidden_size="wide"), "cannot be built|does not take|of shape"),
    "no head": (_config(tie_word_embeddings=False), "found no tensor lm_head.weight in"),
    "unknown architecture": (
        _config(model_type="nosuch"),
        "found a configuration in .*does not take",
    ),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_a_spoilt_base_is_refused_naming_file_and_tensor(kind: str, base: Path) -> None:
    spoil, wording = SPOILT[kind]
    spoil(base)
    try:
        problems = weight_problems(Path(checked_folder(model_at(base))), trust=False)
    except InputError as error:
        problems = list(error.problems)
    assert re.search(wording, problems[0]), problems
    assert not any("\n" in problem for problem in problems)


@pytest.mark.parametrize("kind", ["missing", "NaN", "shape", "int8", "shard cut"])
def test_a_spoilt_base_is_never_loaded(kind: str, base: Path) -> None:
    SPOILT[kind][0](base)
    with pytest.raises(InputError):
        load_base(ModelSpec(name="base", path=str(base), parameters=30_000))


def _adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4}))
    save_file({"x": torch.ones(2)}, folder / "adapter_model.safetensors")


@pytest.mark.parametrize(
    "add",
    [
        _adapter,
        lambda f: shutil.copy(f / WHOLE, f / "consolidated.safetensors"),
        lambda f: save_file({"x": torch.full((2,), float("nan"))}, f / "other.safetensors"),
        lambda f: torch.save({"x": torch.ones(2)}, f / "pytorch_model.bin"),
        lambda f: (f / INDEX).write_text("{}"),
        lambda f: save(f, put("model.layers.0.self_attn.rotary_emb.inv_freq", torch.ones(4))),
        shard,
    ],
    ids=["adapter", "second copy", "other", "pickle", "index", "buffer", "shards"],
)
def test_what_is_not_loaded_does_not_count(
    add: Callable[[Path], Any], base: Path, tiny_model: Path
) -> None:
    add(base)
    assert not weight_problems(base, trust=False)
    found, plain = load_model(base, trust=False), load_model(tiny_model, trust=False)
    assert found.state_dict().keys() == plain.state_dict().keys()
    assert all(
        torch.equal(a, b) for a, b in zip(found.parameters(), plain.parameters(), strict=True)
    )
    if not (base / WHOLE).is_file() or len(load_file(base / WHOLE)) == len(
        load_file(tiny_model / WHOLE)
    ):
        assert model_at(base).parameters == model_at(tiny_model).parameters


def test_a_model_is_loaded_as_transformers_would(tiny_model: Path) -> None:
    from transformers import AutoModelForCausalLM

    ours = load_model(tiny_model, trust=False)
    theirs = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    assert type(ours) is type(theirs)
    assert ours.config.to_dict() == theirs.config.to_dict()
    assert ours.generation_config == theirs.generation_config
    assert ours.name_or_path == theirs.name_or_path == str(tiny_model)
    assert all(
        torch.equal(a, b)
        for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True)
    )
