"""Layouts that rows carry: each becomes the same turns and answer, or is refused in a line."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sweeps.data.examples import Example, look_at, read_examples, read_task_file
from sweeps.data.layouts import Turn
from tracker.errors import InputError
from tracker.task import FileRef, PromptTemplate, TaskSpec

UNREAD = FileRef(path="", sha256="", rows=0)
TASK = TaskSpec(name="t", validation=UNREAD, reading="whole")
CALL = {"name": "weather", "arguments": {"town": "北京"}}
CALLS = json.dumps({"tool_calls": [{"type": "function", "function": CALL}]}, ensure_ascii=False)
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {}}}


def said(*turns: tuple[str, str]) -> list[dict[str, str]]:
    return [{"role": role, "content": text} for role, text in turns]


def shared(*turns: tuple[str, str]) -> list[dict[str, str]]:
    return [{"from": role, "value": text} for role, text in turns]


def read(folder: Path, row: dict[str, Any], task: TaskSpec = TASK) -> Example:
    path = folder / "a.jsonl"
    path.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    (example,) = read_examples(task, UNREAD.model_copy(update={"path": str(path)}))
    return example


QUESTION = (("user", "q"),)
SYSTEM = (("system", "s"), *QUESTION)
LONG = (("system", "s"), ("user", "p"), ("assistant", "b"), ("user", "q"))
ANSWERED = said(("user", "q"), ("assistant", "a"))
REFUSED = said(("user", "q"), ("assistant", "no"))
LAYOUTS: dict[str, tuple[dict[str, Any], tuple[tuple[str, str], ...]]] = {
    "chat": ({"messages": said(*LONG, ("assistant", "a"))}, LONG),
    "a developer's turn": (
        {"messages": said(("developer", "s"), *QUESTION, ("assistant", "a"))},
        SYSTEM,
    ),
    "parts": (
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "q"}]},
                {"role": "assistant", "content": [{"text": "a"}]},
            ]
        },
        QUESTION,
    ),
    "ShareGPT": ({"conversations": shared(("human", "q"), ("gpt", "a"))}, QUESTION),
    "ShareGPT with a system turn": (
        {"conversations": shared(("system", "s"), ("human", "q"), ("gpt", "a"))},
        SYSTEM,
    ),
    "ShareGPT with a system field": (
        {"system": "s", "conversations": shared(("human", "q"), ("gpt", "a"))},
        SYSTEM,
    ),
    "Alpaca with history": (
        {
            "instruction": "q",
            "input": "",
            "output": "a",
            "system": "s",
            "history": [["p", "b"]],
        },
        LONG,
    ),
    "prompt and completion": ({"prompt": "q", "completion": "a"}, QUESTION),
    "completion of several turns": (
        {"prompt": said(*LONG[:2]), "completion": said(*LONG[2:], ("assistant", "a"))},
        LONG,
    ),
    "pair of texts": ({"prompt": "q", "chosen": "a", "rejected": "no"}, QUESTION),
    "pair of answers": (
        {"prompt": said(*SYSTEM), "chosen": ANSWERED[1:], "rejected": REFUSED[1:]},
        SYSTEM,
    ),
    "pair of conversations": ({"chosen": ANSWERED, "rejected": REFUSED}, QUESTION),
    "pair with the prompt twice": (
        {"prompt": "q", "chosen": ANSWERED, "rejected": REFUSED},
        QUESTION,
    ),
    "pair by question": (
        {"system": "s", "question": "q", "chosen": "a", "rejected": "no"},
        SYSTEM,
    ),
    "pair by instruction": (
        {"instruction": "q", "input": "", "chosen": "a", "rejected": "no"},
        QUESTION,
    ),
    "pair of one text": (
        {"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: no"},
        QUESTION,
    ),
    "pair behind a conversation": (
        {
            "conversations": shared(("human", "q")),
            "chosen": {"from": "gpt", "value": "a"},
            "rejected": {"from": "gpt", "value": "no"},
        },
        QUESTION,
    ),
}


@pytest.mark.parametrize("case", LAYOUTS)
def test_layouts(tmp_path: Path, case: str) -> None:
    row, turns = LAYOUTS[case]
    found = read(tmp_path, row)
    assert found == Example(tuple(Turn(*turn) for turn in turns), "a", 0)
    table = tmp_path / "a.csv"  # in whose cells a list stands as JSON
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(row))
        writer.writeheader()
        writer.writerow({k: v if isinstance(v, str) else json.dumps(v) for k, v in row.items()})
    assert read_examples(TASK, UNREAD.model_copy(update={"path": str(table)})) == [found]


def test_a_pair_is_said(tmp_path: Path) -> None:
    row = LAYOUTS["pair of texts"][0]
    read(tmp_path, row)
    file = read_task_file(TASK, str(tmp_path / "a.jsonl"))
    (note,) = file.notes
    assert note.endswith("a.jsonl: preference pairs: chosen is the answer; rejected is not used")
    look = look_at(tmp_path / "a.jsonl")
    assert look.layout is not None
    assert (look.layout.name, look.form.words) == ("preference pairs", "JSON Lines")


@pytest.mark.parametrize(
    "call",
    [
        {"role": "assistant", "content": None, "tool_calls": [{"function": CALL}]},
        {
            "role": "assistant",
            "tool_calls": [{"function": {**CALL, "arguments": json.dumps(CALL["arguments"])}}],
        },
        {"role": "assistant", "content": "", "function_call": CALL},
        {"from": "function_call", "value": json.dumps(CALL)},
    ],
)
def test_calls_of_tools(tmp_path: Path, call: dict[str, Any]) -> None:
    result = {"role": "function", "name": "weather", "content": "sun"}
    question = {"role": "user", "content": "q"}
    answer = {"role": "assistant", "content": "a"}
    found = read(tmp_path, {"messages": [question, call, result, answer], "tools": [TOOL]})
    turns = (Turn("user", "q"), Turn("assistant", "", CALLS))
    assert found.messages == (*turns, Turn("tool", "sun", '{"name": "weather"}'))
    assert json.loads(found.tools) == [TOOL]
    found = read(tmp_path, {"messages": [question, call], "tools": json.dumps([TOOL["function"]])})
    assert (found.call, json.loads(found.tools)) == (CALLS, [TOOL])
    assert found.answer == '{"arguments": {"town": "北京"}, "name": "weather"}'


STRUCTURES = [
    ({"time": "noon", "n": 2, "ok": True}, '{"n": 2, "ok": true, "time": "noon"}'),
    (["交通", "美食"], '["交通", "美食"]'),
    ({"a": [1, None]}, '{"a": [1, null]}'),
    ({}, "{}"),
]


@pytest.mark.parametrize(("value", "text"), STRUCTURES)
def test_mappings_and_lists_are_canonical_json(tmp_path: Path, value: Any, text: str) -> None:
    rows = [{"prompt": "q", "completion": value}, {"instruction": "q", "output": value}]
    assert {read(tmp_path, row).answer for row in rows} == {text}
    slots = TASK.model_copy(
        update={"prompt": PromptTemplate(input="{x}: {value}"), "answer": "{value}!"}
    )
    found = read(tmp_path, {"x": 1, "value": value}, slots)
    assert (found.answer, found.messages[0].content) == (f"{text}!", f"1: {text}")


@pytest.mark.parametrize(
    ("row", "answer"),
    [
        ({"prompt": "q", "completion": {"n": 2, "ok": True}}, "n: 2; ok: true"),
        ({"instruction": "q", "output": "a", "history": [["p", "b"]]}, "a"),
        ({"system": "s", **LAYOUTS["ShareGPT"][0]}, "a"),
    ],
)
def test_a_begun_sweep_reads_as_it_did(tmp_path: Path, row: dict[str, Any], answer: str) -> None:
    earlier = TASK.model_copy(update={"reading": None})
    assert read(tmp_path, row, earlier) == Example((Turn("user", "q"),), answer, 0)
    for task in (TASK, earlier):
        assert read_task_file(task, str(tmp_path / "a.jsonl")).differs
    read(tmp_path, {"prompt": "q", "completion": "a"})
    assert not read_task_file(TASK, str(tmp_path / "a.jsonl")).differs


IMAGE = {"type": "image_url", "image_url": {"url": "x"}}
PICTURE = [{"role": "user", "content": [{"type": "text", "text": "q"}, IMAGE]}, ANSWERED[1]]
BAD: dict[str, tuple[dict[str, Any], str, dict[str, Any] | None]] = {
    "an image": ({"messages": PICTURE}, "a part of type 'image_url'", {"messages": ANSWERED}),
    "no answer": (
        {"conversations": shared(("human", "q"), ("gpt", "a"), ("human", "r"))},
        "a last turn of 'user'",
        {"conversations": shared(("human", "q"), ("gpt", "a"))},
    ),
    "a bad answer": (
        {"prompt": "q", "completion": "no", "label": False},
        "found label false",
        {"prompt": "q", "completion": "a", "label": True},
    ),
    "an unknown role": ({"messages": said(("usr", "q"), ("assistant", "a"))}, "'user'", None),
    "a call without a name": (
        {"messages": [*said(("user", "q")), {"from": "function_call", "value": "go"}]},
        "call of a tool without its name",
        None,
    ),
    "a pair without a prompt": ({"chosen": "a", "rejected": "b"}, "chosen without a prompt", None),
    "a weight below 0": (
        {"messages": [*said(("user", "q")), {**ANSWERED[1], "weight": -1}]},
        "found weight -1",
        None,
    ),
    "no layout": ({"text": "q", "label": "a"}, 'prompt: {input: "{text}"}, answer: "{label}"', None),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_rows_that_are_refused(tmp_path: Path, case: str) -> None:
    row, wording, good = BAD[case]
    with pytest.raises(InputError) as caught:
        read(tmp_path, row)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{tmp_path / 'a.jsonl'}:1: ")
    assert wording in problem
    if good is None:
        return
    command = problem.split("to leave such rows out: ")[1]
    if not shutil.which("jq"):
        pytest.skip("no jq here")
    (tmp_path / "FILE").write_text(json.dumps(row) + "\n" + json.dumps(good) + "\n")
    subprocess.run(command, shell=True, cwd=tmp_path, check=True)
    assert json.loads((tmp_path / "NEW").read_text()) == good


DEEP: dict[str, tuple[Any, dict[str, Any]]] = {
    "squad.json": (
        {
            "version": "1.1",
            "data": [
                {"paragraphs": [{"context": "c", "qas": [{"question": "q", "answers": []}]}]},
            ],
        },
        {"context": "c", "question": "q", "answer": "none"},
    ),
    "requests.json": (
        [{"id": i, "body": {"messages": ANSWERED}} for i in range(2)],
        {"messages": ANSWERED},
    ),
    "splits.json": (
        {"train": [{"prompt": "q", "completion": "a"}]},
        {"prompt": "q", "completion": "a"},
    ),
}


@pytest.mark.parametrize("name", DEEP)
def test_rows_within_rows_have_a_conversion_that_works(tmp_path: Path, name: str) -> None:
    value, row = DEEP[name]
    (tmp_path / name).write_text(json.dumps(value))
    with pytest.raises(InputError) as caught:
        read_examples(TASK, UNREAD.model_copy(update={"path": str(tmp_path / name)}))
    (problem,) = caught.value.problems
    command = problem.split("to convert it: ")[1].replace("python -c", f"{sys.executable} -c")
    if not shutil.which("jq"):
        pytest.skip("no jq here")
    subprocess.run(command, shell=True, cwd=tmp_path, check=True)
    (new,) = set(tmp_path.iterdir()) - {tmp_path / name}
    assert look_at(new).rows[0].fields == row


def test_a_value_in_the_notation_of_python_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["messages"], [str(ANSWERED)]])
    (found,) = read_examples(TASK, UNREAD.model_copy(update={"path": str(path)}))
    assert found == Example((Turn("user", "q"),), "a", 0)
