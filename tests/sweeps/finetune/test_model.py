"""Base models and tuned ones, in memory and on disk."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
)

from sweeps import base_models
from sweeps.base_models import checked_folder
from sweeps.data.prompts import Encoded, load_tokenizer
from sweeps.finetune.contract import TrialHome
from sweeps.finetune.evaluate import generated_ids
from sweeps.finetune.model import (
    build_model,
    forget_base,
    load_base,
    load_trained,
    prepended_tokens,
    save_model,
    save_trained,
    stored_bytes,
    trained_parameters,
    tune,
)
from sweeps.finetune.trial import run_trial
from tests.sweeps.conftest import METHODS, model_at
from tests.sweeps.finetune.conftest import Notes
from tracker.errors import InputError
from tracker.trial import EvaluationSpec, MethodSpec, ModelSpec, Status, TrialSpec

MakeSpec = Callable[..., TrialSpec]
Tuned = Callable[[str], nn.Module]
CPU = torch.device("cpu")


def logits(model: nn.Module) -> Tensor:
    ids = torch.arange(6, 28).reshape(2, 11)
    with torch.no_grad():
        out: Tensor = model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    return out


def digest(model: nn.Module) -> str:
    weights = sorted(model.state_dict().items())
    return hashlib.sha256(b"".join(w.numpy().tobytes() for _, w in weights)).hexdigest()


def unnamed(path: Path) -> ModelSpec:
    """As a configuration written by hand names a folder: by its place alone."""
    return ModelSpec(name=path.name, path=str(path), parameters=30_000)


def test_weights_are_float32_whatever_the_checkpoints(tiny_model: Path, tmp_path: Path) -> None:
    half = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.bfloat16)
    half.save_pretrained(tmp_path)
    assert {w.dtype for w in load_file(tmp_path / "model.safetensors").values()} == {torch.bfloat16}
    for method in ("full", "lora", "p_tuning_v1"):
        model = build_model(unnamed(tmp_path), METHODS[method], CPU)
        assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_pickled_weights_are_never_read(tiny_model: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "pickled")
    (tmp_path / "pickled" / "model.safetensors").unlink()
    torch.save(load_base(model_at(tiny_model)).state_dict(), tmp_path / "pickled/pytorch_model.bin")
    with pytest.raises(
        InputError, match=r"only pytorch_model.bin \(pickle, .* allowed: \*.safetens"
    ):
        load_base(unnamed(tmp_path / "pickled"))


def test_a_tokenizer_without_padding_pads_with_its_end(tiny_model: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model, tmp_path, dirs_exist_ok=True)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    assert load_tokenizer(model_at(tiny_model)).pad_token == "<|pad|>"
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path)
    assert load_tokenizer(unnamed(tmp_path)).pad_token == "<|eos|>"


def test_a_base_that_changed_is_refused_and_read_once(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "base"
    shutil.copytree(tiny_model, folder)
    spec = model_at(folder)
    read: list[Path] = []
    real = base_models.content_digest

    def counting(place: Path, *, code: bool) -> str:
        read.append(place)
        return real(place, code=code)

    monkeypatch.setattr(base_models, "content_digest", counting)
    load_tokenizer(spec)
    load_base(spec)
    assert read == [folder], "a warm worker reads a base once, however many trials it runs"
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    for forget in (checked_folder.cache_clear, forget_base, load_tokenizer.cache_clear):
        forget()  # as in another process
    for load in (load_base, load_tokenizer):
        with pytest.raises(InputError, match=r"base: the base model changed: its SHA-256 is .*put"):
            load(spec)


def test_a_base_that_is_gone_is_refused(tmp_path: Path) -> None:
    gone = ModelSpec(name="gone", path=str(tmp_path / "gone"), digest="0", parameters=1)
    with pytest.raises(InputError, match=r"found no folder .*gone; allowed: a model folder"):
        load_base(gone)


@pytest.mark.parametrize("method", ["full", "pissa", "p_tuning_v1"])
def test_no_trial_changes_the_shared_base(
    method: str, make_spec: MakeSpec, home: TrialHome
) -> None:
    small = EvaluationSpec(rows=8, batch_size=8, max_new_tokens=4)
    spec = make_spec(method, volume=8, examples={"intent": 8}, evaluation=small)
    base = load_base(spec.model)
    before = digest(base)
    assert run_trial(spec, home, Notes()).status is Status.COMPLETE
    assert load_base(spec.model) is base, "it is kept, not loaded again"
    assert digest(base) == before
    untouched = build_model(spec.model, MethodSpec(name="none"), CPU)
    assert digest(untouched) == before
    assert not trained_parameters(untouched)


def test_the_method_decides_which_weights_train(make_spec: MakeSpec) -> None:
    base = sum(p.numel() for p in load_base(make_spec("full").model).parameters())
    trained = {
        method: sum(
            p.numel() for p in trained_parameters(build_model(s.model, s.method, CPU)).values()
        )
        for method, s in ((m, make_spec(m)) for m in METHODS)
    }
    hidden, kv, up, layers, rank, tokens = 32, 32, 64, 2, 4, 4
    attention, mlp = 4 * (hidden + kv), 3 * (hidden + up)
    assert trained["full"] == base
    assert trained["lora"] == trained["pissa"] == layers * rank * (attention + mlp), (
        "but no output layer"
    )
    assert trained["p_tuning_v2"] == tokens * layers * 2 * kv
    assert trained["p_tuning_v1"] > tokens * hidden


def test_virtual_tokens_stand_before_the_prompt_in_v1_alone() -> None:
    prepended = {name: prepended_tokens(method) for name, method in METHODS.items()}
    assert prepended.pop("p_tuning_v1") == 4
    assert set(prepended.values()) == {0}


@pytest.mark.parametrize("method", METHODS)
def test_trained_weights_come_back_exactly(
    method: str, tuned: Tuned, make_spec: MakeSpec, tmp_path: Path
) -> None:
    model, spec = tuned(method), make_spec(method)
    save_trained(model, tmp_path)
    torch.manual_seed(9)
    fresh = build_model(spec.model, spec.method, CPU)
    assert not torch.equal(logits(fresh), logits(model))
    load_trained(fresh, tmp_path)
    assert torch.equal(logits(fresh), logits(model))


def test_weights_of_another_method_are_refused(tuned: Tuned, tmp_path: Path) -> None:
    save_trained(tuned("p_tuning_v2"), tmp_path)
    with pytest.raises(
        InputError, match=r"found 1 trained weights; allowed: the 28 of this trial; remove"
    ):
        load_trained(tuned("lora"), tmp_path)


@pytest.mark.filterwarnings("ignore:PiSSA changes the base weights")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("sparing", [False, True])
def test_a_saved_folder_is_the_trained_model(
    method: str, sparing: bool, tuned: Tuned, make_spec: MakeSpec, tmp_path: Path
) -> None:
    model, spec = tuned(method), make_spec(method)
    before = logits(model)
    save_model(model, spec.model, spec.method, tmp_path)
    assert torch.equal(logits(model), before), "saving changes nothing"
    if method == "full":
        again = AutoModelForCausalLM.from_pretrained(tmp_path)
        assert not (tmp_path / "trained.safetensors").exists(), "all weights, once"
    else:
        base = AutoModelForCausalLM.from_pretrained(spec.model.path)
        again = PeftModel.from_pretrained(base, tmp_path, low_cpu_mem_usage=sparing)
    torch.testing.assert_close(logits(again), before, atol=1e-5, rtol=1e-5)
    assert AutoTokenizer.from_pretrained(tmp_path).chat_template


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_saved_model_ends_where_it_was_trained_to(
    method: str, tiny_model: Path, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny_model, base)
    settings = GenerationConfig.from_pretrained(base)
    settings.eos_token_id = [5, 4]
    settings.save_pretrained(base)
    model = build_model(unnamed(base), METHODS[method], CPU)
    save_model(model, unnamed(base), METHODS[method], tmp_path / "saved")
    saved = GenerationConfig.from_pretrained(tmp_path / "saved")
    assert (saved.eos_token_id, saved.pad_token_id) == (2, 0)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    assert method == "lora" or again.generation_config.eos_token_id == 2


@pytest.mark.filterwarnings("ignore:fan_in_fan_out")
@pytest.mark.parametrize("method", ["none", "full", "lora", "p_tuning_v1", "p_tuning_v2"])
def test_no_more_is_generated_than_there_are_positions(method: str) -> None:
    config = GPT2Config(vocab_size=40, n_positions=16, n_embd=16, n_layer=2, n_head=2)
    config.eos_token_id = config.bos_token_id = config.pad_token_id = None
    spec = METHODS.get(method, MethodSpec(name="none"))
    model = tune(GPT2LMHeadModel(config).eval(), spec)
    rows = [Encoded(tuple(range(3, 12)), (5,)), Encoded((7, 8), (5,))]
    new, _ = generated_ids(model, rows, 30, pad_id=0, prepended=prepended_tokens(spec))
    virtual = spec.virtual_tokens or 0
    assert new.shape == (2, 16 - 9 - virtual)


@pytest.mark.parametrize("order", [("lora", "full"), ("full", "lora")])
def test_nothing_of_the_model_before_is_left_in_the_folder(
    order: tuple[str, str], tuned: Tuned, make_spec: MakeSpec, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    for method in order:
        model, spec = tuned(method), make_spec(method)
        save_model(model, spec.model, spec.method, folder)
    again = AutoModelForCausalLM.from_pretrained(folder)  # puts an adapter it finds on the model
    torch.testing.assert_close(logits(again), logits(model), atol=1e-5, rtol=1e-5)
    assert (folder / "adapter_config.json").exists() == (order[1] == "lora")
    assert (folder / "model.safetensors").exists() == (order[1] == "full")
    assert [path.name for path in tmp_path.iterdir()] == ["model"], "no temporary folder is left"


def test_a_save_that_fails_leaves_what_was_there(
    tuned: Tuned, make_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, spec = tuned("full"), make_spec("full")
    save_model(model, spec.model, spec.method, tmp_path / "model")

    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(model), "save_pretrained", full_disk)
    with pytest.raises(OSError, match="No space"):
        save_model(model, spec.model, spec.method, tmp_path / "model")
    assert (tmp_path / "model" / "model.safetensors").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.filterwarnings("ignore:PiSSA changes the base weights")
@pytest.mark.parametrize("method", METHODS)
def test_stored_bytes_are_those_of_the_saved_weights(
    method: str, tuned: Tuned, make_spec: MakeSpec, tmp_path: Path
) -> None:
    model, spec = tuned(method), make_spec(method)
    save_model(model, spec.model, spec.method, tmp_path)
    name = "model" if method == "full" else "adapter_model"
    saved = load_file(tmp_path / f"{name}.safetensors").values()
    assert stored_bytes(model, spec.method) == sum(w.numel() * w.element_size() for w in saved)


def test_nothing_is_stored_beside_an_untouched_base(make_spec: MakeSpec) -> None:
    spec = make_spec("none")
    assert stored_bytes(build_model(spec.model, spec.method, CPU), spec.method) == 0


def test_a_method_that_lacks_its_size_is_refused(make_spec: MakeSpec) -> None:
    with pytest.raises(InputError, match="method lora: rank is missing; give a positive number"):
        build_model(make_spec("full").model, MethodSpec(name="lora", variant="plain"), CPU)
