"""The training loop: its losses, its schedule and what it changes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from sweeps.data.encoding import training_stream
from sweeps.data.prompts import Encoded
from sweeps.finetune.clock import Clock
from sweeps.finetune.model import build_model, trained_parameters
from sweeps.finetune.out_of_memory import Rung
from sweeps.finetune.train import (
    Checkpoints,
    DivergedError,
    SftTrainer,
    TrainResult,
    step_count,
    train,
    within_steps,
)
from tests.sweeps.conftest import METHODS
from tests.sweeps.finetune.conftest import Notes
from tests.sweeps.finetune.test_batch import plain_nats
from tracker.trial import LORA_PLUS_RATIO, TrainSpec, TrialSpec

MakeSpec = Callable[..., TrialSpec]
CPU = torch.device("cpu")


class Run(NamedTuple):
    model: nn.Module
    notes: Notes
    trained: TrainResult
    clock: Clock

    @property
    def losses(self) -> list[float]:
        return [values["train/loss"] for values in self.notes.steps.values()]

    @property
    def rates(self) -> list[float]:
        return [values["train/learning_rate"] for values in self.notes.steps.values()]

    def weights(self) -> dict[str, Tensor]:
        return {name: p.detach() for name, p in trained_parameters(self.model).items()}


@pytest.fixture
def tune(make_spec: MakeSpec, tmp_path: Path) -> Callable[..., Run]:
    """``tune(method, model=None, rows=44, rate=None, **schedule)``: one pass over some rows."""

    def run(
        method: str,
        model: nn.Module | None = None,
        *,
        rows: int | Sequence[Encoded] = 44,
        rate: float | None = None,
        **schedule: Any,
    ) -> Run:
        settings: dict[str, Any] = {"epochs": 1, "batch_size": 8, "max_length": 96} | schedule
        spec = make_spec(method, train=TrainSpec(**settings), volume=44, examples={"intent": 44})
        if rate is not None:
            tuned = spec.method.model_copy(update={"learning_rate": rate})
            spec = spec.model_copy(update={"method": tuned})
        torch.manual_seed(0)
        model = model or build_model(spec.model, spec.method, CPU)
        stream = training_stream(spec)[:rows] if isinstance(rows, int) else rows
        notes, clock = Notes(), Clock()
        with clock.phase("trainer"):
            trained = train(
                model,
                stream,
                spec,
                pad_id=0,
                device=CPU,
                checkpoints=Checkpoints(tmp_path / "never", math.inf),
                reporter=notes,
                clock=clock,
            )
        return Run(model, notes, trained, clock)

    return run


@pytest.mark.parametrize(("rows", "steps"), [(1, 1), (8, 1), (9, 1), (16, 1), (17, 2), (44, 3)])
def test_steps_cover_all_rows(rows: int, steps: int, make_spec: MakeSpec) -> None:
    spec = make_spec("full", train=TrainSpec(batch_size=8, accumulation=2))
    assert step_count(rows, spec) == steps


@pytest.mark.parametrize("method", ["full", "lora", "p_tuning_v1", "p_tuning_v2"])
def test_each_steps_loss_is_that_of_its_rows_in_the_streams_order(
    method: str, tune: Callable[..., Run], make_spec: MakeSpec, tuned: Callable[[str], nn.Module]
) -> None:
    still = tune(method, tuned(method), rate=0.0, accumulation=2, batch_size=4)
    stream = training_stream(make_spec(method, volume=44, examples={"intent": 44}))[:44]
    with torch.no_grad():
        nats = [plain_nats(still.model.eval(), row) for row in stream]
    expected = [torch.cat(nats[at : at + 8]).mean().item() for at in range(0, 44, 8)]
    assert still.losses == pytest.approx(expected, rel=1e-5), "the last step has but four rows"
    assert still.trained.final_loss == still.losses[-1]
    assert still.trained.steps == 6


@pytest.mark.parametrize("method", ["full", "p_tuning_v1"])
def test_accumulation_is_a_larger_batch(method: str, tune: Callable[..., Run]) -> None:
    whole = tune(method, batch_size=8)
    parts = tune(method, batch_size=4, accumulation=2)
    assert parts.losses == pytest.approx(whole.losses, rel=1e-4)
    for name, weight in whole.weights().items():
        torch.testing.assert_close(parts.weights()[name], weight, atol=1e-4, rtol=1e-3)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("method", ["full", "lora", "p_tuning_v1"])
def test_recomputed_activations_change_nothing(
    method: str, tune: Callable[..., Run], make_spec: MakeSpec
) -> None:
    spec = make_spec(method)
    calls: list[int] = []
    torch.manual_seed(0)
    model = build_model(spec.model, spec.method, CPU)
    layer = next(m for n, m in model.named_modules() if n.endswith("layers.0.input_layernorm"))
    layer.register_forward_hook(lambda *_: calls.append(1))
    recomputed = tune(method, model, rows=16, gradient_checkpointing=True)
    assert recomputed.losses == pytest.approx(tune(method, rows=16).losses, rel=1e-6)
    assert len(calls) == 2 * 2, "two steps, each forward done again for the backward pass"


def test_packing_changes_nothing_but_the_shape(tune: Callable[..., Run]) -> None:
    packed = tune("lora", packing=True)
    assert packed.losses == pytest.approx(tune("lora").losses, rel=1e-4)
    assert tune("p_tuning_v1", packing=True).losses == tune("p_tuning_v1").losses, "never packed"


@pytest.mark.parametrize("method", ["full", "lora", "p_tuning_v1", "p_tuning_v2"])
def test_bfloat16_is_autocast_over_float32_weights(method: str, tune: Callable[..., Run]) -> None:
    plain, half = tune(method), tune(method, dtype="bfloat16")
    assert half.losses == pytest.approx(plain.losses, rel=0.02)
    assert half.losses != plain.losses
    assert {weight.dtype for weight in half.weights().values()} == {torch.float32}


@pytest.mark.parametrize("scheduler", ["cosine", "linear"])
def test_the_logged_rates_are_those_that_the_steps_used(
    scheduler: str, tune: Callable[..., Run]
) -> None:
    run = tune("p_tuning_v2", rate=0.01, scheduler=scheduler, warmup=0.5, batch_size=4)
    assert run.trained.steps == 11
    peak = run.rates.index(max(run.rates))
    assert run.rates[peak] == pytest.approx(0.01)
    assert peak == 6, "after half of eleven steps, rounded up"
    assert run.rates[:7] == pytest.approx([0.01 * step / 6 for step in range(7)])
    assert run.rates[peak:] == sorted(run.rates[peak:], reverse=True)
    share = 1 / 5 if scheduler == "linear" else (1 + math.cos(math.pi * 4 / 5)) / 2
    assert run.rates[-1] == pytest.approx(0.01 * share), "zero comes after the last step"


def test_a_constant_schedule_warms_up_too(tune: Callable[..., Run]) -> None:
    run = tune("p_tuning_v2", rate=0.01, scheduler="constant", warmup=0.5, batch_size=4)
    assert run.rates[:6] == pytest.approx([0.01 * step / 6 for step in range(6)])
    assert run.rates[6:] == pytest.approx([0.01] * 5)


@pytest.mark.parametrize(("method", "ratio"), [("lora", 1), ("lora_plus", LORA_PLUS_RATIO)])
def test_lora_plus_moves_b_faster_than_a(
    method: str, ratio: int, tune: Callable[..., Run], tuned: Callable[[str], nn.Module]
) -> None:
    model = tuned(method)
    before = {name: p.detach().clone() for name, p in trained_parameters(model).items()}
    after = tune(method, model, rows=8, rate=1e-4, warmup=0.0, scheduler="constant").weights()
    moved = {name: (after[name] - before[name]).abs().max().item() for name in before}
    for name, distance in moved.items():  # Adam's first step is its learning rate, nearly
        expected = 1e-4 * (ratio if "lora_B" in name else 1)
        assert distance == pytest.approx(expected, rel=0.01), name


@pytest.mark.parametrize("method", [name for name in METHODS if name != "full"])
def test_adapters_leave_the_base_alone(
    method: str, tune: Callable[..., Run], make_spec: MakeSpec
) -> None:
    spec = make_spec(method)
    torch.manual_seed(0)
    model = build_model(spec.model, spec.method, CPU)
    frozen = {n: p.detach().clone() for n, p in model.named_parameters() if not p.requires_grad}
    run = tune(method, model, rows=16)
    assert all(torch.equal(frozen[n], p) for n, p in model.named_parameters() if n in frozen)
    assert all(p.grad is None for p in model.parameters())
    assert run.trained.steps == 2


def test_a_loss_that_is_no_number_ends_training(
    tune: Callable[..., Run], make_spec: MakeSpec
) -> None:
    spec = make_spec("full")
    model = build_model(spec.model, spec.method, CPU)
    with torch.no_grad():
        next(model.parameters())[40] = math.nan
    with pytest.raises(DivergedError, match="training loss nan at step 1"):
        tune("full", model)


def test_gradients_are_clipped_as_optimizer_work(tune: Callable[..., Run]) -> None:
    free, tight = tune("full", max_grad_norm=1e9), tune("full", max_grad_norm=1e-9)
    assert free.losses[-1] < free.losses[0]
    # Adam divides by the gradient's size, so only one near its epsilon (1e-8) slows it down.
    assert tight.losses[-1] > free.losses[-1]
    assert free.clock.seconds["forward_backward"] > free.clock.seconds["optimizer"] > 0


def test_the_models_configuration_is_kept(tune: Callable[..., Run], make_spec: MakeSpec) -> None:
    spec = make_spec("full")
    model = build_model(spec.model, spec.method, CPU)
    before = model.config.to_dict()  # type: ignore[operator, union-attr]
    assert tune("full", model, rows=8).model.config.to_dict() == before  # type: ignore[operator, union-attr]


def test_long_runs_report_some_fifty_points(
    tune: Callable[..., Run], some_rows: list[Encoded]
) -> None:
    each = tune("p_tuning_v2", rows=some_rows * 20, batch_size=1, rate=0.0)
    assert each.trained.steps == 120
    assert list(each.notes.steps) == list(range(2, 121, 2))
    with torch.no_grad():
        nats = [plain_nats(each.model.eval(), row).mean().item() for row in some_rows]
    pairs = [(a + b) / 2 for a, b in zip(nats[::2], nats[1::2], strict=True)]
    assert each.losses == pytest.approx(pairs * 20, rel=1e-5)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_every_micro_batch_is_a_sign_of_life(tune: Callable[..., Run], accumulation: int) -> None:
    """A logged window of a long training lasts longer than a worker may be silent."""
    stream = [Encoded((6, 7), (8, 2))] * 240
    run = tune("full", rows=stream, batch_size=2, accumulation=accumulation)
    assert run.trained.steps == 120 // accumulation
    assert len(run.notes.steps) < 120
    assert run.notes.beats == 120


@pytest.mark.parametrize(("least", "expected"), [(1e-6, 1), (0.0, 9)])
def test_checkpoints_are_as_rare_as_they_are_slow(
    least: float,
    expected: int,
    make_spec: MakeSpec,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Written at most 5 % of the time: one that takes 0.1 s at most every two; at 0 always."""
    spec = make_spec("lora", train=TrainSpec(epochs=1, batch_size=4, max_length=96), volume=44)
    real = SftTrainer.write_checkpoint

    def write(trainer: SftTrainer, folder: Path) -> None:
        time.sleep(0.1)
        real(trainer, folder)

    monkeypatch.setattr(SftTrainer, "write_checkpoint", write)
    notes = Notes()
    train(
        build_model(spec.model, spec.method, CPU),
        training_stream(spec)[:44],
        spec,
        pad_id=0,
        device=CPU,
        checkpoints=Checkpoints(tmp_path / "steps", least),
        reporter=notes,
        clock=Clock(),
    )
    assert len(notes.checkpoints) == expected


def test_rows_of_a_step_go_from_long_to_short(some_rows: list[Encoded]) -> None:
    apart = within_steps(some_rows, Rung(1, 3, recomputed=False))
    assert [len(row) for row in apart] == [21, 13, 5, 15, 13, 10]
    assert set(apart[:3]) == set(some_rows[:3])
    assert within_steps(some_rows, Rung(3, 1, recomputed=False)) is some_rows
