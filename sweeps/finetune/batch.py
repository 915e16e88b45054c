"""Encoded rows → padded tensors → nats per answer token: one path for every method and for evaluation.

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

from sweeps.finetune.model import accepts_logits_to_keep
from sweeps.finetune.prompt import Encoded

IGNORED = -100


def collate(rows: Sequence[Encoded], pad_id: int) -> dict[str, Tensor]:
    """``input_ids``, ``attention_mask`` and ``labels``, each (rows, longest), right-padded.

    Labels are the answer's tokens; prompt and padding carry ``IGNORED``.
    """
    width = max(len(row.prompt_ids) + len(row.answer_ids) for row in rows)
    input_ids = torch.full((len(rows), width), pad_id, dtype=torch.long)
    labels = torch.full((len(rows), width), IGNORED, dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for i, row in enumerate(rows):
        start, end = len(row.prompt_ids), len(row.prompt_ids) + len(row.answer_ids)
        input_ids[i, :end] = torch.tensor([*row.prompt_ids, *row.answer_ids])
        labels[i, start:end] = input_ids[i, start:end]
        mask[i, :end] = 1
    return {"input_ids": input_ids, "attention_mask": mask, "labels": labels}


def pack(rows: Sequence[Encoded]) -> dict[str, Tensor]:
    """The same rows end to end in one (1, tokens) sequence without padding.

    ``position_ids`` restart at each row, which is how transformers recognises packed rows and keeps them
    from attending to each other. Not for prompt methods: their virtual tokens are prepended per sequence.
    """
    ids = [[*row.prompt_ids, *row.answer_ids] for row in rows]
    labels = [[IGNORED] * len(row.prompt_ids) + list(row.answer_ids) for row in rows]
    positions = [range(len(row)) for row in ids]
    columns = {"input_ids": ids, "labels": labels, "position_ids": positions}
    return {name: torch.tensor([list(chain(*column))]) for name, column in columns.items()}


def answer_nats(model: nn.Module, batch: dict[str, Tensor], *, prepended: int) -> Tensor:
    """Negative log likelihood in nats, (rows, positions); 0 where no answer token is predicted.

    *prepended*: positions the method puts before the prompt (``model.prepended_tokens``).
    """
    labels = batch["labels"]
    columns = (labels != IGNORED).any(dim=0).nonzero().flatten()
    first, last = int(columns[0]), int(columns[-1])
    predicting = torch.arange(first - 1, last, device=labels.device) + prepended
    inputs: dict[str, Any] = {k: v for k, v in batch.items() if k != "labels"}
    if accepts_logits_to_keep(model):
        logits = model(**inputs, logits_to_keep=predicting).logits
    else:
        logits = model(**inputs).logits[:, predicting]
    targets = labels[:, first : last + 1]
    return functional.cross_entropy(
        logits.float().transpose(1, 2), targets, ignore_index=IGNORED, reduction="none"
    )
