"""Peak memory predicted against counted, of models of 50M weights and more.

``python -m tests.benchmarks.memory [SHAPE …]``: each shape has random weights. Two training steps and an
evaluation run with rows of unequal length. On the CPU the bytes of all tensors alive at the peak are
counted, on a GPU (``--device cuda``) its allocator tells. ``--json FILE`` keeps the table.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from torch import nn
from transformers import AutoTokenizer

from sweeps.data.prompts import Encoded
from sweeps.finetune.batch import answer_nats, collate
from sweeps.finetune.clock import Clock
from sweeps.finetune.evaluate import Evaluator
from sweeps.finetune.memory import Lengths, base_copy_bytes, predicted_peaks
from sweeps.finetune.model import borrow_model, forget_base, prepended_tokens, quieten
from sweeps.finetune.tensor_count import TensorCounter
from tracker.trial import Base, DType, EvaluationSpec, MethodSpec, ModelSpec, TrainSpec, TrialSpec

TOKENIZER = Path(__file__).parents[2] / "sweeps/playground/models/pg-800k"
_PLAIN = {
    **{"vocab_size": 32_000, "hidden_size": 640, "num_hidden_layers": 8},
    **{"num_attention_heads": 10, "max_position_embeddings": 2048},
}
_WIDE = {**_PLAIN, "intermediate_size": 1760, "num_key_value_heads": 5}
_HEAD = {"head_dim": 64}
#: Class of transformers' configurations, and settings that make 50 to 150 million weights.
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", _WIDE),
    "qwen3": ("Qwen3Config", {**_WIDE, **_HEAD, "vocab_size": 64_000, "tie_word_embeddings": True}),
    "gemma3": ("Gemma3TextConfig", {**_WIDE, **_HEAD, "vocab_size": 64_000}),
    "mistral": ("MistralConfig", _WIDE),
    "phi3": ("Phi3Config", {**_WIDE, "pad_token_id": 0}),
    "gpt2": ("GPT2Config", {"n_embd": 640, "n_layer": 8, "n_head": 10}),
    "neox": ("GPTNeoXConfig", {**_PLAIN, "intermediate_size": 2560}),
    "opt": ("OPTConfig", {**_PLAIN, "ffn_dim": 2560, "word_embed_proj_dim": 640}),
    "falcon": ("FalconConfig", {**_PLAIN, "multi_query": False}),
    "qwen3-moe": (
        "Qwen3MoeConfig",
        {
            **{**_WIDE, **_HEAD, "hidden_size": 512, "num_hidden_layers": 6},
            **{"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 640},
        },
    ),
}
METHODS = {
    "full": MethodSpec(name="full"),
    "lora": MethodSpec(name="lora", rank=16),
    "p_tuning": MethodSpec(name="p_tuning", variant="v2", virtual_tokens=16),
}
#: Method, how the frozen base is stored, the type it computes in, and whether activations are recomputed.
WAYS: tuple[tuple[str, Base | None, DType, bool], ...] = (
    ("full", None, "float32", False),
    ("full", None, "bfloat16", True),
    ("lora", None, "float32", False),
    ("lora", "bfloat16", "bfloat16", False),
    ("lora", "bfloat16", "bfloat16", True),
    ("lora", "nf4", "bfloat16", False),
    ("p_tuning", None, "float32", False),
    ("p_tuning", "bfloat16", "bfloat16", False),
)
ROWS, LENGTH, ANSWER, EVALUATED = 4, 140, 12, 8


class Case(NamedTuple):
    """A line of the table; bytes."""

    shape: str
    weights: int
    method: str
    settings: str
    phase: str
    predicted: int
    counted: int

    @property
    def off(self) -> float:
        """Relative error of what is predicted."""
        return self.predicted / self.counted - 1


def rows() -> list[Encoded]:
    """Rows of unequal length; the longest have :data:`LENGTH` tokens."""
    draw = random.Random(0)

    def ids(count: int) -> tuple[int, ...]:
        return tuple(draw.randrange(5, 500) for _ in range(count))

    lengths = [LENGTH - ANSWER - draw.randrange(40) * (i % 4 > 0) for i in range(EVALUATED)]
    return [Encoded(prompt_ids=ids(n), answer_ids=ids(ANSWER)) for n in lengths]


def written(shape: str, folder: Path) -> ModelSpec:
    """A checkpoint of *shape* in *folder*, and its number of weights."""
    kind, settings = SHAPES[shape]
    config = getattr(transformers, kind)(**settings, bos_token_id=1, eos_token_id=2)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    number = sum(p.numel() for p in model.parameters())
    return ModelSpec(name=shape, path=str(folder), parameters=number)


def tensors_of(model: nn.Module) -> list[torch.Tensor]:
    """Weights and buffers of *model*, and the scales of those in 4 bits."""
    found = [*model.parameters(), *model.buffers()]
    for state in filter(None, (getattr(p, "quant_state", None) for p in model.parameters())):
        inner = getattr(state, "state2", None)
        parts = (state.absmax, getattr(state, "offset", None), getattr(inner, "absmax", None))
        found += [part for part in parts if isinstance(part, torch.Tensor)]
    return found


def measured(run: Callable[[], None], model: nn.Module, device: torch.device) -> int:
    """Peak bytes of *run*, weights of *model* included."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        run()
        return int(torch.cuda.max_memory_allocated(device))
    counter = TensorCounter()
    with counter:
        for tensor in tensors_of(model):
            counter.see(tensor)
        run()
    return max(counter.peaks.values())


