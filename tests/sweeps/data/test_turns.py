"""Turns that are trained: token masks by hand, weights, cuts, calls of tools, and templates that cannot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from sweeps.data.checks import weight_problems
from sweeps.data.examples import Example, LocatedExample
from sweeps.data.layouts import Turn
from sweeps.data.prompts import Encoded, TrainedTurn, encode_examples, written_answers
from sweeps.data.tokenizer_checks import RowsOf, tokenizer_problems
from sweeps.finetune.batch import IGNORED, answer_nats, collate, pack
from tests.factories import task_spec
from tracker.errors import InputError

CALL = json.dumps({"tool_calls": [{"function": {"name": "weather", "arguments": {"town": "x"}}}]})
CHAT = Example(
    (
        Turn("system", "be brief"),
        Turn("user", "book a table"),
        Turn("assistant", "for how many"),
        Turn("user", "two"),
        Turn("assistant", "and when"),
        Turn("user", "at noon"),
    ),
    "booked",
    0,
)
#: As Qwen3's: thoughts of turns that others follow are left out; calls and tools are written.
QWEN = (
    "{% if tools %}<|system|>{% for t in tools %}{{ t | tojson }}{% endfor %}{{ eos_token }}\n{% endif %}"
    "{% for m in messages %}<|{{ m.role }}|>\n{% if m.role == 'assistant' and m.tool_calls %}{{ m.content }}"
    "{% for c in m.tool_calls %}<tool_call>\n{{ c.function | tojson }}\n</tool_call>{% endfor %}"
    "{% elif m.role == 'assistant' and not loop.last %}{{ m.content.split('</think>')[-1].lstrip('\n') }}"
    "{% elif m.role == 'assistant' and '</think>' not in m.content %}<think>\n\n</think>\n\n{{ m.content }}"
    "{% else %}{{ m.content }}{% endif %}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


@pytest.fixture
def tokenizer(tiny_model: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(tiny_model)


def trained(tokenizer: PreTrainedTokenizerBase, row: Encoded) -> list[tuple[str, float]]:
    """Runs of trained tokens as text, with their weight."""
    ids, runs = [*row.prompt_ids, *row.answer_ids], []
    before = 0.0
    for token, weight in zip(ids, row.token_weights, strict=True):
        if weight and weight == before and runs[-1][0][-1] != tokenizer.eos_token_id:
            runs[-1][0].append(token)
        elif weight:
            runs.append(([token], weight))
        before = weight
    return [(tokenizer.decode(tokens), weight) for tokens, weight in runs]


def encoded(
    tokenizer: PreTrainedTokenizerBase,
    example: Example = CHAT,
    length: int = 200,
    turns: str = "all",
) -> Encoded:
    return encode_examples(tokenizer, [example], length, turns)[0]  # type: ignore[arg-type]


def weighted(*weights: float | None) -> Example:
    given = iter(weights)
    turns = [t._replace(weight=next(given)) if t.role == "assistant" else t for t in CHAT.messages]
    return CHAT._replace(messages=tuple(turns), weight=next(given))


@pytest.mark.parametrize("template", ["tiny", "qwen"])
def test_every_turn_is_trained_with_its_end_token(
    tokenizer: PreTrainedTokenizerBase, template: str
) -> None:
    if template == "qwen":
        tokenizer.chat_template = QWEN
    row = encoded(tokenizer)
    texts = [("for how many<|eos|>", 1), ("and when<|eos|>", 1), ("booked<|eos|>", 1)]
    assert trained(tokenizer, row) == texts
    last = encoded(tokenizer, turns="last")
    assert trained(tokenizer, last) == texts[-1:]
    assert (row.prompt_ids, row.answer_ids) == (last.prompt_ids, last.answer_ids)


def test_masks_by_hand(tokenizer: PreTrainedTokenizerBase) -> None:
    short = Example((Turn("user", "a"), Turn("assistant", "b"), Turn("user", "c")), "d", 0)
    a, b, c, d = (tokenizer(text)["input_ids"] for text in "abcd")
    bos, eos, _, user, assistant = range(1, 6)
    row = encoded(tokenizer, short)
    assert row.prompt_ids == (bos, user, *a, assistant, *b, eos, user, *c, assistant)
    assert row.earlier == (TrainedTurn(4, 6),)
    labels = [IGNORED] * 4 + [*b, eos] + [IGNORED] * 3 + [*d, eos]
    assert collate([row], 0)["labels"].tolist() == [labels]
    assert pack([row, row])["labels"].tolist() == [labels * 2]


def test_weights_are_as_the_row_says(tokenizer: PreTrainedTokenizerBase) -> None:
    texts = ("for how many<|eos|>", "and when<|eos|>", "booked<|eos|>")
    row = encoded(tokenizer, weighted(0, None, 0.5))
    assert trained(tokenizer, row) == [(texts[1], 1), (texts[2], 0.5)]
    assert trained(tokenizer, encoded(tokenizer, weighted(1, 0, 0))) == [(texts[0], 1)]
    assert "weights" not in collate([encoded(tokenizer, weighted(1, 0, 0))], 0)
    batch = collate([row, encoded(tokenizer)], 0)
    assert batch["weights"].tolist()[0] == pytest.approx(row.token_weights)
    assert pack([row])["weights"].tolist()[0] == pytest.approx(row.token_weights)


def test_a_cut_moves_the_turns_behind_it(tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.chat_template = QWEN
    example = Example(
        (
            Turn("user", "what is the weather in the town"),
            Turn("assistant", "", CALL),
            Turn("tool", "sun"),
        ),
        "it is sunny",
        0,
    )
    whole = encoded(tokenizer, example)
    cut = encoded(tokenizer, example, len(whole) - 3)
    assert cut.truncated
    assert trained(tokenizer, cut) == trained(tokenizer, whole)
    first, last = trained(tokenizer, cut)
    assert first[0].startswith("<tool_call>")
    assert first[0].endswith("</tool_call><|eos|>")
    assert last == ("it is sunny<|eos|>", 1)


def test_an_answer_that_calls_a_tool_is_written_by_the_template(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    example = Example((Turn("user", "q"),), "canonical", 0, tools="[]", call=CALL)
    tokenizer.chat_template = QWEN
    (text,) = written_answers(tokenizer, [example])
    assert text.startswith('<tool_call>\n{"name": "weather"')
    assert encoded(tokenizer, example).answer_ids[-1] == tokenizer.eos_token_id
    for template in (None, "{% for m in messages %}{{ m.content }}{% endfor %}"):
        tokenizer.chat_template = template
        with pytest.raises(InputError, match="which the model's chat template does not write"):
            written_answers(tokenizer, [example])


def problems(tokenizer: PreTrainedTokenizerBase, example: Example, turns: str = "all") -> list[str]:
    task = task_spec("t").model_copy(update={"turns": turns})
    assert task.train is not None
    file = RowsOf(task, task.train.path, [LocatedExample(example, 7)])
    return tokenizer_problems("m", tokenizer, [file]).problems


def test_turns_that_a_template_writes_otherwise_are_refused_with_a_way(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    tokenizer.chat_template = QWEN
    thought = Turn("assistant", "<think>\nhm\n</think>\n\nfor how many")
    example = CHAT._replace(messages=(*CHAT.messages[:2], thought, *CHAT.messages[3:]))
    with pytest.raises(
        InputError, match=r"turn 3 is not written .* turns: last, or give each turn"
    ):
        encoded(tokenizer, example)
    (problem,) = problems(tokenizer, example)
    assert problem.startswith("t/train.jsonl:7: ") or ":7: " in problem
    assert problems(tokenizer, example, "last") == []
    assert problems(tokenizer, CHAT) == []


def test_a_template_without_tools_is_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    tools = json.dumps([{"type": "function", "function": {"name": "weather"}}])
    (problem,) = problems(tokenizer, CHAT._replace(tools=tools), "last")
    assert "does not write the tools of 1 of 1 rows" in problem
    tokenizer.chat_template = QWEN
    assert problems(tokenizer, CHAT._replace(tools=tools), "last") == []


def test_weights_that_are_not_read_are_said() -> None:
    def said(example: Example, turns: str) -> list[tuple[bool, str]]:
        task = task_spec("t").model_copy(update={"turns": turns})
        rows = {"train": ("a.jsonl", [LocatedExample(example, 3)])}
        return [(p.serious, p.wording) for p in weight_problems(task, rows)]

    assert said(weighted(None, None, None), "last") == said(weighted(0, 0, 1), "last") == []
    ((serious, wording),) = said(weighted(1, 1, 0), "last")
    assert serious
    assert wording.startswith("a.jsonl:3: found weight 0 on the answer of 1 row")
    ((serious, wording),) = said(weighted(1, 0, None), "last")
    assert not serious
    ((serious, wording),) = said(weighted(0, 0, 0), "all")
    assert serious
    assert said(weighted(1, 0, 0), "all") == []


@pytest.mark.parametrize("virtual", [0, 3])
def test_weighted_nats_with_prepended_tokens(virtual: int) -> None:
    """Hand-made logits: each trained token's loss is its own, times its weight."""

    class Fixed(torch.nn.Module):
        def get_output_embeddings(self) -> None:
            return None

        def forward(self, input_ids: torch.Tensor, **_: object) -> object:
            rows, width = input_ids.shape
            logits = torch.arange(rows * (width + virtual) * 9).reshape(rows, width + virtual, 9)
            return type("Out", (), {"logits": (logits * 0.37).sin()})()

    row = Encoded((1, 2, 3, 4), (5, 6), earlier=(TrainedTurn(1, 3, 0.25),))
    nats = answer_nats(Fixed(), collate([row], 0), prepended=virtual)[0]
    logits = Fixed()(torch.tensor([[0] * 6])).logits[0, virtual:]  # type: ignore[attr-defined]
    logs = torch.log_softmax(logits, -1)
    expected = [0, -0.25 * logs[0, 2], -0.25 * logs[1, 3], 0, -logs[3, 5], -logs[4, 6]]
    torch.testing.assert_close(nats, torch.tensor(expected))
