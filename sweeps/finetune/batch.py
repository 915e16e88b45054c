"""Batches and the loss: encoded rows → padded tensors → nats per answer token, for training and evaluation.

Rows are padded on the right, so a token sees the same positions whatever it is batched with. Logits are
computed only where an answer is predicted: a large vocabulary's logits over long prompts would otherwise
cost more than the rest of the step.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sweeps.data.prompts import Encoded

IGNORED = -100


def collate(rows: Sequence[Encoded], pad_id: int) -> dict[str, Tensor]:
    """A padded batch: ``input_ids``, ``attention_mask`` and ``labels``, each (rows, longest).

    Padding is on the right. Labels are the answer's tokens; prompt and padding carry ``IGNORED``.
    """
    width = max(map(len, rows))
    padding = [width - len(row) for row in rows]
    ids = [
        [*r.prompt_ids, *r.answer_ids, *[pad_id] * p] for r, p in zip(rows, padding, strict=True)
    ]
    labels = [[*_labels(r), *[IGNORED] * p] for r, p in zip(rows, padding, strict=True)]
    mask = [[1] * len(row) + [0] * p for row, p in zip(rows, padding, strict=True)]
    columns = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    return {name: torch.tensor(values) for name, values in columns.items()}


def pack(rows: Sequence[Encoded]) -> dict[str, Tensor]:
    """A packed batch: the rows end to end in one (1, tokens) sequence without padding.

    ``position_ids`` restart at each row, which is how transformers recognises packed rows and keeps them
    from attending to each other. Not for prompt methods: their virtual tokens are prepended per sequence.
    """
    ids = [[*row.prompt_ids, *row.answer_ids] for row in rows]
    positions = [range(len(row)) for row in rows]
    columns = {"input_ids": ids, "labels": map(_labels, rows), "position_ids": positions}
    return {name: torch.tensor([list(chain(*column))]) for name, column in columns.items()}


def answer_nats(model: nn.Module, batch: dict[str, Tensor], *, prepended: int) -> Tensor:
    """Negative log likelihood in nats, shaped like the labels; 0 where no answer token is.

    *prepended*: positions the method puts before the prompt (``model.prepended_tokens``).
    """
    answers = batch["labels"] != IGNORED
    # The logits at a position predict the token after it.
    predicting = functional.pad(answers[:, 1:], (prepended, 1)).flatten().nonzero().flatten()
    inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
    logits = _logits(model, inputs, predicting)
    nats = functional.cross_entropy(logits.float(), batch["labels"][answers], reduction="none")
    return torch.zeros(answers.shape, device=nats.device).masked_scatter(answers, nats)


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
    return [IGNORED] * len(row.prompt_ids) + list(row.answer_ids)
