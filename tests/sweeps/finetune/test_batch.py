"""Nats per answer token, against plain full logits."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    Gemma2Config,
    GPT2Config,
    GPT2LMHeadModel,
    GraniteConfig,
    LlamaConfig,
    OPTConfig,
    PreTrainedConfig,
)

from sweeps.data.prompts import Encoded
from sweeps.finetune import batch as batches
from sweeps.finetune.batch import IGNORED, answer_nats, collate, pack
from sweeps.finetune.model import base_model, prepended_tokens
from tests.sweeps.conftest import METHODS
from tracker.trial import TrialSpec

Tuned = Callable[[str], nn.Module]
CLOSE = {"atol": 2e-5, "rtol": 1e-5}


def plain_nats(model: nn.Module, row: Encoded) -> Tensor:
    """The row alone: whole logits, virtual positions sliced off, softmax, the answer's entries."""
    ids = torch.tensor([[*row.prompt_ids, *row.answer_ids]])
    logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[:, -ids.shape[1] :]
    log_probs = torch.log_softmax(logits[0, len(row.prompt_ids) - 1 : -1], dim=-1)
    return -log_probs.gather(1, torch.tensor(row.answer_ids)[:, None])[:, 0]


def test_rows_are_padded_on_the_right() -> None:
    batch = collate([Encoded((7, 8), (9,)), Encoded((5,), (6, 4, 2))], pad_id=0)
    assert batch["input_ids"].tolist() == [[7, 8, 9, 0], [5, 6, 4, 2]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    assert batch["labels"].tolist() == [[IGNORED, IGNORED, 9, IGNORED], [IGNORED, 6, 4, 2]]


def test_packed_rows_restart_their_positions() -> None:
    batch = pack([Encoded((7, 8), (9,)), Encoded((5,), (6, 4))])
    assert batch["input_ids"].tolist() == [[7, 8, 9, 5, 6, 4]]
    assert batch["labels"].tolist() == [[IGNORED, IGNORED, 9, IGNORED, 6, 4]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1, 2]]
    assert "attention_mask" not in batch


@torch.no_grad()
@pytest.mark.parametrize("method", METHODS)
def test_nats_are_those_of_plain_logits_whatever_the_padding(
    method: str, tuned: Tuned, some_rows: list[Encoded]
) -> None:
    model, batch = tuned(method), collate(some_rows, pad_id=0)
    nats = answer_nats(model, batch, prepended=prepended_tokens(METHODS[method]))
    assert nats.shape == batch["labels"].shape
    assert not nats[batch["labels"] == IGNORED].any()
    for row, found in zip(some_rows, nats, strict=True):
        start, end = len(row.prompt_ids), len(row)
        torch.testing.assert_close(found[start:end], plain_nats(model, row), **CLOSE)


@pytest.mark.parametrize("method", ["full", "p_tuning_v1"])
def test_gradients_are_those_of_plain_logits(
    method: str, tuned: Tuned, some_rows: list[Encoded]
) -> None:
    def gradients(loss: Tensor, model: nn.Module) -> list[Tensor]:
        return list(torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad]))

    model = tuned(method)
    prepended = prepended_tokens(METHODS[method])
    ours = answer_nats(model, collate(some_rows, pad_id=0), prepended=prepended).sum()
    plain = torch.stack([plain_nats(model, row).sum() for row in some_rows]).sum()
    for a, b in zip(gradients(ours, model), gradients(plain, model), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("training", [True, False])
def test_packed_rows_do_not_see_each_other(
    attention: str, training: bool, make_spec: Callable[..., TrialSpec], some_rows: list[Encoded]
) -> None:
    path = make_spec("full").model.path
    model = AutoModelForCausalLM.from_pretrained(path, attn_implementation=attention)
    model.train(training)
    assert model.config.use_cache, "a cache of its own would hide the packing from the model"
    for weight in model.parameters():
        weight.add_(0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)))

    def answers(batch: dict[str, Tensor]) -> Tensor:
        return answer_nats(model, batch, prepended=0)[batch["labels"] != IGNORED]

    packed, apart = pack(some_rows), collate(some_rows, pad_id=0)
    torch.testing.assert_close(answers(packed), answers(apart), **CLOSE)
    running = packed | {"position_ids": torch.arange(packed["labels"].shape[1])[None]}
    assert (answers(running) - answers(apart)).abs().max() > 1e-3, "attention has something to tell"


