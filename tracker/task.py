"""Tasks: what is supervised or held out, its files, prompt and metric, and what a trial scored on it.

Types are frozen and strict. What was not measured is ``None``, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    StringConstraints,
    model_validator,
)

from tracker.frozen import Frozen
from tracker.replicates import Replicates

#: Of a method or a metric: ours, or whatever an outside table calls it.
Name = Annotated[str, StringConstraints(pattern=r"^[\w@][\w@.+\-]*$")]
#: The scores we compute ourselves; an outside table, or a user's own function, may have others.
ScoreName = Literal[
    "exact_match",
    "macro_f1",
    "token_f1",
    "multilabel_f1",
    "number",
    "json",
    "chrf",
    "rouge_l",
]
#: Scores of answers that are labels, one or several: those of training are the format.
LABEL_SCORES: frozenset[str] = frozenset({"macro_f1", "multilabel_f1"})
#: F1 of several labels a row: over all labels, the mean over labels, the mean over rows.
Average = Literal["micro", "macro", "samples"]
AVERAGES: tuple[Average, ...] = get_args(Average)
#: Turns of a conversation whose loss is trained: the answer's, or every one of the assistant's.
Turns = Literal["last", "all"]
SuiteMeasure = Literal["bits_per_byte", "score"]
#: A measure that older results do not have: left out of a result's text where it was not measured, so that
#: theirs stays as it was.
IfMeasured = Annotated[float | None, Field(exclude_if=lambda value: value is None)]


class FileRef(Frozen):
    """Data file, identified by its content. ``rows``: number of its records.

    ``encoding``: of a file of plain texts, where it is not UTF-8; a task's files have the task's.
    ``left_out``: numbers, from 0, of records that the sweep leaves out; ``rows`` does not count them.
    """

    path: str
    sha256: str
    rows: int
    encoding: str | None = Field(None, exclude_if=lambda value: value is None)
    left_out: tuple[int, ...] = Field((), exclude_if=lambda value: not value)


class PromptTemplate(Frozen):
    """Prompt template over a row's fields, ``{field}`` each, rendered as chat turns."""

    system: str | None = Field(None, description="The system turn.")
    instruction: str | None = Field(None, description="Stands before the input in the user turn.")
    input: str = Field("{text}", min_length=1, description="The row's own part of the user turn.")


def _pairs(value: Any) -> Any:
    return tuple(sorted(value.items())) if isinstance(value, Mapping) else value


#: Variables that a chat template is given, by name: a mapping in files, pairs in memory, so that specs hash.
TemplateVariables = Annotated[
    tuple[tuple[str, str | bool | int | float | None], ...],
    BeforeValidator(_pairs, json_schema_input_type=dict[str, str | bool | int | float | None]),
    PlainSerializer(dict, return_type=dict[str, Any]),
]


class LabelDefinition(Frozen):
    """Definition of a label, as the prompt tells it to the model."""

    name: str
    definition: str


class SourceFile(Frozen):
    """File that a score reads, identified by its content."""

    path: str
    sha256: str


class Tolerance(Frozen):
    """Tolerance of a number: by how much it may be off, as a number or as a share of the true one."""

    absolute: float = Field(0.0, ge=0, description="By how much, in the answer's own unit.")
    relative: float = Field(0.0, ge=0, description="By how much, as a share of the true number.")


class ScoreFunction(Frozen):
    """Score that a function of the user's gives: (answer, row) to a number from ``low`` to ``high``.

    ``high`` is ``None`` for an error (``minimize``) without a limit. ``seconds``: what one row may take.
    """

    file: SourceFile
    function: str
    low: float = 0.0
    high: float | None = 1.0
    minimize: bool = False
    seconds: float = 10.0


def _absent(value: object) -> bool:
    return value is None or value is False


