"""Pretraining of the playground's models and tokenizer: ``python -m sweeps.playground.pretrain``.

The tokenizer has one token per word of the language, letters for anything else. Every model reads the same
tokens in the same order, so that they differ in size alone. One thread per model and a fixed seed make the
weights repeatable on one kind of CPU.
"""

from __future__ import annotations

import argparse
import math
import random
import string
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.playground.documents import Document, documents, general_texts
from sweeps.playground.language import Language, make_language
from sweeps.playground.tasks import task_words
from sweeps.playground.templates import english_vocabulary

if TYPE_CHECKING:
    import torch

MODELS_FOLDER = Path(__file__).parent / "models"

NAMED = {
    "pad_token": "<|pad|>",
    "bos_token": "<|bos|>",
    "eos_token": "<|eos|>",
    "unk_token": "<|unk|>",
}
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
SPECIAL = (*NAMED.values(), *ROLES)
PUNCTUATION = (".", ",", ";", ":", "?")
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'assistant' %}<|assistant|>"
    "{% generation %}{{ m['content'] }}{{ eos_token }}{% endgeneration %}"
    "{% else %}<|{{ m['role'] }}|>{{ m['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@dataclass(frozen=True)
class Shape:
    """Shape of a Llama model; ``learning_rate``: the peak of its pretraining schedule."""

    name: str
    hidden: int
    layers: int
    heads: int
    intermediate: int
    learning_rate: float


LADDER = (
    Shape("pg-30k", hidden=24, layers=2, heads=3, intermediate=80, learning_rate=1e-2),
    Shape("pg-100k", hidden=48, layers=3, heads=3, intermediate=128, learning_rate=6e-3),
    Shape("pg-300k", hidden=80, layers=4, heads=5, intermediate=176, learning_rate=5e-3),
    Shape("pg-800k", hidden=128, layers=4, heads=4, intermediate=320, learning_rate=4e-3),
)


@dataclass(frozen=True)
class Schedule:
    """Pretraining schedule: ``tokens`` in all, of a corpus of ``corpus_tokens`` that is repeated."""

    tokens: int = 5_000_000
    corpus_tokens: int = 5_000_000
    batch_size: int = 16
    length: int = 128
    warmup: float = 0.04
    weight_decay: float = 0.05

    @property
    def steps(self) -> int:
        """Number of optimizer steps, of ``batch_size * length`` tokens each."""
        return self.tokens // (self.batch_size * self.length)


def vocabulary(language: Language) -> tuple[str, ...]:
    """Vocabulary in the order of token ids; a word includes the space before it, a line's first too."""
    english = sorted(english_vocabulary() | task_words())
    words = [f" {word}" for word in (*english, *language.invented)]
    return (*SPECIAL, "\n", *PUNCTUATION, " ", *string.ascii_lowercase, *words)


def make_tokenizer(language: Language) -> Any:
    """Make a fast tokenizer with a chat template; known text round-trips, unknown words are spelled."""
    from tokenizers import (
        AddedToken,
        Regex,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
    )
    from transformers import PreTrainedTokenizerFast

    ids = {token: index for index, token in enumerate(vocabulary(language))}
    unknown = NAMED["unk_token"]
    core = Tokenizer(models.BPE(vocab=ids, merges=[], unk_token=unknown, ignore_merges=True))
    core.normalizer = normalizers.Sequence(
        [normalizers.Prepend(" "), normalizers.Replace("\n", "\n ")]
    )
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r" ?[a-z]+|."), behavior="isolated")
    core.decoder = decoders.Sequence(
        [decoders.Fuse(), decoders.Replace("\n ", "\n"), decoders.Strip(" ", 1, 0)]
    )
    core.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        model_max_length=256,
        clean_up_tokenization_spaces=False,
        **NAMED,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def render(text: Document) -> str:
    """Render a document for pretraining: plain text or turns, between the two end markers."""
    if isinstance(text, str):
        return f"<|bos|>{text}<|eos|>"
    return "<|bos|>" + "".join(f"<|{role}|>{said}" for role, said in text) + "<|eos|>"


