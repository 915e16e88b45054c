"""One trial as named fields with texts, intervals and what they rest on: for its page and for comparing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from dashboards.charts.theme import method_label
from dashboards.charts.wording import compact
from tracker import numbers
from tracker.metrics import FIGURES, Measure, Z, normal_interval, quality_of, se_of, shares
from tracker.metrics import interval as draws_interval
from tracker.numbers import ABSENT, count, duration, percent, quality
from tracker.task import SuiteScore, TaskScore
from tracker.trial import Status, TakenOver, TrialRecord, TrialResult

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
#: What memory made of a trial's batches.
_FITTED = ", for want of memory"
#: In place of an interval that the rows cannot give, and why.
NO_INTERVAL = "no interval"
NO_INTERVAL_WHY = (
    "Rows that all have the same result, as with a score of 0 or 100 %, give no interval."
)


#: A bootstrap that spreads less than this share of the standard error is too narrow: its rows are few.
_NARROW = 0.9


class Measured(NamedTuple):
    """A value with its standard error and replicates, where they are known.

    ``is_share``: it lies between 0 and 1 and is written in per cent.
    """

    value: float
    se: float | None
    replicates: Sequence[float] = ()
    is_share: bool = True

    @property
    def is_missing(self) -> bool:
        """Whether all rows have the same result and their number is not known: no spread is no certainty."""
        if self.se:
            return False
        if len(self.replicates) > 1:
            return min(self.replicates) == max(self.replicates)
        return self.se == 0


class Weighing(NamedTuple):
    """The objective's ``weights`` by task, and each task's measure (``measures``)."""

    weights: Mapping[str, float]
    measures: Mapping[str, Measure]

    def in_order(self, scores: Sequence[TaskScore]) -> list[TaskScore]:
        """*scores* with the weighted tasks first, in the objective's order; then the others."""
        return sorted(scores, key=lambda score: self.place(score.task))

    def place(self, task: str) -> int:
        """Where *task* stands among the weighted ones; the others all come after them."""
        weighted = list(self.weights)
        return weighted.index(task) if task in weighted else len(weighted)

    def quality(self, result: TrialResult) -> Measured | None:
        """The weighted quality of *result*; ``None`` where a weighted task was not measured.

        Its replicates are the weighted means of the tasks' replicates, where every task has a score and as
        many of them: a task's resamples depend on its rows alone, so those of two trials stay paired. Else
        its standard error comes from the tasks' errors, taken as independent, where all are known.
        """
        parts: list[tuple[float, Measured]] = []
        scores = {score.task: score for score in result.tasks if score.split == "validation"}
        for task, share in shares(self.weights).items():
            measure, score = self.measures.get(task, "score"), scores.get(task)
            value = None if score is None else quality_of(score, measure)
            if score is None or value is None:
                return None
            replicates = score.replicates if measure == "score" else ()
            error = se_of(score, measure)
            parts.append((share, Measured(value, error, replicates, measure == "score")))
        return _weighted(parts) if parts else None


class Field(NamedTuple):
    """A named value. ``text``: as written; ``measured``: as a number, where it carries uncertainty."""

    group: str
    name: str
    text: str
    measured: Measured | None = None


def fields(record: TrialRecord, weighing: Weighing) -> tuple[Field, ...]:
    """All known fields of *record*, group by group, the quality first."""
    every = (
        *_quality(record, weighing),
        *_configuration(record),
        *_training(record),
        *_results(record, weighing),
        *_cost(record),
    )
    return tuple(field for field in every if field.text not in (ABSENT, ""))


def interval(measured: Measured) -> tuple[float, float] | None:
    """The 80 % interval that the evaluated rows give; ``None`` where they give none.

    The replicates' 10th and 90th percentile where there are any (percentile bootstrap), unless they spread
    less than the standard error, as on few rows; else the normal approximation, within a score's limits.
    """
    if measured.is_missing:
        return None
    spread = np.std(measured.replicates) if len(measured.replicates) > 1 else 0.0
    if spread and spread >= _NARROW * (measured.se or 0.0):
        return draws_interval(np.asarray(measured.replicates))
    ends = (0.0, 1.0) if measured.is_share else (-math.inf, math.inf)
    return normal_interval(measured.value, measured.se, *ends)