@torch.no_grad()
def test_output_layer_works_on_answers_alone(tuned: Tuned, some_rows: list[Encoded]) -> None:
    seen: list[int] = []
    model = tuned("lora")
    head = model.get_output_embeddings()  # type: ignore[operator]
    with head.register_forward_hook(
        lambda _m, _inputs, out: seen.append(out.numel() // out.shape[-1])
    ):
        answer_nats(model, collate(some_rows, pad_id=0), prepended=0)
    assert seen == [sum(len(row.answer_ids) for row in some_rows)]
    assert not head._forward_pre_hooks, "the model is left as it was"


@torch.no_grad()
@pytest.mark.parametrize("method", ["full", "lora", "p_tuning_v1"])
def test_a_hidden_output_layer_changes_nothing(
    method: str, tuned: Tuned, some_rows: list[Encoded], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, batch = tuned(method), collate(some_rows, pad_id=0)
    prepended = prepended_tokens(METHODS[method])
    usual = answer_nats(model, batch, prepended=prepended)
    monkeypatch.setattr(base_model(model), "get_output_embeddings", lambda: None)
    hidden = answer_nats(model, batch, prepended=prepended)
    torch.testing.assert_close(usual, hidden, **CLOSE)


@torch.no_grad()
def test_another_family_gives_its_plain_nats(some_rows: list[Encoded]) -> None:
    config = GPT2Config(vocab_size=300, n_positions=64, n_embd=32, n_layer=2, n_head=2)
    torch.manual_seed(0)
    model = GPT2LMHeadModel(config).eval()
    nats = answer_nats(model, collate(some_rows, pad_id=0), prepended=0)
    for row, found in zip(some_rows, nats, strict=True):
        answer = found[len(row.prompt_ids) : len(row)]
        torch.testing.assert_close(answer, plain_nats(model, row), **CLOSE)


def _loss_and_gradients(model: nn.Module, rows: list[Encoded], prepended: int) -> list[Tensor]:
    loss = answer_nats(model, collate(rows, pad_id=0), prepended=prepended).sum()
    trained = [p for p in model.parameters() if p.requires_grad]
    return [loss.detach(), *torch.autograd.grad(loss, trained)]


@pytest.mark.parametrize("method", METHODS)
def test_logits_in_chunks_change_nothing(
    method: str, tuned: Tuned, some_rows: list[Encoded], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty-one answer tokens, one alone and then four chunks of five."""
    model, prepended = tuned(method), prepended_tokens(METHODS[method])
    if METHODS[method].name == "none":
        model = model.requires_grad_(True)
    whole = _loss_and_gradients(model, some_rows, prepended)
    head = model.get_output_embeddings()  # type: ignore[operator]
    monkeypatch.setattr(batches, "CHUNK_LOGITS", 5 * head.out_features)
    shown: list[int] = []
    with head.register_forward_hook(lambda _m, inputs, _out: shown.append(len(inputs[0]))):
        chunked = _loss_and_gradients(model, some_rows, prepended)
    assert shown[:5] == [1, 5, 5, 5, 5], "the first in the model's pass"
    assert sorted(shown[5:]) == [5, 5, 5, 5], "the others again, for their gradients"
    assert chunked[0].item() == pytest.approx(whole[0].item(), rel=1e-6)
    for a, b in zip(chunked, whole, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


SIZES = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
LLAMA_LIKE = SIZES | {"intermediate_size": 64, "num_key_value_heads": 2, "head_dim": 16}
FAMILIES: dict[str, PreTrainedConfig] = {
    "plain": LlamaConfig(**LLAMA_LIKE),
    "capped": Gemma2Config(**LLAMA_LIKE, final_logit_softcapping=3.0),
    "multiplied": CohereConfig(**LLAMA_LIKE, logit_scale=0.3, pad_token_id=0),
    "divided": GraniteConfig(**LLAMA_LIKE, logits_scaling=7.0),
    "projected": OPTConfig(**SIZES, ffn_dim=64, word_embed_proj_dim=16),
}


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("family", [*FAMILIES, "unknown"])
def test_chunks_know_what_a_family_does_to_its_logits(
    family: str, autocast: bool, some_rows: list[Encoded], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(FAMILIES.get(family, FAMILIES["capped"])).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    if family == "unknown":
        monkeypatch.setattr(batches, "_CAPS", ())
    shown: list[int] = []
    head = model.get_output_embeddings()
    head.register_forward_hook(lambda _m, inputs, _out: shown.append(len(inputs[0])))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        whole = _loss_and_gradients(model, some_rows, 0)
        monkeypatch.setattr(batches, "CHUNK_LOGITS", 7 * 300)
        chunked = [_loss_and_gradients(model, some_rows, 0) for _ in range(2)][-1]
    assert chunked[0].item() == pytest.approx(whole[0].item(), rel=1e-6)
    if not autocast:  # sums of bfloat16 gradients are rounded anew
        for a, b in zip(chunked, whole, strict=True):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    assert (21 in shown[1:]) == (family == "unknown"), "all at once, as before, where it must be"
