"""The rows of an outside table with their cells understood: numbers, names, metrics."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from tracker.importing.metric_names import KNOWN, Direction, Metric, metric_of
from tracker.importing.readers import SHARE, Problems, Row
from tracker.trial import Configuration, MethodSpec, Status
from tracker.validation import did_you_mean

_DIRECTIONS: dict[str, Direction] = {
    "maximize": "maximize",
    "maximise": "maximize",
    "max": "maximize",
    "minimize": "minimize",
    "minimise": "minimize",
    "min": "minimize",
}
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
#: How far from 1 the shares of a row may sum: two decimals each.
_ROUNDING = 0.02

#: Each task's share of the examples of a mix.
Shares = Mapping[str, float]


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


class Costs(NamedTuple):
    """The costs a row states, as in :class:`tracker.trial.Cost`."""

    train_tokens: int | None
    flops: float | None
    device_seconds: float | None
    peak_bytes: int | None
    trained_parameters: int | None
    adapter_bytes: int | None
    seconds_per_1k_tokens: float | None


class Measurement(NamedTuple):
    """One row, understood. ``metric`` and ``value`` are ``None`` where nothing was measured; ``value``
    and ``se`` are in our unit (nats, bits per byte, [0, 1]). ``shares``: each task's share of the
    examples, ``None`` where the row does not say.
    """

    place: str
    stated: StatedConfiguration
    seed: int | None
    run: str | None
    status: Status
    task: str | None
    metric_name: str | None
    metric: Metric | None
    direction: Direction | None
    value: float | None
    se: float | None
    n: int | None
    parameters: int | None
    family: str | None
    costs: Costs
    unknown: tuple[str, ...]
    shares: Shares | None = None


def mix_name(shares: Shares) -> str:
    """What a mix without a name is called: ``0.75 intent + 0.25 slots``."""
    return " + ".join(f"{share:.3g} {task}" for task, share in shares.items())


def measurements(rows: Iterable[Row], problems: Problems) -> list[Measurement]:
    """*rows* understood; what cannot be is added to *problems* and left out."""
    found = []
    for row in rows:
        cells = _Cells(row, problems)
        measurement = _measurement(cells)
        if cells.sound:
            found.append(measurement)
    return found


class _Cells:
    """A row's cells, each read once; ``sound`` while none had a problem."""

    def __init__(self, row: Row, problems: Problems) -> None:
        self.row = row
        self.sound = True
        self._problems = problems

    def bad(self, column: str, allowed: str, found: object) -> None:
        self.sound = False
        self._problems.add(column, self.row.place, f"{column}: found {found!r}; allowed: {allowed}")

    def text(self, column: str) -> str | None:
        return self.row.cells.get(column)

    def needed(self, column: str) -> str:
        cell = self.text(column)
        if cell is None:
            self.sound = False
            self._problems.add(column, self.row.place, f"{column}: found nothing; it is required")
        return cell or ""

    def number(self, column: str, allowed: str, least: float = -math.inf) -> float | None:
        """The cell as a finite number of at least *least*."""
        cell = self.text(column)
        if cell is None:
            return None
        try:
            value = float(cell)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or value < least:
            self.bad(column, allowed, cell)
            return None
        return value

    def fraction(self, column: str) -> float | None:
        """The cell as a number from 0 to 1."""
        value = self.number(column, "a number from 0 to 1", 0.0)
        if value is not None and value > 1:
            self.bad(column, "a number from 0 to 1", self.text(column))
            return None
        return value

    def whole(self, column: str, least: int = 1) -> int | None:
        allowed = f"a whole number of at least {least}"
        value = self.number(column, allowed, least)
        if value is not None and not value.is_integer():
            self.bad(column, allowed, self.text(column))
        return None if value is None else int(value)


def _measurement(cells: _Cells) -> Measurement:
    status = _status(cells)
    direction = _direction(cells)
    name = cells.text("metric")
    metric, value, se = None, None, None
    if status is Status.COMPLETE and cells.text("value") is not None:
        name, task = cells.needed("metric"), cells.needed("task")
        metric = metric_of(name, direction)
        if metric is None and name:
            cells.bad("metric", f"{KNOWN}; any other must have direction maximize", name)
        value, se = _value(cells, metric)
    else:
        task = None
    shares = _shares(cells)
    return Measurement(
        place=cells.row.place,
        stated=_stated(cells, shares),
        seed=cells.whole("seed", 0),
        run=cells.text("run"),
        status=status,
        task=task,
        metric_name=name if metric else None,
        metric=metric,
        direction=direction,
        value=value,
        se=se,
        n=cells.whole("n"),
        parameters=cells.whole("model_params"),
        family=cells.text("family"),
        costs=_costs(cells),
        unknown=cells.row.unknown,
        shares=shares,
    )