def interval_words(measured: Measured) -> str:
    """The 80 % interval in words, or why there is none."""
    ends = interval(measured)
    if ends is None:
        why = "every row has the same result" if measured.is_missing else "its error is not known"
        return f"{NO_INTERVAL}: {why}"
    return numbers.interval(*ends, quality)


def score_of(score: TaskScore) -> Measured | None:
    """The task's score with its uncertainty."""
    if score.score is None:
        return None
    return Measured(score.score, se_of(score, "score"), score.replicates)


def with_interval(measured: Measured | None) -> str:
    """``85.1 % (80 % interval 83.0 to 87.2 %)``, in per cent or as a loss."""
    if measured is None:
        return ABSENT
    write = percent if measured.is_share else _loss
    ends = interval(measured)
    if ends is None:
        note = f" ({NO_INTERVAL})" if measured.is_missing else ""
        return f"{write(measured.value)}{note}"
    return f"{write(measured.value)} ({numbers.interval(*ends, write)})"


def distinguishable(values: list[Measured]) -> bool:
    """Whether the evaluated rows distinguish any two of *values*, at 80 %.

    Replicates of equal number were drawn on the same rows: their differences are paired.
    """
    return any(_differ(a, b) for i, a in enumerate(values) for b in values[i + 1 :])


def _differ(a: Measured, b: Measured) -> bool:
    if len(a.replicates) == len(b.replicates) > 1:
        low, high = draws_interval(np.subtract(a.replicates, b.replicates))
        return bool(low > 0 or high < 0)
    if a.se is None or b.se is None:
        return a.value != b.value
    return abs(a.value - b.value) > Z * float(np.hypot(a.se, b.se))


def tasks_not_measured(result: TrialResult, weighing: Weighing) -> list[str]:
    """The weighted tasks of *result* that the interval of its quality leaves out, having none."""
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
    errors = [(share, part.se) for share, part in parts]
    squared = sum((share * (error or 0.0)) ** 2 for share, error in errors)
    known = all(error is not None for _, error in errors)
    error = float(np.sqrt(squared)) if known else None
    lengths = {len(part.replicates) for _, part in parts}
    if len(lengths) == 1 and min(lengths) > 1:
        replicates = np.array([part.replicates for _, part in parts])
        mean = np.average(replicates, axis=0, weights=[share for share, _ in parts])
        return Measured(value, error, tuple(float(v) for v in mean), shares)
    return Measured(value, error, is_share=shares)


def _quality(record: TrialRecord, weighing: Weighing) -> Iterator[Field]:
    measured = weighing.quality(record.result)
    if measured is not None:
        yield Field(QUALITY, "Weighted mean of the tasks", with_interval(measured), measured)


def _configuration(record: TrialRecord) -> Iterator[Field]:
    spec = record.result.spec
    method, model = spec.method, spec.model
    values: dict[str, object] = {
        "Model": model.name,
        "Parameters": compact(model.parameters),
        "Model family": model.family,
        "Method": method_label(method.name),
        "Variant": method.variant,
        "Rank": method.rank,
        "Virtual tokens": method.virtual_tokens,
        "Learning rate": _number(method.learning_rate),
        "Task mix": spec.mix.name if spec.mix else None,
        "Examples": count(spec.volume) if spec.volume else None,
    }
    values |= {f"Examples of {task}": count(n) for task, n in spec.examples.items()}
    values |= {"Replay": percent(spec.mix.replay) if spec.mix and spec.mix.replay else None}
    values |= {"Seed": spec.seed, "Stage": record.stage, "Imported from the table": spec.origin}
    yield from _given(CONFIGURATION, values)


