"""Cost of the likelihood of answers: seconds of generation with it and without, on one model.

``python -m tests.benchmarks.answer_likelihood [FOLDER]``: a base model's folder; else a Llama of 20M
parameters with 32,000 tokens. Both ways take turns; the answers must be the same.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig

from sweeps.data.prompts import Encoded
from sweeps.finetune.evaluate import generated_ids

ROWS, PROMPT, NEW, TURNS = 64, 64, 8, 7


def _plain(model: torch.nn.Module, rows: list[Encoded]) -> Tensor:
    ids = torch.tensor([row.prompt_ids for row in rows])
    mask = torch.ones_like(ids)
    out: Tensor = model.generate(ids, attention_mask=mask, max_new_tokens=NEW)  # type: ignore[operator]
    return out[:, PROMPT:]


def main(folder: Path | None = None) -> None:
    """Print the median of the ratios of both ways."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    config = LlamaConfig(
        vocab_size=32_000, hidden_size=256, intermediate_size=688, num_hidden_layers=4,
        num_attention_heads=4, eos_token_id=None, bos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    if folder is not None:
        config = AutoConfig.from_pretrained(folder)
    model = AutoModelForCausalLM.from_config(config).eval()
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    rng = np.random.default_rng(0)
    rows = [
        Encoded(tuple(rng.integers(3, config.vocab_size, PROMPT).tolist()), (1,))
        for _ in range(ROWS)
    ]
    ratios = []
    with torch.no_grad():
        for _ in range(TURNS):
            began = time.perf_counter()
            plain = _plain(model, rows)
            middle = time.perf_counter()
            ids, _ = generated_ids(model, rows, NEW, pad_id=0, prepended=0)
            ended = time.perf_counter()
            assert torch.equal(plain, ids)
            ratios.append((ended - middle) / (middle - began))
    print(
        f"{ROWS} answers of {NEW} tokens, vocabulary {config.vocab_size:,}: with the likelihood "
        f"{np.median(ratios):.3f} times as long ({min(ratios):.3f} to {max(ratios):.3f})"
    )


if __name__ == "__main__":
    main(*(Path(text) for text in sys.argv[1:]))
