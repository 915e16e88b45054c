"""A user's own function: it is run where it can be ended, and a row on which it fails has no score."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweeps.data.examples import digest
from sweeps.scores.score_function import MOST_LATE, function_values
from sweeps.scores.task_scores import Answers, UnscoredError, judge, score_task
from tests.sweeps.scores.test_scores import NOWHERE
from tracker.errors import InputError
from tracker.task import ScoreFunction, SourceFile, TaskScore, TaskSpec

CODE = """
import os, re
print("what is printed goes nowhere")

def length(answer, row):
    print(answer, flush=True)
    match answer:
        case "raise": return row["no such field"]
        case "loop":
            while True: pass
        case "in C": return float(bool(re.match("(a+)+$", "a" * 60 + "b")))
        case "exit": os._exit(3)
        case "crash": os.abort()
        case "quit": raise SystemExit
        case "text": return "0.5"
        case "none": return None
        case "nan": return float("nan")
        case "high": return 11
        case "true": return True
    return abs(len(answer) - len(row["text"]))
"""


def score_function(folder: Path, code: str = CODE, **fields: Any) -> ScoreFunction:
    file = folder / "scores.py"
    file.write_text(code)
    known = {"function": "length", "high": 10.0, "seconds": 0.5}
    return ScoreFunction(
        file=SourceFile(path=str(file), sha256=digest(str(file))), **(known | fields)
    )


def scored(scorer: ScoreFunction, answers: Sequence[str]) -> TaskScore:
    task = TaskSpec(name="t", validation=NOWHERE, score=scorer.function, function=scorer)
    values = function_values(scorer, answers, [{"text": "1234"}] * len(answers))
    ones = np.ones(len(answers))
    return score_task(task, Answers(answers, answers, ones, ones, ones, values), None)


def test_a_row_on_which_it_fails_has_an_error_and_no_score(tmp_path: Path) -> None:
    scorer = score_function(tmp_path)
    failing = {
        "raise": ("KeyError", "line 8: 'no such field'"),
        "loop": ("TimeoutError", "it took more than 0.5 seconds"),
        "in C": ("TimeoutError", "it took more than 0.5 seconds"),
        "exit": ("ProcessEnded", "it ended its process (exit code 3)"),
        "crash": ("ProcessEnded", "it ended its process (exit code -6)"),
        "quit": ("SystemExit", "line 14: "),
        "text": ("TypeError", "it returned str, not a number"),
        "none": ("TypeError", "it returned NoneType, not a number"),
        "nan": ("ValueError", "it returned nan"),
        "high": ("OutOfRange", "it returned 11; allowed: 0 to 10"),
    }
    answers = [answer for name in failing for answer in (name, "12")]
    beats: list[int] = []
    found = function_values(
        scorer, answers, [{"text": "1234"}] * len(answers), lambda: beats.append(1)
    )
    assert {a: (v.error, v.words) for a, v in zip(answers[::2], found[::2], strict=True)} == failing
    assert [value.value for value in found[1::2]] == [2.0] * len(failing), "the next row is scored"
    assert len(beats) == len(answers)


def test_the_score_is_of_the_rows_that_have_one(tmp_path: Path) -> None:
    score = scored(score_function(tmp_path), ["1234", "raise", "12345678", "true"])
    assert score.score == pytest.approx((0 + 0.4 + 0.1) / 3), "shares of the range 0 to 10"
    assert score.unscored == 1
    assert score.score_name == "length"
    assert score.majority_score is None
    assert np.mean(score.replicates) == pytest.approx(score.score, abs=0.03)


def test_what_is_minimized_is_an_error_in_its_unit(tmp_path: Path) -> None:
    scorer = score_function(tmp_path, minimize=True, high=None)
    score = scored(scorer, ["1234", "12345678", "high"])
    assert score.score is None
    assert score.error == pytest.approx((0 + 4 + 11) / 3)
    assert score.error_se is not None
    task = TaskSpec(name="t", validation=NOWHERE, score="length", function=scorer)
    (value,) = function_values(scorer, ["high"], [{"text": ""}])
    assert judge(task, "high", "high", None, value).error == 11


def test_a_trial_of_which_no_row_has_a_score_fails(tmp_path: Path) -> None:
    with pytest.raises(UnscoredError, match=r"scored none of 2 rows; the first: KeyError: line 8"):
        scored(score_function(tmp_path), ["raise", "raise"])


def test_a_function_that_never_ends_ends_soon(tmp_path: Path) -> None:
    scorer = score_function(tmp_path, seconds=0.05)
    started = time.monotonic()
    found = function_values(scorer, ["loop"] * 200, [{"text": ""}] * 200)
    assert time.monotonic() - started < 20
    assert [value.error for value in found].count("TimeoutError") == MOST_LATE
    assert found[-1].error == "NotTried"


def test_no_process_is_left(tmp_path: Path) -> None:
    before = set(os.listdir("/proc")) if Path("/proc").is_dir() else set()
    scored(score_function(tmp_path), ["1", "loop"])
    left = [p for p in set(os.listdir("/proc")) - before if p.isdigit()] if before else []
    commands = [Path("/proc", p, "cmdline") for p in left]
    assert not [c for c in commands if c.exists() and str(tmp_path) in c.read_text()]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("def other(a, b): return 1", "it defines no function length"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("def length(a, b) return 1", "SyntaxError"),
        ("raise SystemExit(0)", "SystemExit"),
        ("import os; os._exit(1)", "it ended its process"),
    ],
)
def test_a_file_that_does_not_load_is_refused(tmp_path: Path, code: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        function_values(score_function(tmp_path, code), ["a"], [{}])


def test_a_file_that_has_changed_is_refused(tmp_path: Path) -> None:
    scorer = score_function(tmp_path)
    (tmp_path / "scores.py").write_text("def length(answer, row): return 1")
    with pytest.raises(InputError, match="changed during the sweep"):
        function_values(scorer, ["a"], [{}])
