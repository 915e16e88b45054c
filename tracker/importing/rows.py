"""Rows of an outside table: the type of every column, and the measurement that a row states."""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from tracker.errors import InputError
from tracker.importing.metric_names import KNOWN, Direction, Metric, metric_of
from tracker.numbers import count
from tracker.trial import Configuration, Cost, MethodSpec, Status
from tracker.validation import error_in_words

#: A column ``mix:TASK`` holds the share of TASK in a row's examples.
SHARE = "mix:"
#: Of one kind of problem so many places are named; the others are counted.
_MOST_PLACES = 10
#: What others call a status.
_STATUSES = dict.fromkeys(("finished", "completed", "ok", "success"), "complete")
_DIRECTIONS = {"maximise": "maximize", "max": "maximize", "minimise": "minimize", "min": "minimize"}
#: What others call the methods we have ourselves.
_METHODS = {
    "none": "none base untouched pretrained zero_shot",
    "full": "full full_finetuning full_fine_tuning full_tuning full_ft fullft fft sft",
    "lora": "lora",
    "p_tuning": "p_tuning ptuning",
}
_OUR_METHOD = {theirs: ours for ours, names in _METHODS.items() for theirs in names.split()}
#: Methods whose ``rank`` is a number of virtual tokens.
_PROMPTS = ("p_tuning", "prompt_tuning", "prefix_tuning", "prefixtuning")
#: Columns without a meaning for the untouched base, and for a run that did not complete.
_OF_TUNING, _OF_VALUES = ("rank", "learning_rate", "epochs", "replay"), ("value", "value_se")
#: How far from 1 the shares of a row may sum: two decimals each.
_ROUNDING = 0.02

#: Each task's share of the examples of a mix.
Shares = Mapping[str, float]


# -- what a cell may hold ----------------------------------------------------------------------------


def _whole(text: str) -> str | int:
    """A whole number as tables write it, also ``200.0`` and ``1e9``."""
    if text.isdecimal():
        return text
    try:
        value = float(text)
    except ValueError:
        return text
    return int(value) if value.is_integer() else text


def _status(text: str) -> str:
    return _STATUSES.get(text.casefold(), text.casefold())


def _direction(text: str) -> str:
    return _DIRECTIONS.get(text.casefold(), text.casefold())


@functools.lru_cache(maxsize=1000)
def _method_name(text: str) -> str:
    """``adalora/llama-3.2-3B-rank32`` is the method ``adalora``; ValueError for no name."""
    name = re.sub(r"[^\w@.+]+", "_", text.partition("/")[0].strip().casefold()).strip("_")
    if not re.match(r"[\w@]", name):
        raise ValueError(f"found {text!r}; allowed: a name that starts with a letter, a digit or @")
    return _OUR_METHOD.get(name, name)


def _method(text: str) -> str:
    _method_name(text)
    return text


#: MLflow takes a metric's name of 250 characters: ours hold a task's, and words before and after it.
MOST_CHARACTERS = 200


def _short(text: str) -> str:
    if len(text) > MOST_CHARACTERS:
        shown = f"{text[:40]}…"
        raise ValueError(
            f"found {shown!r} of {len(text):,} characters; allowed: at most {MOST_CHARACTERS}"
        )
    return text


Text = Annotated[str, AfterValidator(_short)]
_COUNT = "a whole number of at least 0"
_MAX_COUNT = 10**18  # of any column: more is no count of anything, and no float has its digits
Count = Annotated[
    int | None, BeforeValidator(_whole), Field(ge=0, le=_MAX_COUNT, description=_COUNT)
]
Positive = Annotated[
    int | None,
    BeforeValidator(_whole),
    Field(ge=1, le=_MAX_COUNT, description="a whole number of at least 1"),
]
Amount = Annotated[
    float | None, Field(ge=0, allow_inf_nan=False, description="a number of at least 0")
]
Fraction = Annotated[
    float, Field(ge=0, le=1, allow_inf_nan=False, description="a number from 0 to 1")
]


