"""Architectures from a folder to a trained model: ``python -m tests.architectures [FOLDER]``.

A tiny random model of each architecture goes through the doctor with every method and base dtype. What the
doctor accepts is trained, evaluated, saved and loaded again: by `sft-select answer`, whose answers must be
the evaluation's, and by transformers and peft alone, whose logits must be the trained model's. An
accepted pair that does not get so far has failed late.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
import transformers
import yaml
from transformers import AutoTokenizer, PreTrainedModel

from sweeps.data.encoding import evaluation_rows
from sweeps.finetune.contract import TrialHome
from sweeps.finetune.model import quieten
from sweeps.finetune.trained_model import TrainedModel, write_card
from sweeps.finetune.trial import run_trial
from sweeps.preflight import read_checked
from sweeps.resolve import ResolvedSweep
from tests.conftest import write_tiny_data, write_tiny_model
from tracker.errors import InputError
from tracker.trial import MethodSpec, MixSpec, Status, TrialSpec

Base = Literal["float32", "bfloat16", "nf4"]
Sizes = dict[str, Any]
Build = Callable[[Sizes], PreTrainedModel]

VOLUME, ROWS, SEED = 16, 8, 0

# -- the architectures -------------------------------------------------------------------------------

#: Widths in the field's own words, divisible by 32 where a 4-bit kernel needs it.
_LLAMA = {
    **{"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16},
    "max_position_embeddings": 160,
}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
_VISION = {
    **{"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1},
    **{"num_attention_heads": 2, "image_size": 32, "patch_size": 16},
}


def _plain(name: str, **settings: Any) -> Build:
    """A model of the class ``<name>ForCausalLM`` with *settings* in its configuration."""

    def build(sizes: Sizes) -> PreTrainedModel:
        config = getattr(transformers, f"{name}Config")(**{**settings, **sizes})
        model: PreTrainedModel = transformers.AutoModelForCausalLM.from_config(config)
        return model

    return build


def _nested(name: str, text: Sizes, vision: Sizes, **settings: Any) -> Build:
    """A model of ``<name>ForConditionalGeneration``, whose language tower is as *text* says."""

    def build(sizes: Sizes) -> PreTrainedModel:
        images = dict.fromkeys(("image_token_id", "image_token_index"), sizes["vocab_size"] - 1)
        config = getattr(transformers, f"{name}Config")(
            text_config={**text, **sizes}, vision_config=vision, **images, **settings
        )
        kind = getattr(transformers, f"{name}ForConditionalGeneration")
        model: PreTrainedModel = kind(config)
        return model

    return build


_GEMMA = {**_LLAMA, "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
_QWEN_ROPE = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e4}
_QWEN_VISION = {
    **{"depth": 1, "hidden_size": 32, "out_hidden_size": 64, "num_heads": 2},
    **{"intermediate_size": 64, "patch_size": 4, "window_size": 16, "fullatt_block_indexes": [0]},
}

ARCHITECTURES: dict[str, Build] = {
    "llama": _plain("Llama", **_LLAMA),
    "qwen3": _plain("Qwen3", **_LLAMA),
    "gemma3_text": lambda sizes: transformers.Gemma3ForCausalLM(
        transformers.Gemma3TextConfig(**_GEMMA, **sizes)
    ),
    "gemma3": _nested(
        "Gemma3", _GEMMA, {**_VISION, "model_type": "siglip_vision_model"}, mm_tokens_per_image=4
    ),
    "mistral": _plain("Mistral", **_LLAMA, sliding_window=16),
    "phi3": _plain("Phi3", **_LLAMA),
    "gpt2": _plain("GPT2", n_embd=64, n_layer=2, n_head=4, n_positions=160),
    "gpt_neox": _plain(
        "GPTNeoX",
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=160,
    ),
    "opt (projected)": _plain(
        "OPT",
        hidden_size=64,
        word_embed_proj_dim=32,
        ffn_dim=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=160,
    ),
    "falcon (multi-query)": _plain(
        "Falcon", hidden_size=64, num_hidden_layers=2, num_attention_heads=2
    ),
    "mpt": _plain("Mpt", d_model=64, n_layers=2, n_heads=4, expansion_ratio=1, max_seq_len=160),
    "bloom": _plain("Bloom", hidden_size=64, n_layer=2, n_head=4),
    "mamba": _plain("Mamba", hidden_size=64, num_hidden_layers=2, state_size=16),
    "mamba2": _plain(
        "Mamba2",
        hidden_size=64,
        num_hidden_layers=2,
        state_size=16,
        num_heads=4,
        head_dim=32,
        n_groups=1,
        chunk_size=16,
    ),
    "qwen3_moe": _plain("Qwen3Moe", **_LLAMA, **_EXPERTS),
    "mixtral": _plain(
        "Mixtral", **_LLAMA, num_local_experts=4, num_experts_per_tok=2, sliding_window=None
    ),
    "mistral3": _nested(
        "Mistral3",
        {**_LLAMA, "model_type": "mistral"},
        {**_VISION, "model_type": "pixtral", "head_dim": 16},
        spatial_merge_size=1,
    ),
    "llava": _nested(
        "Llava",
        {**_LLAMA, "model_type": "llama"},
        {**_VISION, "model_type": "clip_vision_model", "projection_dim": 32},
    ),
    "qwen2_5_vl": _nested("Qwen2_5_VL", {**_LLAMA, "rope_parameters": _QWEN_ROPE}, _QWEN_VISION),
}

#: Architectures that write no text from left to right, which the doctor refuses whole.
NOT_DECODERS: dict[str, Build] = {
    "bert": lambda sizes: transformers.BertLMHeadModel(
        transformers.BertConfig(
            hidden_size=64,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=4,
            **sizes,
        )
    ),
    "t5": lambda sizes: transformers.T5ForConditionalGeneration(
        transformers.T5Config(d_model=64, d_ff=64, d_kv=16, num_layers=1, num_heads=4, **sizes)
    ),
}

METHODS: dict[str, dict[str, Any]] = {
    "full": {},
    **{
        variant: {"name": "lora", "variant": variant, "rank": 4}
        for variant in ("plain", "rslora", "dora", "pissa", "lora_plus")
    },
    **{v: {"name": "p_tuning", "variant": v, "virtual_tokens": 4} for v in ("v1", "v2")},
}


class Outcome(NamedTuple):
    """What became of an architecture with a method: ``trained``, ``refused`` or ``failed late``."""

    architecture: str
    method: str
    base: Base
    end: Literal["trained", "refused", "failed late"]
    reason: str = ""


# -- files -------------------------------------------------------------------------------------------


def write_model(folder: Path, build: Build, tiny: Path) -> None:
    """A random model that *build* makes, in *folder*, with the tokenizer of the tiny model in *tiny*."""
    shutil.copytree(tiny, folder, ignore=shutil.ignore_patterns("*.safetensors", "*config.json"))
    shutil.copy(tiny / "tokenizer_config.json", folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    sizes = {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        model = build(sizes)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:  # weights under which every token shows in the logits
                    parameter.normal_(0.0, parameter.shape[-1] ** -0.5)
        model.float().save_pretrained(folder)


def write_sweep(folder: Path, model: Path, data: Path, methods: Sequence[str], base: Base) -> Path:
    """A sweep file of one model and *methods*, in *folder*."""
    wanted: dict[str, dict[str, Any]] = {}
    for name in methods:
        settings = dict(METHODS[name])
        entry = wanted.setdefault(settings.pop("name", name), {"learning_rate": 1e-2})
        if variant := settings.pop("variant", None):
            entry.setdefault("variant", []).append(variant)
        entry |= settings
    content: dict[str, Any] = {
        "name": "s",
        "models": [{"path": str(model), "name": "m"} | _base(base)],
        "methods": wanted,
        "tasks": {
            "intent": {
                "train": str(data / "train.jsonl"),
                "validation": str(data / "validation.jsonl"),
                "prompt": {"instruction": "name the intent", "input": "{text}"},
                "answer": "{label}",
                "score": "macro_f1",
            }
        },
        "general": {"language": {"text": str(data / "general.jsonl")}},
        "volumes": [VOLUME],
        "train": {"epochs": 1, "batch_size": 8, "max_length": 96} | _dtype(base),
        "evaluation": {"rows": ROWS, "batch_size": 4, "max_new_tokens": 4},
    }
    path = folder / f"{base}.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def _base(base: Base) -> dict[str, str]:
    return {} if base == "float32" else {"base": base}


def _dtype(base: Base) -> dict[str, str]:
    return {} if base == "float32" else {"dtype": "bfloat16"}


# -- from the doctor to answers ----------------------------------------------------------------------


def outcomes(
    name: str, model: Path, data: Path, methods: Sequence[str], base: Base
) -> Iterator[Outcome]:
    """What becomes of each of *methods* on the architecture *name* in the folder *model*."""
    folder = model.parent
    left, refused = list(methods), {}
    while left:
        try:
            sweep = read_checked(write_sweep(folder, model, data, left, base), folder / "runs")
            break
        except InputError as error:
            found = {m: p for m in left for p in error.problems if _names(p, m)}
            if not found:
                found = dict.fromkeys(left, error.problems[0])
            refused |= found
            left = [m for m in left if m not in found]
    for method in methods:
        if method in refused:
            yield Outcome(name, method, base, "refused", refused[method])
    for method in ["untouched", *left] if left else ():
        place = folder / f"{base}-{method}"
        try:
            _train_and_reload(sweep, method, place)
        except Exception as error:
            text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            yield Outcome(name, method, base, "failed late", text)
        else:
            yield Outcome(name, method, base, "trained")
        shutil.rmtree(place, ignore_errors=True)


def _names(problem: str, method: str) -> bool:
    """Whether the doctor's *problem* is one of *method*."""
    return f"found {method}, which" in problem or f"found {method} with" in problem


