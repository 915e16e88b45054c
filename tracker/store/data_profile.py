"""Profile of a sweep's data files, kept in the store: its readers may sit where the files are not.

Written once, when the sweep begins, by the only room that reads data files. Texts are cut, labels and
example rows are few: :func:`text` keeps the whole below :data:`MAX_BYTES`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pydantic import Field, ValidationError

from tracker.frozen import Frozen
from tracker.store.runs import Run, Runs
from tracker.task import PromptTemplate
from tracker.trial import RecordAnswers

FILE = "data.json"
#: Says in MLflow that :data:`FILE` is there.
TAG = "sft.data"
MAX_BYTES = 1_000_000

Unit = Literal["tokens", "characters"]


class Quantiles(Frozen):
    """Quantiles of lengths, in the unit of their :class:`Lengths`; one row in ten exceeds ``p90``."""

    least: float
    p10: float
    median: float
    p90: float
    most: float


class Lengths(Frozen):
    """Lengths of prompts and answers, of ``rows`` rows spread evenly over the file.

    ``tokenizer``: the model whose tokens are counted, without the chat frame; ``None`` where characters are.
    """

    unit: Unit
    tokenizer: str | None = None
    rows: int
    prompt: Quantiles | None = None
    answer: Quantiles


class LabelCount(Frozen):
    """Number of rows with this answer; a long answer is cut, and one that is not recorded has a number."""

    label: str
    rows: int


class ShownTurn(Frozen):
    """One turn of a shown row. ``cut``: characters left out at the end."""

    role: str
    text: str
    cut: int = 0


class ShownRow(Frozen):
    """One row as the model is shown it, template filled in; the last turn is the answer to be learned."""

    turns: tuple[ShownTurn, ...]


class SplitProfile(Frozen):
    """Profile of one file of a task.

    ``labels``: the most frequent answers, most first; ``distinct`` counts all of them, ``fewest``: rows of
    the least frequent. ``repeated``: rows whose prompt stands earlier in the same file; ``seen``: whose
    prompt stands in an earlier split, by split. Prompts that differ in case and spaces alone are one.
    """

    rows: int
    labels: tuple[LabelCount, ...]
    distinct: int
    fewest: int = 1
    repeated: int = 0
    seen: dict[str, int] = Field(default_factory=dict)
    lengths: Lengths
    shown: tuple[ShownRow, ...] = ()


class TaskProfile(Frozen):
    """Profile of a task, or of a suite that is a held-out task.

    ``splits``: in the order train, validation, test. ``prompt`` and ``answer`` are ``None`` where the rows
    have a layout of their own.
    """

    name: str
    prompt: PromptTemplate | None = None
    answer: str | None = None
    score: str
    negative: str | None = None
    splits: dict[str, SplitProfile]


class TextProfile(Frozen):
    """Profile of plain texts: a suite, or the replayed texts. ``shown``: a few, cut."""

    name: str
    rows: int
    lengths: Lengths
    shown: tuple[ShownTurn, ...] = ()


class MixVolume(Frozen):
    """Contents of one mix at one training-set size.

    ``examples``: distinct ones by task; ``extra_epochs``: passes over them beyond the first;
    ``replay_rows``: general texts added to each pass.
    """

    mix: str
    volume: int
    examples: dict[str, int]
    extra_epochs: dict[str, int] = Field(default_factory=dict)
    replay_rows: int = 0


class DataProfile(Frozen):
    """Profile of all data of a sweep. ``shortened``: rows, labels or volumes were left out for its size.

    ``record_answers``: with all but ``all`` no row is shown, and the negative label alone is named.
    """

    tasks: tuple[TaskProfile, ...]
    suites: tuple[TaskProfile | TextProfile, ...] = ()
    replay: TextProfile | None = None
    volumes: tuple[MixVolume, ...] = ()
    shortened: bool = False
    record_answers: RecordAnswers = Field("all", exclude_if=lambda value: value == "all")


def text(profile: DataProfile, limit: int = MAX_BYTES) -> str:
    """*profile* as JSON of at most *limit* bytes: example rows go first, then labels, then volumes."""
    content = profile.model_dump_json()
    for shorten in (_one_row_each, _no_rows, _ten_labels, _few_volumes, _few_tasks):
        if len(content.encode()) <= limit:
            return content
        profile = shorten(profile).model_copy(update={"shortened": True})
        content = profile.model_dump_json()
    if len(content.encode()) <= limit:
        return content
    kept = profile.record_answers
    return DataProfile(tasks=(), shortened=True, record_answers=kept).model_dump_json()


def keep_profile(runs: Runs, parent: Run, profile: DataProfile | None) -> dict[str, str]:
    """Log *profile* with the sweep's run *parent*; returns the tags that then say so."""
    if profile is None:
        return {}
    runs.artifacts.log_text(parent, text(profile), FILE)
    return {TAG: FILE}


def read_profile(runs: Runs, sweep: str) -> DataProfile | None:
    """Read the sweep's profile; ``None`` where none was kept that this version can read."""
    run = runs.sweep(sweep)
    if TAG not in run.data.tags:
        return None
    try:
        return DataProfile.model_validate_json(runs.text(run, FILE))
    except ValidationError:
        return None


def _on_splits(
    profile: DataProfile, change: Callable[[SplitProfile], dict[str, object]]
) -> DataProfile:
    """*profile* with *change* made to every split of every task and suite."""

    def changed(task: TaskProfile) -> TaskProfile:
        splits = {
            name: split.model_copy(update=change(split)) for name, split in task.splits.items()
        }
        return task.model_copy(update={"splits": splits})

    suites = tuple(s if isinstance(s, TextProfile) else changed(s) for s in profile.suites)
    tasks = tuple(changed(task) for task in profile.tasks)
    return profile.model_copy(update={"tasks": tasks, "suites": suites})


def _one_row_each(profile: DataProfile) -> DataProfile:
    return _on_splits(profile, lambda split: {"shown": split.shown[:1]})


def _no_rows(profile: DataProfile) -> DataProfile:
    return _on_splits(profile, lambda _: {"shown": ()})


def _ten_labels(profile: DataProfile) -> DataProfile:
    return _on_splits(profile, lambda split: {"labels": split.labels[:10]})


def _few_volumes(profile: DataProfile) -> DataProfile:
    return profile.model_copy(update={"volumes": profile.volumes[:200]})


def _few_tasks(profile: DataProfile) -> DataProfile:
    return profile.model_copy(update={"tasks": profile.tasks[:100], "volumes": ()})
