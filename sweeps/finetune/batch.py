"""Batches and the loss: encoded rows → padded tensors → nats per answer token, for training and evaluation.

Rows are padded on the right, so a token sees the same positions whatever it is batched with. Logits are
computed only where an answer is predicted, and of many answers in chunks: a large vocabulary's logits would
otherwise need more memory than the rest of the step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from sweeps.data.prompts import Encoded

IGNORED = -100
#: Logits made at a time: 256 MiB in float32. A step whose answers need no more makes all of them at once.
CHUNK_LOGITS = 2**26
#: Where configurations say by how much logits are scaled, and at what they are capped.
_SCALES = ("logit_scale", "logits_scaling", "lm_head_multiplier", "output_multiplier")
_CAPS = ("final_logit_softcapping", "logits_soft_cap")
#: Output layers whose logits the model changes in a way that is not known here.
_UNKNOWN_FINISH: WeakSet[nn.Module] = WeakSet()


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
    nats = position_nats(model, inputs, predicting, batch["labels"][answers])
    placed = torch.zeros(answers.shape, device=nats.device).masked_scatter(answers, nats)
    return placed * batch["weights"] if "weights" in batch else placed


def chunk_positions(vocabulary: int) -> int:
    """Positions whose logits over *vocabulary* tokens are made at a time."""
    return max(1, CHUNK_LOGITS // vocabulary)


class _Output:
    """The output layer during one forward pass, shown the first of the positions it is to answer for.

    ``rest``: hidden states (positions, width) of the others. ``raw``: its own output, before the model
    scales or caps it. ``autocast``: type that it computed in, ``None`` for its weights' own.
    """

    def __init__(self, head: nn.Module, positions: Tensor, shown: int) -> None:
        self.head, self.positions, self.shown = head, positions, shown
        self.rest: Tensor | None = None
        self.raw: Tensor | None = None
        self.autocast: torch.dtype | None = None

    def select(self, _head: nn.Module, hidden: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        chosen = hidden[0].flatten(0, 1)[self.positions]
        kind = chosen.device.type
        if torch.is_autocast_enabled(kind):
            self.autocast = torch.get_autocast_dtype(kind)
        self.rest = chosen[self.shown :]
        return (chosen[: self.shown], *hidden[1:])

    def keep(self, _head: nn.Module, _inputs: Any, raw: Tensor) -> None:
        self.raw = raw.detach()

    def logits(self, hidden: Tensor) -> Tensor:
        """The layer's output for *hidden*, computed as in the forward pass."""
        enabled = self.autocast is not None
        with torch.autocast(hidden.device.type, self.autocast, enabled=enabled):
            logits: Tensor = self.head(hidden)
        return logits


def position_nats(
    model: nn.Module, inputs: dict[str, Any], positions: Tensor, targets: Tensor
) -> Tensor:
    """Negative log likelihood (positions,) of *targets* at *positions* of the flattened (rows, sequence).

    The output layer is shown these positions alone. Where they are more than :func:`chunk_positions` it
    answers for one in the forward pass, and for the others chunk by chunk; what the model then does to its
    logits is read off the one. A model whose output layer is not where transformers looks for it, or that
    does something else to its logits, makes those of all positions at once.
    """
    head = model.get_output_embeddings()  # type: ignore[operator]
    if head is None:
        logits = model(**inputs, use_cache=False).logits
        return _cross_entropy(logits.flatten(0, 1)[positions], targets)
    config = getattr(model, "config", None)
    limit = chunk_positions(_vocabulary(head, config))
    if len(positions) <= limit or head in _UNKNOWN_FINISH:
        logits, output = _shown_logits(model, head, inputs, positions, len(positions))
        return _cross_entropy(logits, targets)
    logits, output = _shown_logits(model, head, inputs, positions, 1)
    finish = _finish(output.raw, logits, config)
    if finish is None or output.rest is None:
        _UNKNOWN_FINISH.add(head)
        return position_nats(model, inputs, positions, targets)

    def of_chunk(hidden: Tensor, wanted: Tensor) -> Tensor:
        return _cross_entropy(finish(output.logits(hidden)), wanted)

    chunks = math.ceil(len(output.rest) / limit)
    parts = [_cross_entropy(logits, targets[:1])]
    for hidden, wanted in zip(
        output.rest.tensor_split(chunks), targets[1:].tensor_split(chunks), strict=True
    ):
        if torch.is_grad_enabled():  # the logits are made anew for the backward pass, not kept
            parts.append(checkpoint(of_chunk, hidden, wanted, use_reentrant=False))
        else:
            parts.append(of_chunk(hidden, wanted))
    return torch.cat(parts)


def _shown_logits(
    model: nn.Module, head: nn.Module, inputs: dict[str, Any], positions: Tensor, shown: int
) -> tuple[Tensor, _Output]:
    """The model's logits (shown, vocabulary) at the first *shown* of *positions*."""
    output = _Output(head, positions, shown)
    hooks = [head.register_forward_pre_hook(output.select)]
    if shown < len(positions):
        hooks.append(head.register_forward_hook(output.keep))
    try:
        logits: Tensor = model(**inputs, use_cache=False).logits
    finally:
        for hook in hooks:
            hook.remove()
    # A model that does not ask that layer after all has all logits.
    return logits if logits.dim() == 2 else logits.flatten(0, 1)[positions[:shown]], output


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(logits.float(), targets, reduction="none")


def _vocabulary(head: nn.Module, config: Any) -> int:
    """Tokens that *head* has logits for; 1, and so no chunks, where neither it nor the model says."""
    width = getattr(head, "out_features", None)
    if not isinstance(width, int) and config is not None:
        width = getattr(config.get_text_config(decoder=True), "vocab_size", None)
    return width if isinstance(width, int) and width > 0 else 1


def _finish(raw: Tensor | None, logits: Tensor, config: Any) -> Callable[[Tensor], Tensor] | None:
    """What the model does to its output layer's *raw* logits, found in that it gives *logits* to the bit.

    Known are nothing, capping by tanh (Gemma-2) and scaling (Cohere, Granite); ``None`` for all else.
    """
    if raw is None or raw.shape != logits.shape:
        return None
    text = config.get_text_config(decoder=True) if config is not None else None
    known: list[Callable[[Tensor], Tensor]] = []
    for cap in filter(None, (getattr(text, name, None) for name in _CAPS)):
        known.append(lambda x, c=cap: torch.tanh(x / c) * c)  # type: ignore[misc]
    for scale in filter(None, (getattr(text, name, None) for name in _SCALES)):
        known += [lambda x, s=scale: x * s, lambda x, s=scale: x / s]  # type: ignore[misc]
    known.append(lambda x: x)  # last: small logits may be capped to themselves
    # An accelerator may have made float32 of the model's output.
    return next((f for f in known if torch.equal(f(raw).float(), logits.detach().float())), None)


def _labels(row: Encoded) -> list[int]:
    if row.earlier or row.weight != 1:
        ids = (*row.prompt_ids, *row.answer_ids)
        return [i if weight else IGNORED for i, weight in zip(ids, row.token_weights, strict=True)]
    return [IGNORED] * len(row.prompt_ids) + list(row.answer_ids)


def _weighted(rows: Sequence[Encoded]) -> bool:
    """Whether the loss of some token counts neither whole nor not at all."""
    weights = {turn.weight for row in rows for turn in row.earlier} | {row.weight for row in rows}
    return not weights <= {0.0, 1.0}
