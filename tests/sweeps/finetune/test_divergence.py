"""Divergence: runs whose loss stays far above its beginning end; other runs are unchanged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import nn

from sweeps.data.encoding import training_stream
from sweeps.finetune.clock import Clock
from sweeps.finetune.contract import TrialHome
from sweeps.finetune.divergence import FIRST, LOSS, DivergenceRule, divergence_reason
from sweeps.finetune.model import build_model
from sweeps.finetune.train import Checkpoints, DivergedError, train
from sweeps.finetune.trial import run_trial
from tests.sweeps.conftest import METHODS
from tests.sweeps.finetune.conftest import Notes
from tracker.trial import Status, TrainSpec, TrialSpec

MakeSpec = Callable[..., TrialSpec]
History = list[dict[str, float]]
ABSURD, SANE = 3.0, 3e-3
STEPS = 60  # 44 rows in batches of 4, again and again
RULE = DivergenceRule(first=2, warmup=5, span=10, factor=1.5)


def history(losses: Sequence[float], first: float = 2.0) -> History:
    began: History = [{"step": step, FIRST: first} for step in (1, 2)]
    return began + [{"step": step, LOSS: loss} for step, loss in enumerate(losses, start=1)]


def ends_at(losses: Sequence[float], first: float = 2.0, rule: DivergenceRule = RULE) -> int | None:
    """The step at which a run with these losses ends."""
    for step in range(1, len(losses) + 1):
        if divergence_reason(history(losses[:step], first), rule):
            return step
    return None


def test_steps_of_the_warm_up_do_not_count() -> None:
    rule = RULE._replace(warmup=20)
    assert ends_at([2.0] * 5 + [50.0] * 40, rule=rule) == 20 + rule.span


def test_a_run_ends_when_its_loss_stayed_above_for_a_tenth_of_it() -> None:
    assert ends_at([2.0] * 20 + [9.0] * 80) == 20 + 10
    assert ends_at([9.0] * 100) == 5 + 10, "counted from the end of warm-up"


@pytest.mark.parametrize(
    ("losses", "first"),
    [
        ([2.0] * 100, 2.0),
        ([2.9] * 100, 2.0),  # not a nat above
        ([4.4] * 100, 3.0),  # a nat above, not half as much again
        ([0.9] * 100, 0.1),  # nine times, not a nat
        ([2.0] * 20 + [9.0] * 5 + [2.0] * 75, 2.0),  # a spike
        ([9.0] * 5 + [2.0] * 95, 2.0),  # only while warming up
        ([9.0, 1.0] * 3 + [1.0] * 94, 2.0),
    ],
)
def test_nothing_less_ends_it(losses: list[float], first: float) -> None:
    assert ends_at(losses, first) is None


def test_single_good_batches_do_not_save_it() -> None:
    losses = [2.0] * 10 + [8.0 if step % 4 else 2.0 for step in range(90)]
    assert ends_at(losses) is not None


def test_without_a_limit_or_a_beginning_nothing_is_said() -> None:
    losses = [2.0] * 20 + [90.0] * 80
    assert ends_at(losses, rule=RULE._replace(factor=None)) is None
    cut = history(losses)[2:]  # a checkpoint of before beginnings were kept
    assert divergence_reason(cut, RULE) is None


@pytest.mark.parametrize(
    ("steps", "batch", "expected"),
    [
        (1000, 16, DivergenceRule(first=4, warmup=50, span=100, factor=1.5)),
        (1000, 128, DivergenceRule(first=1, warmup=50, span=100, factor=1.5)),
        (40, 16, DivergenceRule(first=2, warmup=2, span=10, factor=1.5)),
    ],
)
def test_the_rule_of_a_run(steps: int, batch: int, expected: DivergenceRule) -> None:
    assert DivergenceRule.of(TrainSpec(batch_size=batch), steps) == expected
    assert DivergenceRule.of(TrainSpec(warmup=0.0), steps).first == 1


# -- real runs -----------------------------------------------------------------------------------


def spec_at(make_spec: MakeSpec, method: str, rate: float, limit: float | None = 1.5) -> TrialSpec:
    schedule = TrainSpec(epochs=6, batch_size=4, max_length=96, diverged_above=limit)
    tuned = METHODS[method].model_copy(update={"learning_rate": rate})
    return make_spec(method, train=schedule).model_copy(update={"method": tuned})


def trained(spec: TrialSpec, folder: Path, notes: Notes, seconds: float = 1e9) -> nn.Module:
    torch.manual_seed(0)
    model = build_model(spec.model, spec.method, torch.device("cpu"))
    train(
        model,
        training_stream(spec),
        spec,
        pad_id=0,
        device=torch.device("cpu"),
        checkpoints=Checkpoints(folder, seconds),
        reporter=notes,
        clock=Clock(),
    )
    return model


def test_an_absurd_rate_ends_early(make_spec: MakeSpec, home: TrialHome) -> None:
    notes = Notes()
    result = run_trial(spec_at(make_spec, "full", ABSURD), home, notes)
    assert result.status is Status.DIVERGED, notes.steps
    assert result.tasks == ()
    assert result.reason
    assert result.reason.startswith("training loss ")
    assert "\n" not in result.reason
    assert max(notes.steps) < STEPS / 2


@pytest.mark.parametrize("method", ["full", "lora", "p_tuning_v1"])
def test_a_sane_run_is_the_same_bit_by_bit(
    method: str, make_spec: MakeSpec, tmp_path: Path
) -> None:
    runs = []
    for limit in (1.5, None):
        notes = Notes()
        model = trained(spec_at(make_spec, method, SANE, limit), tmp_path / str(limit), notes)
        runs.append((notes.steps, model.state_dict()))
    (steps, weights), (steps_without, weights_without) = runs
    assert max(steps) == STEPS
    assert steps == steps_without
    assert all(torch.equal(weights[name], weights_without[name]) for name in weights)


def test_without_a_limit_an_absurd_run_goes_on(make_spec: MakeSpec, tmp_path: Path) -> None:
    notes = Notes()
    trained(spec_at(make_spec, "full", ABSURD, None), tmp_path, notes)
    assert max(notes.steps) == STEPS


@pytest.mark.parametrize("stop_at", [2, 9])
def test_a_resumed_run_ends_at_the_same_step(
    stop_at: int, make_spec: MakeSpec, tmp_path: Path
) -> None:
    """Stopped while it begins, and while it is above its limit; a checkpoint after each step."""
    spec, whole, rest = spec_at(make_spec, "full", ABSURD), Notes(), Notes()
    with pytest.raises(DivergedError) as ended:
        trained(spec, tmp_path / "whole", whole)
    with pytest.raises(KeyboardInterrupt):
        trained(spec, tmp_path / "cut", Notes(stop_at), seconds=0.0)
    with pytest.raises(DivergedError) as ended_again:
        trained(spec, tmp_path / "cut", rest, seconds=0.0)
    assert rest.resumed == [stop_at - 1]
    assert str(ended_again.value) == str(ended.value)
    assert max(rest.steps) == max(whole.steps)