class TaskSpec(Frozen):
    """One supervised task.

    ``labels``: definition of each label, in the order of the prompt; none in every sweep of before there
    were any, which stays out of dumps and keys.

    ``prompt`` and ``answer`` are ``None`` where the rows carry their own layout (chat messages,
    prompt/completion, alpaca). ``negative`` is the answer that claims nothing (such as
    ``out_of_scope``). ``pattern`` is a regular expression that a well-formed answer matches; a task
    scored by ``macro_f1`` takes the labels seen in training as its format instead. ``tokens``: what
    ``token_f1`` counts. ``normalised``: words without case, punctuation and articles, characters in scripts
    without spaces; sweeps of earlier releases keep ``characters`` (as written, Chinese and Japanese by
    character) or ``None`` (white-space tokens alone), which stays out of dumps and keys. ``encoding``: of
    the files, ``None`` for UTF-8. ``turns``: whose loss is trained, the last turn's or every assistant's.
    ``reading``: ``whole`` where mappings and lists are read as JSON, and history, tools and the like too;
    ``None`` is as in earlier releases, and wherever that makes no difference.

    What only some scores read is left out of dumps where it is not set. ``separators``: of the parts of an
    answer. ``unordered``: the answer is a set of parts. ``average``: which F1 of several labels is the
    score. ``tolerance``: of ``number``. ``json_schema``: of ``json``. ``function``: the user's, of which
    ``score`` is the name.
    """

    name: str
    train: FileRef | None = None
    validation: FileRef
    test: FileRef | None = None
    prompt: PromptTemplate | None = None
    answer: str | None = None
    score: ScoreName | Name = "exact_match"
    negative: str | None = None
    pattern: str | None = None
    labels: tuple[LabelDefinition, ...] = Field((), exclude_if=lambda labels: not labels)
    tokens: Literal["characters", "normalised"] | None = Field(None, exclude_if=_absent)
    encoding: str | None = Field(None, exclude_if=_absent)
    chat_template_kwargs: TemplateVariables = Field((), exclude_if=lambda value: not value)
    turns: Turns = Field("last", exclude_if=lambda value: value == "last")
    reading: Literal["whole"] | None = Field(None, exclude_if=_absent)
    separators: tuple[str, ...] | None = Field(None, exclude_if=_absent)
    unordered: bool = Field(False, exclude_if=_absent)
    average: Average | None = Field(None, exclude_if=_absent)
    tolerance: Tolerance | None = Field(None, exclude_if=_absent)
    json_schema: SourceFile | None = Field(None, exclude_if=_absent)
    function: ScoreFunction | None = Field(None, exclude_if=_absent)

    @property
    def score_files(self) -> tuple[SourceFile, ...]:
        """Files beside the data that its score reads."""
        code = self.function.file if self.function else None
        return tuple(file for file in (self.json_schema, code) if file is not None)


#: Fields of a task by which its answers are scored: they change neither a prompt nor what is trained.
SCORING = frozenset({
    *("score", "negative", "pattern", "tokens", "separators", "unordered", "tolerance"),
    *("json_schema", "average", "function"),
})  # fmt: skip


class SuiteSpec(Frozen):
    """General suite, never trained on: plain text (``text``) or a held-out task (``task``)."""

    name: str
    text: FileRef | None = None
    task: TaskSpec | None = None
    measure: SuiteMeasure = "bits_per_byte"


class LabelCounts(Frozen):
    """Counts of the evaluated rows by label, from which precision and recall follow (:mod:`tracker.labels`).

    ``names``: the labels, the most frequent in the truth first; as ``record_answers`` has them, which is
    digests or numbers where the rows' words are not recorded. Of each label ``truths``: rows whose truth is
    (or, of several labels, holds) it; ``answers``: rows whose answer does; ``hits``: rows where both do.
    """

    names: tuple[str, ...]
    truths: tuple[int, ...]
    answers: tuple[int, ...]
    hits: tuple[int, ...]

    @model_validator(mode="after")
    def _one_row_a_label(self) -> Self:
        if len({len(column) for column in (self.names, self.truths, self.answers, self.hits)}) > 1:
            raise ValueError("found columns of different lengths; allowed: a count of each label")
        return self


class Confidence(Frozen):
    """How right the likeliest of the answers that claim something are (:mod:`tracker.abstention`).

    ``due``: rows whose truth claims something. By point, the likeliest answers first: ``nats``, -log of the
    likelihood of the least likely answer that is kept; ``kept``: how many are; ``right``: the sum of their
    scores.
    """

    due: int
    nats: Replicates
    kept: tuple[int, ...]
    right: Replicates


