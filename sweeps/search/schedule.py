"""Expected schedule: which trials a strategy is expected to run, and where it would stop. Runs nothing.

The sweep's own driver and strategy are simulated: each trial ends at once with an expected score, at the
plan's price. Measured scores will differ, and so will the trials that follow from them: the schedule is an
expectation.

Expected scores are a sample of curves: where nothing was measured yet, from the prior of the joint laws
(:mod:`tracker.laws.prior`), else from their forecast (:mod:`tracker.laws.surrogate`). They have no noise
between runs, and are the same on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sweeps.resolve import ResolvedSweep
from sweeps.search.bounds import SearchBounds
from sweeps.search.driver import Driver
from sweeps.search.engines.instant import InstantEngine, MemoryResults, NullListener
from sweeps.search.plan import Plan
from sweeps.search.space import configurations, design_point
from sweeps.search.strategies.strategy import weighted_score
from sweeps.search.study import StudyAdapter, study_values
from sweeps.spec import SweepSpec, lowered
from tracker.laws.points import CurveRuns
from tracker.laws.pooling import Array, log_law
from tracker.laws.prior import prior
from tracker.laws.surrogate import surrogate_forecast
from tracker.metrics import perfect_quality
from tracker.task import TaskScore
from tracker.trial import Configuration, Cost, Status, TrialRecord, TrialResult, TrialSpec

#: Strategies whose schedule depends on results but leaves no value to chance.
SCHEDULED = frozenset({"law", "halving", "ats"})

_SAMPLES = 3  # schedules that are simulated; the one of median cost is shown
_FEW = 60  # configurations, above which one sample must do, or a plan would take too long
_MOST = 600  # configurations, above which even one sample would
_LEAST_ERROR = 1e-3  # of a perfect score: its logarithm must exist
#: Which way each feature of a curve goes where it gets better: it falls earlier and faster, and ends
#: and lies lower.
_BETTER = np.array([-1.0, 1.0, -1.0, -1.0])


class ScheduledTrial(NamedTuple):
    """One trial of the schedule; all trials of a ``round``, from 0, are chosen before any of it ends.

    ``done``: it has run, so that ``seconds`` were measured.
    """

    number: int
    round: int
    stage: str
    configuration: Configuration
    seed: int
    seconds: float
    done: bool


class Extent(NamedTuple):
    """Number of ``trials``, and their device ``seconds``."""

    trials: int
    seconds: float


class Schedule(NamedTuple):
    """Expected schedule: ``trials`` by number, and why there are no more (``stop``).

    ``grid``: for comparison, every configuration at every training-set size of its mix, once.
    ``measured``: complete trials that the expectation rests on. ``samples``: schedules that were simulated;
    ``least`` and ``most``: the cheapest and the most expensive of them.
    """

    trials: list[ScheduledTrial]
    stop: str
    grid: Extent
    measured: int
    samples: int
    least: Extent
    most: Extent

    @property
    def extent(self) -> Extent:
        """Number and device seconds of all trials."""
        return Extent(len(self.trials), sum(trial.seconds for trial in self.trials))

    def as_json(self, spec: SweepSpec) -> dict[str, Any]:
        """The schedule as plain data; values of trials as the study of the sweep *spec* keeps them."""
        extents = {
            name: getattr(self, name)._asdict() for name in ("extent", "grid", "least", "most")
        }
        trials = [
            {
                "number": trial.number,
                "round": trial.round,
                "stage": trial.stage,
                "values": study_values(spec, trial.configuration, trial.seed),
                "seconds": trial.seconds,
                "done": trial.done,
            }
            for trial in self.trials
        ]
        return self._asdict() | {"trials": trials} | extents


def expected_schedule(
    sweep: ResolvedSweep,
    records: Sequence[TrialRecord],
    plan: Plan,
    bounds: SearchBounds | None = None,
) -> Schedule | None:
    """Expected schedule of *sweep* from its start; trials among *records* are done.

    ``None`` for a strategy that leaves values to chance or whose list is fixed, and for a design that is
    :func:`too_large`. *plan*: gives the prices; *bounds*: by default those of a sweep that begins now.
    """
    if sweep.spec.search.strategy not in SCHEDULED or too_large(sweep):
        return None
    count = _SAMPLES if len(configurations(sweep.spec)) <= _FEW else 1
    bounds = bounds or SearchBounds(sweep)
    samples = forecast_scores(sweep, records, count)
    samples = samples or [prior_scores(sweep, number) for number in range(count)]
    schedules = sorted(
        (_simulated(sweep, scores, records, plan, bounds) for scores in samples),
        key=lambda schedule: schedule.extent.seconds,
    )
    median = schedules[len(schedules) // 2]
    least, most = schedules[0].extent, schedules[-1].extent
    return median._replace(samples=len(schedules), least=least, most=most)


def too_large(sweep: ResolvedSweep) -> str | None:
    """Why a design is too large to simulate its schedule in seconds; ``None`` where it is not."""
    count = len(configurations(sweep.spec))
    if sweep.spec.search.strategy not in SCHEDULED or count <= _MOST:
        return None
    return (
        f"{count:,} configurations are too many to simulate the schedule; allowed: up to {_MOST}; "
        "list fewer learning rates, ranks or mixes to see it"
    )


def _simulated(
    sweep: ResolvedSweep,
    scores: ExpectedScores,
    records: Sequence[TrialRecord],
    plan: Plan,
    bounds: SearchBounds,
) -> Schedule:
    results = MemoryResults()
    for record in records:
        results.keep(record.result.spec.key, record.result)
    done = set(results.ended)
    prices = {planned.point: planned.seconds for planned in plan.points}
    engine = InstantEngine(
        results, lambda spec: _expected_result(spec, scores, prices, plan.base_seconds)
    )
    study = StudyAdapter(None, sweep.spec)
    driver = Driver(sweep, results, study, engine, NullListener(), bounds=bounds)
    driver.run()
    trials, number = [], -1
    for trial, outcome in zip(driver.trials, driver.outcomes, strict=True):
        # Only a round's first trial waits for all before it.
        number += driver.strategy.needs(trial.number) == trial.number
        trials.append(
            ScheduledTrial(
                number=trial.number,
                round=number,
                stage=trial.stage,
                configuration=trial.configuration,
                seed=trial.seed,
                seconds=outcome.seconds or 0.0,
                done=trial.key in done,
            )
        )
    extent = Extent(len(trials), sum(trial.seconds for trial in trials))
    grid = _grid(bounds, prices, plan.base_seconds)
    return Schedule(trials, _stop(driver), grid, scores.measured, 1, extent, extent)


def _expected_result(
    spec: TrialSpec,
    scores: ExpectedScores,
    prices: Mapping[Configuration, float],
    base_seconds: float,
) -> TrialResult:
    """The trial's result with its expected score, or 1 less it as its error, at its design point's price.

    Untouched bases have no score, and no trial has one on a general suite: constraints are unknown.
    """
    configuration, score = Configuration.of(spec), scores.score(spec)
    seconds = base_seconds if configuration.untouched else prices[design_point(configuration)]
    tasks = [
        TaskScore(task=task.name, score_name=task.score, error=1 - score)
        if task.function is not None and task.function.minimize
        else TaskScore(task=task.name, score_name=task.score, score=max(score, 0.0))
        for task in spec.tasks
        if score is not None
    ]
    cost = Cost(device="expected", device_seconds=seconds)
    return TrialResult(spec=spec, status=Status.COMPLETE, tasks=tuple(tasks), cost=cost)


def _stop(driver: Driver) -> str:
    """Why the simulated sweep ended."""
    strategy, budget = driver.strategy, driver.sweep.spec.budget
    count = len(driver.trials)
    if budget and budget.trials and count >= budget.trials:
        return f"the budget of {budget.trials} trials is spent"
    if count >= strategy.planned:
        return "every trial of the design has run"
    if budget is None:
        return "no further trial is expected to change the choice by more than the noise"
    if budget.gpu_hours and driver.spent_seconds >= budget.gpu_hours * 3600:
        return f"the budget of {budget.gpu_hours:g} device hours is spent"
    return "nothing that the budget still pays for is expected to change the choice"


def _grid(
    bounds: SearchBounds, prices: Mapping[Configuration, float], base_seconds: float
) -> Extent:
    """Every configuration at every training-set size of its mix that may run, and the untouched bases."""
    seconds = [base_seconds] * len(bounds.bases)
    for curve in bounds.curves:
        for volume in bounds.volumes(curve):
            seconds.append(prices[design_point(curve)._replace(volume=volume)])
    return Extent(len(seconds), sum(seconds))


# -- expected scores -------------------------------------------------------------------------------


class ExpectedScores(NamedTuple):
    """Expected ``scores`` (C, V) of the design's configurations at each of ``volumes``.

    ``rows``: each configuration's row; ``measured``: on how many complete trials the scores rest, 0 for a
    sample of the prior.
    """

    rows: dict[Configuration, int]
    volumes: tuple[int, ...]
    scores: Array
    measured: int

    def score(self, spec: TrialSpec) -> float | None:
        """Expected score of a trial, in [0, 1]; ``None`` for one that is not of the design."""
        row = self.rows.get(Configuration.of(spec).curve)
        if row is None or spec.volume not in self.volumes:
            return None
        return float(self.scores[row, self.volumes.index(spec.volume)])


def prior_scores(sweep: ResolvedSweep, number: int) -> ExpectedScores:
    """Sample *number* of the prior over a sweep's curves: its mean, plus an advantage of each group.

    Each group (a model, a method, a setting, …) has one normal advantage, in units of the prior's scatter
    of curves, less for a kind that the prior holds more tightly than a curve. Of models the larger have
    the larger advantages, of settings those nearer to the middle of their method's learning rates: what
    fine-tunes mostly show.
    """
    design, learned = configurations(sweep.spec), prior("score")
    kinds = [curve.groups(sweep.models[curve.model].family) for curve in design]
    sizes = np.log([sweep.models[curve.model].parameters or 1 for curve in design])
    features = learned.mean[0] + np.outer(sizes - sizes.mean(), learned.mean[1])
    scatter, random = np.sqrt(np.diag(learned.cov)), np.random.default_rng(number)
    promise = {"model": sizes, "setting": -_distance_from_middle_rate(design)}
    for kind in kinds[0]:
        names = [kind_of[kind] for kind_of in kinds]
        advantages = _advantages(names, random, promise.get(kind))
        step = _BETTER * scatter / np.sqrt(max(learned.group_trust.get(kind, 1.0), 1.0))
        features = features + np.outer(advantages, step)
    errors = np.exp(log_law(features, np.array(sweep.spec.volumes, dtype=float)))
    return ExpectedScores(_rows(design), sweep.spec.volumes, np.clip(1 - errors, 0.0, 1.0), 0)


def forecast_scores(
    sweep: ResolvedSweep, records: Sequence[TrialRecord], count: int
) -> list[ExpectedScores]:
    """*count* samples of the joint laws' forecast after *records*; none while no record has a score.

    Not the mean forecast: where little is known that makes all configurations alike, and a search among
    equals never ends.
    """
    design, falling = configurations(sweep.spec), lowered(sweep.spec)
    rows = _rows(design)
    perfect = perfect_quality(sweep.spec.objective.weights, dict.fromkeys(falling, "error"))
    runs: dict[int, list[tuple[float, float]]] = {}
    for record in sorted(records, key=lambda r: r.number):
        row = rows.get(Configuration.of(record.result.spec).curve)
        score = _score(sweep, record)
        if row is not None and score is not None:
            error = max(perfect - score, _LEAST_ERROR)
            runs.setdefault(row, []).append((float(record.result.spec.volume), error))
    if not runs:
        return []
    curves = []
    for row, curve in enumerate(design):
        points = np.array(runs.get(row, [])).reshape(-1, 2)
        keys = tuple(f"{row}/{i}" for i in range(len(points)))
        model = sweep.models[curve.model]
        groups = curve.groups(model.family)
        curves.append(CurveRuns(points[:, 0], points[:, 1], keys, groups, model.parameters))
    volumes = sweep.spec.volumes
    errors = [surrogate_forecast(curves, volume, [volume], "score").draws for volume in volumes]
    least = -np.inf if falling else 0.0  # an error has no limit above
    scores = np.clip(1 - np.stack(errors, axis=-1), least, 1.0)  # draws, configurations, volumes
    measured = sum(len(points) for points in runs.values())
    picks = (np.arange(count) + 0.5) / count * len(scores)
    return [ExpectedScores(rows, volumes, scores[int(pick)], measured) for pick in picks]


def _rows(design: Sequence[Configuration]) -> dict[Configuration, int]:
    return {curve: row for row, curve in enumerate(design)}


def _advantages(names: Sequence[str], random: np.random.Generator, promise: Array | None) -> Array:
    """A normal sample per distinct name, as (C,) over *names*; larger where *promise* is larger."""
    distinct = list(dict.fromkeys(names))
    sampled = random.standard_normal(len(distinct))
    if promise is not None:
        sampled = np.sort(sampled)
        distinct.sort(key=lambda name: float(promise[names.index(name)]))
    by_name = dict(zip(distinct, sampled.tolist(), strict=True))
    return np.array([by_name[name] for name in names])


def _distance_from_middle_rate(design: Sequence[Configuration]) -> Array:
    """Log distance (C,) of each learning rate from the middle of its method's rates."""
    # Every method of a sweep file has a rate.
    rates = np.log([curve.method.learning_rate or 1.0 for curve in design])
    methods = np.array([curve.method.name for curve in design])
    ends = {m: rates[methods == m] for m in set(methods.tolist())}
    return np.array(
        [abs(r - (ends[m].min() + ends[m].max()) / 2) for r, m in zip(rates, methods, strict=True)]
    )


def _score(sweep: ResolvedSweep, record: TrialRecord) -> float | None:
    if record.result.status is not Status.COMPLETE or record.stage == "baseline":
        return None
    return weighted_score(record.result, sweep.spec.objective)
