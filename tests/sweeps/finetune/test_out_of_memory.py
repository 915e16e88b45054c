"""Out of memory: what is tried, that it is the same training, and what is recorded of it."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn

from sweeps.finetune import trial as trial_module
from sweeps.finetune.contract import TrialHome
from sweeps.finetune.model import base_model, forget_base, trained_parameters
from sweeps.finetune.out_of_memory import (
    Rung,
    after_kill,
    halved,
    is_out_of_memory,
    note_rung,
    rungs,
    watched,
)
from sweeps.finetune.trial import run_trial
from tests.sweeps.finetune.conftest import Notes
from tracker.trial import Fitted, Status, TrainSpec, TrialResult, TrialSpec

MakeSpec = Callable[..., TrialSpec]
CPU = torch.device("cpu")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # as in a worker


def run_out() -> None:
    """Ask for more than any machine has; the allocator's own error."""
    torch.empty(2**50, dtype=torch.uint8)


class Device:
    """Fixture: models that need more memory than there is in some of their forward passes."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.fits: Callable[[nn.Module, int], bool] = lambda _model, _rows: True
        self.passes: list[int] = []
        self.models: list[weakref.ref[nn.Module]] = []
        self.alive: list[int] = []
        real = trial_module.borrow_model

        def build(*args: Any, **kwargs: Any) -> nn.Module:
            self.alive.append(sum(model() is not None for model in self.models))
            model = real(*args, **kwargs)
            if trained_parameters(model):  # the untouched base stays
                self.models.append(weakref.ref(model))
            whole = base_model(model)
            layer = next(m for n, m in whole.named_modules() if n.endswith("layers.1.mlp"))
            layer.register_forward_pre_hook(self._forward)
            return model

        patch.setattr(trial_module, "borrow_model", build)

    def _forward(self, layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self.passes.append(len(inputs[0]))
        if not self.fits(layer, len(inputs[0])):
            run_out()


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    yield Device(monkeypatch)
    forget_base()  # it has the hooks


@pytest.mark.parametrize(
    ("batch", "accumulation", "method", "expected"),
    [
        (8, 1, "lora", [(8, 1), (4, 2), (2, 4), (1, 8)]),
        (8, 1, "p_tuning_v2", [(8, 1), (4, 2), (2, 4), (1, 8)]),
        (6, 2, "full", [(6, 2), (3, 4), (1, 12)]),
        (7, 2, "full", [(7, 2), (2, 7), (1, 14)]),
        (1, 4, "full", [(1, 4)]),
    ],
)
def test_rungs_keep_the_rows_of_a_step(
    batch: int,
    accumulation: int,
    method: str,
    expected: list[tuple[int, int]],
    make_spec: MakeSpec,
) -> None:
    spec = make_spec(method, train=TrainSpec(batch_size=batch, accumulation=accumulation))
    found = rungs(spec)
    (first, *rest), prefix = found, method == "p_tuning_v2"
    assert first == Rung(batch, accumulation, recomputed=False)
    if not prefix:
        assert rest[0] == first._replace(recomputed=True), "recomputation is tried first"
    assert list(dict.fromkeys((r.batch_size, r.accumulation) for r in found)) == expected
    assert {r.recomputed for r in rest} <= {not prefix}
    assert (
        rungs(spec, recomputes=False)[1:]
        == [r._replace(recomputed=False) for r in found][1 if prefix else 2 :]
    )


def test_a_trial_runs_in_the_memory_that_there_is(
    make_spec: MakeSpec, home: TrialHome, device: Device
) -> None:
    spec, plain, notes = make_spec("full"), Notes(), Notes()
    usual = run_trial(spec, home, plain)
    assert usual.fitted is None
    assert "fitted" not in usual.model_dump()
    device.fits = lambda layer, rows: rows <= 3 or not layer.training
    small = run_trial(spec, home, notes)
    assert small.status is Status.COMPLETE, small.reason
    assert small.fitted == Fitted(batch_size=2, accumulation=4, gradient_checkpointing=True)
    assert TrialResult.model_validate_json(small.model_dump_json()).fitted == small.fitted
    assert small.spec.key == usual.spec.key
    assert notes.steps.keys() == plain.steps.keys()
    for step, values in plain.steps.items():
        assert notes.steps[step] == pytest.approx(values, rel=1e-4)
    assert small.cost.train_tokens == usual.cost.train_tokens
    assert not any(device.alive[-2:]), "a failed attempt's model was freed before the next"


@pytest.mark.parametrize("again", [False, True])
def test_it_goes_on_from_the_last_checkpoint(
    again: bool, make_spec: MakeSpec, home: TrialHome, device: Device
) -> None:
    """A long row late in the stream needs more; *again*: in another process."""
    spec, often = make_spec("lora"), home._replace(checkpoint_seconds=0.0)
    usual, notes = run_trial(spec, home, Notes()), Notes()

    def fits(layer: nn.Module, rows: int) -> bool:
        return rows <= 4 or not layer.training or len(notes.steps) < 6

    device.fits = fits
    small = run_trial(spec, often, notes)
    assert notes.resumed == [0, 6, 6], "as specified, recomputed, by four rows"
    assert small.fitted == Fitted(batch_size=4, accumulation=2, gradient_checkpointing=True)
    assert usual.final_train_loss == pytest.approx(small.final_train_loss, rel=1e-4)
    seconds = [small.cost.device_seconds, usual.cost.device_seconds]
    assert None not in seconds
    wall = (small.ended_at or 0) - (small.started_at or 0)
    assert sum(small.cost.phases.values()) == pytest.approx(wall, abs=0.1 + 0.1 * wall)
    if again:
        resumed = Notes()
        assert run_trial(spec, often, resumed).fitted == small.fitted
        assert resumed.resumed == [9], "the rung was noted beside the checkpoints"


def test_a_rung_that_cannot_be_read_is_no_fault(make_spec: MakeSpec, home: TrialHome) -> None:
    note_rung(home.checkpoints, Rung(5, 5, recomputed=True))
    assert run_trial(make_spec("lora"), home, Notes()).fitted is None, "not of this trial"
    (home.checkpoints / "rung.json").write_text("[1")
    assert run_trial(make_spec("lora"), home, Notes()).fitted is None


@pytest.mark.parametrize(("kills", "rows"), [(-1, [2, 1]), (2**60, None), (None, None)])
def test_a_process_that_the_kernel_killed_for_memory_is_followed_by_a_smaller_one(
    kills: int | None, rows: list[int] | None, make_spec: MakeSpec, home: TrialHome
) -> None:
    """*kills*: how often the kernel had killed when the process that is gone began."""
    spec = make_spec("lora")
    tries = rungs(spec)
    with watched(home.checkpoints, tries[0]):
        (mark,) = home.checkpoints.iterdir()
        kept = json.loads(mark.read_text()) | {"kills": kills}
    assert not list(home.checkpoints.iterdir()), "a process that goes on leaves nothing"
    assert after_kill(home.checkpoints, tries) == tries
    mark.write_text(json.dumps(kept))
    left = after_kill(home.checkpoints, tries)
    assert [rung.batch_size for rung in left] == (rows or [r.batch_size for r in tries])
    result = run_trial(spec, home, Notes())
    assert (result.fitted and result.fitted.batch_size) == (rows[0] if rows else None)
    assert not mark.exists()
    mark.write_text(json.dumps(kept | {"rung": tries[-1]}))
    assert after_kill(home.checkpoints, tries) == (tries[-1:] if rows else tries)


def test_one_row_that_does_not_fit_is_infeasible(
    make_spec: MakeSpec, home: TrialHome, device: Device
) -> None:
    device.fits = lambda layer, _rows: not layer.training
    result = run_trial(make_spec("lora"), home, Notes())
    assert result.status is Status.INFEASIBLE
    assert result.reason is not None
    assert result.reason.startswith(
        "out of memory, tried 8 rows at a time; 8 rows at a time, activations recomputed; 4 rows"
    )
    assert "1 row at a time, activations recomputed: " in result.reason
    assert "allocate" in result.reason
    assert "\n" not in result.reason


def test_evaluation_runs_in_the_memory_that_there_is(
    make_spec: MakeSpec, home: TrialHome, device: Device
) -> None:
    spec = make_spec("lora")
    usual = run_trial(spec, home, Notes())
    device.fits = lambda layer, rows: rows <= 5 or layer.training
    small = run_trial(spec, home._replace(baselines=home.baselines / "new"), Notes())
    assert small.status is Status.COMPLETE, small.reason
    assert small.fitted is not None
    assert small.fitted.batch_size is None
    assert 2 <= (small.fitted.evaluation_batch_size or 0) <= 5
    assert small.tasks[0].score == usual.tasks[0].score
    assert small.tasks[0].loss_nats == pytest.approx(usual.tasks[0].loss_nats, rel=1e-4)
    device.fits = lambda layer, _rows: layer.training
    none = run_trial(spec, home, Notes())
    assert none.status is Status.INFEASIBLE
    assert "allocate" in str(none.reason)


def test_halves_keep_the_order_and_other_faults() -> None:
    def at_most_two(items: list[int]) -> int:
        return run_out() or 0 if len(items) > 2 else sum(items)

    assert list(halved([1, 2, 3, 4, 5], at_most_two, CPU)) == [([1, 2], 3), ([3], 3), ([4, 5], 9)]
    with pytest.raises(ZeroDivisionError):
        list(halved([1, 2], lambda _: 1 // 0, CPU))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `x`"), True),
        (MemoryError(), True),
        (OSError(12, "Cannot allocate memory"), True),
        (RuntimeError("size mismatch"), False),
        (ValueError("out of memory"), False),
        (OSError(28, "No space left on device"), False),
    ],
)
def test_what_counts_as_out_of_memory(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected
