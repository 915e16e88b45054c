"""Peak memory, measured and predicted."""

from __future__ import annotations

import mmap
import os
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sweeps.finetune.memory import peak_bytes, predicted_bytes, reset_peak

CPU = torch.device("cpu")
MEBIBYTE = 1024**2
NAMES = ["parameters", "trained", "tokens_in_batch", "hidden_size", "layers"]
SIZES = st.fixed_dictionaries(
    {
        "parameters": st.integers(1, 10**10),
        "trained": st.integers(0, 10**10),
        "tokens_in_batch": st.integers(1, 10**6),
        "hidden_size": st.integers(1, 10**4),
        "layers": st.integers(1, 100),
    }
)


@pytest.mark.skipif(
    not os.access("/proc/self/clear_refs", os.W_OK), reason="the kernel lets nobody reset the peak"
)
def test_the_peak_is_that_of_one_trial() -> None:
    reset_peak(CPU)
    before = peak_bytes(CPU)
    block = mmap.mmap(-1, 64 * MEBIBYTE)  # fresh pages: the allocator may hold touched ones
    for page in range(0, len(block), mmap.PAGESIZE):
        block[page] = 1
    high = peak_bytes(CPU)
    block.close()
    after = peak_bytes(CPU)
    reset_peak(CPU)
    reset = peak_bytes(CPU)
    assert before is not None
    assert high is not None
    assert after is not None
    assert reset is not None
    assert high - before > 60 * MEBIBYTE
    assert after > high - MEBIBYTE, "a peak stays; the kernel counts pages in batches"
    assert reset < high - 60 * MEBIBYTE, "until it is reset"


@given(
    sizes=SIZES, grown=st.sampled_from(NAMES), more=st.integers(1, 1000), recomputed=st.booleans()
)
def test_more_of_anything_needs_more(
    sizes: dict[str, int], grown: str, more: int, recomputed: bool
) -> None:
    larger = sizes | {grown: sizes[grown] + more}
    small, large = (predicted_bytes(**s, recomputed=recomputed) for s in (sizes, larger))
    assert large > small


def test_full_tuning_of_a_billion_takes_sixteen_bytes_a_weight() -> None:
    shape: dict[str, Any] = {"tokens_in_batch": 1, "hidden_size": 1, "layers": 1}
    assert predicted_bytes(10**9, 10**9, **shape) == pytest.approx(16e9, rel=1e-6)
    assert predicted_bytes(10**9, 0, **shape) == pytest.approx(4e9, rel=1e-6)


def test_activations_grow_with_tokens_layers_and_width() -> None:
    step = predicted_bytes(0, 0, tokens_in_batch=16 * 128, hidden_size=64, layers=3)
    assert step == 16 * 128 * 64 * 3 * 34 * 2


def test_recomputing_keeps_one_layer_and_the_layers_inputs() -> None:
    step = predicted_bytes(
        0, 0, tokens_in_batch=16 * 128, hidden_size=64, layers=3, recomputed=True
    )
    assert step == 16 * 128 * 64 * (34 * 2 + 3 * 4)
