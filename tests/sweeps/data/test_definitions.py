"""Label definitions in the prompt: where they stand, what they are checked against, what they change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sweeps.data.checks import definition_warnings, undefined_labels
from sweeps.data.encoding import label_set
from sweeps.data.examples import file_ref, read_examples, read_located
from sweeps.data.layouts import Turn
from sweeps.resolve import definitions, unread_task
from sweeps.task_entry import TaskEntry
from tests.factories import task_spec, trial_spec
from tracker.task import PromptTemplate, TaskSpec

LABELS = {"退款": "顾客要求退钱", "物流": "顾客询问包裹在哪里"}
LINES = "物流: 顾客询问包裹在哪里\n退款: 顾客要求退钱"
CHAT = [
    {"role": "system", "content": "简洁。"},
    {"role": "user", "content": "你好"},
    {"role": "assistant", "content": "您好"},
    {"role": "user", "content": "钱呢"},
    {"role": "assistant", "content": "退款"},
]


def only(tmp_path: Path, row: dict[str, Any], **fields: Any) -> tuple[Turn, ...]:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row, ensure_ascii=False), encoding="utf-8")
    file = file_ref(path)
    (example,) = read_examples(
        TaskSpec(name="t", validation=file, labels=definitions(LABELS), **fields), file
    )
    assert example.answer == "退款"
    return example.messages


@pytest.mark.parametrize(
    ("template", "user"),
    [
        ({"instruction": "分类。"}, f"分类。\n{LINES}\n钱呢"),
        ({}, f"{LINES}\n钱呢"),
        ({"instruction": "可选\n{labels}\n选一个。"}, f"可选\n{LINES}\n选一个。\n钱呢"),
        ({"input": "{text}\n\n{labels}"}, f"钱呢\n\n{LINES}"),
    ],
)
def test_a_template_has_them_where_it_says_or_after_the_instruction(
    template: dict[str, str], user: str, tmp_path: Path
) -> None:
    prompt = PromptTemplate(**template)
    turns = only(tmp_path, {"text": "钱呢", "label": "退款"}, prompt=prompt, answer="{label}")
    assert turns == (Turn("user", user),)


def test_the_system_turn_may_have_them(tmp_path: Path) -> None:
    prompt = PromptTemplate(system="{labels}")
    turns = only(tmp_path, {"text": "钱呢", "label": "退款"}, prompt=prompt, answer="{label}")
    assert turns == (Turn("system", LINES), Turn("user", "钱呢"))


def test_rows_with_a_layout_have_them_first_of_what_the_user_says(tmp_path: Path) -> None:
    system, first, *rest = only(tmp_path, {"messages": CHAT})
    assert system == Turn("system", "简洁。")
    assert first == Turn("user", f"{LINES}\n你好")
    assert rest == [Turn("assistant", "您好"), Turn("user", "钱呢")]
    (alpaca,) = only(tmp_path, {"instruction": "分类", "input": "钱呢", "output": "退款"})
    assert alpaca.content == f"{LINES}\n分类\n钱呢"


def test_an_answer_template_may_name_a_field_labels(tmp_path: Path) -> None:
    """The placeholder is the definitions' in the prompt alone."""
    row = {"text": "钱呢", "labels": ["退款"]}
    (turn,) = only(tmp_path, row, prompt=PromptTemplate(), answer="{labels}")
    assert turn.content == f"{LINES}\n钱呢"


def test_without_definitions_the_placeholder_is_a_field(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"labels": "a or b", "y": "a"}')
    task = task_spec("t", prompt=PromptTemplate(input="{labels}?"), answer="{y}")
    (example,) = read_examples(task, file_ref(path))
    assert example.messages == (Turn("user", "a or b?"),)


def test_they_are_part_of_the_key_whatever_their_order_and_absent_as_before() -> None:
    turned = dict(reversed(LABELS.items()))
    plain, one, other = (
        trial_spec(tasks=[unread_task("t", TaskEntry(train="t.jsonl", labels=labels))])
        for labels in ({}, LABELS, turned)
    )
    assert "labels" not in plain.model_dump_json()
    assert plain.key != one.key == other.key
    assert "labels" not in TaskEntry(train="t.jsonl").model_dump()


def test_an_answer_without_a_definition_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    rows = [{"prompt": "a", "completion": c} for c in ("refund", "refnud", "refund", "other")]
    path.write_text("\n".join(map(json.dumps, rows)))
    task = task_spec("t", labels=definitions({"refund": "money back", "delivery": "where"}))
    splits = {"train": (str(path), read_located(task, str(path)))}
    misspelt, other = undefined_labels(task, splits)
    assert misspelt.startswith(
        f"{path}:2: found answer 'refnud', which `labels` of task t does not"
    )
    assert misspelt.endswith("allowed: delivery, refund; did you mean 'refund'?")
    assert ":4: found answer 'other'" in other
    (unused,) = definition_warnings(task, splits)
    assert unused.startswith("task t: labels: no row's answer is delivery;")
    hashed = "\n".join(undefined_labels(task, splits, "hashed"))
    assert "refnud" not in hashed
    assert "'other'" not in hashed


def test_many_answers_without_a_definition_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text("\n".join(json.dumps({"prompt": "a", "completion": f"c{i}"}) for i in range(9)))
    task = task_spec("t", labels=definitions({"x": "y"}))
    found = list(undefined_labels(task, {"train": (str(path), read_located(task, str(path)))}))
    assert len(found) == 6
    assert found[-1] == "tasks.t.labels: and 4 more answers without a definition"


def test_defined_labels_are_the_format_of_answers() -> None:
    assert label_set(task_spec(labels=definitions(LABELS))) == set(LABELS)
    assert label_set(task_spec(labels=definitions(LABELS), score="token_f1")) is None


@pytest.mark.parametrize("text", ["", "  ", "two\nlines"])
def test_a_definition_is_a_line(text: str) -> None:
    with pytest.raises(ValidationError, match="a definition on one line"):
        TaskEntry(train="t.jsonl", labels={"a": text})
