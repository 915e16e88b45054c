"""Evaluation of a model: answers and losses on a task, bits per byte on plain text."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedTokenizerBase,
)

from sweeps.data.encoding import Rows
from sweeps.data.prompts import Encoded, answer_texts, special_ids
from sweeps.data.recorded import recorded_answer, recorded_counts
from sweeps.finetune.batch import answer_nats, collate
from sweeps.finetune.clock import Clock
from sweeps.finetune.divergence import DivergedError
from sweeps.finetune.model import base_model
from sweeps.finetune.out_of_memory import R, halved
from sweeps.scores.bootstrap import (
    Floats,
    bits_replicates,
    forgetting_error,
    resamples,
    standard_error,
)
from sweeps.scores.score_function import RowValue, function_values
from sweeps.scores.task_scores import Answers, confidence_of, judge, score_task
from tracker.task import SuiteMeasure, SuiteScore, TaskScore, TaskSpec
from tracker.trial import EvaluationSpec, RecordAnswers

#: Prompts are long and the same in every trial: only those of the worst rows are kept, and cut.
PROMPTS, PROMPT_CHARACTERS = 50, 2000
_POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx")
_SPARE_TOKENS = 2  # room for an answer that runs on, so that it is seen to be malformed


class TaskEvaluation(NamedTuple):
    """Evaluation of a task; ``records``: the model's answer to each row.

    ``bits``: bits per byte on the resamples of the rows.
    """

    score: TaskScore
    records: list[dict[str, Any]]
    bits: tuple[float, ...]


class Given(NamedTuple):
    """Greedy answers by row; ``nats`` (rows,): -log of each one's likelihood, its end token included."""

    answers: list[str]
    nats: Floats


class Baseline(NamedTuple):
    """The untouched base's measure of a suite; ``replicates``: on the resamples of its rows, or empty."""

    value: float | None
    replicates: tuple[float, ...] = ()


UNKNOWN_BASELINE = Baseline(None)


class SuiteEvaluation(NamedTuple):
    """Evaluation of a general suite; ``replicates``: its measure on the resamples of its rows."""

    score: SuiteScore
    replicates: tuple[float, ...]


