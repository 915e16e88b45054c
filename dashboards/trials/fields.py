"""Everything known of one trial as named fields in words: for its own page, and for comparing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from dashboards.charts.theme import method_words
from dashboards.charts.wording import compact, duration
from tracker.metrics import Measure, Z, normal_interval, quality_of, se_of, shares
from tracker.metrics import interval as draws_interval
from tracker.numbers import ABSENT, count, percent, quality
from tracker.trial import Status, SuiteScore, TaskScore, TrialRecord, TrialResult

QUALITY, CONFIGURATION, TRAINING, SCORES, GENERAL, COST = GROUPS = (
    *("Quality", "Configuration", "Training", "Scores", "General ability", "Cost"),
)
STATUS_WORDS = {
    "complete": "complete",
    "running": "running now",
    "pruned": "stopped early",
    "infeasible": "did not fit the device",
    "diverged": "diverged",
    "failed": "failed",
    "waiting": "to go",
}
STATUS_TONES = {
    Status.COMPLETE: "good",
    Status.PRUNED: "",
    Status.INFEASIBLE: "warn",
    Status.DIVERGED: "warn",
    Status.FAILED: "bad",
}
#: What stands in the place of an interval that the rows cannot give, and why.
UNTOLD = "no interval"
UNTOLD_WHY = (
    "Where every row came out alike, as with a score of exactly 0 or 100 %, the rows alone do not tell "
    "how far it is off."
)


class Measured(NamedTuple):
    """A value with its standard error and replicates, where they are known.

    ``is_share``: it lies between 0 and 1 and is read as per cent.
    """

    value: float
    se: float | None
    replicates: Sequence[float] = ()
    is_share: bool = True

    @property
    def is_missing(self) -> bool:
        """Whether all rows came out alike: a spread of 0 between them is no certainty."""
        if len(self.replicates) > 1:
            return min(self.replicates) == max(self.replicates)
        return self.se == 0


class Weighing(NamedTuple):
    """The objective's ``weights`` by task, and what each task is decided on (``measures``)."""

    weights: Mapping[str, float]
    measures: Mapping[str, Measure]

    def in_order(self, scores: Sequence[TaskScore]) -> list[TaskScore]:
        """*scores* with the weighted tasks first, as the objective has them; then the others."""
        return sorted(scores, key=lambda score: self.place(score.task))

    def place(self, task: str) -> int:
        """Where *task* stands among the weighted ones; the others all come after them."""
        weighted = list(self.weights)
        return weighted.index(task) if task in weighted else len(weighted)

    def quality(self, result: TrialResult) -> Measured | None:
        """The weighted quality of *result*; ``None`` where a weighted task was not measured.

        Its replicates are the weighted means of the tasks' own, where every task decided by score has
        as many: a task's resamples depend on its rows alone, so those of two trials stay paired. Else its
        standard error comes from the tasks', taken as independent, where all are known.
        """
        parts: list[tuple[float, Measured]] = []
        own = {score.task: score for score in result.tasks if score.split == "validation"}
        for task, share in shares(self.weights).items():
            measure = self.measures.get(task, "score")
            value = quality_of(own[task], measure) if task in own else None
            if value is None:
                return None
            drawn: Sequence[float] = own[task].replicates if measure == "score" else ()
            known = Measured(value, se_of(own[task], measure), drawn, measure == "score")
            parts.append((share, known))
        return _weighted(parts) if parts else None


class Field(NamedTuple):
    """``text``: as read; ``measured``: what it says as a number, where it carries uncertainty."""

    group: str
    name: str
    text: str
    measured: Measured | None = None


def fields(record: TrialRecord, weighing: Weighing) -> tuple[Field, ...]:
    """All fields of *record*, group by group, the quality first; what is not known is left out."""
    found = (
        *_quality(record, weighing),
        *_configuration(record),
        *_training(record),
        *_results(record, weighing),
        *_cost(record),
    )
    return tuple(field for field in found if field.text not in (ABSENT, ""))


def interval(measured: Measured) -> tuple[float, float] | None:
    """The 80 % interval that the evaluated rows leave; ``None`` where they tell nothing of it.

    The replicates' 10th and 90th percentile where there are any (percentile bootstrap), else the normal
    approximation.
    """
    if measured.is_missing:
        return None
    if len(measured.replicates) > 1:
        return draws_interval(np.asarray(measured.replicates))
    ends = (0.0, 1.0) if measured.is_share else (-math.inf, math.inf)
    return normal_interval(measured.value, measured.se, *ends)


