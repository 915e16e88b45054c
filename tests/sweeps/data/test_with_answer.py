"""Rows without an answer: their prompt is that of the row with one, in every layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sweeps.data.examples import file_ref, laid_out
from sweeps.data.layouts import with_answer
from sweeps.data.readers import Row
from tracker.task import TaskSpec

CHAT = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "who?"}]
SAID = [*CHAT, {"role": "assistant", "content": "me"}, {"role": "user", "content": "why?"}]
SHARED = [{"from": "human", "value": "who?"}]
ROWS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"messages": CHAT}, {"messages": [*CHAT, {"role": "assistant", "content": "me"}]}),
    ({"messages": SAID}, {"messages": [*SAID, {"role": "assistant", "content": "so"}]}),
    (
        {"messages": json.dumps(CHAT)},
        {"messages": json.dumps([*CHAT, {"role": "assistant", "content": "me"}])},
    ),
    ({"conversations": SHARED}, {"conversations": [*SHARED, {"from": "gpt", "value": "me"}]}),
    ({"prompt": "who?"}, {"prompt": "who?", "completion": "me"}),
    ({"prompt": "who?", "completion": None}, {"prompt": "who?", "completion": "me"}),
    ({"prompt": CHAT}, {"prompt": CHAT, "completion": [{"role": "assistant", "content": "me"}]}),
    (
        {"instruction": "say", "input": "who?", "output": " "},
        {"instruction": "say", "input": "who?", "output": "me"},
    ),
]


@pytest.mark.parametrize(("without", "answered"), ROWS)
def test_a_row_without_an_answer_has_the_prompt_of_one_with(
    without: dict[str, Any], answered: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps(answered) + "\n")
    task = TaskSpec(name="t", validation=file_ref(tmp_path / "rows.jsonl"))
    filled, has_one = with_answer(without, "-")
    assert not has_one
    assert with_answer(answered, "-") == (answered, True)
    (first,), (second,) = (laid_out(task, "f", [Row(1, f)]) for f in (filled, answered))
    assert first.example.messages == second.example.messages
    assert first.example.answer == "-"