def _training(record: TrialRecord) -> Iterator[Field]:
    spec = record.result.spec
    if spec.origin is not None or spec.method.name == "none":
        return
    train = spec.schedule
    values: dict[str, object] = {
        "Passes over the examples": train.epochs,
        "Batch size": train.batch_size,
        "Gradient accumulation": train.accumulation,
        "Longest row, tokens": count(train.max_length),
        "Schedule": train.scheduler,
        "Warm-up, share of steps": percent(train.warmup),
        "Weight decay": _number(train.weight_decay),
        "Largest gradient norm": _number(train.max_grad_norm),
        "Number format": train.dtype,
        "Gradient checkpointing": "yes" if train.gradient_checkpointing else "no",
        "Packing": "yes" if train.packing else "no",
    }
    passes = record.result.passes
    kept = next((each.number for each in passes if each.kept), None)
    values |= {"Pass kept": f"{kept} of {passes[-1].number}"} if kept else {}
    if (fitted := record.result.fitted) is not None:
        numbers_used = {
            "Rows at a time": fitted.batch_size,
            "Gradient accumulation": fitted.accumulation,
            "Rows at a time in evaluation": fitted.evaluation_batch_size,
        }
        recomputed = fitted.gradient_checkpointing and not train.gradient_checkpointing
        values |= {f"{name}{_FITTED}": count(n) for name, n in numbers_used.items() if n}
        values |= {f"Gradient checkpointing{_FITTED}": "yes"} if recomputed else {}
    yield from _given(TRAINING, values)


def _results(record: TrialRecord, weighing: Weighing) -> Iterator[Field]:
    result = record.result
    yield from _given(SCORES, {"Status": result.status.value, "Reason": result.reason})
    if result.final_train_loss is not None:
        yield Field(SCORES, "Final training loss, nats per token", _loss(result.final_train_loss))
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
        (f"{score.score_name or 'error'}, lower is better", score.error, score.error_se),
    ):
        loss = None if value is None else Measured(value, error, is_share=False)
        yield Field(SCORES, f"{task}: {words}", with_interval(loss), loss)
    for words, value in (
        ("precision", score.precision),
        ("recall", score.recall),
        ("valid answers", score.valid_format),
        ("false positives on negatives (over-reach)", score.over_reach),
        *((FIGURES[name], value) for name, value in score.figures.items()),
    ):
        yield Field(SCORES, f"{task}: {words}", percent(value))
    if score.unscored is not None:
        yield Field(SCORES, f"{task}: rows without a score", count(score.unscored))


def _suite(suite: SuiteScore) -> Iterator[Field]:
    share = suite.measure == "score"
    words = "score" if share else "bits per byte"
    after = None if suite.after is None else Measured(suite.after, suite.after_se, (), share)
    before = None if suite.before is None else Measured(suite.before, None, is_share=share)
    yield Field(GENERAL, f"{suite.suite}: {words} of the untouched base", with_interval(before))
    yield Field(GENERAL, f"{suite.suite}: {words} after", with_interval(after), after)
    yield Field(GENERAL, f"{suite.suite}: lost", _lost(suite))


def _lost(suite: SuiteScore) -> str:
    """In per cent, which may be below 0 and above 100."""
    lost = suite.forgetting
    ends = None if lost is None else normal_interval(lost, suite.forgetting_error)
    return f"{percent(lost)} ({numbers.interval(*ends)})" if ends else percent(lost)


def _cost(record: TrialRecord) -> Iterator[Field]:
    cost = record.result.cost
    values: dict[str, object] = {
        "Device": cost.device,
        "Device time": duration(cost.device_seconds),
        "Device time of training": duration(cost.train_seconds),
        "Training tokens": count(cost.train_tokens),
        "Training operations": compact(cost.flops, "FLOP"),
        "Peak memory": compact(cost.peak_bytes, "B"),
        "Trained parameters": compact(cost.trained_parameters),
        "Stored beside the base": compact(cost.adapter_bytes, "B"),
        "Seconds per 1,000 answer tokens": _number(cost.seconds_per_1k_tokens),
        "Spent by": _origin(record.taken_over),
    }
    yield from _given(COST, values)
    for phase, seconds in cost.phases.items():
        yield Field(COST, f"Seconds in {phase.replace('_', ' ')}", numbers.number(seconds))


def _origin(taken_over: TakenOver | None) -> str | None:
    """The sweep that a trial's cost was spent by, where that is another one or another score's."""
    if taken_over is None:
        return None
    anew = ", its answers scored anew" if taken_over.rescored else ""
    return f"sweep {taken_over.sweep}{anew}: taken over at no cost"


def _given(group: str, values: dict[str, object]) -> Iterator[Field]:
    yield from (Field(group, name, str(v)) for name, v in values.items() if v is not None)


def _number(value: float | None) -> str | None:
    return None if value is None else numbers.number(value, 4)


def _loss(value: float) -> str:
    return numbers.in_measure(value, "loss").replace("-", "−")