class TableRow(BaseModel):
    """The columns of an outside table, each with what its cells may hold.

    An empty cell is left out. Columns :data:`SHARE` are extra fields, each a fraction.
    """

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, Fraction] = Field(init=False)

    model: Text
    method: Annotated[Text, AfterValidator(_method)]
    task: Text | None = None
    metric: Text | None = None
    volume: Annotated[int, BeforeValidator(_whole)] = Field(
        alias="examples", ge=0, le=_MAX_COUNT, description=_COUNT
    )
    value: Annotated[
        float | None,
        Field(
            allow_inf_nan=False,
            description="a finite number; a run that diverged has status diverged and no value",
        ),
    ] = None
    parameters: Positive = Field(None, alias="model_params")
    family: Text | None = None
    variant: Text | None = None
    rank: Positive = None
    learning_rate: Amount = None
    mix: Text | None = None
    replay: Fraction | None = Field(None, description="a number from 0 to 1")
    epochs: Amount = None
    seed: Count = None
    run: Text | None = None
    direction: Annotated[Direction | None, BeforeValidator(_direction)] = None
    se: Amount = Field(None, alias="value_se")
    n: Positive = None
    status: Annotated[Status, BeforeValidator(_status)] = Status.COMPLETE
    train_tokens: Count = None
    flops: Amount = None
    device_seconds: Amount = Field(None, alias="gpu_seconds")
    peak_bytes: Count = Field(None, alias="peak_memory_bytes")
    trained_parameters: Count = Field(None, alias="trainable_params")
    adapter_bytes: Count = None
    seconds_per_1k_tokens: Amount = None

    @model_validator(mode="before")
    @classmethod
    def _without_unread(cls, cells: dict[str, str]) -> dict[str, str]:
        """Any text may stand where nothing is read: in a base's rank, in the value of a diverged run."""
        unread: tuple[str, ...] = ()
        if _whole(cells.get("examples", "")) in (0, "0"):
            unread += _OF_TUNING
        if "status" in cells and _status(cells["status"]) != "complete":
            unread += _OF_VALUES
        return {c: cell for c, cell in cells.items() if c not in unread} if unread else cells

    @property
    def shares(self) -> dict[str, float]:
        """Each task's share of the examples; a task without any is left out."""
        extra = self.model_extra
        if not extra:
            return {}
        return {name.removeprefix(SHARE): extra[name] for name in sorted(extra) if extra[name]}


#: What a column's cells may hold, in words, by the column's name; empty where pydantic says it.
_ALLOWED = {f.alias or name: f.description or "" for name, f in TableRow.model_fields.items()}
#: The columns known; the first six must be there.
REQUIRED = ("model", "method", "task", "metric", "examples", "value")
OPTIONAL = tuple(name for name in _ALLOWED if name not in REQUIRED)
#: The columns of costs, named as in :class:`tracker.trial.Cost`, and all of them of a row.
COSTS = tuple(name for name in Cost.model_fields if name in TableRow.model_fields)
costs_of = operator.attrgetter(*COSTS)
#: In place of a cell that cannot be read, so that the rest of its row is checked too.
_STAND_INS = {"model": "unknown", "method": "unknown", "examples": "1", "status": "failed"}


# -- what a row states -------------------------------------------------------------------------------


class Row(NamedTuple):
    """One row as text.

    ``place``: where it stands (``table.csv:12``); ``cells``: by our column names, empty ones left out;
    ``unknown``: the cells of columns that are not known.
    """

    place: str
    cells: dict[str, str]
    unknown: tuple[str, ...]


class StatedConfiguration(NamedTuple):
    """What is equal in all rows of one configuration, with what a table states beside it.

    ``configuration`` has a volume; its mix is as the table calls it, without replay. The untouched base
    has neither ``epochs`` nor ``replay`` (general text rows added, as a fraction of the volume).
    """

    configuration: Configuration
    epochs: float | None = None
    replay: float | None = None

    @property
    def volume(self) -> int:
        """The configuration's; 0 for the untouched base."""
        return self.configuration.volume or 0

    @property
    def curve(self) -> StatedConfiguration:
        """What it shares with others of its curve: all but examples and epochs."""
        return StatedConfiguration(self.configuration.curve, None, self.replay)


class Measurement(NamedTuple):
    """One row, checked; the last five are ``None`` where nothing was measured.

    ``shares``: each task's share of the examples, ``None`` where the row does not say. ``value`` and ``se``
    are in our unit: nats, bits per byte, [0, 1].
    """

    place: str
    cells: TableRow
    unknown: tuple[str, ...]
    stated: StatedConfiguration
    shares: Shares | None
    task: str | None = None
    metric_name: str | None = None
    metric: Metric | None = None
    value: float | None = None
    se: float | None = None


