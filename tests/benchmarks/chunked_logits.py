"""Peak memory and seconds of a step whose logits are made at once, and in chunks; with the two losses.

A Llama of two narrow layers and 152k words, on 2,048 answer tokens; a process each.

``python -m tests.benchmarks.chunked_logits``; half a minute on one core.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from sweeps.data.prompts import Encoded
from sweeps.finetune import batch, memory
from tracker import numbers

WORDS, ROWS, TOKENS, WIDTH = 152_000, 16, 128, 64
CPU = torch.device("cpu")


def main() -> None:
    """Print a line for each way."""
    found = {}
    for way in ("at once", "in chunks"):
        command = [sys.executable, "-m", __spec__.name, way]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[way] = json.loads(done.stdout.splitlines()[-1])
        loss, seconds, peak = found[way]
        print(f"{way}: {numbers.memory(peak)} above the model, {seconds:.1f} s, loss {loss:.6f}")


def _step(way: str) -> None:
    torch.set_num_threads(1)
    if way == "at once":
        batch.CHUNK_LOGITS = sys.maxsize
    torch.manual_seed(0)
    sizes = {"hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "num_hidden_layers": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=WORDS, num_attention_heads=2, **sizes))
    rows = [Encoded((7,) * 16, tuple(range(8, 8 + TOKENS))) for _ in range(ROWS)]
    inputs = batch.collate(rows, pad_id=0)
    memory.reset_peak(CPU)
    before, begun = memory.peak_bytes(CPU) or 0, time.monotonic()
    loss = batch.answer_nats(model, inputs, prepended=0).sum() / (ROWS * TOKENS)
    loss.backward()  # type: ignore[no-untyped-call]
    seconds = time.monotonic() - begun
    print(json.dumps([loss.item(), seconds, (memory.peak_bytes(CPU) or 0) - before]))


if __name__ == "__main__":
    _step(sys.argv[1]) if len(sys.argv) > 1 else main()
