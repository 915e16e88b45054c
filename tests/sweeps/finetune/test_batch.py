"""Nats per answer token, against plain full logits."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from sweeps.data.prompts import Encoded
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
