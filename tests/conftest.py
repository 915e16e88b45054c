"""Fixtures that every room may use: a tiny real model folder and a tiny real task."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from tests.postgres import Server, missing, server

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'assistant' %}"
    "<|assistant|>{{ m['content'] }}{{ eos_token }}"
    "{% else %}<|{{ m['role'] }}|>{{ m['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL_TOKENS = ["<|pad|>", "<|bos|>", "<|eos|>", "<|system|>", "<|user|>", "<|assistant|>"]
OPENINGS = [
    "please",
    "could you",
    "i want to",
    "can i",
    "help me",
    "i need to",
    "today let me",
    "hi",
]
ENDINGS = ["now", "tonight", "for two", "by noon", "in town", "if you can", "this week", "again"]
REQUESTS = {
    "book_table": ["book a table", "reserve a seat", "get a dinner spot"],
    "play_music": ["play a song", "start the radio", "hear some jazz"],
    "set_alarm": ["set an alarm", "wake me early", "make a timer"],
    "weather": ["see the forecast", "check for rain", "know the weather"],
    "out_of_scope": ["paint a horse", "fold the moon", "count the clouds"],
}
GENERAL = ["the cat sat on the mat", "rain fell on the town", "a song was heard at noon"]


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that :func:`write_tiny_data` fills."""
    folder = tmp_path_factory.mktemp("tiny_data")
    write_tiny_data(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path) -> Path:
    """The folder that :func:`write_tiny_model` fills: some 30k parameters, 128 positions."""
    folder = tmp_path_factory.mktemp("tiny_model")
    write_tiny_model(folder, tiny_data)
    return folder


def write_tiny_data(folder: Path) -> None:
    """Write a five-label task and two general texts.

    ``train.jsonl`` (600 rows), ``validation.jsonl`` and ``test.jsonl`` (120 each) hold ``text`` and
    ``label``; the negative label is ``out_of_scope``. ``general.jsonl`` and ``replay.jsonl`` hold
    ``text``. No row occurs twice.
    """
    rows = [
        {"text": f"{opening} {request} {ending}", "label": label}
        for label, requests in REQUESTS.items()
        for opening, request, ending in product(OPENINGS, requests, ENDINGS)
    ]
    random.Random(0).shuffle(rows)
    _write(folder / "train.jsonl", rows[:600])
    _write(folder / "validation.jsonl", rows[600:720])
    _write(folder / "test.jsonl", rows[720:840])
    texts = [{"text": f"{line} {ending}"} for line, ending in product(GENERAL, ENDINGS)]
    _write(folder / "general.jsonl", texts[::2])
    _write(folder / "replay.jsonl", texts[1::2])


def write_tiny_model(folder: Path, data: Path) -> None:
    """Write a randomly initialised Llama with a byte-level BPE, trained on the tiny data in *data*.

    Safetensors, fast tokenizer (lossless on any text), chat template; 128 positions.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train([str(data / "train.jsonl"), str(data / "general.jsonl")], trainer)
    PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token="<|pad|>",
        bos_token="<|bos|>",
        eos_token="<|eos|>",
        model_max_length=128,
        chat_template=CHAT_TEMPLATE,
    ).save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=bpe.get_vocab_size(),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        dtype="float32",
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """A real PostgreSQL server: every call makes a database."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    with server() as started:
        yield started


@pytest.fixture
def postgres(postgres_server: Server) -> str:
    """The URI of an empty database of a real PostgreSQL server."""
    return postgres_server()


def _write(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
