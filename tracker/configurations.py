"""Trials grouped into configurations: what is equal in everything but the seed is one candidate."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from tracker.decision.recommendation import Counted, Estimate, Measured
from tracker.errors import InputError, NotEnoughDataError
from tracker.laws.curves import pooled_sd
from tracker.metrics import Measure, measures_of, quality_of, value_of
from tracker.trial import (
    Objective,
    Status,
    SuiteScore,
    TaskScore,
    TrialRecord,
    TrialResult,
    TrialSpec,
)

#: Normal quantile of an 80 % interval.
Z = 1.2816


class Cell(NamedTuple):
    """One configuration: its complete runs by seed. ``key`` is that of the spec with seed 0.

    ``measures``: what each task is decided on, the same for all cells of a sweep.
    """

    key: str
    label: str
    runs: tuple[TrialResult, ...]
    measures: Mapping[str, Measure] = MappingProxyType({})

    @property
    def spec(self) -> TrialSpec:
        return self.runs[0].spec

    @property
    def untouched(self) -> bool:
        return self.spec.method.name == "none"

    def mean(self, quantity: Callable[[TrialResult], float | None]) -> float | None:
        """Mean over the runs that measured it; None if none did."""
        found = [value for run in self.runs if (value := quantity(run)) is not None]
        return float(np.mean(found)) if found else None

    def scores(self, task: str) -> list[TaskScore]:
        """The runs' validation scores on *task* that hold what it is decided on."""
        measure = self.measures.get(task, "score")
        found = (s for run in self.runs if (s := score_of(run, task)))
        return [s for s in found if value_of(s, measure) is not None]

    @property
    def tasks(self) -> list[str]:
        """Every task its trials were to be evaluated on, or were."""
        named = [task.name for task in self.spec.tasks]
        return list(dict.fromkeys([*named, *(s.task for run in self.runs for s in run.tasks)]))


def score_of(run: TrialResult, task: str) -> TaskScore | None:
    """Choices are made on validation: a test score is not looked at."""
    return next((s for s in run.tasks if s.task == task and s.split == "validation"), None)


def forgetting_of(run: TrialResult, suite: str) -> float | None:
    score = suite_of(run, suite)
    return None if score is None else score.forgetting


def suite_of(run: TrialResult, suite: str) -> SuiteScore | None:
    return next((s for s in run.general if s.suite == suite), None)


def forgetting_se(run: TrialResult, suite: str) -> float | None:
    """The rows' standard error of what *run* forgot of *suite*, in the unit of its forgetting.

    Of the untouched base 0: before and after are one measurement.
    """
    score = suite_of(run, suite)
    if score is None or score.forgetting is None:
        return None
    return 0.0 if run.spec.method.name == "none" else score.forgetting_error


def rounded(value: float) -> float:
    """Six significant digits: what machines may differ in lies beyond."""
    return float(f"{value:.6g}")


def group(records: Iterable[TrialRecord]) -> list[Cell]:
    """The cells of the complete trials, smallest model first, then by label; raises if there is
    none.
    """
    complete: dict[str, TrialResult] = {}
    for record in sorted(records, key=lambda r: r.number):
        if record.result.status is Status.COMPLETE:
            complete[record.result.spec.key] = record.result
    if not complete:
        raise NotEnoughDataError(
            "no trial is complete, so there is nothing to choose from: run the sweep first"
        )
    runs: defaultdict[str, list[tuple[int, str, TrialResult]]] = defaultdict(list)
    for key, result in complete.items():
        spec = result.spec
        runs[spec.model_copy(update={"seed": 0}).key].append((spec.seed, key, result))
    labels = {key: _label(found[0][2].spec) for key, found in runs.items()}
    shared = Counter(labels.values())
    measures = measures_of(complete.values())
    cells = []
    for key, found in runs.items():
        # Two configurations that differ in what a label leaves out, such as the schedule.
        label = labels[key] if shared[labels[key]] == 1 else f"{labels[key]} [{key[:6]}]"
        results = tuple(result for _, _, result in sorted(found, key=lambda r: r[:2]))
        cells.append(Cell(key, label, results, measures))
    return sorted(cells, key=lambda c: (_size(c), c.label, c.key))


def _size(cell: Cell) -> float:
    """For an order by size: a model whose parameters are not known comes last."""
    parameters = cell.spec.model.parameters
    return np.inf if parameters is None else parameters