class Evaluator:
    """Evaluates one tuned model with one tokenizer and settings."""

    def __init__(
        self,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        settings: EvaluationSpec,
        *,
        prepended: int,
        device: torch.device,
        autocast: bool,
        clock: Clock,
        beat: Callable[[], None],
    ) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.settings = settings
        self.prepended = prepended
        self.device = device
        self.autocast = autocast
        self.clock = clock
        self.beat = beat
        self.generated_tokens = 0
        self.fits: int | None = None  # rows at a time, once memory did not suffice for a batch
        # Not the checkpoint's own settings: a repetition penalty is not greedy, and answers end with the
        # tokenizer's end token, which a base model's settings may not know.
        base_model(model).generation_config = GenerationConfig(
            eos_token_id=tokenizer.eos_token_id, pad_token_id=_pad_id(tokenizer)
        )

    def task(
        self,
        task: TaskSpec,
        rows: Rows,
        labels: frozenset[str] | None,
        split: str,
        record: RecordAnswers = "all",
    ) -> TaskEvaluation:
        """Evaluate a task: loss and greedy answers on *rows*. Raises InputError where there are none.

        *record*: what of the answers its records hold. On test, answers may be as long as the settings
        allow, as those to rows whose true answers nobody knows.
        """
        limit = self.settings.max_new_tokens if split == "test" else None
        nats = self.nats(rows.encoded)
        given = self.generate(rows.encoded, limit)
        return evaluation_of(
            task, rows, nats, given, labels, split, record, self.tokenizer, self.beat
        )

    def text(self, suite: str, rows: Rows, before: Baseline) -> SuiteEvaluation:
        """Evaluate plain text: bits per UTF-8 byte, after a beginning-of-sequence token.

        Raises InputError where there are no rows.
        """
        weights = resamples(suite, len(rows.encoded))
        bits = self.nats(rows.encoded) / math.log(2)
        sizes = np.array([max(1, len(t.encode())) for t in rows.truth], dtype=float)
        replicates = bits_replicates(bits, sizes, weights)
        score = SuiteScore(
            suite=suite,
            measure="bits_per_byte",
            n=len(sizes),
            before=before.value,
            after=float(bits.sum() / sizes.sum()),
            after_se=standard_error(replicates, len(sizes)),
        )
        return _with_forgetting_error(score, before, tuple(replicates.tolist()))

    @torch.no_grad()
    def nats(self, encoded: Sequence[Encoded]) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Loss of each row's answer in nats, summed over its tokens, in the rows' order.

        Raises DivergedError where one is no number: such a model has no loss, and can have no score.
        """
        totals = np.zeros(len(encoded))
        pad = _pad_id(self.tokenizer)
        with self.clock.phase("score"):

            def score(chosen: list[int]) -> Floats:
                batch = collate([encoded[i] for i in chosen], pad)
                with self._autocast():
                    nats = answer_nats(self.model, self._to_device(batch), prepended=self.prepended)
                return nats.sum(dim=1).double().cpu().numpy()

            for chosen, nats in self._in_batches(encoded, score):
                totals[chosen] = nats
        if not np.isfinite(totals).all():
            odd = int(np.argmin(np.isfinite(totals)))
            raise DivergedError(f"evaluation loss {totals[odd]} on row {odd + 1} of {len(totals)}")
        return totals

    @torch.no_grad()
    def generate(
        self,
        encoded: Sequence[Encoded],
        limit: int | None = None,
        shown: frozenset[int] | None = None,
    ) -> Given:
        """Greedy answers, stopped at the end-of-sequence token or after *limit* tokens.

        *limit*: by default a little more than the longest truth. *shown*: control tokens that are part of
        an answer, by default those of the truths. Raises DivergedError where a likelihood is no number.
        """
        if limit is None:
            longest = max((len(row.answer_ids) for row in encoded), default=0)
            limit = longest + _SPARE_TOKENS
        limit = min(limit, self.settings.max_new_tokens)
        given, nats = [""] * len(encoded), np.zeros(len(encoded))
        shown = answered_controls(self.tokenizer, encoded) if shown is None else shown
        with self.clock.phase("generate"):

            def answer(chosen: list[int]) -> Given:
                return self._generate([encoded[i] for i in chosen], limit, shown)

            for chosen, (texts, nats[chosen]) in self._in_batches(encoded, answer):
                for i, text in zip(chosen, texts, strict=True):
                    given[i] = text
        if not np.isfinite(nats).all():
            odd = int(np.argmin(np.isfinite(nats)))
            raise DivergedError(f"answer of likelihood {nats[odd]} nats to row {odd + 1}")
        return Given(given, nats)

    def _generate(self, rows: Sequence[Encoded], limit: int, shown: frozenset[int]) -> Given:
        """Generate answers to a batch of prompts; control tokens of *shown* are part of an answer."""
        pad = _pad_id(self.tokenizer)
        with self._autocast():
            new, nats = generated_ids(self.model, rows, limit, pad_id=pad, prepended=self.prepended)
        self.generated_tokens += int((new != pad).sum())
        ended = (new == self.tokenizer.eos_token_id).cumsum(dim=1)
        after_end = ended - (new == self.tokenizer.eos_token_id).long() > 0
        summed = nats.masked_fill(after_end, 0.0).sum(dim=1).double().cpu().numpy()
        return Given(answer_texts(self.tokenizer, new.tolist(), shown), summed)

    def _in_batches(
        self, encoded: Sequence[Encoded], run: Callable[[list[int]], R]
    ) -> Iterator[tuple[list[int], R]]:
        """Batches of indices with what *run* makes of each; smaller ones where memory does not suffice."""
        for planned in self._by_length(encoded):
            step = self.fits or len(planned)
            for start in range(0, len(planned), step):
                batch = planned[start : start + step]
                for chosen, made in halved(batch, run, self.device):
                    if len(chosen) < len(batch):
                        self.fits = min(self.fits or len(chosen), len(chosen))
                    yield chosen, made
                    self.beat()

    def _by_length(self, encoded: Sequence[Encoded]) -> Iterator[list[int]]:
        """Batches of indices by prompt length, so that little is padded."""
        order = sorted(range(len(encoded)), key=lambda i: (len(encoded[i].prompt_ids), i))
        for start in range(0, len(order), self.settings.batch_size):
            yield order[start : start + self.settings.batch_size]

    def _to_device(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: tensor.to(self.device) for name, tensor in batch.items()}

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast)


def answered_controls(
    tokenizer: PreTrainedTokenizerBase, encoded: Sequence[Encoded]
) -> frozenset[int]:
    """Control tokens that true answers hold, such as a label that is one."""
    return special_ids(tokenizer) & {token for row in encoded for token in row.answer_ids[:-1]}


class _TokenNats(LogitsProcessor):  # type: ignore[misc]
    """-log of the likelihood of each token taken greedily, step by step; the logits stay as they are.

    The logits of every step would be kept otherwise: 64 rows of 32 tokens of a large vocabulary are 1.2 GB.
    """

    def __init__(self) -> None:
        self.steps: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # noqa: ARG002
        self.steps.append(scores.logsumexp(dim=-1) - scores.amax(dim=-1))
        return scores


def evaluation_of(
    task: TaskSpec,
    rows: Rows,
    nats: Floats,
    given: Given,
    labels: frozenset[str] | None,
    split: str,
    record: RecordAnswers,
    tokenizer: PreTrainedTokenizerBase,
    beat: Callable[[], None] = lambda: None,
) -> TaskEvaluation:
    """Evaluation of the answers *given* to *rows* and of the loss there, *nats*; no model is run."""
    weights = resamples(task.name, len(rows.encoded))
    tokens = np.array([len(r.answer_ids) for r in rows.encoded], dtype=float)
    sizes = np.array([max(1, len(t.encode())) for t in rows.truth], dtype=float)
    values = None
    if task.function is not None:
        said = [answer.strip() for answer in given.answers]
        values = function_values(task.function, said, rows.fields or (), beat)
    answers = Answers(given.answers, rows.truth, nats, tokens, sizes, values)
    score = score_task(task, answers, labels, split)
    kept = {
        "labels": recorded_counts(task, score.labels, record),
        "confidence": confidence_of(task, given.answers, given.nats, rows.truth, labels),
    }
    score = score.model_copy(update=kept)
    records = answer_records(
        task,
        given,
        rows,
        nats,
        labels,
        lambda row: _prompt(tokenizer, rows.encoded[row]),
        record,
        values,
    )
    bits = bits_replicates(nats / math.log(2), sizes, weights)
    return TaskEvaluation(score, records, tuple(bits.tolist()))


def _prompt(tokenizer: PreTrainedTokenizerBase, row: Encoded) -> str:
    """Prompt as the model reads it, cut to the length limit; special tokens separate its lines."""
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    parts = groupby(row.prompt_ids, key=lambda token: token in special)
    texts = [tokenizer.decode(list(tokens)) for is_special, tokens in parts if not is_special]
    return "\n".join(text.strip("\n") for text in texts if text.strip())


def generated_ids(
    model: nn.Module, rows: Sequence[Encoded], limit: int, *, pad_id: int, prepended: int
) -> tuple[Tensor, Tensor]:
    """Greedy new tokens after each prompt, and -log of the likelihood of each, both (rows, up to *limit*).

    What stands after a row's end token is padding. On the model's device.

    Prompts are padded on the left, so that all answers begin together. *prepended*: virtual tokens that
    the method puts before the prompt. No more is generated than the model has positions for.
    """
    device = next(model.parameters()).device
    width = max(len(row.prompt_ids) for row in rows)
    positions = position_limit(base_model(model).config)
    if positions is not None:
        limit = max(1, min(limit, positions - width - _virtual_tokens(model)))
    padding = torch.tensor([width - len(row.prompt_ids) for row in rows])
    ids = torch.tensor([[pad_id] * (width - len(r.prompt_ids)) + [*r.prompt_ids] for r in rows])
    ids, padding = ids.to(device), padding.to(device)
    if prepended:
        return _generated_after_virtual_tokens(model, ids, padding, limit, prepended)
    nats = _TokenNats()
    mask = (torch.arange(width, device=device) >= padding[:, None]).long()
    out: Tensor = model.generate(  # type: ignore[operator]
        ids,
        attention_mask=mask,
        max_new_tokens=limit,
        logits_processor=LogitsProcessorList([nats]),
    )
    return out[:, width:], torch.stack(nats.steps, dim=1)


def position_limit(config: Any) -> int | None:
    """Positions beyond which the model of *config* fails; ``None`` for one that has no such limit.

    Rotary positions go on beyond the stated length, learned and tabulated ones do not.
    """
    text = config.get_text_config(decoder=True)
    if getattr(text, "rope_parameters", None):
        return None
    limits = (getattr(text, name, None) for name in _POSITIONS)
    return next((limit for limit in limits if isinstance(limit, int) and limit > 0), None)


def _virtual_tokens(model: nn.Module) -> int:
    """Virtual tokens of a prompt method, which take positions before the prompt; else 0."""
    if not isinstance(model, PeftModel):
        return 0
    return int(getattr(model.active_peft_config, "num_virtual_tokens", 0) or 0)


def _generated_after_virtual_tokens(
    model: Any, ids: Tensor, padding: Tensor, limit: int, count: int
) -> tuple[Tensor, Tensor]:
    """New tokens with *count* virtual tokens right before each prompt, as in training.

    peft would put them before the padding, farther from the prompt the shorter it is: the same row
    would be answered differently in another batch.
    """
    before = padding[:, None] + torch.arange(count, device=ids.device)
    embedded = model.word_embeddings(functional.pad(ids, (count, 0)))
    virtual = model.get_prompt(batch_size=len(ids)).to(embedded.dtype)
    embedded = embedded.scatter(1, before[:, :, None].expand_as(virtual), virtual)
    positions = torch.arange(embedded.shape[1], device=ids.device)
    mask = (positions >= padding[:, None]).long()
    nats = _TokenNats()
    new: Tensor = base_model(model).generate(  # type: ignore[operator]
        inputs_embeds=embedded,
        attention_mask=mask,
        max_new_tokens=limit,
        logits_processor=LogitsProcessorList([nats]),
    )
    return new, torch.stack(nats.steps, dim=1)


def answer_records(
    task: TaskSpec,
    given: Given,
    rows: Rows,
    nats: Floats,
    labels: frozenset[str] | None,
    prompt: Callable[[int], str],
    record: RecordAnswers,
    values: Sequence[RowValue] | None = None,
) -> list[dict[str, Any]]:
    """Records of the model's answers by row, for the file ``<task>.<split>.jsonl``.

    *nats*: of the true answer, summed; *prompt*: gives the text of a row by number. A record has ``row``,
    ``file_row`` (in the data file, from 1), ``answer``, ``truth``, ``nats``, ``answer_nats`` (of the given
    answer, likewise) and ``score`` (in [0, 1]);
    ``valid`` and ``over_reach`` where the task has a format and a negative answer; ``prompt`` of the worst
    rows. *values*: what the user's own function gave: an ``error`` in place of the score where it is
    minimized, ``failed`` where it gave nothing. Answer and truth are digests where *record* is ``hashed``,
    and there is no prompt; with ``none`` there is no record.
    """
    if record == "none":
        return []
    records: list[dict[str, Any]] = []
    for row, (answer, true) in enumerate(zip(given.answers, rows.truth, strict=True)):
        said = answer.strip()
        value = None if values is None else values[row]
        verdict = judge(task, said, true.strip(), labels, value)
        judged = {name: v for name, v in verdict._asdict().items() if v is not None}
        kept: dict[str, Any] = {
            "row": row,
            "file_row": rows.numbers[row] + 1,
            "answer": recorded_answer(task, said, record),
            "truth": recorded_answer(task, true, record),
            "nats": round(float(nats[row]), 5),
            "answer_nats": round(float(given.nats[row]), 5),
        }
        if value is not None and value.words and record == "all":
            judged["failed"] = f"{value.error}: {value.words}"
        records.append(kept | judged)
    worst = sorted(records, key=_worst_first)
    for kept in worst[:PROMPTS] if record == "all" else ():
        kept["prompt"] = prompt(kept["row"])[:PROMPT_CHARACTERS]
    return records


def _worst_first(kept: dict[str, Any]) -> tuple[float, float]:
    """Place of a record: rows without a score, then the lowest score, or the largest error."""
    return kept.get("score", -kept.get("error", math.inf)), -kept["nats"]


def suite_score(
    evaluation: TaskEvaluation, measure: SuiteMeasure, before: Baseline
) -> SuiteEvaluation:
    """Evaluation of a held-out task as a general suite, in the suite's measure."""
    loss, score = measure == "bits_per_byte", evaluation.score
    suite = SuiteScore(
        suite=score.task,
        measure=measure,
        n=score.n,
        before=before.value,
        after=score.bits_per_byte if loss else score.score,
        after_se=score.bits_per_byte_se if loss else score.score_se,
    )
    return _with_forgetting_error(
        suite, before, evaluation.bits if loss else tuple(score.replicates)
    )


def _with_forgetting_error(
    score: SuiteScore, before: Baseline, replicates: tuple[float, ...]
) -> SuiteEvaluation:
    """*score* with the standard error of its change from the base."""
    error = forgetting_error(score.measure, before.replicates, replicates, score.n or 0)
    return SuiteEvaluation(score.model_copy(update={"forgetting_se": error}), replicates)


def _pad_id(tokenizer: PreTrainedTokenizerBase) -> int:
    return int(tokenizer.pad_token_id or 0)