class Problems:
    """Everything found wrong, so that all of it is said at once."""

    def __init__(self) -> None:
        self._lines: dict[str, list[str]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def add(self, kind: str, place: str, text: str) -> None:
        """*kind* groups what need not be repeated for thousands of rows."""
        self._lines.setdefault(kind, []).append(f"{place}: {text}")

    def refuse(self, place: str, column: str, cell: str, allowed: str) -> None:
        """Add that *cell* of *column* is not what is *allowed*."""
        self.add(column, place, f"{column}: found {cell!r}; allowed: {allowed}")

    def raise_any(self) -> None:
        """Raise one InputError with every problem, if there is one."""
        if self._lines:
            raise InputError([line for lines in self._lines.values() for line in _cut(lines)])


def _cut(lines: list[str]) -> Iterator[str]:
    yield from lines[:_MOST_PLACES]
    if len(lines) > _MOST_PLACES:
        yield f"and {count(len(lines) - _MOST_PLACES)} more rows like the last"


def mix_name(shares: Shares) -> str:
    """What a mix without a name is called: ``0.75 intent + 0.25 slots``."""
    return " + ".join(f"{share:.3g} {task}" for task, share in shares.items())


def measurements(rows: Iterable[Row], problems: Problems) -> list[Measurement]:
    """The measurements of *rows*; what is wrong in a row is added to *problems*, and the row left out."""
    sound = []
    for row in rows:
        before = len(problems)
        measurement = _measurement(row, problems)
        if len(problems) == before:
            sound.append(measurement)
    return sound


def _measurement(row: Row, problems: Problems) -> Measurement:
    checked = _table_row(row, problems)
    shares = checked.shares
    if checked.model_extra and abs(sum(shares.values()) - 1) > _ROUNDING:
        columns = sorted(name for name in row.cells if name.startswith(SHARE))
        if len(columns) == len(checked.model_extra):  # every share could be read
            summed = " + ".join(row.cells[name] for name in columns)
            allowed = "shares of all tasks trained on that sum to 1"
            problems.refuse(row.place, f"{SHARE}TASK", summed, allowed)
    configuration = _stated(row.place, checked, shares, problems)
    stated = (row.place, checked, row.unknown, configuration, shares or None)
    metric = _metric(row, checked, problems)
    if metric is None or checked.value is None:
        return Measurement(*stated)
    se = None if checked.se is None else checked.se * metric.slope(checked.value)
    value = metric.convert(checked.value)
    return Measurement(*stated, checked.task, checked.metric, metric, value, se)


def _metric(row: Row, checked: TableRow, problems: Problems) -> Metric | None:
    """The metric of a row that holds a value of it; ``None`` where nothing was measured."""
    if checked.value is None or checked.status is not Status.COMPLETE:
        return None
    for column in ("metric", "task"):
        if column not in row.cells:
            problems.add(column, row.place, f"{column}: found nothing; it is required")
    metric = metric_of(checked.metric or "", checked.direction)
    if metric is None and checked.metric:
        allowed = (
            f"{KNOWN}; any other must have direction maximize (in [0, 1]) or minimize (0 or more), in the "
            "column direction or by --direction"
        )
        problems.refuse(row.place, "metric", checked.metric, allowed)
    if metric is not None and not metric.accepts(checked.value):
        allowed = f"{metric.allowed}, for {checked.metric}"
        problems.refuse(row.place, "value", row.cells["value"], allowed)
        return None
    return metric


def _table_row(row: Row, problems: Problems) -> TableRow:
    """The cells of *row*, less those that cannot be read, which are added to *problems*."""
    try:
        return TableRow.model_validate(row.cells)
    except ValidationError as error:
        wrong = {str(item["loc"][0]): item for item in error.errors(include_url=False)}
    for column, item in wrong.items():
        allowed = _ALLOWED.get(column, _ALLOWED["replay"])
        text = error_in_words(item, row.cells.get(column), allowed)
        problems.add(column, row.place, f"{column}: {text}")
    rest = {column: cell for column, cell in row.cells.items() if column not in wrong}
    stand_ins = {column: cell for column, cell in _STAND_INS.items() if column in wrong}
    return TableRow.model_validate(stand_ins | rest)


def _stated(
    place: str, checked: TableRow, shares: Shares, problems: Problems
) -> StatedConfiguration:
    if checked.volume == 0:
        base = Configuration(checked.model, MethodSpec(name="none"), volume=0)
        return StatedConfiguration(base)
    method = _method_name(checked.method)
    if method == "none":
        allowed = "a tuning method where examples is above 0"
        problems.refuse(place, "method", checked.method, allowed)
    prompts = method in _PROMPTS
    variants = (checked.method.partition("/")[2].strip(), checked.variant)
    tuned = MethodSpec(
        name=method,
        variant=" ".join(filter(None, variants)) or None,
        rank=None if prompts else checked.rank,
        virtual_tokens=checked.rank if prompts else None,
        learning_rate=checked.learning_rate,
    )
    mix = checked.mix or (mix_name(shares) if shares else "")
    configuration = Configuration(checked.model, tuned, mix, checked.volume)
    return StatedConfiguration(configuration, checked.epochs, checked.replay)
