"""Keys of a sweep file that only some scores read, and true answers that a score cannot read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from sweeps.preflight import SCORE_FILES, settled
from sweeps.resolve import ResolvedSweep, read_sweep
from tracker.errors import InputError

Answers = dict[str, list[Any]]


def sweep_of(folder: Path, model: Path, answers: Answers, **task: Any) -> ResolvedSweep:
    """A sweep of one task with these *answers* by split."""
    top = {key: task.pop(key) for key in ("allow_code",) if key in task}
    for split, given in answers.items():
        rows = [{"q": f"{split} row {i}", "a": answer} for i, answer in enumerate(given)]
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{split}.jsonl").write_text(text, encoding="utf-8")
    entry = {"train": "train.jsonl", "prompt": {"input": "{q}"}, "answer": "{a}"} | task
    content = {
        "name": "keys",
        "models": [{"path": str(model)}],
        "methods": {"full": {"learning_rate": 1e-3}},
        "tasks": {"t": entry},
        "volumes": [2],
    }
    file = folder / "sweep.yaml"
    file.write_text(yaml.safe_dump(content | top), encoding="utf-8")
    return read_sweep(file)


def problem(folder: Path, model: Path, answers: Answers, **task: Any) -> str:
    with pytest.raises(InputError) as caught:
        sweep_of(folder, model, answers, **task)
    (only,) = caught.value.problems
    return only.replace(f"{folder}/", "")


PLAIN: Answers = {"train": ["a", "b"], "validation": ["a", "b"]}


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ({"score": "f1"}, "found 'f1'; allowed: "),
        ({"score": "macro_f1", "average": "micro"}, "average with score: macro_f1; allowed: with multi"),
        ({"separator": ";"}, "found separator with score: exact_match; allowed: with multilabel_f1 or uno"),
        ({"score": "json", "tolerance": 1}, "found tolerance with score: json; allowed: with number"),
        ({"score": "number", "tolerance": -1}, "tolerance: found -1; allowed: at least 0"),
        ({"direction": "minimize"}, "found direction with score: exact_match; allowed: with a function"),
        ({"score": "./s.py:f"}, "Python code that would run in every worker; allowed: with allow_code"),
        ({"score": "./s.py:f", "range": [1, 0], "allow_code": True}, "the smaller one first"),
        ({"score": "./s.py:f", "range": [0, None], "allow_code": True}, "allowed: a largest value"),
        ({"score": "./s.py:f", "allow_code": True}, "s.py: No such file"),
        ({"score": "json", "json_schema": "no.json"}, "no.json: No such file"),
        ({"score": "number"}, "train.jsonl:1: found answer 'a', which has no number"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said_in_a_line(
    tmp_path: Path, tiny_model: Path, task: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError) as caught:
        sweep_of(tmp_path, tiny_model, PLAIN, **task)
    assert any(words in each for each in caught.value.problems), caught.value.problems


def test_a_combination_that_train_never_had_is_no_error(tmp_path: Path, tiny_model: Path) -> None:
    answers: Answers = {
        "train": ["红，绿", "蓝", "绿", "红，蓝"],
        "validation": ["绿，蓝", "红、绿、蓝"],
    }
    sweep = sweep_of(tmp_path, tiny_model, answers, score="multilabel_f1")
    assert sweep.tasks["t"].separators == (",", "，", "、")
    answers["validation"].append("绿，篮")
    found = problem(tmp_path, tiny_model, answers, score="multilabel_f1")
    assert found.startswith("validation.jsonl:3: found label '篮', never seen in train")


def test_lists_are_several_labels(tmp_path: Path, tiny_model: Path) -> None:
    answers: Answers = {
        "train": [["a, b", "c"], ["c"], [], ["a, b"]],
        "validation": [["c", "a, b"], []],
    }
    task = sweep_of(tmp_path, tiny_model, answers, score="multilabel_f1").tasks["t"]
    assert task.separators is None


def test_what_a_score_reads_is_known_by_its_content(tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "s.py").write_text("def f(answer, row): return 1.0")
    task = {"score": "./s.py:f", "allow_code": True, "range": [0, None], "direction": "minimize"}
    sweep = sweep_of(tmp_path, tiny_model, PLAIN, **task)
    function = sweep.tasks["t"].function
    assert function is not None
    assert (sweep.tasks["t"].score, function.high, function.minimize) == ("f", None, True)
    assert settled(sweep)[SCORE_FILES] == {"t": [function.file.sha256]}
    (tmp_path / "s.py").write_text("def f(answer, row): return 0.5")
    changed = sweep_of(tmp_path, tiny_model, PLAIN, **task).tasks["t"].function
    assert changed is not None
    assert changed.file.sha256 != function.file.sha256


def test_answers_that_do_not_fit_the_schema_are_refused(tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "schema.json").write_text('{"type": "object", "required": ["n"]}')
    answers: Answers = {"train": ['{"n": 1}', '{"m": 1}'], "validation": ['{"n": 2}']}
    task = {"score": "json", "json_schema": "schema.json"}
    found = problem(tmp_path, tiny_model, answers, **task)
    assert found.startswith(
        "train.jsonl:2: found answer '{\"m\": 1}', which is not valid by json_schema"
    )


def test_a_task_without_these_keys_is_as_it_was(tmp_path: Path, tiny_model: Path) -> None:
    task = sweep_of(tmp_path, tiny_model, PLAIN).tasks["t"]
    new = {"separators", "unordered", "average", "tolerance", "json_schema", "function", "tokens"}
    assert not new & task.model_dump().keys()
