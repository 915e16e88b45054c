"""A previewed row shows what a model is given, and marks exactly what is trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import sft_select
from sweeps.data.encoding import training_stream
from sweeps.data.preview import preview_rows
from sweeps.doctor import examine, row_lines
from tests.factories import sweep_text
from tracker.errors import ArgumentError
from tracker.trial import TrialSpec


def test_the_answer_and_its_end_token_are_what_is_trained(
    make_spec: Callable[..., TrialSpec],
) -> None:
    spec = make_spec("full")
    (row,) = preview_rows(spec.tasks, [spec.model], 96)
    first = json.loads(Path(row.path).read_text(encoding="utf-8").splitlines()[0])
    said = f"<|bos|><|user|>name the intent\n{first['text']}<|assistant|>"
    assert row.text == f"{said}{first['label']}<|eos|>"
    assert row.trained == f"{first['label']}<|eos|>"
    assert row.shown() == f"{said}⟦{first['label']}<|eos|>⟧"
    assert [piece.trained for piece in row.pieces] == [False, True]
    assert (row.task, row.model, row.line) == ("intent", "tiny", 1)
    trained = {len(each) for each in training_stream(spec)}
    assert row.tokens in trained, "a row is shown as it is encoded for training"


def test_a_long_row_is_cut_where_it_is_shown_alone(make_spec: Callable[..., TrialSpec]) -> None:
    spec = make_spec("full")
    (row,) = preview_rows(spec.tasks, [spec.model], 96)
    shown = row.shown(longest=12)
    assert " characters) … " in shown
    assert len(shown) < len(row.text) + 60
    assert shown.endswith("<|eos|>⟧"), "the end is what matters"


def test_the_doctor_shows_a_row_per_task_and_model(
    tmp_path: Path, tiny_model: Path, tiny_data: Path
) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(sweep_text(tiny_model, tiny_data))
    found = examine(tmp_path / "runs", None, path)
    assert [(row.task, row.model) for row in found.rows] == [("intent", "a"), ("intent", "b")]
    lines = list(row_lines(found.rows))
    assert "intent for a, b: " in lines[1], "two models that are given the same text share it"
    assert lines[-1].endswith("<|eos|>⟧")
    assert "\x1b" not in "".join(lines)
    assert row_lines(found.rows, str.upper) != lines
    preview = sft_select.data.preview(path, rows=2, workspace=tmp_path / "runs")
    assert [row.line for row in preview] == [1, 2, 1, 2]
    assert str(preview[0]) in repr(preview)
    with pytest.raises(ArgumentError, match="rows: found 0; allowed: 1 or more"):
        sft_select.data.preview(path, rows=0)


@pytest.mark.parametrize("record", ["hashed", "none"])
def test_rows_that_may_not_be_recorded_are_not_shown(
    tmp_path: Path, tiny_model: Path, tiny_data: Path, record: str
) -> None:
    content: dict[str, Any] = yaml.safe_load(sweep_text(tiny_model, tiny_data))
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(content | {"record_answers": record}))
    found = examine(tmp_path / "runs", None, path)
    assert found.rows == ()
    assert any(f"record_answers: {record}" in check.text for check in found.checks)