def _stated(cells: _Cells, shares: Shares | None) -> StatedConfiguration:
    model, volume = cells.needed("model"), cells.whole("examples", 0)
    if volume is None and "examples" not in cells.row.cells:
        cells.needed("examples")
    method, variant = _method(cells)
    if volume == 0:
        return StatedConfiguration(Configuration(model, MethodSpec(name="none"), volume=0))
    if method == "none":
        cells.bad("method", "a tuning method where examples is above 0", cells.text("method"))
    rank = cells.whole("rank")
    rate = cells.number("learning_rate", "a number of at least 0", 0.0)
    named = [part for part in (variant, cells.text("variant")) if part]
    tuned = MethodSpec(
        name=method,
        variant=" ".join(named) or None,
        rank=None if method in _PROMPTS else rank,
        virtual_tokens=rank if method in _PROMPTS else None,
        learning_rate=rate,
    )
    mix = cells.text("mix") or (mix_name(shares) if shares else "")
    return StatedConfiguration(
        Configuration(model, tuned, mix, volume or 0),
        epochs=cells.number("epochs", "a number of at least 0", 0.0),
        replay=cells.fraction("replay"),
    )


def _shares(cells: _Cells) -> dict[str, float] | None:
    """Each task's share of the row's examples; a task whose cell is empty has none of them."""
    stated = sorted(name for name in cells.row.cells if name.startswith(SHARE))
    shares = {name.removeprefix(SHARE): cells.fraction(name) for name in stated}
    found = {task: share for task, share in shares.items() if share}
    total = sum(found.values())
    if stated and cells.sound and abs(total - 1) > _ROUNDING:
        told = " + ".join(cells.row.cells[name] for name in stated)
        cells.bad(f"{SHARE}TASK", "shares of all tasks trained on that sum to 1", told)
    return found or None


def _method(cells: _Cells) -> tuple[str, str | None]:
    """``adalora/llama-3.2-3B-rank32`` is the method ``adalora`` in that variant."""
    text = cells.needed("method")
    name, _, variant = text.partition("/")
    plain = re.sub(r"[^\w@.+]+", "_", name.strip().casefold()).strip("_")
    if not re.match(r"[\w@]", plain):  # no name: the row is refused, whatever it is called
        if text:
            cells.bad("method", "a name that starts with a letter, a digit or @", text)
        plain = "unknown"
    return _OUR_METHOD.get(plain, plain), variant.strip() or None


def _status(cells: _Cells) -> Status:
    text = (cells.text("status") or Status.COMPLETE).casefold()
    if text in {"finished", "completed", "ok", "success"}:
        return Status.COMPLETE
    if text not in set(Status):
        known = [status.value for status in Status]
        cells.bad("status", ", ".join(known) + did_you_mean(text, known), text)
        return Status.FAILED
    return Status(text)


def _direction(cells: _Cells) -> Direction | None:
    text = cells.text("direction")
    if text is not None and text.casefold() not in _DIRECTIONS:
        cells.bad("direction", "maximize, minimize", text)
    return _DIRECTIONS.get((text or "").casefold())


def _value(cells: _Cells, metric: Metric | None) -> tuple[float | None, float | None]:
    allowed = "a finite number; a run that diverged has status diverged and no value"
    value = cells.number("value", allowed)
    se = cells.number("value_se", "a number of at least 0", 0.0)
    if value is None or metric is None:
        return None, None
    if not metric.accepts(value):
        text = f"{metric.allowed}, for {cells.text('metric')}"
        cells.bad("value", text, cells.text("value"))
        return None, None
    return metric.convert(value), None if se is None else se * metric.slope(value)


def _costs(cells: _Cells) -> Costs:
    def amount(column: str) -> float | None:
        return cells.number(column, "a number of at least 0", 0.0)

    return Costs(
        train_tokens=cells.whole("train_tokens", 0),
        flops=amount("flops"),
        device_seconds=amount("gpu_seconds"),
        peak_bytes=cells.whole("peak_memory_bytes", 0),
        trained_parameters=cells.whole("trainable_params", 0),
        adapter_bytes=cells.whole("adapter_bytes", 0),
        seconds_per_1k_tokens=amount("seconds_per_1k_tokens"),
    )
