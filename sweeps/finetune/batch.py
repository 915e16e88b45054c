"""Batches and the loss: encoded rows → padded tensors → nats per answer token, for training and evaluation.

Rows are padded on the right, so a token sees the same positions whatever it is batched with. Logits are
computed only where an answer is predicted: a large vocabulary's logits over long prompts would otherwise
cost more than the rest of the step.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sweeps.data.prompts import Encoded

IGNORED = -100


def collate(rows: Sequence[Encoded], pad_id: int) -> dict[str, Tensor]:
    """A padded batch: ``input_ids``, ``attention_mask`` and ``labels``, each (rows, longest).

    Padding is on the right. Labels are the trained tokens: the answer's, and those of earlier turns that are
    trained too; what else is prompt, and padding, carry ``IGNORED``. Where some token's loss is weighted by
    another number than 0 or 1 there are ``weights`` too.
    """
    width = max(map(len, rows))
    padding = [width - len(row) for row in rows]
    ids = [
        [*r.prompt_ids, *r.answer_ids, *[pad_id] * p] for r, p in zip(rows, padding, strict=True)
    ]
    labels = [[*_labels(r), *[IGNORED] * p] for r, p in zip(rows, padding, strict=True)]
    mask = [[1] * len(row) + [0] * p for row, p in zip(rows, padding, strict=True)]
    columns: dict[str, list[Any]] = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    if _weighted(rows):
        columns["weights"] = [
            [*r.token_weights, *[0] * p] for r, p in zip(rows, padding, strict=True)
        ]
    return {name: torch.tensor(values) for name, values in columns.items()}


def pack(rows: Sequence[Encoded]) -> dict[str, Tensor]:
    """A packed batch: the rows end to end in one (1, tokens) sequence without padding.

    ``position_ids`` restart at each row, which is how transformers recognises packed rows and keeps them
    from attending to each other. Not for prompt methods: their virtual tokens are prepended per sequence.
    """
    ids = [[*row.prompt_ids, *row.answer_ids] for row in rows]
    positions = [range(len(row)) for row in rows]
    columns: dict[str, Iterable[Any]] = {
        "input_ids": ids,
        "labels": map(_labels, rows),
        "position_ids": positions,
    }
    if _weighted(rows):
        columns["weights"] = [row.token_weights for row in rows]
    return {name: torch.tensor([list(chain(*column))]) for name, column in columns.items()}


def answer_nats(model: nn.Module, batch: dict[str, Tensor], *, prepended: int) -> Tensor:
    """Negative log likelihood in nats, shaped like the labels; 0 where no trained token is.

    Each is multiplied by its weight where the batch has weights.
    *prepended*: positions the method puts before the prompt (``model.prepended_tokens``).
    """
    answers = batch["labels"] != IGNORED
    # The logits at a position predict the token after it.
    predicting = functional.pad(answers[:, 1:], (prepended, 1)).flatten().nonzero().flatten()
    inputs = {name: tensor for name, tensor in batch.items() if name not in ("labels", "weights")}
    logits = _logits(model, inputs, predicting)
    nats = functional.cross_entropy(logits.float(), batch["labels"][answers], reduction="none")
    placed = torch.zeros(answers.shape, device=nats.device).masked_scatter(answers, nats)
    return placed * batch["weights"] if "weights" in batch else placed


def _logits(model: nn.Module, inputs: dict[str, Any], positions: Tensor) -> Tensor:
    """Logits (positions, vocabulary) at *positions* of the flattened (rows, sequence).

    The output layer is shown these positions alone. A model whose output layer is not where
    transformers looks for it computes all logits, of which the same are taken.
    """

    def select(_layer: nn.Module, hidden: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (hidden[0].flatten(0, 1)[positions], *hidden[1:])

    head = model.get_output_embeddings()  # type: ignore[operator]
    hook = head.register_forward_pre_hook(select) if head is not None else None
    try:
        logits: Tensor = model(**inputs, use_cache=False).logits
    finally:
        if hook is not None:
            hook.remove()
    return logits if logits.dim() == 2 else logits.flatten(0, 1)[positions]


def _labels(row: Encoded) -> list[int]:
    if row.earlier or row.weight != 1:
        ids = (*row.prompt_ids, *row.answer_ids)
        return [i if weight else IGNORED for i, weight in zip(ids, row.token_weights, strict=True)]
    return [IGNORED] * len(row.prompt_ids) + list(row.answer_ids)


def _weighted(rows: Sequence[Encoded]) -> bool:
    """Whether the loss of some token counts neither whole nor not at all."""
    weights = {turn.weight for row in rows for turn in row.earlier} | {row.weight for row in rows}
    return not weights <= {0.0, 1.0}