def train(model: nn.Module, spec: TrialSpec, device: torch.device) -> None:
    """Two steps of AdamW: the first makes its state."""
    batch = {k: v.to(device) for k, v in collate(rows()[:ROWS], 0).items()}
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=True)
    model.train()
    if spec.train.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})  # type: ignore[operator]
    for _ in range(2):
        with torch.autocast(device.type, torch.bfloat16, enabled=spec.train.dtype == "bfloat16"):
            nats = answer_nats(model, batch, prepended=prepended_tokens(spec.method))
        (nats.sum() / ANSWER / ROWS).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()


def evaluate(model: nn.Module, spec: TrialSpec, device: torch.device) -> None:
    """The loss of all rows, and answers to them."""
    evaluator = Evaluator(
        model,
        AutoTokenizer.from_pretrained(TOKENIZER),
        spec.evaluation,
        prepended=prepended_tokens(spec.method),
        device=device,
        autocast=spec.train.dtype == "bfloat16",
        clock=Clock(),
        beat=lambda: None,
    )
    evaluator.nats(rows())
    evaluator.generate(rows())


def cases(shape: str, device: torch.device) -> Iterator[Case]:
    """Every method of *shape*, each in several types, one with its activations recomputed."""
    with tempfile.TemporaryDirectory() as folder:
        model = written(shape, Path(folder))
        for name, base, dtype, recomputed in WAYS:
            spec = TrialSpec(
                model=model.model_copy(update={"base": base}),
                method=METHODS[name],
                volume=1000,
                tasks=(),
                train=TrainSpec(batch_size=ROWS, dtype=dtype, gradient_checkpointing=recomputed),
                evaluation=EvaluationSpec(batch_size=EVALUATED),
            )
            settings = " ".join(filter(None, (base and f"{base} base", dtype)))
            yield from _measured(shape, spec, settings + (" recomputed" * recomputed), device)


def _measured(shape: str, spec: TrialSpec, settings: str, device: torch.device) -> list[Case]:
    lengths = Lengths.of(rows(), rows(), spec.evaluation.max_new_tokens)
    peaks = predicted_peaks(spec, lengths, device=device.type)
    try:
        model = borrow_model(spec.model, spec.method, device, spec.train.dtype)
        seen = {
            phase: measured(lambda r=run: r(model, spec, device), model, device)  # type: ignore[misc]
            for phase, run in (("training", train), ("evaluation", evaluate))
        }
    except Exception as error:
        print(f"{shape} {spec.method.name}: {type(error).__name__} {str(error)[:80]}")
        return []
    finally:
        forget_base()
    about = (shape, spec.model.size, spec.method.name, settings)
    beside = base_copy_bytes(spec)  # which only a worker holds
    return [Case(*about, phase, getattr(peaks, phase) - beside, n) for phase, n in seen.items()]


def main() -> None:
    """Print the table, and the largest errors on either side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shapes", nargs="*", default=list(SHAPES))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    quieten()
    found: list[Case] = []
    for shape in options.shapes:
        for case in cases(shape, torch.device(options.device)):
            mib = [f"{n / 1024**2:8,.0f}" for n in (case.predicted, case.counted)]
            print(
                f"{shape:10} {case.weights / 1e6:4.0f}M {case.method:9} {case.settings:32} "
                f"{case.phase:10} {mib[0]} {mib[1]} MiB {case.off:+.1%}",
                flush=True,
            )
            found.append(case)
    off = [case.off for case in found]
    print(f"{len(found)} peaks: from {min(off):+.1%} to {max(off):+.1%}")
    if options.json:
        options.json.write_text(json.dumps([case._asdict() for case in found], indent=1))


if __name__ == "__main__":
    main()
