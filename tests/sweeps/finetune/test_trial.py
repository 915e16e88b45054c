"""Real trials on a tiny real model: every method, every way to end, exact resume."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from sweeps.finetune import train as train_module
from sweeps.finetune import trial as trial_module
from sweeps.finetune.clock import Clock
from sweeps.finetune.contract import TrialHome
from sweeps.finetune.trial import run_trial
from tests.sweeps.conftest import METHODS
from tests.sweeps.finetune.conftest import Notes
from tracker.errors import InputError, StoreError
from tracker.trial import Status, TrainSpec, TrialResult, TrialSpec

MakeSpec = Callable[..., TrialSpec]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_and_is_priced(
    method: str, make_spec: MakeSpec, home: TrialHome
) -> None:
    notes = Notes()
    result = run_trial(make_spec(method), home, notes)
    assert result.status is Status.COMPLETE, result.reason
    losses = [values["train/loss"] for values in notes.steps.values()]
    assert losses[-1] < losses[0], "ten steps on forty rows lower the loss of every method"
    assert len(losses) == 10, "each of the ten optimizer steps is reported once"
    assert result.cost.trained_parameters
    assert result.cost.flops
    assert result.cost.train_tokens
    (score,) = result.tasks
    assert score.n == 24
    assert score.loss_nats is not None
    assert score.score_se is not None
    assert len(score.replicates) == 200


def test_methods_see_the_same_tokens(make_spec: MakeSpec, home: TrialHome) -> None:
    tokens = {
        run_trial(make_spec(m), home, Notes()).cost.train_tokens for m in ("full", "p_tuning_v1")
    }
    assert len(tokens) == 1


def test_base_is_everyones_zero(make_spec: MakeSpec, home: TrialHome) -> None:
    base = run_trial(make_spec("none"), home, Notes())
    tuned = run_trial(make_spec("full"), home, Notes())
    assert base.general[0].forgetting == 0
    assert tuned.general[0].before == base.general[0].after
    assert tuned.general[0].forgetting != 0
    assert base.cost.trained_parameters == 0
    assert base.cost.train_tokens == 0
    assert base.final_train_loss is None


@pytest.mark.parametrize("method", ["full", "lora", "pissa", "p_tuning_v1", "p_tuning_v2"])
def test_interrupted_equals_uninterrupted(method: str, make_spec: MakeSpec, tmp_path: Path) -> None:
    spec = make_spec(method)

    def home(name: str) -> TrialHome:
        root = tmp_path / name
        return TrialHome(root / "c", root / "a", tmp_path / "b", root / "model", 0.0)

    whole = run_trial(spec, home("whole"), Notes())
    with pytest.raises(KeyboardInterrupt):
        run_trial(spec, home("cut"), Notes(stop_at=6))
    again = Notes()
    resumed = run_trial(spec, home("cut"), again)
    assert again.resumed == [5], "the checkpoint of step 5 is the last before the cut"
    assert min(again.steps) == 6
    assert resumed.tasks == whole.tasks
    assert resumed.general == whole.general
    assert resumed.final_train_loss == whole.final_train_loss
    weights = "model" if method == "full" else "trained"
    a, b = (load_file(tmp_path / n / "model" / f"{weights}.safetensors") for n in ("whole", "cut"))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_resumed_trials_time_is_all_of_it(
    make_spec: MakeSpec, home: TrialHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(Clock):
        """Of an attempt that took long, as this machine never would."""

        def __init__(self) -> None:
            super().__init__()
            self.add({"forward_backward": 1e6, "generate": 2e6})

    spec, often = make_spec("lora"), home._replace(checkpoint_seconds=0.0)
    with monkeypatch.context() as patch:
        patch.setattr(trial_module, "Clock", Slow)
        with pytest.raises(KeyboardInterrupt):
            run_trial(spec, often, Notes(stop_at=6))
    again = Notes()
    cost = run_trial(spec, often, again).cost
    assert again.resumed == [5]
    assert cost.train_seconds is not None
    assert cost.device_seconds is not None
    assert cost.seconds_per_1k_tokens is not None
    assert 1e6 < cost.train_seconds < 1.1e6
    assert 3e6 < cost.device_seconds < 3.1e6
    assert cost.seconds_per_1k_tokens < 1e5, "only the tuned model's own answers are priced"


def test_same_spec_gives_the_same_scores(make_spec: MakeSpec, home: TrialHome) -> None:
    first, second = (run_trial(make_spec("lora"), home, Notes()) for _ in range(2))
    assert first.tasks == second.tasks
    assert first.final_train_loss == second.final_train_loss


def test_divergence_is_an_outcome(make_spec: MakeSpec, home: TrialHome) -> None:
    wild = METHODS["full"].model_copy(update={"learning_rate": 1e30})
    spec = make_spec(
        "full", train=TrainSpec(epochs=2, batch_size=8, max_length=96, max_grad_norm=1e30)
    )
    result = run_trial(spec.model_copy(update={"method": wild}), home, Notes())
    assert result.status is Status.DIVERGED
    assert result.tasks == ()
    assert result.reason
    assert "loss" in result.reason
    whole = run_trial(spec, home, Notes())
    assert whole.status is Status.COMPLETE
    for ended, of in (
        (result.cost.train_tokens, whole.cost.train_tokens),
        (result.cost.flops, whole.cost.flops),
    ):
        assert ended is not None
        assert of is not None
        assert 0 < ended < 0.5 * of, "what was trained until then, not what was planned"


def test_no_number_at_evaluation_is_divergence(
    make_spec: MakeSpec, home: TrialHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last step may overflow, after the last loss was looked at."""
    real = trial_module.train

    def overflowing(model: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        trained = real(model, *args, **kwargs)
        with torch.no_grad():
            next(model.parameters()).fill_(float("inf"))
        return trained

    monkeypatch.setattr(trial_module, "train", overflowing)
    result = run_trial(make_spec("full"), home, Notes())
    assert result.status is Status.DIVERGED
    assert "evaluation loss nan" in str(result.reason)
    assert result.final_train_loss is None


def test_an_old_baseline_file_is_completed_and_its_numbers_stay(
    make_spec: MakeSpec, home: TrialHome
) -> None:
    spec = make_spec("lora")
    first = run_trial(spec, home, Notes()).general[0]
    (file,) = home.baselines.iterdir()
    file.write_text(json.dumps({"language": 2.5}))
    again = run_trial(spec, home, Notes()).general[0]
    kept = json.loads(file.read_text())["suites"]["language"]
    assert again.before == kept["value"] == 2.5
    assert again.after == first.after
    assert len(kept["replicates"]) == 200
    assert again.forgetting_se == first.forgetting_se


def _changed(text: str) -> str:
    content = json.loads(text)
    content["suites"]["language"]["value"] += 1
    return json.dumps(content)


@pytest.mark.parametrize(
    "harm",
    [
        lambda _: "",
        lambda text: text[: len(text) // 2],
        lambda _: "\x00\x01{",
        lambda _: "[1, 2]",
        lambda _: '{"language": "high"}',
        lambda _: '{"another": 2.5}',
        lambda _: '{"language": NaN}',
        _changed,
    ],
)
def test_a_baseline_file_that_cannot_be_trusted_is_measured_again(
    harm: Callable[[str], str],
    make_spec: MakeSpec,
    home: TrialHome,
    capfd: pytest.CaptureFixture[str],
) -> None:
    spec = make_spec("none")
    first = run_trial(spec, home, Notes()).general
    (file,) = home.baselines.iterdir()
    whole = file.read_bytes()
    file.write_text(harm(file.read_text()))
    again = run_trial(spec, home, Notes())
    assert again.status is Status.COMPLETE
    assert again.general == first
    assert file.read_bytes() == whole
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"note: {file}: cannot be read (")
    assert line.endswith("); the untouched base is measured again")


def test_a_folder_in_the_place_of_baselines_is_no_failure(
    make_spec: MakeSpec, home: TrialHome, capfd: pytest.CaptureFixture[str]
) -> None:
    spec = make_spec("none")
    first = run_trial(spec, home, Notes()).general
    (file,) = home.baselines.iterdir()
    file.unlink()
    file.mkdir()
    again = run_trial(spec, home, Notes())
    assert again.general == first
    assert "the next trial measures it again" in capfd.readouterr().err


def test_the_error_of_forgetting_is_paired(make_spec: MakeSpec, home: TrialHome) -> None:
    (lost,) = run_trial(make_spec("lora"), home, Notes()).general
    (none,) = run_trial(make_spec("none"), home, Notes()).general
    assert lost.forgetting_se is not None
    assert lost.after_se is not None
    assert lost.before is not None
    assert 0 < lost.forgetting_se < lost.after_se / lost.before
    assert none.forgetting_se == 0
    assert TrialResult.model_validate_json(
        run_trial(make_spec("none"), home, Notes()).model_dump_json()
    ).general == (none,)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "step-5/trained.safetensors"),
        RuntimeError("[enforce fail at x.cc:590] . PytorchStreamWriter failed writing file data/1"),
        SafetensorError(
            "Error while serializing: I/O error: No space left on device (os error 28)"
        ),
        StoreError("j.jsonl: cannot write the trial's journal (No space left on device)"),
    ],
)
def test_a_full_disk_is_no_outcome_of_the_trial(
    error: Exception, make_spec: MakeSpec, home: TrialHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: object, **_kwargs: object) -> None:
        raise error

    spec, every = make_spec("lora"), home._replace(checkpoint_seconds=0.0)
    with monkeypatch.context() as patch:
        patch.setattr(train_module, "save_trained", full)
        with pytest.raises(StoreError) as raised:
            run_trial(spec, every, Notes())
    assert "\n" not in str(raised.value)
    if not isinstance(error, StoreError):
        assert spec.key in str(raised.value)
        assert "then run the same command again" in str(raised.value)
    assert run_trial(spec, every, Notes()).status is Status.COMPLETE


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), Status.INFEASIBLE),
        (MemoryError("no room"), Status.INFEASIBLE),
        (ValueError("odd\nshape"), Status.FAILED),
    ],
)
def test_faults_end_the_trial_alone(
    error: Exception,
    status: Status,
    make_spec: MakeSpec,
    home: TrialHome,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_args: object, **_kwargs: object) -> None:
        raise error

    monkeypatch.setattr(trial_module, "train", fail)
    result = run_trial(make_spec("full"), home, Notes())
    assert result.status is status
    assert result.reason
    assert "\n" not in result.reason


