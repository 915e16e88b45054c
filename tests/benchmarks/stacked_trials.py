"""Stacked LoRA trials: one step over k adapters on one base against k steps one after another.

``python -m tests.benchmarks.stacked_trials [MODEL [TOKENS]]`` trains k = 1, 3, 6 adapters that differ in
learning rate on one stream of batches, both ways by turns, compares weights and prints the ratio of times.
Trials have losses, clipping and rates of their own; nothing of the engine is part of it: a prototype that
says what a stack would gain.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

PLAYGROUND = Path(__file__).parents[2] / "sweeps/playground/models/pg-800k"
RANK, ALPHA, STEPS, ROWS, REPEATS = 8, 32, 24, 16, 5


class StackedLinear(nn.Module):
    """A frozen linear layer with *count* LoRA adapters; input (count · rows, tokens, width)."""

    def __init__(self, base: nn.Linear, count: int, first: list[Tensor]) -> None:
        super().__init__()
        self.base, self.count = base, count
        self.a = nn.Parameter(torch.stack(first))
        self.b = nn.Parameter(torch.zeros(count, RANK, base.out_features))

    def forward(self, hidden: Tensor) -> Tensor:
        """The layer's output, each adapter's on its own part of the rows."""
        parts = hidden.reshape(self.count, -1, hidden.shape[-1])
        added = torch.bmm(torch.bmm(parts, self.a), self.b) * (ALPHA / RANK)
        out: Tensor = self.base(hidden)
        return out + added.reshape(out.shape)


def tuned(folder: Path, seeds: list[int]) -> tuple[nn.Module, list[StackedLinear]]:
    """The base with an adapter for each of *seeds* on every linear layer but the output's."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).requires_grad_(False)
    head = model.get_output_embeddings()
    draws = [torch.Generator().manual_seed(seed) for seed in seeds]
    layers = []
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear) and child is not head:
                shape = (child.in_features, RANK)
                first = [torch.randn(shape, generator=g) / RANK for g in draws]
                layer = StackedLinear(child, len(seeds), first)
                setattr(parent, name, layer)
                layers.append(layer)
    return model.train(), layers


def train(
    folder: Path, seeds: list[int], rates: list[float], batches: list[Tensor]
) -> list[Tensor]:
    """Train a stack; returns each adapter's B of the last layer."""
    model, layers = tuned(folder, seeds)
    parameters = [p for layer in layers for p in (layer.a, layer.b)]
    optimizer = torch.optim.AdamW(parameters, lr=1.0, weight_decay=0.0)
    scale = torch.tensor(rates)[:, None, None]
    for ids in batches:
        logits = model(input_ids=ids.repeat(len(seeds), 1), use_cache=False).logits[:, :-1]
        nats = nn.functional.cross_entropy(
            logits.flatten(0, 1), ids[:, 1:].repeat(len(seeds), 1).flatten(), reduction="none"
        )
        nats.view(len(seeds), -1).mean(dim=1).sum().backward()  # type: ignore[no-untyped-call]
        squares = [p.grad.pow(2).sum(dim=(1, 2)) for p in parameters if p.grad is not None]
        norms = torch.stack(squares).sum(dim=0).sqrt()
        for p in parameters:
            assert p.grad is not None
            p.grad *= (1.0 / norms.clamp(min=1.0))[:, None, None]
        before = [p.detach().clone() for p in parameters]
        optimizer.step()
        with torch.no_grad():  # the step at rate 1, times each trial's own rate
            for p, was in zip(parameters, before, strict=True):
                p.copy_(was + (p - was) * scale)
        optimizer.zero_grad()
    return list(layers[-1].b.detach())


def main() -> None:
    """Compare and time."""
    torch.set_num_threads(1)
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else PLAYGROUND
    tokens = int(sys.argv[2]) if len(sys.argv) > 2 else 24
    draw = torch.Generator().manual_seed(0)
    batches = [torch.randint(5, 200, (ROWS, tokens), generator=draw) for _ in range(STEPS)]
    for count in (1, 3, 6):
        seeds, rates = list(range(count)), [1e-3 * 2**i for i in range(count)]
        ratios, largest = [], 0.0
        for _ in range(REPEATS):
            start = time.perf_counter()
            stacked = train(folder, seeds, rates, batches)
            middle = time.perf_counter()
            single = [
                train(folder, [s], [r], batches)[0] for s, r in zip(seeds, rates, strict=True)
            ]
            end = time.perf_counter()
            ratios.append((end - middle) / (middle - start))
            gap = (torch.stack(stacked) - torch.stack(single)).abs().max()
            largest = max(largest, float(gap))
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        ratio = statistics.median(ratios)
        print(
            f"{count} trials: {ratio:.2f} times as fast stacked ({spread}), weights differ by {largest:.1e}"
        )


if __name__ == "__main__":
    main()