def corpus(language: Language, tokenizer: Any, tokens: int) -> torch.Tensor:
    """Pretraining corpus: token ids (tokens,), int64, without the texts of the general files."""
    import torch

    rng = random.Random(f"playground corpus {language.seed}")
    held_out = {text for part in general_texts(language) for text in part}
    stream: list[int] = []
    while len(stream) < tokens:
        sampled = [text for _ in range(500) for text in documents(language, rng)]
        texts = [render(text) for text in sampled if text not in held_out]
        for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]:
            stream += ids
    return torch.tensor(stream[:tokens], dtype=torch.int64)


def build_model(shape: Shape, tokenizer: Any, seed: int) -> Any:
    """Build a randomly initialised Llama with tied embeddings, float32."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        intermediate_size=shape.intermediate,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        initializer_range=0.5 * shape.hidden**-0.5,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config).float()


def batches(stream: torch.Tensor, schedule: Schedule, seed: int) -> Iterator[torch.Tensor]:
    """Batches (batch_size, length) of windows of the stream, shuffled on every pass."""
    import torch

    windows = stream[: len(stream) // schedule.length * schedule.length].view(-1, schedule.length)
    generator = torch.Generator().manual_seed(seed)
    done = 0
    while True:
        order = torch.randperm(len(windows), generator=generator)
        for start in range(0, len(order) - schedule.batch_size + 1, schedule.batch_size):
            if done == schedule.steps:
                return
            yield windows[order[start : start + schedule.batch_size]]
            done += 1


def train(
    model: Any, stream: torch.Tensor, schedule: Schedule, peak: float, seed: int
) -> list[float]:
    """Train by AdamW with warm-up and cosine decay; returns each step's loss in nats per token."""
    import torch

    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim == 1]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": schedule.weight_decay},
        {"params": plain},
    ]
    optimizer = torch.optim.AdamW(groups, lr=peak, betas=(0.9, 0.95), weight_decay=0.0)
    warmup = max(1, round(schedule.warmup * schedule.steps))

    def rate(step: int) -> float:
        progress = (step - warmup) / max(1, schedule.steps - warmup)
        return min((step + 1) / warmup, 0.5 * (1 + math.cos(math.pi * max(0.0, progress))))

    decay = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    losses: list[float] = []
    model.train()
    for batch in batches(stream, schedule, seed):
        loss = model(input_ids=batch, labels=batch).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        decay.step()
        losses.append(loss.item())
        if len(losses) % 500 == 0:
            print(f"  step {len(losses)}/{schedule.steps} loss {losses[-1]:.3f}", flush=True)
    model.eval()
    return losses


def pretrain(shape: Shape, folder: Path, schedule: Schedule, seed: int = 0) -> list[float]:
    """Train one model, write it to ``folder / shape.name``; returns the losses of its steps."""
    import torch

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    language = make_language(0)
    tokenizer = make_tokenizer(language)
    model = build_model(shape, tokenizer, seed)
    stream = corpus(language, tokenizer, min(schedule.tokens, schedule.corpus_tokens))
    losses = train(model, stream, schedule, shape.learning_rate, seed)
    model.save_pretrained(folder / shape.name)
    tokenizer.save_pretrained(folder / shape.name)
    return losses


def main() -> None:
    """Pretrain the named models, by default all, and print the core time of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=[s.name for s in LADDER], help="ladder members")
    parser.add_argument("--out", type=Path, default=MODELS_FOLDER)
    parser.add_argument("--tokens", type=int, default=Schedule.tokens)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for shape in LADDER:
        if shape.name in options.names:
            start = time.process_time()
            losses = pretrain(shape, options.out, Schedule(tokens=options.tokens), options.seed)
            last = sum(losses[-50:]) / len(losses[-50:])
            print(
                f"{shape.name}: loss {last:.3f} nats, {time.process_time() - start:.0f} s of one core",
                flush=True,
            )


if __name__ == "__main__":
    main()
