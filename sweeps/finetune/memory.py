"""Peak memory: measured per trial, and predicted for ``plan``."""

from __future__ import annotations

from pathlib import Path

import torch

_BYTES = 4  # float32 master weights, gradients and optimizer moments
_ADAM_MOMENTS = 2


def reset_peak(device: torch.device) -> None:
    """Reset the peak; on the CPU the kernel's high-water mark, where it allows that."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_bytes(device: torch.device) -> int | None:
    """Peak bytes since :func:`reset_peak`: device memory, or the process's resident set.

    ``None`` where the system does not report it. On the CPU the interpreter and its libraries are included.
    """
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None


def predicted_bytes(
    parameters: int,
    trained: int,
    *,
    tokens_in_batch: int,
    hidden_size: int,
    layers: int,
    recomputed: bool = False,
) -> int:
    """Predicted device bytes of one training step: weights, gradients, Adam moments, activations.

    Activations are taken as 34 bytes per token, layer and hidden unit (Korthikanti et al. 2022, arXiv
    2205.05198, eq. 1 without the quadratic attention term, which fused attention does not store), twice
    that in float32. *recomputed* (gradient checkpointing): those of one layer, and every layer's input.
    """
    states = parameters * _BYTES + trained * _BYTES * (1 + _ADAM_MOMENTS)
    units = tokens_in_batch * hidden_size
    if recomputed:
        return states + units * (2 * 34 + _BYTES * layers)
    return states + units * 2 * 34 * layers
