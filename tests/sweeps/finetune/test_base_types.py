"""Bases whose weights are stored in bfloat16 or in 4 bits: trained, given back unchanged, saved, loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from sweeps.data.readers import read_rows
from sweeps.finetune import model as module
from sweeps.finetune import trial as trial_module
from sweeps.finetune.contract import TrialHome
from sweeps.finetune.final import train_config
from sweeps.finetune.model import (
    borrow_model,
    build_model,
    forget_base,
    give_back,
    load_base,
    trained_parameters,
)
from sweeps.finetune.trained_model import TrainedModel
from sweeps.finetune.trial import run_trial
from sweeps.resolve import read_sweep, with_types
from sweeps.spec import SweepSpec
from tests.factories import sweep_text
from tests.sweeps.finetune.test_final import Registry
from tests.sweeps.finetune.test_trial import MakeSpec, Notes
from tracker.errors import InputError
from tracker.export.config import Config
from tracker.store.store import Store
from tracker.trial import EvaluationSpec, Status, TrainSpec, TrialSpec

CPU = torch.device("cpu")
ADAPTERS = ("lora", "dora", "rslora", "lora_plus", "p_tuning_v1", "p_tuning_v2")
needs_bitsandbytes = pytest.mark.skipif(
    find_spec("bitsandbytes") is None, reason="needs bitsandbytes: pip install -e '.[nf4]'"
)


def values(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


@pytest.fixture
def stored(make_spec: MakeSpec) -> Callable[..., TrialSpec]:
    """``stored(method, base)``: a small trial on a base stored so."""

    def make(method: str, base: str | None, **changes: Any) -> TrialSpec:
        small = EvaluationSpec(rows=8, batch_size=8, max_new_tokens=4)
        dtype = "bfloat16" if base == "bfloat16" else "float32"
        train = TrainSpec(epochs=1, batch_size=8, max_length=96, dtype=dtype)
        common = {"evaluation": small, "train": train, "volume": 16, "examples": {"intent": 16}}
        spec = make_spec(method, **(common | changes))
        return spec.model_copy(update={"model": spec.model.model_copy(update={"base": base})})

    return make


@pytest.mark.parametrize("base", [None, "bfloat16", pytest.param("nf4", marks=needs_bitsandbytes)])
@pytest.mark.parametrize("method", ADAPTERS)
def test_a_frozen_base_is_lent_and_given_back_as_it_was(
    method: str, base: str | None, stored: Callable[..., TrialSpec], home: TrialHome
) -> None:
    """One base serves trial after trial: no weight, setting or leftover of a method changes it."""
    spec = stored(method, base)
    base_model = load_base(spec.model, CPU, spec.train.dtype)
    before, settings = values(base_model), dict(vars(base_model.config))
    names = [name for name, _ in base_model.named_modules()]
    first, second = run_trial(spec, home, Notes()), run_trial(spec, home, Notes())
    assert first.status is Status.COMPLETE, first.reason
    assert first.tasks == second.tasks
    assert load_base(spec.model, CPU, spec.train.dtype) is base_model, "it is not loaded again"
    after = values(base_model)
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert [name for name, _ in base_model.named_modules()] == names
    assert dict(vars(base_model.config)) == settings
    assert not trained_parameters(base_model)


@pytest.mark.parametrize("base", ["bfloat16", pytest.param("nf4", marks=needs_bitsandbytes)])
def test_what_trains_on_a_small_base_is_float32(
    base: str, stored: Callable[..., TrialSpec]
) -> None:
    for method in ADAPTERS:
        spec = stored(method, base)
        model = borrow_model(spec.model, spec.method, CPU, spec.train.dtype)
        assert {p.dtype for p in trained_parameters(model).values()} == {torch.float32}
        give_back(model)


def test_full_tuning_starts_from_the_stored_values_in_float32(
    stored: Callable[..., TrialSpec],
) -> None:
    spec = stored("full", "bfloat16")
    base_model = load_base(spec.model, CPU, "bfloat16")
    assert base_model.dtype == torch.bfloat16
    master = build_model(spec.model, spec.method, CPU, "bfloat16")
    for name, parameter in master.named_parameters():
        assert parameter.dtype == torch.float32
        assert torch.equal(parameter, base_model.get_parameter(name).float())


def test_a_base_stored_otherwise_is_another_base(stored: Callable[..., TrialSpec]) -> None:
    keys = {stored("lora", base).key for base in (None, "bfloat16", "nf4")}
    assert len(keys) == 3
    assert "base" not in stored("lora", None).model.model_dump(), "keys of before stay"


@pytest.mark.parametrize("method", ["lora", "p_tuning_v2"])
def test_a_trial_that_fails_midway_leaves_the_next_a_whole_base(
    method: str, stored: Callable[..., TrialSpec], home: TrialHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = stored(method, None)
    before = values(load_base(spec.model, CPU))

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a fault in the middle")

    with monkeypatch.context() as patch:
        patch.setattr(trial_module, "train", broken)
        assert run_trial(spec, home, Notes()).status is Status.FAILED
    after = values(load_base(spec.model, CPU))
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert run_trial(spec, home, Notes()).status is Status.COMPLETE


def test_a_large_base_is_given_away_rather_than_copied(
    stored: Callable[..., TrialSpec], home: TrialHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Full tuning takes the weights themselves; the next trial loads them again."""
    plain = run_trial(stored("full", None), home, Notes())
    forget_base()
    monkeypatch.setattr(module, "COPIED_BYTES", 0)
    spec = stored("full", None)
    base_model = load_base(spec.model, CPU)
    model = borrow_model(spec.model, spec.method, CPU)
    assert model is base_model
    assert load_base(spec.model, CPU) is not base_model
    again = run_trial(spec, home, Notes())
    assert again.tasks == plain.tasks


