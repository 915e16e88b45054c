"""Every word of every file is one token; text survives encoding and decoding."""

from __future__ import annotations

from typing import Any

import pytest

from sweeps.playground.documents import general_texts
from sweeps.playground.language import make_language
from sweeps.playground.tasks import HELD_OUT, TASKS, make_splits
from sweeps.playground.tokenizer import make_tokenizer, vocabulary


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
