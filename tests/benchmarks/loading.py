"""Peak resident set of loading a bfloat16 checkpoint in each type of base, beside the checkpoint's size.

``python -m tests.benchmarks.loading``: a random Llama of some 50M parameters is written, and each base loaded
in a process of its own. A line a base; exit status 1 where bfloat16 takes more than 1.5 times the checkpoint
beside what the interpreter and its libraries take.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

_MIB = 1 << 20
_LOAD = """
import sys
from pathlib import Path
import torch
from sweeps.finetune.memory import peak_bytes, reset_peak
from sweeps.finetune.weights import load_model
cpu, base = torch.device("cpu"), sys.argv[2]
compute = "bfloat16" if base == "bfloat16" else "float32"
if base == "nf4":
    import bitsandbytes
torch.nn.Linear(64, 64)(torch.zeros(1, 64))
reset_peak(cpu)
before = peak_bytes(cpu)
model = load_model(
    Path(sys.argv[1]), trust=False, base=None if base == "float32" else base, compute=compute, device=cpu
)
for weight in model.parameters():
    int(weight.data.view(torch.uint8).max())  # read once: the file's pages are mapped, not read, until then
print(before, peak_bytes(cpu))
"""


def write_checkpoint(folder: Path) -> int:
    """Write a random Llama in bfloat16 to *folder*; returns its bytes."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=16_384,
        hidden_size=512,
        intermediate_size=1_536,
        num_hidden_layers=10,
        num_attention_heads=8,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return (folder / "model.safetensors").stat().st_size


def main() -> int:
    """Print a line a base; returns the exit status."""
    with tempfile.TemporaryDirectory() as folder:
        size = write_checkpoint(Path(folder))
        print(f"bfloat16 checkpoint: {size / _MIB:.0f} MiB")
        factors = {}
        for base in ("float32", "bfloat16", "nf4"):
            done = subprocess.run(
                [sys.executable, "-c", _LOAD, folder, base],
                capture_output=True,
                text=True,
                check=True,
            )
            before, peak = map(int, done.stdout.split())
            factors[base] = (peak - before) / size
            print(
                f"{base}: {(peak - before) / _MIB:.0f} MiB beside the interpreter's {before / _MIB:.0f}, "
                f"{factors[base]:.2f} times the checkpoint"
            )
    return 0 if factors["bfloat16"] <= 1.5 else 1


if __name__ == "__main__":
    sys.exit(main())