@pytest.mark.parametrize("room", [3, 1])
def test_a_large_model_is_kept_where_there_is_room(
    room: int,
    make_spec: MakeSpec,
    home: TrialHome,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    kept = home._replace(model=tmp_path / "models" / "k", model_limit_bytes=0)
    size = run_trial(make_spec("lora"), home, Notes()).cost.adapter_bytes
    assert size is not None
    usage = shutil.disk_usage(tmp_path)._replace(free=room * size)
    monkeypatch.setattr(trial_module.shutil, "disk_usage", lambda _: usage)
    result = run_trial(make_spec("lora"), kept, Notes())
    assert result.status is Status.COMPLETE
    assert kept.model is not None
    assert kept.model.exists() == (room == 3)
    said = capfd.readouterr().err
    assert ("is not kept, the disk has" in said) == (room == 1)


def test_changed_data_is_refused(make_spec: MakeSpec, home: TrialHome, tmp_path: Path) -> None:
    spec = make_spec("full")
    task = spec.tasks[0]
    assert task.train is not None
    copy = tmp_path / "train.jsonl"
    copy.write_text(
        Path(task.train.path).read_text() + '{"text": "one more", "label": "weather"}\n'
    )
    changed = task.model_copy(update={"train": task.train.model_copy(update={"path": str(copy)})})
    with pytest.raises(InputError, match=r"train\.jsonl: changed during the sweep"):
        run_trial(spec.model_copy(update={"tasks": (changed,)}), home, Notes())


def test_records_tell_what_the_model_said(make_spec: MakeSpec, home: TrialHome) -> None:
    run_trial(make_spec("full"), home, Notes())
    lines = (home.artifacts / "intent.validation.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert len(records) == 24
    assert {"row", "answer", "truth", "nats", "score", "valid", "prompt"} <= records[0].keys()
    assert all(record["score"] == (record["answer"] == record["truth"]) for record in records)
    assert all(record["prompt"].strip() for record in records)


def test_test_split_is_touched_on_request_only(make_spec: MakeSpec, home: TrialHome) -> None:
    spec = make_spec("lora")
    usual = run_trial(spec, home, Notes())
    final = run_trial(spec, home, Notes(), splits=("validation", "test"))
    assert [score.split for score in usual.tasks] == ["validation"]
    assert [score.split for score in final.tasks] == ["validation", "test"]
    assert final.tasks[0] == usual.tasks[0]


def test_phases_account_for_the_time(make_spec: MakeSpec, home: TrialHome) -> None:
    result = run_trial(make_spec("full"), home, Notes())
    assert result.started_at is not None
    assert result.ended_at is not None
    wall = result.ended_at - result.started_at
    assert sum(result.cost.phases.values()) == pytest.approx(wall, abs=0.1 + 0.1 * wall)
    assert {"forward_backward", "optimizer", "score", "generate"} <= result.cost.phases.keys()