def test_a_process_holds_one_large_base(
    stored: Callable[..., TrialSpec], tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_base()
    monkeypatch.setattr(module, "_KEPT_BYTES", 0)
    for base in (None, "bfloat16", None):
        load_base(stored("lora", base).model, CPU)
        assert len(module._loaded) == 1


# -- the sweep file --------------------------------------------------------------------------------


@pytest.fixture
def resolved(tiny_model: Path, tiny_data: Path, tmp_path: Path) -> Callable[..., SweepSpec]:
    def read(**changes: Any) -> SweepSpec:
        path = tmp_path / "sweep.yaml"
        path.write_text(sweep_text(tiny_model, tiny_data, **changes))
        return read_sweep(path).spec

    return read


def test_types_left_open_are_float32_without_a_gpu(resolved: Callable[..., SweepSpec]) -> None:
    spec = resolved()
    assert spec.train.dtype == "float32"
    assert [model.base for model in spec.models] == [None, None]
    assert '"base"' not in spec.model_dump_json(), "a begun sweep's digest stays"


def test_a_gpu_that_has_bfloat16_decides_for_new_sweeps_alone(
    resolved: Callable[..., SweepSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    new = resolved()
    assert new.train.dtype == "bfloat16"
    assert [model.base for model in new.models] == ["bfloat16", "bfloat16"]
    monkeypatch.undo()
    begun = new.model_dump(mode="json")
    here = with_types(resolved(train={"epochs": 1}).model_copy(update={"train": _auto()}), begun)
    assert here.train.dtype == "bfloat16", "as it began, on whatever machine"
    assert [model.base for model in here.models] == ["bfloat16", "bfloat16"]


def _auto() -> Any:
    from sweeps.method_entry import TrainEntry

    return TrainEntry(epochs=1)


def test_a_bfloat16_base_asks_for_bfloat16(
    tiny_model: Path, resolved: Callable[..., SweepSpec]
) -> None:
    spec = resolved(base="bfloat16")
    assert spec.train.dtype == "bfloat16"
    with pytest.raises(InputError, match=r"found base bfloat16 with train\.dtype float32"):
        resolved(base="bfloat16", train={"dtype": "float32"})


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (
            {"base": "nf4"},
            r"models\[0\]: found base nf4 with full tuning, .* `methods: \[lora, p_tun",
        ),
        (
            {"base": "nf4", "methods": {"lora": {"variant": "pissa", "learning_rate": 1e-3}}},
            "found base nf4 with LoRA's variant pissa",
        ),
        ({"base": "int8"}, "base: found 'int8'; allowed: auto, float32, bfloat16, nf4"),
    ],
)
def test_what_4_bit_weights_cannot_is_refused(
    changes: dict[str, Any], match: str, resolved: Callable[..., SweepSpec]
) -> None:
    with pytest.raises(InputError, match=match):
        resolved(**changes)


# -- saved and loaded ------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:PiSSA changes the base weights")
@pytest.mark.parametrize(
    ("method", "base"),
    [
        ("full", "bfloat16"),
        ("pissa", "bfloat16"),
        pytest.param("lora", "nf4", marks=needs_bitsandbytes),
        pytest.param("dora", "nf4", marks=needs_bitsandbytes),
        pytest.param("p_tuning_v1", "nf4", marks=needs_bitsandbytes),
        pytest.param("none", "nf4", marks=needs_bitsandbytes),
        ("none", "bfloat16"),
    ],
)
def test_a_saved_model_answers_as_it_was_measured(
    method: str, base: str, stored: Callable[..., TrialSpec], tmp_path: Path
) -> None:
    """`train` writes the base's dtype with the model, and `answer` loads it so."""
    trial = stored(method, base)
    config, store = Config(sweep="s", trial=trial), cast("Store", Registry())
    final = train_config(config, "c: 1\n", tmp_path / "model", store)
    assert final.result.status is Status.COMPLETE, final.result.reason
    records = final.folder.with_name("model-records") / "intent.test.jsonl"
    said = [json.loads(line) for line in records.open()]
    model = TrainedModel.load(final.folder)
    assert model.card.trial.model.base == base
    (task,) = (task for task in trial.tasks if task.name == "intent")
    assert task.test is not None
    answers = model.answer(task, task.test.path, read_rows(Path(task.test.path))).records
    for there, here in zip(said, answers, strict=True):
        assert {name: here[name] for name in ("answer", "answer_nats", "nats")} == {
            name: there[name] for name in ("answer", "answer_nats", "nats")
        }


# -- the optimizer in 8 bits -------------------------------------------------------------------------


def eight_bit(spec: TrialSpec) -> TrialSpec:
    train = spec.train.model_copy(update={"optimizer": "adamw_8bit"})
    return spec.model_copy(update={"train": train})


@pytest.fixture
def wide(stored: Callable[..., TrialSpec]) -> Callable[[str], TrialSpec]:
    """``wide(method)``: a trial of six steps; moments of 4,096 weights and more are made 8-bit."""

    def make(method: str) -> TrialSpec:
        spec = stored(method, None, volume=48, examples={"intent": 48})
        rank = 256 if spec.method.rank else None
        return spec.model_copy(update={"method": spec.method.model_copy(update={"rank": rank})})

    return make


@needs_bitsandbytes
@pytest.mark.parametrize("method", ["full", "lora", "lora_plus", "p_tuning_v2"])
def test_moments_in_8_bits_train_about_as_well(
    method: str, wide: Callable[[str], TrialSpec], home: TrialHome
) -> None:
    from bitsandbytes.optim.optimizer import GlobalOptimManager

    spec = wide(method)
    plain, small = run_trial(spec, home, Notes()), run_trial(eight_bit(spec), home, Notes())
    assert small.status is Status.COMPLETE, small.reason
    assert small.final_train_loss == pytest.approx(plain.final_train_loss, rel=0.05)
    if "lora" in method:
        assert small.final_train_loss != plain.final_train_loss
    assert not GlobalOptimManager.get_instance().module_weight_config_triple, "no model is kept"


@needs_bitsandbytes
def test_moments_in_8_bits_go_on_from_a_checkpoint(
    wide: Callable[[str], TrialSpec], home: TrialHome
) -> None:
    spec = eight_bit(wide("lora"))
    whole = run_trial(spec, home, Notes())
    often = home._replace(checkpoints=home.checkpoints.parent / "often", checkpoint_seconds=0.0)
    with pytest.raises(KeyboardInterrupt):
        run_trial(spec, often, Notes(stop_at=4))
    again = Notes()
    resumed = run_trial(spec, often, again)
    assert again.resumed[-1] > 0
    assert resumed.tasks == whole.tasks
    assert resumed.final_train_loss == whole.final_train_loss


def test_an_optimizer_that_is_as_before_leaves_keys_as_they_were(
    stored: Callable[..., TrialSpec],
) -> None:
    spec = stored("full", None)
    assert "optimizer" not in spec.train.model_dump()
    assert eight_bit(spec).key != spec.key
