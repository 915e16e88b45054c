"""Token ids: answers stay whole, prompts do not depend on them, and the frame survives a cut."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from sweeps.data.examples import Example
from sweeps.data.layouts import Turn
from sweeps.data.prompts import (
    Encoded,
    answer_texts,
    encode_examples,
    encode_texts,
    misfits,
    render,
    special_ids,
)
from tracker.errors import InputError

EXAMPLE = Example(
    (Turn("system", "Be brief."), Turn("user", "Name it.\nplease book a table now")),
    "book_table",
    0,
)


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(tiny_model)


@pytest.fixture
def untemplated(tiny_model: Path) -> PreTrainedTokenizerBase:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = None
    return tokenizer


def encode(tokenizer: PreTrainedTokenizerBase, example: Example, max_length: int) -> Encoded:
    (row,) = encode_examples(tokenizer, [example], max_length)
    return row


def text(tokenizer: PreTrainedTokenizerBase, ids: tuple[int, ...]) -> str:
    return str(tokenizer.decode(ids))


def test_chat_template_up_to_where_the_assistant_speaks(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    row = encode(tokenizer, EXAMPLE, 128)
    assert text(tokenizer, row.prompt_ids) == (
        "<|bos|><|system|>Be brief.<|user|>Name it.\nplease book a table now<|assistant|>"
    )
    assert text(tokenizer, row.answer_ids) == "book_table<|eos|>"
    assert len(row) == len(row.prompt_ids) + len(row.answer_ids)
    assert not row.truncated


def test_the_frame_is_special_tokens_not_their_spelling(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    row = encode(tokenizer, EXAMPLE, 128)
    named = ["<|bos|>", "<|system|>", "<|user|>", "<|assistant|>"]
    assert [token for token in row.prompt_ids if token < 6] == tokenizer.convert_tokens_to_ids(
        named
    )


def test_without_a_template_turns_are_paragraphs(untemplated: PreTrainedTokenizerBase) -> None:
    row = encode(untemplated, EXAMPLE, 128)
    assert text(untemplated, row.prompt_ids) == (
        "<|bos|>Be brief.\n\nName it.\nplease book a table now\n\n"
    )
    assert text(untemplated, row.answer_ids) == "book_table<|eos|>"


@pytest.mark.parametrize("kind", ["tokenizer", "untemplated"])
def test_a_cut_takes_the_left_of_the_user_text(kind: str, request: pytest.FixtureRequest) -> None:
    tokenizer = request.getfixturevalue(kind)
    whole = encode(tokenizer, EXAMPLE, 128)
    cut = encode(tokenizer, EXAMPLE, len(whole) - 5)
    assert cut.truncated
    assert len(cut) == len(whole) - 5
    assert cut.answer_ids == whole.answer_ids
    shown = text(tokenizer, cut.prompt_ids)
    assert "Be brief." in shown
    assert "a table now" in shown
    assert "Name it." not in shown
    assert whole.prompt_ids[-1] == cut.prompt_ids[-1]


def test_rows_that_cannot_be_cut_to_fit_are_all_named(tokenizer: PreTrainedTokenizerBase) -> None:
    rows = [EXAMPLE._replace(row=3), EXAMPLE._replace(answer="x" * 300, row=7)]
    with pytest.raises(InputError) as caught:
        encode_examples(tokenizer, rows, 16)
    assert caught.value.problems[0].startswith("row 4: found ")
    assert caught.value.problems[1].startswith("row 8: found ")
    assert "allowed: 16; raise train.max_length" in caught.value.problems[1]


def test_one_by_one_and_batched_agree(tokenizer: PreTrainedTokenizerBase) -> None:
    rows = [EXAMPLE._replace(answer=a, row=i) for i, a in enumerate(["x", "étage 9", "a\nb"])]
    assert encode_examples(tokenizer, rows, 64) == [encode(tokenizer, row, 64) for row in rows]


def test_only_what_is_cut_is_marked(tokenizer: PreTrainedTokenizerBase) -> None:
    short = EXAMPLE._replace(messages=(Turn("user", "hi"),))
    limit = len(encode(tokenizer, EXAMPLE, 128)) - 1
    rows = encode_examples(tokenizer, [EXAMPLE, short], limit)
    assert [row.truncated for row in rows] == [True, False]


def test_texts_are_learnt_from_their_first_token(tokenizer: PreTrainedTokenizerBase) -> None:
    whole, cut = encode_texts(tokenizer, ["rain fell", "rain fell on the town"], 6)
    assert whole.prompt_ids == (tokenizer.bos_token_id,)
    assert text(tokenizer, whole.answer_ids) == "rain fell"
    assert len(cut) == 6
    assert cut.truncated
    assert not whole.truncated


def test_texts_without_a_start_token(tiny_model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model, bos_token=None)
    tokenizer.bos_token = None
    (row,) = encode_texts(tokenizer, ["x"], 6)
    assert row == Encoded(tuple(tokenizer("x")["input_ids"]), (tokenizer.eos_token_id,))


def test_render_holds_no_answer() -> None:
    assert [turn["role"] for turn in render(EXAMPLE)] == ["system", "user"]


def test_a_template_that_refuses_is_one_line(tiny_model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = "{{ raise_exception('System role not supported') }}"
    with pytest.raises(InputError, match=r"the chat template refuses.*System role not supported"):
        encode(tokenizer, EXAMPLE, 128)


@pytest.mark.parametrize("max_length", [16, 24, 40])
def test_misfits_are_the_rows_that_encoding_refuses(
    tokenizer: PreTrainedTokenizerBase, untemplated: PreTrainedTokenizerBase, max_length: int
) -> None:
    system, user = Turn("system", "Be brief."), Turn("user", "please book a table now " * 3)
    said = (Turn("user", "hi"), Turn("assistant", "see the sun " * 4))
    examples = [
        Example(turns, "book_table " * times, 0)
        for turns in ((user,), (system, user), (*said, user))
        for times in (1, 4, 9, 20)
    ]
    for each in (tokenizer, untemplated):
        refused = []
        for index, example in enumerate(examples):
            try:
                encode_examples(each, [example], max_length)
            except InputError:
                refused.append(index)
        assert [index for index, _ in misfits(each, examples, max_length)] == refused


def test_the_clock_stands_still_for_a_template(tiny_model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = "{{ strftime_now('%d %B %Y %H %f') }}" + tokenizer.chat_template
    first, second = (encode(tokenizer, EXAMPLE, 128) for _ in range(2))
    assert first == second
    assert text(tokenizer, first.prompt_ids).startswith("01 January 2026 00 000000<|bos|>")


def test_any_fault_of_a_template_is_one_line(tiny_model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = "{{ messages[0]['content'] + 1 }}"
    with pytest.raises(InputError, match="the chat template refuses these turns: TypeError"):
        encode(tokenizer, EXAMPLE, 128)


def test_an_answer_that_is_a_control_token_is_read_as_one(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    label, end, pad = (
        tokenizer.convert_tokens_to_ids(token) for token in ("<|user|>", "<|eos|>", "<|pad|>")
    )
    plain = tokenizer("weather", add_special_tokens=False)["input_ids"]
    ids = [[label, end, pad], [*plain, pad, end, label], [label]]
    assert {label, end, pad} <= special_ids(tokenizer)
    assert answer_texts(tokenizer, ids, frozenset()) == ["", "weather", ""]
    assert answer_texts(tokenizer, ids, frozenset({label})) == ["<|user|>", "weather", "<|user|>"]
