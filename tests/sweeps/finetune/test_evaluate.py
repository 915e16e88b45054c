"""Answers and losses of a model, against decoding and counting by hand."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from sweeps.data.encoding import Rows, evaluation_rows, suite_text
from sweeps.data.prompts import Encoded, load_tokenizer
from sweeps.finetune.clock import Clock
from sweeps.finetune.divergence import DivergedError
from sweeps.finetune.evaluate import (
    UNKNOWN_BASELINE,
    Baseline,
    Evaluator,
    TaskEvaluation,
    suite_score,
)
from sweeps.finetune.model import base_model, prepended_tokens
from tests.sweeps.conftest import METHODS
from tests.sweeps.finetune.test_batch import Tuned, plain_nats
from tracker.errors import InputError
from tracker.task import TaskScore
from tracker.trial import EvaluationSpec, TrialSpec

MakeSpec = Callable[..., TrialSpec]
MakeEvaluator = Callable[..., Evaluator]
LIMIT = 8  # new tokens: the longest of `some_rows`' answers, and two to spare


@pytest.fixture
def tuned(tuned: Tuned) -> Tuned:
    """As ever, but with weights so large that answers hang on every position of the prompt."""

    def build(method: str) -> nn.Module:
        model = tuned(method)
        with torch.no_grad():
            for weight in model.parameters():
                weight.mul_(8 if weight.ndim == 2 else 1)
        return model

    return build


@pytest.fixture
def evaluator(make_spec: MakeSpec, tuned: Tuned) -> MakeEvaluator:
    """``evaluator(method, model, batch_size=6, end=None)``; *end*: another end token."""

    def make(
        method: str, model: nn.Module | None = None, *, batch_size: int = 6, end: int | None = None
    ) -> Evaluator:
        spec = make_spec(method)
        tokenizer = copy.deepcopy(load_tokenizer(spec.model))
        if end is not None:
            tokenizer.eos_token_id = end
        return Evaluator(
            model or tuned(method),
            tokenizer,
            EvaluationSpec(batch_size=batch_size, max_new_tokens=12),
            prepended=prepended_tokens(spec.method),
            device=torch.device("cpu"),
            autocast=False,
            clock=Clock(),
            beat=lambda: None,
        )

    return make


def decoded_by_hand(evaluator: Evaluator, row: Encoded) -> list[int]:
    """Token by token, the row alone, the whole sequence anew each time: no cache, no padding."""
    ids = torch.tensor([row.prompt_ids])
    for _ in range(LIMIT):
        logits = evaluator.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        ids = torch.cat([ids, logits[:, -1:].argmax(dim=-1)], dim=1)
        if ids[0, -1] == evaluator.tokenizer.eos_token_id:
            break
    return ids[0, len(row.prompt_ids) :].tolist()


@torch.no_grad()
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("batch_size", [1, 6])
def test_answers_are_greedy_whatever_the_batch(
    method: str, batch_size: int, evaluator: MakeEvaluator, some_rows: list[Encoded]
) -> None:
    ours = evaluator(method, batch_size=batch_size)
    by_hand = [decoded_by_hand(ours, row) for row in some_rows]
    assert ours.generate(some_rows).answers == ours.tokenizer.batch_decode(
        by_hand, skip_special_tokens=True
    )
    assert len(set(map(tuple, by_hand))) > 1, "answers depend on the prompt"


@torch.no_grad()
@pytest.mark.parametrize("method", ["full", "lora", "p_tuning_v1", "p_tuning_v2"])
@pytest.mark.parametrize("ends", [False, True])
def test_the_likelihood_of_an_answer_is_that_of_its_tokens_up_to_the_end(
    method: str,
    ends: bool,
    evaluator: MakeEvaluator,
    tuned: Tuned,
    some_rows: list[Encoded],
) -> None:
    model = tuned(method)
    third = decoded_by_hand(evaluator(method, model), some_rows[0])[2] if ends else None
    ours = evaluator(method, model, end=third)
    by_hand = []
    for row in some_rows:
        answer = decoded_by_hand(ours, row)
        ids = torch.tensor([[*row.prompt_ids, *answer]])
        logits = ours.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        likely = logits[0, -len(answer) - 1 : -1].log_softmax(dim=-1)
        by_hand.append(-float(likely[range(len(answer)), answer].sum()))
    given = ours.generate(some_rows)
    assert given.nats == pytest.approx(by_hand, rel=1e-3, abs=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("method", ["full", "p_tuning_v1", "p_tuning_v2"])
def test_answers_end_at_the_tokenizers_end_token(
    method: str, evaluator: MakeEvaluator, tuned: Tuned, some_rows: list[Encoded]
) -> None:
    model = tuned(method)
    third = decoded_by_hand(evaluator(method, model), some_rows[0])[2]
    ours = evaluator(method, model, end=third)
    by_hand = [decoded_by_hand(ours, row) for row in some_rows]
    assert third in by_hand[0][:3]
    assert ours.generate(some_rows).answers == ours.tokenizer.batch_decode(
        by_hand, skip_special_tokens=True
    )
    pad = ours.tokenizer.pad_token_id
    assert ours.generated_tokens == sum(token != pad for ids in by_hand for token in ids)


@torch.no_grad()
@pytest.mark.parametrize("method", ["full", "lora", "p_tuning_v1"])
def test_generation_settings_of_a_checkpoint_are_not_used(
    method: str, evaluator: MakeEvaluator, tuned: Tuned, some_rows: list[Encoded]
) -> None:
    plain = evaluator(method).generate(some_rows).answers
    model = tuned(method)
    settings = base_model(model).generation_config
    settings.repetition_penalty, settings.min_length, settings.num_beams = 5.0, 30, 3
    assert evaluator(method, model).generate(some_rows).answers == plain


@torch.no_grad()
@pytest.mark.parametrize("method", ["full", "p_tuning_v1", "p_tuning_v2"])
def test_nats_come_back_in_the_rows_order(
    method: str, evaluator: MakeEvaluator, some_rows: list[Encoded]
) -> None:
    ours = evaluator(method, batch_size=2)
    expected = [plain_nats(ours.model, row).sum().item() for row in some_rows]
    np.testing.assert_allclose(ours.nats(some_rows), expected, rtol=1e-5)


@torch.no_grad()
def test_task_joins_answers_losses_and_bytes(make_spec: MakeSpec, evaluator: MakeEvaluator) -> None:
    spec = make_spec("full")
    task = spec.tasks[0]
    rows = evaluation_rows(task, task.validation, spec)
    ours = evaluator("full")
    score, records, bits = ours.task(task, rows, None, "validation")
    nats = [plain_nats(ours.model, row).sum().item() for row in rows.encoded]
    tokens = sum(len(row.answer_ids) for row in rows.encoded)
    size = sum(len(text.encode()) for text in rows.truth)
    assert score.n == len(rows.truth) == 24
    assert score.loss_nats == pytest.approx(sum(nats) / tokens, rel=1e-5)
    assert score.bits_per_byte == pytest.approx(sum(nats) / math.log(2) / size, rel=1e-5)
    assert len(bits) == 200
    assert score.bits_per_byte_se == pytest.approx(np.std(bits))
    assert [record["truth"] for record in records] == list(rows.truth)
    assert [record["nats"] for record in records] == pytest.approx(nats, abs=1e-4)
    assert {"score", "generate"} <= ours.clock.seconds.keys()


@torch.no_grad()
def test_text_is_priced_per_byte_after_its_first_token(
    make_spec: MakeSpec, evaluator: MakeEvaluator
) -> None:
    spec = make_spec("full")
    assert spec.general[0].text is not None
    rows = suite_text(spec.general[0].text, spec)
    ours = evaluator("full")
    bos = ours.tokenizer.bos_token_id
    nats = 0.0
    for text in rows.truth:
        ids = torch.tensor([[bos, *ours.tokenizer(text, add_special_tokens=False)["input_ids"]]])
        log_probs = torch.log_softmax(ours.model(input_ids=ids).logits[0, :-1], dim=-1)
        nats -= log_probs.gather(1, ids[0, 1:, None]).sum().item()
    score, replicates = ours.text("language", rows, Baseline(2.0))
    assert len(replicates) == 200
    assert score.forgetting_se is None, "how the base did on these rows is not known"
    size = sum(len(text.encode()) for text in rows.truth)
    assert score.after == pytest.approx(nats / math.log(2) / size, rel=1e-5)
    assert (score.measure, score.n, score.before) == ("bits_per_byte", len(rows.truth), 2.0)
    assert score.after_se is not None
    assert 0 < score.after_se < score.after
    first = Rows(rows.encoded[:1], rows.truth[:1], rows.numbers[:1])
    one = ours.text("language", first, UNKNOWN_BASELINE).score
    assert one.after_se is None, "one text says nothing of its error"


@torch.no_grad()
def test_a_loss_that_is_no_number_is_divergence(
    evaluator: MakeEvaluator, some_rows: list[Encoded]
) -> None:
    ours = evaluator("full")
    next(ours.model.parameters()).fill_(math.nan)
    with pytest.raises(DivergedError, match="evaluation loss nan on row 1 of 6"):
        ours.nats(some_rows)


def test_no_rows_are_refused_by_name(make_spec: MakeSpec, evaluator: MakeEvaluator) -> None:
    ours, none = evaluator("full"), Rows((), (), ())
    with pytest.raises(InputError, match="intent: found no rows to score; give its file at least"):
        ours.task(make_spec("full").tasks[0], none, None, "validation")
    with pytest.raises(InputError, match="language: found no rows to score"):
        ours.text("language", none, UNKNOWN_BASELINE)


def test_held_out_task_becomes_a_suite_in_its_measure() -> None:
    score = TaskScore(
        task="slots",
        n=9,
        bits_per_byte=1.5,
        bits_per_byte_se=0.2,
        score_name="exact_match",
        score=0.4,
        score_se=0.1,
        replicates=(0.3, 0.5),
    )
    evaluation = TaskEvaluation(score, [], (1.4, 1.6))
    bits = suite_score(evaluation, "bits_per_byte", Baseline(1.2, (1.1, 1.3))).score
    share = suite_score(evaluation, "score", Baseline(0.5, (0.3, 0.7))).score
    assert (bits.suite, bits.n, bits.after, bits.after_se) == ("slots", 9, 1.5, 0.2)
    assert bits.forgetting == pytest.approx(0.25)
    assert (share.after, share.after_se) == (0.4, 0.1)
    assert share.forgetting == pytest.approx(0.1)
    assert bits.forgetting_se == pytest.approx(abs(1.4 / 1.1 - 1.6 / 1.3) / 2)
    assert share.forgetting_se == pytest.approx(abs((0.3 - 0.3) - (0.7 - 0.5)) / 2)
