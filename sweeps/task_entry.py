"""Tasks and general suites as a sweep file writes them, and the types of the paths and names in it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from tracker.errors import printable
from tracker.frozen import Frozen
from tracker.task import (
    Average,
    PromptTemplate,
    ScoreName,
    SuiteMeasure,
    TemplateVariables,
    Tolerance,
    Turns,
)
from tracker.validation import unknown


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


def known_encoding(name: str | None) -> str | None:
    """*name*, which must be of a text encoding that Python knows."""
    if name is None:
        return None
    try:
        "0".encode(name)  # an empty text is not even looked up
    except (LookupError, ValueError, TypeError):
        raise ValueError(
            f"found {name!r}; allowed: a text encoding, such as gb18030, big5, shift_jis, utf-16, cp1252"
        ) from None
    return name


Encoding = Annotated[str | None, Field(max_length=40), AfterValidator(known_encoding)]
FilePath = Annotated[str, Field(min_length=1, max_length=4_000), AfterValidator(_written_path)]
Label = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_label)]


def _definition(text: str) -> str:
    if "\n" in text or not text.strip():
        raise ValueError(f"found {text[:60]!r}; allowed: a definition on one line")
    return text


Definition = Annotated[str, Field(max_length=2_000), AfterValidator(_definition)]


def _unset(value: object) -> bool:
    return value is None or value is False


_FUNCTION = re.compile(r".+\.py:[A-Za-z_]\w*")


def _knscore_function(score: str) -> str:
    names = get_args(ScoreName)
    if score in names:
        return score
    if not _FUNCTION.fullmatch(score):
        raise ValueError(
            f"{unknown(score, names)}; or a function of your own, ./scores.py:function"
        )
    if (name := score.rpartition(":")[2]) in names:
        raise ValueError(f"found a function {name!r}, as a score of ours is called; rename it")
    return str(_written_path(score))


Score = Annotated[
    str,
    AfterValidator(_knscore_function),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": [*get_args(ScoreName)], "type": "string"},
                {"pattern": f"^{_FUNCTION.pattern}$", "type": "string"},
            ]
        }
    ),
]
Separator = Annotated[str, Field(min_length=1, max_length=20)]
_as_list = BeforeValidator(
    lambda value: (value,) if isinstance(value, str) else value,
    json_schema_input_type=Separator | list[Separator],
)
Separators = Annotated[tuple[Separator, ...], Field(min_length=1), _as_list]
_absolute = BeforeValidator(
    lambda value: {"absolute": value} if isinstance(value, int | float) else value,
    json_schema_input_type=float | Tolerance,
)
#: Keys that only some scores read.
_KEYS_OF_SCORES = {
    "average": ("multilabel_f1",),
    "separator": ("multilabel_f1",),
    "unordered": ("exact_match", "token_f1", "json"),
    "tolerance": ("number",),
    "json_schema": ("json",),
    "range": ("a function of yours",),
    "direction": ("a function of yours",),
    "seconds_per_row": ("a function of yours",),
}


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
    score: Score = Field(
        "exact_match",
        description="The task's metric, or a function of your own, `./scores.py:function`: it is given the "
        "answer and the row (a dict of its fields) and returns a number; with `allow_code: true`.",
    )
    negative: str | None = Field(
        None,
        description="The answer that claims nothing, such as out_of_scope. Any other answer to such a row "
        "is a false positive (over-reach).",
    )
    pattern: str | None = Field(
        None, description="Regular expression that a well-formed answer matches as a whole."
    )
    chat_template_kwargs: TemplateVariables = Field(
        (),
        exclude_if=lambda value: not value,
        description="Variables of the chat template for this task's rows, before those of the model's entry.",
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
    average: Average | None = Field(
        None,
        exclude_if=_unset,
        description="Which F1 of multilabel_f1 is the score: over all labels given (micro, the default), the "
        "mean over labels, or the mean over rows. All three are reported.",
    )
    separator: Separators | None = Field(
        None,
        exclude_if=_unset,
        description="What stands between the parts of an answer (multilabel_f1, or unordered): one text or a "
        "list of them; default: what the data show, such as `;`, `,`, `，` or `、`. A JSON array needs none.",
    )
    unordered: bool = Field(
        False,
        exclude_if=_unset,
        description="The answer is a set of parts, such as slots: token_f1 counts whole parts, exact_match "
        "compares the sets, json takes lists in any order.",
    )
    tolerance: Annotated[Tolerance, _absolute] | None = Field(
        None,
        exclude_if=_unset,
        description="By how much a number may be off (score: number): `0.01`, or `{relative: 0.01}`.",
    )
    json_schema: FilePath | None = Field(
        None,
        exclude_if=_unset,
        description="File with the JSON Schema of answers (score: json), which gives a schema-valid rate.",
    )
    range: Annotated[tuple[float | None, ...], Field(min_length=2, max_length=2)] | None = Field(
        None,
        exclude_if=_unset,
        description="Smallest and largest value of the function; default: `[0, 1]`. With `direction: "
        "minimize` the largest may be null, for no limit.",
    )
    direction: Literal["maximize", "minimize"] | None = Field(
        None,
        exclude_if=_unset,
        description="Whether a larger or a smaller value of the function is better; default: maximize. "
        "What is maximized is reported as its share of the range.",
    )
    seconds_per_row: Annotated[float, Field(gt=0, le=3600)] | None = Field(
        None,
        exclude_if=_unset,
        description="What the function may take for a row, which has no score after that; default: 10.",
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

    @model_validator(mode="after")
    def _keys_fit_the_score(self) -> Self:
        score = "a function of yours" if self.written_function else self.score
        for key, scores in _KEYS_OF_SCORES.items():
            allowed = [*scores, *(["unordered: true"] if key == "separator" else [])]
            if not _unset(getattr(self, key)) and score not in scores:
                if key == "separator" and self.unordered:
                    continue
                raise ValueError(
                    f"found {key} with score: {self.score}; allowed: with {' or '.join(allowed)}"
                )
        low, high = self.limits
        if high is not None and low >= high:
            raise ValueError(f"found range {low:g} to {high:g}; allowed: the smaller one first")
        if self.direction == "minimize" and low < 0:
            raise ValueError(f"found range from {low:g}, minimized; allowed: an error of 0 or more")
        if self.direction != "minimize" and high is None:
            raise ValueError("found range without an end, maximized; allowed: a largest value")
        return self

    @property
    def limits(self) -> tuple[float, float | None]:
        """Smallest and largest value of the user's own function; ``None`` for no limit."""
        low, high = self.range or (0.0, 1.0)
        if low is None:
            raise ValueError("found range without a beginning; allowed: a number, such as 0")
        return low, high

    @property
    def written_function(self) -> tuple[str, str] | None:
        """File, as written, and name of the user's own function; ``None`` for a score of ours."""
        if self.score in get_args(ScoreName):
            return None
        path, _, function = self.score.rpartition(":")
        return path, function


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
        held_out = self.held_out
        if self.measure == "score" and held_out and held_out.direction == "minimize":
            raise ValueError("found measure: score for an error; allowed: a score to maximize")
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