def trial_of(sweep: ResolvedSweep, method: str) -> TrialSpec:
    """The trial of *method* on the only model of *sweep*."""
    (model,), (task,) = sweep.models.values(), sweep.tasks.values()
    settings = sweep.spec
    common: dict[str, Any] = {
        "model": model,
        "tasks": (task,),
        "general": tuple(sweep.general.values()),
        "train": settings.train,
        "evaluation": settings.evaluation,
    }
    if method == "untouched":
        return TrialSpec(method=MethodSpec(name="none"), **common)
    chosen = MethodSpec(**({"name": method, "learning_rate": 1e-2} | METHODS[method]))
    mix = MixSpec(name="intent", weights={"intent": 1})
    return TrialSpec(method=chosen, mix=mix, volume=VOLUME, examples={"intent": VOLUME}, **common)


class _Silent:
    def resume(self, step: int) -> None:
        pass

    def step(self, step: int, values: dict[str, float]) -> None:
        pass

    def checkpoint(self, step: int) -> None:
        pass

    def beat(self) -> None:
        pass


def _train_and_reload(sweep: ResolvedSweep, method: str, folder: Path) -> None:
    """Run the trial of *method*, then load what it saved; AssertionError where its answers differ."""
    spec = trial_of(sweep, method)
    kept = folder / "model"
    home = TrialHome(
        folder / "checkpoints", folder / "artifacts", folder.parent / "baselines", kept
    )
    result = run_trial(spec, home, _Silent())
    assert result.status is Status.COMPLETE, f"{result.status.value}: {result.reason}"
    if method == "untouched":
        return
    (task,) = spec.tasks
    recorded = (folder / "artifacts" / f"{task.name}.validation.jsonl").read_text(encoding="utf-8")
    answers = [json.loads(line)["answer"] for line in recorded.splitlines()]
    write_card(kept, sweep.spec.name, spec, torch.get_num_threads())
    loaded = TrainedModel.load(kept, str(spec.model.path))
    rows = evaluation_rows(task, task.validation, spec)
    again = loaded._evaluator(len(rows.encoded), lambda _done, _all: None).generate(rows.encoded)
    said = sorted(text.strip() for text in again.answers)
    assert said == sorted(answers), f"reloaded, it answers {said} where it had answered {answers}"


