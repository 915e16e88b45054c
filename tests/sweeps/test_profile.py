"""Known data in, known profile out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from sweeps.profile import LABELS, TURN_CHARACTERS, profile, profile_once
from sweeps.resolve import ResolvedSweep, read_sweep
from tracker.store.data_profile import TaskProfile, TextProfile, text


def write(path: Path, rows: list[dict[str, str]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture
def sweep(tmp_path: Path, tiny_model: Path) -> ResolvedSweep:
    train = [{"text": f"row {i}", "label": "yes" if i % 4 else "no"} for i in range(40)]
    train += [{"text": "ROW  1", "label": "yes"}, {"text": "long " * 90, "label": "yes"}]
    names = [{"text": f"who is {i}", "label": f"name {i}"} for i in range(50)]

    def task() -> dict[str, object]:
        return {"prompt": {"instruction": "yes or no", "input": "{text}"}, "answer": "{label}"}

    content = {
        "name": "profiled",
        "models": [{"path": str(tiny_model), "name": "tiny"}],
        "methods": {"full": {"learning_rate": 0.001}},
        "tasks": {
            "choice": {
                **task(),
                "train": write(tmp_path / "choice.jsonl", train),
                "validation": write(
                    tmp_path / "v.jsonl", [train[0], {"text": "new", "label": "no"}]
                ),
                "score": "macro_f1",
                "negative": "no",
            },
            "names": {
                **task(),
                "train": write(tmp_path / "names.jsonl", names),
                "validation": write(tmp_path / "nv.jsonl", [{"text": "other", "label": "name 3"}]),
            },
        },
        "general": {"prose": {"text": write(tmp_path / "p.jsonl", [{"text": "a b"}])}},
        "replay": {"text": write(tmp_path / "r.jsonl", [{"text": "c d"}, {"text": "e f"}])},
        "volumes": [9, 20],
        "mixes": {
            "both": {"choice": 2, "names": 1, "replay": 0.1, "extra_epochs": {"names": 1}},
            "alone": {"choice": 1, "volumes": [20]},
        },
        "train": {"max_length": 128},
        "allow_leakage": True,
    }
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return read_sweep(path)


def test_rows_labels_and_repeats_are_counted(sweep):
    choice, names = profile(sweep).tasks
    train, validation = choice.splits["train"], choice.splits["validation"]
    assert train.rows == 42
    assert [(each.label, each.rows) for each in train.labels] == [("yes", 32), ("no", 10)]
    assert (train.distinct, train.fewest) == (2, 10)
    assert train.repeated == 1
    assert validation.seen == {"train": 1}
    assert choice.negative == "no"
    assert names.splits["train"].distinct == 50
    assert len(names.splits["train"].labels) == LABELS


def test_lengths_are_of_the_first_model_s_tokens(sweep):
    lengths = profile(sweep).tasks[0].splits["train"].lengths
    assert (lengths.unit, lengths.tokenizer, lengths.rows) == ("tokens", "tiny", 42)
    assert lengths.prompt is not None
    assert lengths.prompt.least <= lengths.prompt.median < lengths.prompt.most


def test_the_template_is_shown_filled_in_and_cut(sweep):
    found = profile(sweep).tasks[0]
    assert found.prompt is not None
    assert found.prompt.instruction == "yes or no"
    rows = [row.turns for split in found.splits.values() for row in split.shown]
    assert all(turns[0].text.startswith("yes or no\n") for turns in rows)
    assert {turns[-1].role for turns in rows} == {"answer"}
    assert all(len(turn.text) <= TURN_CHARACTERS for turns in rows for turn in turns)


def test_each_mix_says_what_it_holds_at_each_volume(sweep):
    nine, twenty, alone = profile(sweep).volumes
    assert (nine.mix, nine.volume, nine.examples) == ("both", 9, {"choice": 6, "names": 3})
    assert nine.extra_epochs == {"names": 1}
    assert twenty.examples == {"choice": 13, "names": 7}
    assert (twenty.replay_rows, alone.replay_rows) == (2, 0)
    assert (alone.mix, alone.volume) == ("alone", 20)


def test_texts_are_shown_too(sweep):
    found = profile(sweep)
    (suite,) = found.suites
    assert isinstance(suite, TextProfile)
    assert suite.shown[0].text == "a b"
    assert suite.lengths.prompt is None
    assert found.replay is not None
    assert found.replay.rows == 2


def test_a_suite_that_is_a_task_is_shown_as_one(make_suite_sweep):
    (suite,) = profile(make_suite_sweep).suites
    assert isinstance(suite, TaskProfile)
    assert suite.name == "held"
    assert list(suite.splits) == ["validation"]


@pytest.fixture
def make_suite_sweep(sweep, tmp_path):
    path = tmp_path / "sweep.yaml"
    content = yaml.safe_load(path.read_text())
    content["general"] = {
        "held": {
            "validation": write(tmp_path / "h.jsonl", [{"text": "x", "label": "y"}]),
            "prompt": {"input": "{text}"},
            "answer": "{label}",
        }
    }
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return read_sweep(path)


def test_it_is_worked_out_once(sweep, tmp_path):
    path = tmp_path / "data.json"
    found = profile_once(sweep, path)
    assert path.read_text() == text(found)
    for task in sweep.tasks.values():
        assert task.train is not None
        Path(task.train.path).unlink()
    assert profile_once(sweep, path) == found
