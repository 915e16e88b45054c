"""The tokenizer knows every word; the shipped ladder is small and knows the language, larger ones better."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from sweeps.playground.documents import general_texts
from sweeps.playground.language import make_language
from sweeps.playground.pretrain import (
    LADDER,
    MODELS_FOLDER,
    Schedule,
    Shape,
    make_tokenizer,
    pretrain,
    vocabulary,
)
from sweeps.playground.tasks import HELD_OUT, TASKS, make_splits

SIZES = {"pg-30k": 30e3, "pg-100k": 100e3, "pg-300k": 300e3, "pg-800k": 800e3}


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return make_tokenizer(make_language(0))


def _all_texts() -> list[str]:
    language = make_language(0)
    texts = [text for part in general_texts(language) for text in part]
    for task in (*TASKS.values(), HELD_OUT):
        for split in make_splits(task, language, (300, 200, 200)):
            for row in split:
                texts += [f"{task.instruction}\n{row['text']}", row["label"]]
    return texts


def test_every_word_is_known_and_every_text_round_trips(tokenizer: Any) -> None:
    spelled = {tokenizer.convert_tokens_to_ids(c) for c in " abcdefghijklmnopqrstuvwxyz"}
    forbidden = {tokenizer.unk_token_id, *spelled}
    texts = _all_texts()
    encoded = tokenizer(texts)["input_ids"]
    assert not [t for t, ids in zip(texts, encoded, strict=True) if forbidden & set(ids)]
    assert tokenizer.batch_decode(encoded) == texts


def test_foreign_words_are_spelled_and_foreign_signs_are_unknown(tokenizer: Any) -> None:
    assert tokenizer.decode(tokenizer("the qwxy sleeps")["input_ids"]) == "the qwxy sleeps"
    assert tokenizer.unk_token_id in tokenizer("7")["input_ids"]


def test_token_ids_are_the_vocabulary_in_order(tokenizer: Any) -> None:
    tokens = vocabulary(make_language(0))
    assert len(set(tokens)) == len(tokens) == len(tokenizer)
    assert tuple(tokenizer.convert_ids_to_tokens(range(len(tokens)))) == tokens


def test_the_template_marks_the_answer_and_its_end(tokenizer: Any) -> None:
    turns = [
        {"role": "user", "content": "name the trade."},
        {"role": "assistant", "content": "baking"},
    ]
    out = tokenizer.apply_chat_template(
        turns, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    marked = [i for i, m in zip(out["input_ids"], out["assistant_masks"], strict=True) if m]
    assert tokenizer.decode(marked) == "baking<|eos|>"
    prompt = tokenizer.apply_chat_template(turns[:1], tokenize=False, add_generation_prompt=True)
    assert prompt == "<|bos|><|user|>name the trade.<|assistant|>"


def _nats_per_token(folder: Path, texts: list[str]) -> float:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    batch = tokenizer([f"<|bos|>{t}<|eos|>" for t in texts], return_tensors="pt", padding=True)
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    with torch.no_grad():
        return float(model(**batch, labels=labels).loss)


def test_the_ladder_fits_in_six_megabytes_of_safetensors() -> None:
    files = [p for p in MODELS_FOLDER.rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in files) <= 6 * 2**20
    assert {p.suffix for p in files} <= {".json", ".jinja", ".safetensors"}


@pytest.mark.parametrize("shape", LADDER, ids=lambda shape: shape.name)
def test_a_member_loads_with_the_size_its_name_says(shape: Shape) -> None:
    folder = MODELS_FOLDER / shape.name
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.dtype == torch.float32
    assert model.num_parameters() == pytest.approx(SIZES[shape.name], rel=0.15)
    tokens = AutoTokenizer.from_pretrained(folder).convert_ids_to_tokens(range(model.vocab_size))
    assert tuple(tokens) == vocabulary(make_language(0))


def test_larger_members_know_held_out_text_better_and_all_beat_chance() -> None:
    language = make_language(0)
    texts = general_texts(language)[0][:100]
    losses = [_nats_per_token(MODELS_FOLDER / shape.name, texts) for shape in LADDER]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] < 0.4 * math.log(len(vocabulary(language)))


def test_a_tiny_pretraining_learns_and_repeats_itself(tmp_path: Path) -> None:
    shape = Shape("tiny", hidden=16, layers=1, heads=2, intermediate=32, learning_rate=2e-2)
    schedule = Schedule(tokens=60 * 8 * 64, corpus_tokens=60 * 8 * 64, batch_size=8, length=64)
    first = pretrain(shape, tmp_path / "a", schedule)
    assert len(first) == 60
    assert sum(first[-5:]) / 5 < 0.8 * first[0]
    pretrain(shape, tmp_path / "b", schedule)
    weights = [(tmp_path / x / "tiny" / "model.safetensors").read_bytes() for x in "ab"]
    assert weights[0] == weights[1]
