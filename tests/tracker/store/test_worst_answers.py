import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tracker.store import worst_answers as examples
from tracker.store.store import Store
from tracker.store.worst_answers import worst_of
from tracker.task import FileRef
from tracker.trial import Objective, TrialRecord

ROWS = [
    {"row": 0, "answer": "a", "truth": "a", "nats": 0.1, "score": 1.0, "valid": True},
    {"row": 1, "answer": "b", "truth": "a", "nats": 2.0, "score": 0.0, "valid": True,
     "prompt": "Which?", "over_reach": True},
    {"row": 2, "answer": "<script>", "truth": "a", "nats": 5.0, "score": 0.0, "valid": False},
]  # fmt: skip


def lines(rows: list[dict[str, object]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_lowest_score_first_then_highest_loss() -> None:
    found = worst_of("intent", "validation", lines(ROWS))
    assert [example.row for example in found.worst] == [2, 1], (
        "what is right is not among the worst"
    )
    assert (found.rows, found.wrong, found.left_out) == (3, 2, None)
    assert found.worst[1].prompt == "Which?"
    assert found.worst[1].over_reach is True
    assert found.worst[0].prompt is None
    assert found.worst[0].over_reach is None


def test_records_of_before_scores_were_kept_are_right_or_wrong() -> None:
    old = [{"row": 0, "answer": "a", "truth": "a", "nats": 0.1}, {"answer": "b", "truth": "a"}]
    found = worst_of("intent", "validation", lines(old))
    assert ([example.score for example in found.worst], found.rows) == ([0.0], 2)
    assert found.worst[0].nats is None


def test_what_is_no_record_is_passed_over_and_much_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    long = {"row": "x", "answer": "y" * 5000, "truth": ["z"], "nats": True, "valid": "yes"}
    found = worst_of("intent", "test", "nonsense\n[1]\n\n" + lines([long]))
    (only,) = found.worst
    assert len(only.answer) == examples.MAX_CHARACTERS + 1
    assert only[5:9] == (None, None, None, None)
    monkeypatch.setattr(examples, "MAX_ROWS", 2)
    assert worst_of("intent", "test", lines(ROWS)).left_out == "only the first 2 rows were read"
    assert worst_of("intent", "test", lines(ROWS[:2])).left_out is None


def test_the_store_reads_what_a_trial_kept(
    tmp_path: Path, make_record: Callable[..., TrialRecord]
) -> None:
    store = Store.open(tmp_path)
    files = [FileRef(path="train.jsonl", sha256="7" * 64, rows=100)]
    store.begin_sweep("s", spec_text="", spec_digest="a" * 64, planned=2, datasets=files,
                      objective=Objective(weights={"intent": 1}))  # fmt: skip
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "intent.v2.validation.jsonl").write_text(lines(ROWS))
    (kept / "notes.txt").write_text("no answers")
    answered, silent = make_record(0), make_record(1, seed=1)
    store.end_trial("s", answered, kept)
    store.end_trial("s", silent)
    (task,) = store.examples("s", answered.result.spec.key)
    assert (task.task, task.split, task.rows) == ("intent.v2", "validation", 3)
    assert store.examples("s", silent.result.spec.key) == ()
