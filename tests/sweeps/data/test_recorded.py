"""What of a row's texts is recorded."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from sweeps.data.examples import part_path
from sweeps.data.recorded import recorded_answer, recorded_counts, recorded_reason
from tracker.errors import InputError
from tracker.task import FileRef, LabelCounts, TaskSpec


def task(path: Path | str) -> TaskSpec:
    return TaskSpec(name="t", validation=FileRef(path=str(path), sha256="", rows=1))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "v.jsonl"
    path.write_text('{"text": "a", "label": "yes"}\n')
    return path


def test_a_digest_is_of_the_answer_as_it_is_compared_and_of_the_data(
    file: Path, tmp_path: Path
) -> None:
    one = recorded_answer(task(file), "yes", "hashed")
    assert one == recorded_answer(task(file), " yes\n", "hashed")
    assert one != recorded_answer(task(file), "Yes", "hashed"), "another answer, as it is scored"
    moved = tmp_path / "moved.jsonl"
    moved.write_bytes(file.read_bytes())
    assert one == recorded_answer(task(moved), "yes", "hashed")
    assert one == recorded_answer(task(part_path(str(file), "validation", 0.1)), "yes", "hashed")
    other = tmp_path / "other.jsonl"
    other.write_text("{}\n")
    assert one != recorded_answer(task(other), "yes", "hashed")


def test_a_guess_without_the_file_finds_no_answer(file: Path) -> None:
    """Neither a plain hash of the label nor one keyed by the file's digest, which is recorded."""
    made = recorded_answer(task(file), "yes", "hashed")
    known = hashlib.sha256(file.read_bytes())
    for key in (b"", known.digest(), known.hexdigest().encode()):
        assert hashlib.sha256(key + b"yes").hexdigest()[:16] not in str(made)


def test_all_is_as_it_was_and_none_is_nothing(file: Path) -> None:
    assert recorded_answer(task(file), " yes ", "all") == " yes "
    assert recorded_answer(task(file), "yes", "none") is None


def test_counts_by_label_name_no_label_but_the_negative_one(file: Path) -> None:
    counts = LabelCounts(
        names=("yes", "none", "no"), truths=(3, 2, 1), answers=(1, 1, 1), hits=(1, 0, 1)
    )
    labelled = task(file).model_copy(update={"negative": "none"})
    assert recorded_counts(labelled, counts, "all") is counts
    hashed, unnamed = (recorded_counts(labelled, counts, r) for r in ("hashed", "none"))
    assert hashed is not None
    assert hashed.names[0] == recorded_answer(labelled, "yes", "hashed")
    assert hashed.names[1] == "none"
    assert unnamed is not None
    assert unnamed.names == ("answer 1", "none", "answer 3")
    assert hashed.hits == unnamed.hits == counts.hits


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.jsonl: No such file"):
        recorded_answer(task(tmp_path / "gone.jsonl"), "yes", "hashed")


def test_the_reason_of_a_failed_trial_quotes_no_row() -> None:
    with pytest.raises(ValueError, match="lay out") as raised:
        raise ValueError("cannot lay out 'my secret row'")
    assert recorded_reason(raised.value, "all") == "ValueError: cannot lay out 'my secret row'"
    words = recorded_reason(raised.value, "none")
    assert "secret" not in words
    assert words.startswith("ValueError at test_recorded.py:")
    assert words.endswith("(its words are not recorded: record_answers: none)")
