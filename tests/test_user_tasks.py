"""The two tasks that users bring are the same every time, and are read as what they are."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from sweeps.resolve import read_sweep
from tests import user_tasks

SWEEP = """\
name: tasks
models: [{{path: {model}}}]
methods: {{full: {{learning_rate: 1e-3}}}}
tasks:
  topics:
    train: topics/train.jsonl
    prompt: {{input: "{{评论}}"}}
    answer: "{{主题}}"
    score: multilabel_f1
    negative: 无
  slots:
    train: slots/train.jsonl
    prompt: {{input: "{{turn}}"}}
    answer: "{{slots}}"
    score: token_f1
    unordered: true
    negative: none
volumes: [100]
train: {{max_length: 128}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    user_tasks.write_topics(tmp_path / "topics")
    user_tasks.write_slots(tmp_path / "slots")
    return tmp_path


def rows(folder: Path) -> list[dict[str, str]]:
    files = [folder / f"{split}.jsonl" for split in ("train", "validation", "test")]
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def test_they_are_as_many_rows_and_as_many_negatives(folder: Path, tmp_path: Path) -> None:
    topics, slots = rows(folder / "topics"), rows(folder / "slots")
    assert len(topics) == len(slots) == 300
    assert Counter(row["slots"] for row in slots)["none"] == 210
    assert sum("，" in row["主题"] for row in topics) > 60
    user_tasks.write_topics(tmp_path / "again")
    assert rows(tmp_path / "again") == topics


def test_their_parts_are_found(folder: Path, tiny_model: Path) -> None:
    (folder / "sweep.yaml").write_text(SWEEP.format(model=tiny_model), encoding="utf-8")
    sweep = read_sweep(folder / "sweep.yaml")
    assert sweep.tasks["topics"].separators == (",", "，", "、")
    assert sweep.tasks["slots"].separators == (";", "；")
    assert not any("never seen" in warning for warning in sweep.warnings)