class TaskScore(Frozen):
    """Score of one trial on one task.

    ``loss_nats``: mean nats per answer token. ``bits_per_byte``: answer bits over answer UTF-8 bytes.
    ``score``: the task's own metric, in [0, 1]; ``error``: a metric of an outside table, or of a user's own
    function, that is better the smaller, 0 or more without a limit above (word error rate, squared error);
    ``score_name``: the name of either, ``None`` where only losses are known.
    ``n``: rows evaluated, ``None`` where an outside table does not say. ``precision``: of the answers that
    claim something (valid and not negative), the share that is right; ``recall``: of the rows whose truth
    claims something, the share that is right (token-level for ``token_f1``). ``valid_format``: share of
    answers in the label set or matching the pattern. ``over_reach``: of the rows whose truth is the
    negative class, the share answered with a claim. ``majority``: share of the rows with the most frequent
    true answer, ``majority_score``: the score of giving that answer to every row. ``negatives``: share of the
    rows whose truth is the negative class, ``score_without_negatives``: the score on the others; both
    ``None`` for a task without one. ``labels``: counts by label, of a task whose answers are labels;
    ``None`` of any other, and in results of before they were counted. ``confidence``: how right the likeliest
    answers are; ``None`` where nothing was claimed, and in results of before it was known. ``figures``:
    further figures of the score, each in [0, 1]: ``micro``, ``macro`` and ``samples`` F1 of several labels,
    ``valid_json`` and ``valid_schema`` shares. ``unscored``: rows without a score, of which the user's
    function failed; the score is of the others. ``replicates``: the score on bootstrap resamples of the rows;
    the resamples depend on task and n alone, so two trials' replicates are paired. ``score_se`` is their
    standard deviation; the losses' standard errors come from the rows likewise.
    """

    task: str
    split: Literal["validation", "test"] = "validation"
    n: int | None = None
    loss_nats: float | None = None
    loss_nats_se: float | None = None
    bits_per_byte: float | None = None
    bits_per_byte_se: float | None = None
    score_name: Name | None = None
    score: float | None = None
    score_se: float | None = None
    error: IfMeasured = None
    error_se: IfMeasured = None
    exact_match: float | None = None
    precision: float | None = None
    recall: float | None = None
    valid_format: float | None = None
    over_reach: float | None = None
    majority: IfMeasured = None
    majority_score: IfMeasured = None
    negatives: IfMeasured = None
    score_without_negatives: IfMeasured = None
    labels: LabelCounts | None = Field(None, exclude_if=lambda value: value is None)
    confidence: Confidence | None = Field(None, exclude_if=lambda value: value is None)
    figures: dict[str, float] = Field(default_factory=dict, exclude_if=lambda value: not value)
    unscored: int | None = Field(None, exclude_if=lambda value: value is None)
    replicates: Replicates = Replicates()

    def __hash__(self) -> int:
        """By what tells scores apart; a mapping has no hash."""
        return hash((self.task, self.split, self.n, self.score, self.loss_nats, self.replicates))


class SuiteScore(Frozen):
    """Score on a general suite before (untouched base) and after tuning, with standard errors from rows.

    ``forgetting_se``: of :attr:`forgetting`, in its unit, before and after measured on the same rows, so
    that what makes a row hard cancels; ``None`` where the base's rows are not known (an outside table, a
    result of before this was kept).
    """

    suite: str
    measure: SuiteMeasure
    n: int | None = None
    before: float | None = None
    after: float | None = None
    after_se: float | None = None
    forgetting_se: float | None = None

    @property
    def forgetting(self) -> float | None:
        """Forgetting: relative rise of bits per byte, or absolute drop of a score; below 0 is a gain."""
        if self.before is None or self.after is None:
            return None
        if self.measure == "score":
            return self.before - self.after
        return self.after / self.before - 1.0

    @property
    def forgetting_error(self) -> float | None:
        """Standard error, from rows, of :attr:`forgetting`, in its unit.

        Where the base's rows are not known, the error of what was measured after, in that unit. Of our own
        trials that is an upper bound, as long as what is hard before is hard after (a correlation above one
        half, and errors much alike); an outside table states the error of forgetting there itself, with the
        base as its unit.
        """
        if self.forgetting is None or self.forgetting_se is not None:
            return self.forgetting_se
        if self.after_se is None or self.before is None:
            return None
        return self.after_se / (1.0 if self.measure == "score" else self.before)
