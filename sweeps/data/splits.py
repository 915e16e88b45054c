"""Split files of a task: which file is train, validation or test, and which lie beside one another.

A file says so by its name (``train.jsonl``, ``intents-dev.csv``, ``验证集.parquet``) or by its folder
(``dev/rows.jsonl``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from sweeps.data.readers import data_suffix, is_data_file
from tracker.errors import InputError
from tracker.validation import options

#: Words of a file's name by split, the customary first.
WORDS = {
    "train": ("train", "training", "trn", "训练集", "训练"),
    "validation": (
        *("validation", "valid", "val", "dev", "devel", "development", "验证集", "验证", "开发集"),
        *("eval", "evaluation"),
    ),
    "test": ("test", "testing", "tst", "heldout", "held_out", "测试集", "测试"),
}
_EVAL = ("eval", "evaluation")
_SPLITS = {word: split for split, words in WORDS.items() for word in words}
_LATIN = sorted((word for word in _SPLITS if word.isascii()), key=len, reverse=True)
_HAN = sorted((word for word in _SPLITS if not word.isascii()), key=len, reverse=True)
_WORD = re.compile(
    rf"(?<![A-Za-z])(?:{'|'.join(_LATIN)})(?![A-Za-z])|{'|'.join(_HAN)}", re.IGNORECASE
)
_SHARD = re.compile(r"-\d+-of-\d+$")


class SplitFile(NamedTuple):
    """A data file; ``word``: of its split, ``None`` where its name has none; ``rest``: of its name."""

    path: Path
    word: str | None
    rest: str

    @property
    def split(self) -> str | None:
        """``train``, ``validation`` or ``test``; ``None`` where the name says nothing."""
        return self.word and _SPLITS[self.word]


def split_file(path: Path) -> SplitFile:
    """What the name of *path* says of its split. A name with several of the words is of the first."""
    stem = _stem(path)
    found = list(_WORD.finditer(stem))
    training = [match for match in found if _SPLITS[match[0].lower()] == "train"]
    match = next(iter(training or found), None)
    if match is None:
        return SplitFile(path, None, stem)
    rest = stem[: match.start()] + "\0" + stem[match.end() :]
    return SplitFile(path, match[0].lower(), _SHARD.sub("", rest))


def task_stem(path: Path) -> str:
    """The part of a file's name that is the task's: ``intents`` of ``intents_train.jsonl``; may be empty."""
    return split_file(path).rest.replace("\0", " ").strip("._- ").replace(" ", "_")


def train_files(folder: Path) -> list[Path]:
    """The train files of *folder*, one a task, or its only data file.

    Raises InputError where there is none, and for a train file that is in parts.
    """
    files = list(_data_files(folder))
    if not files:
        files = [f for name in WORDS["train"] for f in _data_files(folder / name)]
        if len(files) == 1:
            return files
    training = [file for file in files if split_file(file).split == "train"]
    if not training and len(files) == 1:
        return files
    if not training:
        named = ", ".join(file.name for file in files[:5])
        found = f"data files {named}" if named else "a folder without a train file"
        raise InputError(f"{folder}: found {found}; allowed: train.jsonl or the like")
    tasks: dict[str, list[Path]] = {}
    for file in training:
        tasks.setdefault(split_file(file).rest, []).append(file)
    return [_only(group) for group in tasks.values()]


def beside(train: Path) -> dict[str, Path]:
    """The validation and test files that lie beside a train file, by split."""
    this_one = split_file(train)
    near = [split_file(f) for f in _data_files(train.parent) if f != train]
    if this_one.split == "train":
        found = [f for f in near if f.rest == this_one.rest]
    else:
        stem, plain = _stem(train), [f for f in near if f.word is None]
        found = [f for f in near if f.word and task_stem(f.path) == stem]
        if not found and not plain:  # the folder's only file without a split's name
            found = [f for f in near if f.word and not task_stem(f.path)]
    if not any(f.split in ("validation", "test") for f in found):
        found = list(_in_folders(train))
    return _chosen(found, data_suffix(train))


def train_of(path: Path) -> Path:
    """The train file of which *path* is the validation or test file; *path* where there is none."""
    if split_file(path).split in (None, "train"):
        return path
    files = [split_file(f) for f in _data_files(path.parent)]
    rest = split_file(path).rest
    same = [f.path for f in files if f.split == "train" and f.rest == rest]
    plain = [f.path for f in files if f.word is None and f.rest == task_stem(path)]
    return next(iter([*same, *plain]), path)


def _data_files(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        files = (f for f in sorted(folder.iterdir()) if not f.name.startswith("."))
        yield from (f for f in files if is_data_file(f) and f.is_file())


def _stem(path: Path) -> str:
    name = path.name[:-3] if path.name.lower().endswith(".gz") else path.name
    return Path(name).stem


def _in_folders(train: Path) -> Iterator[SplitFile]:
    """Files of folders named after a split, beside the folder *train* of a train file."""
    if train.parent.name.lower() not in WORDS["train"]:
        return
    for folder in sorted(train.parent.parent.iterdir()):
        word = folder.name.lower()
        if _SPLITS.get(word) in ("validation", "test"):
            files = list(_data_files(folder))
            same = [f for f in files if f.name == train.name]
            if same or len(files) == 1:
                yield SplitFile((same or files)[0], word, "")


def _chosen(found: Iterable[SplitFile], suffix: str) -> dict[str, Path]:
    """One file a split: of the train file's suffix rather than another, by the more customary word."""
    order = {word: place for words in WORDS.values() for place, word in enumerate(words)}
    ranked = sorted(
        (f for f in found if f.word and f.split != "train"),
        key=lambda f: (data_suffix(f.path) != suffix, order[str(f.word)]),
    )
    files: dict[str, Path] = {}
    for file in ranked:
        files.setdefault(str(file.split), file.path)
    spare = next((f.path for f in ranked if f.word in _EVAL), None)
    if spare is not None and "test" not in files and files["validation"] != spare:
        files["test"] = spare
    return files


def _only(files: list[Path]) -> Path:
    if len(files) > 1:
        suffixes = {data_suffix(file) for file in files}
        named = options(file.name for file in files)
        join = ""
        if suffixes == {".parquet"}:
            folder = files[0].parent
            join = (
                '; to join them: python -c "import pandas, glob; pandas.concat(map(pandas.read_parquet, '
                f"sorted(glob.glob('{folder}/train*.parquet')))).to_parquet('{folder / 'train.parquet'}')\", "
                "and move the parts away"
            )
        elif suffixes == {".jsonl"}:
            join = "; to join them: cat, and move the parts away"
        raise InputError(
            f"{files[0].parent}: found {named} of one task; allowed: one train file{join}"
        )
    return files[0]
