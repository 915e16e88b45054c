"""Cleaned training files: what is left out, what is kept, and that nothing is overwritten."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sweeps.cleaning import changed_lines, clean_data, report_lines
from sweeps.resolve import read_sweep
from tests.factories import sweep_text
from tracker.errors import InputError

ROWS = [
    ("How is the weather?", "weather"),  # an evaluation row but for case, width and marks
    ("pay my bill", "pay"),
    ("pay my bill", "pay"),
    ("is it sunny", "weather"),
    ("is it sunny", "weather"),
    ("is it sunny", "pay"),
    ("tell me", "pay"),
    ("tell me", "weather"),
    ("a long answer", "pay " * 90),
    *((f"wind of {n}", "weather") for n in range(3)),
    ("bill me", "pay"),
]


@pytest.fixture
def sweep(tiny_model: Path, tmp_path: Path) -> Path:
    wide = "".join(chr(ord(letter) + 0xFEE0) for letter in "weather")
    validation = [(f"how is the {wide}", "weather"), ("pay now", "pay")]
    for name, rows in (("train", ROWS), ("validation", validation)):
        lines = [json.dumps({"text": text, "label": label, "n": 1}) for text, label in rows]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    task = {
        "train": "train.jsonl",
        "prompt": {"input": "{text}"},
        "answer": "{label}",
        "score": "macro_f1",
    }
    path = tmp_path / "sweep.yaml"
    changes = {"tasks": {"t": task}, "general": {}, "mixes": {"all": {"t": 1}}, "volumes": [4]}
    changes["objective"] = {"weights": {"t": 1}}
    changes["train"] = {"epochs": 1, "max_length": 48}
    changes |= {"replay": None, "models": [{"path": str(tiny_model)}]}
    path.write_text(sweep_text(tiny_model, tmp_path, **changes))
    return path


def test_rows_are_left_out_with_reason_and_line(sweep: Path) -> None:
    before = {path: path.read_bytes() for path in sweep.parent.glob("*.*")}
    with pytest.raises(InputError) as caught:
        read_sweep(sweep)
    text = "\n".join(caught.value.problems)
    assert "1 but for punctuation and width): validation.jsonl:1 = train.jsonl:1" in text
    assert "train.jsonl:9: found" in text
    cleaned = clean_data(sweep, sweep.parent / "clean")
    (train,) = cleaned
    assert sorted(train.left_out.values()) == [[1], [3, 5], [6, 7, 8], [9]]
    kept = (sweep.parent / "clean" / "t" / "train.jsonl").read_text().splitlines()
    assert [json.loads(line)["text"] for line in kept] == [
        *("pay my bill", "is it sunny", "wind of 0", "wind of 1", "wind of 2", "bill me")
    ]
    assert json.loads(kept[0]) == {"text": "pay my bill", "label": "pay", "n": 1}
    assert next(report_lines(cleaned)) == "tasks.t.train: 6 of 13 rows kept"
    assert {path: path.read_bytes() for path in before} == before
    assert (sweep.parent / "clean" / "changes.yaml").read_text() == changed_lines(cleaned)


def test_the_changed_lines_make_the_sweep_sound(sweep: Path) -> None:
    changes = clean_data(sweep, sweep.parent / "clean")[0].changes
    assert changes == {
        "tasks/t/train": "clean/t/train.jsonl",
        "tasks/t/validation": "validation.jsonl",
    }
    text = sweep.read_text().replace(
        "train: train.jsonl", "train: clean/t/train.jsonl\n    validation: validation.jsonl"
    )
    sweep.write_text(text)
    assert read_sweep(sweep).warnings == ()
    (train,) = clean_data(sweep, sweep.parent / "again")
    assert not train.left_out
    assert not (sweep.parent / "again").exists()


def test_nothing_is_overwritten(sweep: Path) -> None:
    (sweep.parent / "clean").mkdir()
    with pytest.raises(InputError, match="clean: exists; name a new folder"):
        clean_data(sweep, sweep.parent / "clean")