def _bracketed(value: str, ends: tuple[float, float], written: Callable[[float], str]) -> str:
    """``85.1 % (83.0 to 87.2)``: the unit stands once."""
    low, high = (written(end).removesuffix(" %") for end in ends)
    return f"{value} ({low} to {high})"


def interval_words(measured: Measured) -> str:
    """The 80 % interval in words, or why there is none."""
    ends = interval(measured)
    if ends is None:
        why = "every row came out alike" if measured.is_missing else "its error is not known"
        return f"{UNTOLD}: {why}"
    low, high = (quality(end) for end in ends)
    unit = "\N{NO-BREAK SPACE}%"
    return f"80 % interval {low.removesuffix(' %')} to {high.replace(' %', unit)}"


def score_of(score: TaskScore) -> Measured | None:
    """The task's score with its uncertainty."""
    if score.score is None:
        return None
    return Measured(score.score, score.score_se, score.replicates)


def with_interval(measured: Measured | None) -> str:
    """``85.1 % (83.0 to 87.2)``, or as a number what is no share."""
    if measured is None:
        return ABSENT
    share = measured.is_share
    value = percent(measured.value) if share else _figure(measured.value)
    ends = interval(measured)
    if ends is None:
        return f"{value} ({UNTOLD})" if measured.is_missing else value
    return _bracketed(value, ends, percent if share else _figure)


def apart(values: list[Measured]) -> bool:
    """Whether the evaluated rows tell any two of *values* apart, at 80 %.

    Replicates of equal number were drawn on the same rows: their differences are paired.
    """
    return any(_two_apart(a, b) for i, a in enumerate(values) for b in values[i + 1 :])


def _two_apart(a: Measured, b: Measured) -> bool:
    if len(a.replicates) == len(b.replicates) > 1:
        low, high = draws_interval(np.subtract(a.replicates, b.replicates))
        return bool(low > 0 or high < 0)
    if a.se is None or b.se is None:
        return a.value != b.value
    return abs(a.value - b.value) > Z * float(np.hypot(a.se, b.se))


def tasks_not_measured(result: TrialResult, weighing: Weighing) -> list[str]:
    """The weighted tasks of *result* whose part in its quality has no known error of its own."""
    return [
        score.task
        for score in weighing.in_order(result.tasks)
        if score.task in weighing.weights
        and score.split == "validation"
        and weighing.measures.get(score.task, "score") == "score"
        and (known := score_of(score)) is not None
        and known.is_missing
    ]


def _weighted(parts: Sequence[tuple[float, Measured]]) -> Measured:
    """The sum of share × value, with what is known of its spread."""
    value = sum(share * part.value for share, part in parts)
    shares = all(part.is_share for _, part in parts)
    lengths = {len(part.replicates) for _, part in parts}
    if len(lengths) == 1 and min(lengths) > 1:
        drawn = np.array([part.replicates for _, part in parts])
        mean = np.average(drawn, axis=0, weights=[share for share, _ in parts])
        return Measured(value, None, tuple(float(v) for v in mean), shares)
    errors = [(share, part.se) for share, part in parts]
    if any(error is None for _, error in errors):
        return Measured(value, None, is_share=shares)
    squared = sum((share * (error or 0.0)) ** 2 for share, error in errors)
    return Measured(value, float(np.sqrt(squared)), is_share=shares)


def _quality(record: TrialRecord, weighing: Weighing) -> Iterator[Field]:
    found = weighing.quality(record.result)
    if found is not None:
        yield Field(QUALITY, "Weighted mean of the tasks", with_interval(found), found)


def _configuration(record: TrialRecord) -> Iterator[Field]:
    spec = record.result.spec
    method, model = spec.method, spec.model
    values: dict[str, object] = {
        "Model": model.name,
        "Parameters": compact(model.parameters),
        "Model family": model.family,
        "Method": method_words(method.name),
        "Variant": method.variant,
        "Rank": method.rank,
        "Virtual tokens": method.virtual_tokens,
        "Learning rate": _plain(method.learning_rate),
        "Task mix": spec.mix.name if spec.mix else None,
        "Examples": count(spec.volume) if spec.volume else None,
    }
    values |= {f"Examples of {task}": count(n) for task, n in spec.examples.items()}
    values |= {"Replay": percent(spec.mix.replay) if spec.mix and spec.mix.replay else None}
    values |= {"Seed": spec.seed, "Stage": record.stage, "Taken from the table": spec.origin}
    yield from _given(CONFIGURATION, values)


