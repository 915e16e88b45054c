"""Peak memory, measured and predicted."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, Qwen3MoeConfig

from sweeps.data.prompts import Encoded
from sweeps.finetune.batch import answer_nats, collate
from sweeps.finetune.evaluate import generated_ids
from sweeps.finetune.memory import (
    Lengths,
    Peaks,
    bounds_of,
    first_fit,
    peak_bytes,
    predicted_peaks,
    reset_peak,
)
from sweeps.finetune.model import prepended_tokens, tune
from sweeps.finetune.out_of_memory import Rung
from sweeps.finetune.tensor_count import (
    Setting,
    Step,
    TensorCounter,
    generation_bytes,
    loss_bytes,
    quantised_saving,
    training_bytes,
)
from tests.factories import model_spec, task_spec, trial_spec
from tracker.trial import MethodSpec, TrainSpec, TrialSpec

#: As a worker has it: transformers and peft warn of what no user can act on.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
CPU = torch.device("cpu")
MEBIBYTE = 1024**2
LLAMA = LlamaConfig(
    **{"vocab_size": 2000, "hidden_size": 64, "intermediate_size": 160},
    **{"num_hidden_layers": 5, "num_attention_heads": 4, "num_key_value_heads": 2},
)
CONFIGS = {
    "llama": LLAMA,
    "gpt2": GPT2Config(vocab_size=2000, n_embd=64, n_layer=5, n_head=4, n_positions=128),
    "moe": Qwen3MoeConfig(
        **{"vocab_size": 2000, "hidden_size": 64, "intermediate_size": 96, "head_dim": 16},
        **{"num_hidden_layers": 5, "num_attention_heads": 4, "num_key_value_heads": 2},
        **{"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 48},
    ),
}
METHODS = {
    "full": MethodSpec(name="full"),
    "lora": MethodSpec(name="lora", rank=8),
    "v1": MethodSpec(name="p_tuning", variant="v1", virtual_tokens=5),
    "v2": MethodSpec(name="p_tuning", variant="v2", virtual_tokens=5),
}
ROWS = [
    Encoded(prompt_ids=tuple(range(5, 5 + n)), answer_ids=(7, 8, 9, 2)) for n in (44, 30, 44, 39)
]


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


# -- counted with tensors that hold nothing, against those of a real run -------------------------------


def built(name: str, method: MethodSpec) -> nn.Module:
    return tune(
        AutoModelForCausalLM.from_config(CONFIGS[name], dtype=torch.float32).train(), method
    )


def counted(model: nn.Module) -> TensorCounter:
    counter = TensorCounter()
    with counter:
        for tensor in [*model.parameters(), *model.buffers()]:
            counter.see(tensor)
    return counter


@pytest.mark.filterwarnings("ignore:fan_in_fan_out")
@pytest.mark.parametrize(
    ("name", "method", "autocast"),
    [
        *(("llama", method, False) for method in METHODS),
        *(("llama", "full", True), ("gpt2", "lora", True), ("moe", "full", False)),
    ],
)
def test_a_step_of_two_and_three_layers_tells_that_of_five(
    name: str, method: str, autocast: bool
) -> None:
    setting = Setting(CONFIGS[name], METHODS[method], autocast=autocast)
    predicted = training_bytes(setting, Step(len(ROWS), 48, 16))
    model = built(name, METHODS[method])
    counter = counted(model)
    with counter:
        state = [torch.zeros_like(p) for p in model.parameters() if p.requires_grad for _ in "mv"]
        batch = collate(ROWS, 0)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            nats = answer_nats(model, batch, prepended=prepended_tokens(METHODS[method]))
        nats.sum().backward()  # type: ignore[no-untyped-call]
    assert len(state) > 0
    assert predicted == pytest.approx(max(counter.peaks.values()), rel=0.03)


@pytest.mark.filterwarnings("ignore:fan_in_fan_out")
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_an_evaluation_of_two_and_three_layers_tells_that_of_five(name: str) -> None:
    setting = Setting(CONFIGS[name], METHODS["lora"])
    model = built(name, METHODS["lora"]).eval()
    with torch.no_grad():
        counter = counted(model)
        with counter:
            answer_nats(model, collate(ROWS, 0), prepended=0)
        loss = max(counter.peaks.values())
        counter = counted(model)
        model.generation_config.eos_token_id = None  # type: ignore[union-attr]
        with counter:
            generated_ids(model, ROWS, 20, pad_id=0, prepended=0)
    assert loss_bytes(setting, Step(4, 48, 16)) == pytest.approx(loss, rel=0.03)
    found = generation_bytes(setting, 4, 44, 20)
    assert found == pytest.approx(max(counter.peaks.values()), rel=0.05)


def test_recomputed_activations_take_less_and_longer_rows_more() -> None:
    setting = Setting(LLAMA, METHODS["lora"])
    sizes = [
        training_bytes(setting._replace(recomputed=again), Step(8, length, 8))
        for again, length in ((True, 64), (False, 64), (False, 128))
    ]
    assert sizes == sorted(sizes)
    assert sizes[0] < 0.7 * sizes[1]


def test_a_frozen_base_in_bfloat16_takes_half_and_in_four_bits_less() -> None:
    setting = Setting(LLAMA, METHODS["lora"], autocast=True)
    weights = sum(p.numel() for p in AutoModelForCausalLM.from_config(LLAMA).parameters())
    step = Step(1, 16, 1)
    low = training_bytes(setting._replace(frozen=torch.bfloat16), step)
    assert training_bytes(setting, step) - low >= 2 * weights - 1000
    linear = weights - 2 * 2000 * 64 - 64 * 11  # all but embeddings, output layer and norms
    assert quantised_saving(LLAMA, 2) == pytest.approx(1.484 * linear - 2 * 64 * 160, rel=0.01)


# -- of a trial ----------------------------------------------------------------------------------------


@pytest.fixture
def spec(tmp_path: Path) -> TrialSpec:
    LLAMA.save_pretrained(tmp_path)
    spec = trial_spec(
        model_spec(parameters=20_000_000).model_copy(update={"path": str(tmp_path)}),
        tasks=(task_spec("t"),),
        volume=100,
    )
    train = TrainSpec(batch_size=8, max_length=96)
    return spec.model_copy(update={"train": train, "method": METHODS["lora"]})


LENGTHS = Lengths(longest=90, trained=8, evaluated=90, answered=8, prompt=82, new=10)


def test_lengths_are_those_of_the_longest_rows() -> None:
    assert Lengths.of(ROWS, ROWS[1:2], 5) == (48, 4, 34, 4, 30, 5)


def test_the_first_rung_that_fits_keeps_the_rows_of_a_step(spec: TrialSpec) -> None:
    def peak(rung: Rung) -> int:
        return predicted_peaks(spec, LENGTHS, device="cpu", rung=rung).training

    written = Rung.of(spec)
    again = Rung(8, 1, True)
    assert first_fit(spec, LENGTHS, peak(written), device="cpu") == written
    assert first_fit(spec, LENGTHS, peak(written) - 1, device="cpu") == again
    assert first_fit(spec, LENGTHS, peak(again) - 1, device="cpu") == Rung(4, 2, True)
    assert first_fit(spec, LENGTHS, 1000, device="cpu") is None


def test_bounds_lie_above_what_is_counted(spec: TrialSpec) -> None:
    rung = Rung(1, 8, True)
    one = spec.model_copy(
        update={"evaluation": spec.evaluation.model_copy(update={"batch_size": 1})}
    )
    assert bounds_of(spec) > predicted_peaks(one, LENGTHS, device="cpu", rung=rung).bytes
    assert bounds_of(spec, at_once=True) > predicted_peaks(spec, LENGTHS, device="cpu").bytes


def test_an_untouched_base_is_evaluated_alone(spec: TrialSpec) -> None:
    base = spec.model_copy(update={"method": MethodSpec(name="none"), "mix": None, "volume": 0})
    peaks = predicted_peaks(base, LENGTHS, device="cpu")
    assert peaks.training == 0
    assert (peaks.bytes, peaks.phase) == (peaks.evaluation, "evaluation")
    assert Peaks(2, 1).phase == "training"
