"""Split files are found beside one another, by the words that people name them with."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeps.data.splits import beside, split_file, task_stem, train_files, train_of
from tracker.errors import InputError


def made(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}\n")


@pytest.mark.parametrize(
    ("name", "split", "stem"),
    [
        ("train.jsonl", "train", ""),
        ("intents-dev.csv.gz", "validation", "intents"),
        ("VAL.tsv", "validation", ""),
        ("test_slots.parquet", "test", "slots"),
        ("validation-00000-of-00001.parquet", "validation", ""),
        ("训练集.jsonl", "train", ""),
        ("评论_验证集.jsonl", "validation", "评论"),
        ("devices.jsonl", None, "devices"),
        ("trained.jsonl", None, "trained"),
        ("eval.jsonl", "validation", ""),
    ],
)
def test_a_name_says_its_split(name: str, split: str | None, stem: str) -> None:
    assert split_file(Path(name)).split == split
    assert task_stem(Path(name)) == stem


@pytest.mark.parametrize(
    ("train", "others", "expected"),
    [
        ("train.jsonl", ["dev.jsonl", "test.jsonl"], ["dev.jsonl", "test.jsonl"]),
        ("train.csv", ["valid.csv.gz", "eval.csv"], ["valid.csv.gz", "eval.csv"]),
        ("train.json", ["val.jsonl"], ["val.jsonl", None]),
        ("train.csv", ["dev.jsonl", "dev.csv"], ["dev.csv", None]),
        ("a_train.jsonl", ["b_dev.jsonl", "a_dev.jsonl"], ["a_dev.jsonl", None]),
        (
            "notes.jsonl",
            ["notes_dev.jsonl", "notes-test.jsonl"],
            ["notes_dev.jsonl", "notes-test.jsonl"],
        ),
        ("notes.jsonl", ["dev.jsonl", "test.jsonl"], ["dev.jsonl", "test.jsonl"]),
        ("notes.jsonl", ["other.jsonl", "dev.jsonl"], [None, None]),
        (
            "train/rows.jsonl",
            ["dev/rows.jsonl", "test/all.jsonl"],
            ["dev/rows.jsonl", "test/all.jsonl"],
        ),
        ("train.jsonl", ["test.txt", ".dev.jsonl"], [None, None]),
        (
            "train-00000-of-00001.parquet",
            ["test-00000-of-00001.parquet"],
            [None, "test-00000-of-00001.parquet"],
        ),
    ],
)
def test_the_other_splits_are_found(
    tmp_path: Path, train: str, others: list[str], expected: list[str | None]
) -> None:
    made(tmp_path, train, *others)
    found = beside(tmp_path / train)
    names = [found.get(split) for split in ("validation", "test")]
    assert [path and str(path.relative_to(tmp_path)) for path in names] == expected
    for path in found.values():
        if path.parent == tmp_path and train != "notes.jsonl":
            assert train_of(path) == tmp_path / train


def test_a_folder_of_several_tasks(tmp_path: Path) -> None:
    made(tmp_path, "a_train.jsonl", "a_dev.jsonl", "b.train.csv", "general.jsonl")
    assert [path.name for path in train_files(tmp_path)] == ["a_train.jsonl", "b.train.csv"]
    made(tmp_path / "one", "rows.jsonl")
    assert [path.name for path in train_files(tmp_path / "one")] == ["rows.jsonl"]


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_a_train_file_in_parts_is_refused_with_the_line_that_joins_it(
    tmp_path: Path, suffix: str
) -> None:
    made(tmp_path, f"train-00000-of-00002{suffix}", f"train-00001-of-00002{suffix}")
    with pytest.raises(InputError, match="of one task; allowed: one train file; to join them: "):
        train_files(tmp_path)
