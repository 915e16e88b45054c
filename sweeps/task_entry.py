"""Tasks and general suites as a sweep file writes them, and the types of the paths and names in it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from tracker.errors import printable
from tracker.frozen import Frozen
from tracker.task import PromptTemplate, ScoreName, SuiteMeasure, Turns


def _written_path(path: str) -> str:
    """*path*, which must be one that a file system can have."""
    if not printable(path):
        raise ValueError(f"found {path[:60]!r}; allowed: a path without control characters")
    try:
        Path(path).expanduser()
    except RuntimeError:
        raise ValueError(f"found {path!r}, of an unknown user; write the path out") from None
    return path


def _label(name: str | None) -> str | None:
    if name is not None and not printable(name):
        raise ValueError(f"found {name[:60]!r}; allowed: a name without control characters")
    return name


def _encoding(name: str | None) -> str | None:
    """*name*, which must be of a text encoding that Python knows."""
    if name is None:
        return None
    try:
        b"".decode(name)
    except (LookupError, ValueError, TypeError):
        raise ValueError(
            f"found {name!r}; allowed: a text encoding, such as gb18030, big5, shift_jis, utf-16, cp1252"
        ) from None
    return name


Encoding = Annotated[str | None, Field(max_length=40), AfterValidator(_encoding)]
FilePath = Annotated[str, Field(min_length=1, max_length=4_000), AfterValidator(_written_path)]
Label = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_label)]


def _definition(text: str) -> str:
    if "\n" in text or not text.strip():
        raise ValueError(f"found {text[:60]!r}; allowed: a definition on one line")
    return text


Definition = Annotated[str, Field(max_length=2_000), AfterValidator(_definition)]


class TaskFields(Frozen):
    """The keys that a trained task and a held-out task share."""

    validation: FilePath | None = Field(
        None, description="Rows that choices are made on; default: validation.* beside train."
    )
    test: FilePath | None = Field(
        None, description="Rows for the final report alone; default: test.* beside train."
    )
    prompt: PromptTemplate | None = Field(
        None,
        description="Prompt over the row's fields. Omitted: the rows carry their own layout "
        "(messages; prompt and completion; instruction, input and output; conversations; chosen and "
        "rejected).",
    )
    answer: str | None = Field(None, description='Template of the answer, such as "{label}".')
    score: ScoreName = Field("exact_match", description="The task's metric.")
    negative: str | None = Field(
        None,
        description="The answer that claims nothing, such as out_of_scope. Any other answer to such a row "
        "is a false positive (over-reach).",
    )
    pattern: str | None = Field(
        None, description="Regular expression that a well-formed answer matches as a whole."
    )
    labels: dict[Label, Definition] = Field(
        default_factory=dict,
        description="Definition of each label, such as `refund: the customer wants money back`. The prompt "
        "lists them in the order of their names, a line each, where its template has `{labels}`; else after "
        "the instruction, or, of rows with their own layout, before the first user turn. Every answer must "
        "be one of them.",
        exclude_if=lambda labels: not labels,
    )

    encoding: Encoding = Field(
        None,
        description="Encoding of the files, such as gb18030; default: UTF-8.",
        exclude_if=lambda value: value is None,
    )

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(
                f"found {pattern!r}; allowed: a regular expression ({error})"
            ) from None
        return pattern

    @model_validator(mode="after")
    def _template_is_whole(self) -> Self:
        if (self.prompt is None) != (self.answer is None):
            raise ValueError("found one of prompt and answer; allowed: both or neither")
        return self


class TaskEntry(TaskFields):
    """Supervised tasks by name. Files: JSON Lines, a JSON array, CSV, TSV or Parquet; gzip of text."""

    train: FilePath | None = Field(
        None, description="Rows to train on; omitted for a held-out task."
    )
    validation_share: float = Field(
        0.1,
        gt=0,
        lt=1,
        description="Where there is no validation file: the share of train set aside instead, "
        "seeded and stratified by answer.",
    )

    turns: Turns = Field(
        "last",
        description="Whose loss is trained in conversations: the last turn's, or all of the assistant's (a "
        "turn's `weight` scales its loss, 0 leaves it out). Evaluated is the last turn.",
        exclude_if=lambda value: value == "last",
    )

    @model_validator(mode="after")
    def _has_rows(self) -> Self:
        if not (self.train or self.validation):
            raise ValueError("found no file; allowed: train, or validation for a held-out task")
        return self


#: What a release may read in another way than an earlier one did, by field of TaskSpec: a begun sweep keeps
#: what it began with (sweeps.preflight). Of those that the score alone reads, another score begins anew.
SETTLED_FIELDS = ("tokens", "reading")
SETTLED_BY_SCORE = frozenset({"tokens"})


def new_settings(entry: TaskFields) -> dict[str, Any]:
    """Settled fields of the task's TaskSpec, with their values, in a sweep that is begun now."""
    by_score = {"tokens": "normalised"} if entry.score == "token_f1" else {}
    return {"reading": "whole", **by_score}


class SuiteEntry(TaskFields):
    """General suites, never trained on: plain text, or a held-out task (inline or as `task`)."""

    text: FilePath | None = Field(None, description="A file of plain texts (field `text`).")
    task: TaskEntry | None = Field(None, description="A held-out task.")
    measure: SuiteMeasure = Field(
        "bits_per_byte", description="bits_per_byte of text or answers, or the task's score."
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [key for key in ("text", "task", "validation") if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(
                f"found {' and '.join(given) or 'no rows'}; allowed: one of text, task, validation"
            )
        if self.text and self.measure == "score":
            raise ValueError("found measure: score for plain text; allowed: bits_per_byte")
        return self

    @property
    def held_out(self) -> TaskFields | None:
        """The task, wherever it is written; ``None`` for plain text."""
        return None if self.text else self.task or self


class TextFile(Frozen):
    """A file of plain texts."""

    text: FilePath = Field(description="A file of plain texts (field `text`).")
    encoding: Encoding = Field(
        None,
        description="Encoding of the file, such as gb18030; default: UTF-8.",
        exclude_if=lambda value: value is None,
    )