def _training(record: TrialRecord) -> Iterator[Field]:
    spec = record.result.spec
    if spec.origin is not None or spec.method.name == "none":
        return
    train = spec.train
    values: dict[str, object] = {
        "Passes over the examples": train.epochs,
        "Batch size": train.batch_size,
        "Gradient accumulation": train.accumulation,
        "Longest row, tokens": count(train.max_length),
        "Schedule": train.scheduler,
        "Warm-up, share of steps": percent(train.warmup),
        "Weight decay": _plain(train.weight_decay),
        "Largest gradient norm": _plain(train.max_grad_norm),
        "Number format": train.dtype,
        "Gradient checkpointing": "yes" if train.gradient_checkpointing else "no",
        "Packing": "yes" if train.packing else "no",
    }
    yield from _given(TRAINING, values)


def _results(record: TrialRecord, weighing: Weighing) -> Iterator[Field]:
    result = record.result
    yield from _given(SCORES, {"Status": result.status.value, "Reason": result.reason})
    if result.final_train_loss is not None:
        yield Field(SCORES, "Final training loss, nats per token", _figure(result.final_train_loss))
    for score in weighing.in_order(result.tasks):
        yield from _task(score)
    for suite in result.general:
        yield from _suite(suite)


def _task(score: TaskScore) -> Iterator[Field]:
    task = score.task if score.split == "validation" else f"{score.task} ({score.split})"
    measured = score_of(score)
    yield Field(SCORES, f"{task}: score", with_interval(measured), measured)
    for words, value, error in (
        ("loss, nats per token", score.loss_nats, score.loss_nats_se),
        ("bits per byte", score.bits_per_byte, score.bits_per_byte_se),
    ):
        known = None if value is None else Measured(value, error, is_share=False)
        yield Field(SCORES, f"{task}: {words}", with_interval(known), known)
    for words, value in (
        ("precision", score.precision),
        ("recall", score.recall),
        ("valid answers", score.valid_format),
        ("over-reach", score.over_reach),
    ):
        yield Field(SCORES, f"{task}: {words}", percent(value))


def _suite(suite: SuiteScore) -> Iterator[Field]:
    share = suite.measure == "score"
    words = "score" if share else "bits per byte"
    after = None if suite.after is None else Measured(suite.after, suite.after_se, (), share)
    before = None if suite.before is None else Measured(suite.before, None, is_share=share)
    yield Field(GENERAL, f"{suite.suite}: {words} of the untouched base", with_interval(before))
    yield Field(GENERAL, f"{suite.suite}: {words} after", with_interval(after), after)
    yield Field(GENERAL, f"{suite.suite}: lost", _lost(suite))


def _lost(suite: SuiteScore) -> str:
    """As per cent, which may be below 0 and above 100."""
    lost = suite.forgetting
    ends = None if lost is None else normal_interval(lost, suite.forgetting_error)
    return _bracketed(percent(lost), ends, percent) if ends else percent(lost)


def _cost(record: TrialRecord) -> Iterator[Field]:
    cost = record.result.cost
    values: dict[str, object] = {
        "Device": cost.device,
        "Device time": duration(cost.device_seconds),
        "Of it training": duration(cost.train_seconds),
        "Training tokens": count(cost.train_tokens),
        "Training operations": compact(cost.flops, "FLOP"),
        "Peak memory": compact(cost.peak_bytes, "B"),
        "Trained parameters": compact(cost.trained_parameters),
        "Stored beside the base": compact(cost.adapter_bytes, "B"),
        "Seconds per 1,000 answer tokens": _plain(cost.seconds_per_1k_tokens),
    }
    yield from _given(COST, values)
    for phase, seconds in cost.phases.items():
        yield Field(COST, f"Seconds in {phase.replace('_', ' ')}", f"{seconds:.3g}")


def _given(group: str, values: dict[str, object]) -> Iterator[Field]:
    yield from (Field(group, name, str(v)) for name, v in values.items() if v is not None)


def _plain(value: float | None) -> str | None:
    return None if value is None else f"{value:.4g}"


def _figure(value: float) -> str:
    return f"{value:.3f}".replace("-", "−")