# -- the matrix --------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="where to leave models and trials")
    parser.add_argument("--only", default="", help="architectures whose name holds this")
    parser.add_argument("--method", action="append", choices=list(METHODS), help="may be repeated")
    parser.add_argument("--base", action="append", choices=("float32", "bfloat16", "nf4"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    quieten()
    warnings.simplefilter("ignore")
    folder = options.folder or Path(tempfile.mkdtemp(prefix="architectures-"))
    data, tiny = folder / "data", folder / "tiny"
    data.mkdir(parents=True, exist_ok=True)
    write_tiny_data(data)
    write_tiny_model(tiny, data)
    counted: Counter[str] = Counter()
    for name, build in (ARCHITECTURES | NOT_DECODERS).items():
        if options.only not in name:
            continue
        place = folder / name.split()[0]
        shutil.rmtree(place, ignore_errors=True)
        write_model(place / "model", build, tiny)
        for base in options.base or ("float32",):
            for found in outcomes(
                name, place / "model", data, options.method or list(METHODS), base
            ):
                counted[found.end] += 1
                print(
                    f"{found.end:12} {name:20} {found.method:10} {base:9} {found.reason}",
                    flush=True,
                )
    print(f"{counted.total()} tried: " + ", ".join(f"{n} {end}" for end, n in counted.items()))
    sys.exit(counted["failed late"] > 0)


if __name__ == "__main__":
    main()
