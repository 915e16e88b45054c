"""The best pass: its weights end the trial, also of one that was interrupted; every pass is recorded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sweeps.data.encoding import training_stream
from sweeps.data.mixes import pass_ends, stream_rows
from sweeps.finetune.contract import TrialHome
from sweeps.finetune.passes import pass_steps
from sweeps.finetune.trial import run_trial
from tests.sweeps.finetune.conftest import Notes
from tracker.trial import Status, TrainSpec, TrialResult, TrialSpec

MakeSpec = Callable[..., TrialSpec]
WILD = {"epochs": 4, "batch_size": 8, "max_length": 96, "scheduler": "constant"}


def wild(make_spec: MakeSpec, method: str, keep: str) -> TrialSpec:
    """A training whose rate is so high that its last pass is not its best."""
    spec = make_spec(method, train=TrainSpec(**WILD, keep_epoch=keep, diverged_above=None))
    rate = {"full": 0.05, "lora": 0.6}[method]
    tuned = spec.method.model_copy(update={"learning_rate": rate})
    return spec.model_copy(update={"method": tuned})


def home_at(root: Path, every: float = 60.0) -> TrialHome:
    return TrialHome(root / "c", root / "a", root / "b", root / "model", every)


def test_passes_end_where_the_stream_has_them(make_spec: MakeSpec) -> None:
    spec = make_spec("full")
    assert spec.mix is not None
    mix = spec.mix.model_copy(update={"extra_epochs": {"intent": 1}, "replay": 0.25})
    more = spec.model_copy(update={"mix": mix, "replay": spec.general[0].text})
    assert pass_ends(spec) == [40, 80]
    assert pass_ends(more) == [50, 100, 140]
    assert stream_rows(more) == len(training_stream(more)) == 140
    assert pass_steps(more) == {7: 1, 13: 2, 18: 3}
    assert pass_ends(make_spec("none")) == []


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_best_pass_is_kept_and_every_pass_is_recorded(
    method: str, make_spec: MakeSpec, tmp_path: Path
) -> None:
    last = run_trial(wild(make_spec, method, "last"), home_at(tmp_path / "last"), Notes())
    best = run_trial(wild(make_spec, method, "best"), home_at(tmp_path / "best"), Notes())
    assert best.status is Status.COMPLETE, best.reason
    assert last.passes == ()
    assert "passes" not in last.model_dump()
    assert "keep_epoch" not in last.spec.model_dump()["train"]
    assert best.spec.key != last.spec.key
    assert [(p.number, p.step) for p in best.passes] == [(1, 5), (2, 10), (3, 15), (4, 20)]
    (kept,) = (p for p in best.passes if p.kept)
    assert kept.value == max(p.value for p in best.passes)
    assert kept.number < 4, "the rate is too high for the last pass to be the best"
    (score,) = best.tasks
    assert kept.scores == {"intent": score.score}
    assert kept.loss_nats == {"intent": score.loss_nats}
    assert best.passes[-1].loss_nats == {"intent": last.tasks[0].loss_nats}
    assert TrialResult.model_validate_json(best.model_dump_json()).passes == best.passes


def test_an_interrupted_training_keeps_the_same_pass(make_spec: MakeSpec, tmp_path: Path) -> None:
    """Cut after the first pass, and again after the best one."""
    spec = wild(make_spec, "lora", "best")
    whole = run_trial(spec, home_at(tmp_path / "whole"), Notes())
    cut, again = home_at(tmp_path / "cut", 0.0), Notes()
    for stop_at in (7, 18):
        with pytest.raises(KeyboardInterrupt):
            run_trial(spec, cut, Notes(stop_at=stop_at))
    resumed = run_trial(spec, cut, again)
    assert again.resumed == [17]
    assert resumed.passes == whole.passes
    assert resumed.tasks == whole.tasks
    a, b = (load_file(tmp_path / n / "model" / "trained.safetensors") for n in ("whole", "cut"))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_checkpoint_whose_best_pass_was_harmed_is_not_used(
    make_spec: MakeSpec, tmp_path: Path
) -> None:
    spec, cut = wild(make_spec, "lora", "best"), home_at(tmp_path, 0.0)
    with pytest.raises(KeyboardInterrupt):
        run_trial(spec, cut, Notes(stop_at=7))
    (file,) = cut.checkpoints.glob("pass-*/trained.safetensors")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    again = Notes()
    assert run_trial(spec, cut._replace(checkpoint_seconds=60.0), again).status is Status.COMPLETE
    assert again.resumed == [0]


def test_tasks_that_the_mix_does_not_train_judge_no_pass(
    make_spec: MakeSpec, home: TrialHome
) -> None:
    spec = wild(make_spec, "lora", "best")
    held_out = spec.tasks[0].model_copy(update={"name": "other", "train": None})
    both = spec.model_copy(update={"tasks": (*spec.tasks, held_out)})
    result = run_trial(both, home, Notes())
    assert {name for p in result.passes for name in p.scores} == {"intent"}
    assert len(result.tasks) == 2