def _label(spec: TrialSpec) -> str:
    if spec.method.name == "none":
        return f"{spec.model.name} untouched"
    mix = f", {spec.mix.name}" if spec.mix else ""
    return f"{spec.model.name} {spec.method.label}{mix}, {spec.volume:,} examples"


def task_weights(objective: Objective, cells: Sequence[Cell]) -> dict[str, float]:
    """The objective's weights, normalised to sum 1 and without zeros; raises InputError."""
    known = sorted({task for cell in cells for task in cell.tasks})
    problems = [
        f"weight for task {name!r}: {near(name, known)}"
        for name in objective.weights
        if name not in known
    ]
    problems += [
        f"weight of task {name!r} is {w:g}: it must be at least 0"
        for name, w in objective.weights.items()
        if w < 0
    ]
    total = sum(objective.weights.values())
    if not problems and total <= 0:
        problems = [f"no task has a weight above 0; tasks: {', '.join(known)}"]
    if problems:
        raise InputError(problems)
    return {name: w / total for name, w in sorted(objective.weights.items()) if w > 0}


def near(name: str, allowed: Sequence[str]) -> str:
    """``not known; did you mean 'x'? allowed: x, y``."""
    close = get_close_matches(name, allowed, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"not known{hint} allowed: {', '.join(allowed) or 'none'}"


def run_quality(
    run: TrialResult, weights: Mapping[str, float], measures: Mapping[str, Measure]
) -> float | None:
    """The weighted mean of the tasks' qualities; None if one of them was not measured.

    *measures*: what each task is decided on; a task it does not name is decided on its score.
    """
    total = 0.0
    for task, weight in weights.items():
        score = score_of(run, task)
        quality = None if score is None else quality_of(score, measures.get(task, "score"))
        if quality is None:
            return None
        total += weight * quality
    return total


def counted(cell: Cell) -> Counted:
    """Counted cost; the untouched base needs no training and nothing stored beside it."""
    parameters = cell.spec.model.parameters
    if cell.untouched:
        return Counted(
            parameters=parameters, trained_parameters=0, train_tokens=0, flops=0, adapter_bytes=0
        )
    return Counted(
        parameters=parameters,
        trained_parameters=cell.runs[0].cost.trained_parameters,
        train_tokens=cell.mean(lambda r: r.cost.train_tokens),
        flops=cell.mean(lambda r: r.cost.flops),
        adapter_bytes=cell.mean(lambda r: r.cost.adapter_bytes),
    )


def measured(cell: Cell) -> Measured:
    """What clock and device said, means over seeds."""
    return Measured(
        device=", ".join(sorted({run.cost.device for run in cell.runs})),
        device_seconds=cell.mean(lambda r: r.cost.device_seconds),
        train_seconds=cell.mean(lambda r: r.cost.train_seconds),
        seconds_per_1k_tokens=cell.mean(lambda r: r.cost.seconds_per_1k_tokens),
        peak_bytes=cell.mean(lambda r: r.cost.peak_bytes),
    )


def forgetting(cells: Sequence[Cell]) -> list[dict[str, Estimate]]:
    """Per cell and suite: mean over seeds; interval from the rows' error and the noise between
    seeds.

    The rows are the same for every seed, so their error does not shrink with seeds; the seeds'
    does.
    """
    suites = sorted({suite.suite for cell in cells for run in cell.runs for suite in run.general})
    found: list[dict[str, Estimate]] = [{} for _ in cells]
    for suite in suites:
        values = [
            [v for run in cell.runs if (v := forgetting_of(run, suite)) is not None]
            for cell in cells
        ]
        between = pooled_sd(values) or 0.0
        for estimates, cell, value in zip(found, cells, values, strict=True):
            if value:
                sd = cell.mean(partial(forgetting_se, suite=suite))
                seeds = 0.0 if cell.untouched else between / np.sqrt(len(value))
                spread = None if sd is None else Z * np.hypot(sd, seeds)
                estimates[suite] = estimate(float(np.mean(value)), spread)
    return found


def estimate(value: float, spread: float | None) -> Estimate:
    """A rounded estimate, symmetric by *spread*."""
    if spread is None:
        return Estimate(value=rounded(value))
    return Estimate(value=rounded(value), low=rounded(value - spread), high=rounded(value + spread))
