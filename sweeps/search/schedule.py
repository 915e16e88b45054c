"""Expected schedule: which trials a strategy is expected to run, and where it would stop. Runs nothing.

The strategy itself is driven, by the driver of a sweep, over an expected surface of scores at the plan's
prices. Results will be others, and so will the trials be that follow from them: what is shown is an
expectation.

A surface is a draw of curves: where nothing was measured yet, from what the joint laws expect of any sweep
(:mod:`tracker.laws.prior`), else from what they make of it (:mod:`tracker.laws.surrogate`). There is no
noise between runs in it, and it is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sweeps.resolve import ResolvedSweep
from sweeps.search.bounds import SearchBounds
from sweeps.search.driver import Driver
from sweeps.search.engines.instant import InstantEngine, MemoryResults, Nobody
from sweeps.search.plan import Plan
from sweeps.search.space import configurations, design_point
from sweeps.search.strategies.strategy import weighted_score
from sweeps.search.study import StudyAdapter, study_values
from sweeps.spec import SweepSpec
from tracker.laws.points import CurveRuns
from tracker.laws.pooling import Array, log_law
from tracker.laws.prior import prior
from tracker.laws.surrogate import surrogate_forecast
from tracker.trial import (
    Configuration,
    Cost,
    Status,
    TaskScore,
    TrialRecord,
    TrialResult,
    TrialSpec,
)

#: Strategies that decide as they go, yet leave no value to chance.
SCHEDULED = frozenset({"law", "halving", "ats"})

_DRAWS = 3  # surfaces played through where nothing was measured; the one of middling cost is shown
_FEW = 60  # configurations, above which one surface must do, or asking would take too long
_MOST = 600  # configurations, above which even one would
_LEAST_ERROR = 1e-3  # of a perfect score: its logarithm must exist
#: Which way each feature of a curve goes where it gets better: it falls earlier and faster, and ends
#: and lies lower.
_BETTER = np.array([-1.0, 1.0, -1.0, -1.0])


class ScheduledTrial(NamedTuple):
    """One trial: ``round`` counts from 0, and all of a round are chosen before any of it ends.

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
    """How much is run: ``trials``, and their device ``seconds``."""

    trials: int
    seconds: float


class Schedule(NamedTuple):
    """``trials`` by number. ``stop``: why there are no more. ``grid``: every configuration at every volume
    of its mix, once.

    ``measured``: complete trials that the expectation rests on; ``surfaces``: how many were played
    through; ``least`` and ``most``: the cheapest and the dearest of them.
    """

    trials: list[ScheduledTrial]
    stop: str
    grid: Extent
    measured: int
    surfaces: int
    least: Extent
    most: Extent

    @property
    def extent(self) -> Extent:
        """Of all trials."""
        return Extent(len(self.trials), sum(trial.seconds for trial in self.trials))

    def as_json(self, spec: SweepSpec) -> dict[str, Any]:
        """As plain data: extents by name, trials of the sweep *spec* as its study keeps them."""
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
    """The schedule of *sweep* from its start, what of *records* it holds already done.

    ``None`` for a strategy that leaves values to chance or whose list is fixed, and for a design that is
    :func:`too_large`. *plan*: where prices come from; *bounds*: by default of a sweep that begins now.
    """
    if sweep.spec.search.strategy not in SCHEDULED or too_large(sweep):
        return None
    count = _DRAWS if len(configurations(sweep.spec)) <= _FEW else 1
    surfaces = measured_surfaces(sweep, records, count)
    surfaces = surfaces or [sampled_surface(sweep, draw) for draw in range(count)]
    played = sorted(
        (_played(sweep, each, records, plan, bounds or SearchBounds(sweep)) for each in surfaces),
        key=lambda schedule: schedule.extent.seconds,
    )
    typical = played[len(played) // 2]
    return typical._replace(surfaces=len(played), least=played[0].extent, most=played[-1].extent)


def too_large(sweep: ResolvedSweep) -> str | None:
    """Why the schedule cannot be shown in seconds, where its strategy has one; ``None`` where it can."""
    count = len(configurations(sweep.spec))
    if sweep.spec.search.strategy not in SCHEDULED or count <= _MOST:
        return None
    return (
        f"{count:,} configurations are too many to play the schedule through; up to {_MOST} are, so "
        "list fewer learning rates, ranks or mixes to see it"
    )


def _played(
    sweep: ResolvedSweep,
    surface: Surface,
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
        results, lambda spec: _expected_result(spec, surface, prices, plan.base_seconds)
    )
    study = StudyAdapter(None, sweep.spec)
    driver = Driver(sweep, results, study, engine, Nobody(), bounds=bounds)
    driver.run()
    trials, at = [], -1
    for proposed, observed in zip(driver.proposed, driver.observed, strict=True):
        # Only a round's first trial waits for all before it.
        at += driver.strategy.needs(proposed.number) == proposed.number
        trials.append(
            ScheduledTrial(
                number=proposed.number,
                round=at,
                stage=proposed.stage,
                configuration=proposed.configuration,
                seed=proposed.seed,
                seconds=observed.seconds or 0.0,
                done=proposed.key in done,
            )
        )
    own = Extent(len(trials), sum(trial.seconds for trial in trials))
    grid = _grid(bounds, prices, plan.base_seconds)
    return Schedule(trials, _stop(driver), grid, surface.measured, 1, own, own)


def _expected_result(
    spec: TrialSpec, surface: Surface, prices: Mapping[Configuration, float], base_seconds: float
) -> TrialResult:
    """The trial with the surface's score, at its design point's price.

    Untouched bases are given no score, and general suites none to anyone: constraints count as unknown.
    """
    configuration, score = Configuration.of(spec), surface.score(spec)
    seconds = base_seconds if configuration.untouched else prices[design_point(configuration)]
    tasks = [
        TaskScore(task=task.name, score_name=task.score, score=score)
        for task in spec.tasks
        if score is not None
    ]
    cost = Cost(device="expected", device_seconds=seconds)
    return TrialResult(spec=spec, status=Status.COMPLETE, tasks=tuple(tasks), cost=cost)


def _stop(driver: Driver) -> str:
    """Why *driver* asked for no more."""
    strategy, budget = driver.strategy, driver.sweep.spec.budget
    count = len(driver.proposed)
    if budget and budget.trials and count >= budget.trials:
        return f"the budget of {budget.trials} trials is spent"
    if count >= strategy.planned:
        return "every trial of the design has run"
    if budget is None:
        return "no further trial is expected to change the choice by more than the noise"
    if budget.gpu_hours and driver.spent_seconds >= budget.gpu_hours * 3600:
        return f"the budget of {budget.gpu_hours:g} GPU-hours is spent"
    return "nothing that the budget still pays for is expected to change the choice"


def _grid(
    bounds: SearchBounds, prices: Mapping[Configuration, float], base_seconds: float
) -> Extent:
    """Every configuration at every volume of its mix that may run, and the untouched bases."""
    seconds = [base_seconds] * len(bounds.bases)
    for curve in bounds.curves:
        for volume in bounds.volumes(curve):
            seconds.append(prices[design_point(curve)._replace(volume=volume)])
    return Extent(len(seconds), sum(seconds))


# -- what trials are expected to score ---------------------------------------------------------------


class Surface(NamedTuple):
    """``scores`` (C, V), expected of each of the design's configurations at each of ``volumes``.

    ``rows``: each configuration's row; ``measured``: on how many complete trials the scores rest, 0 for a
    draw from the prior.
    """

    rows: dict[Configuration, int]
    volumes: tuple[int, ...]
    scores: Array
    measured: int

    def score(self, spec: TrialSpec) -> float | None:
        """The expected score of a trial, in [0, 1]; ``None`` for one that is not of the design."""
        row = self.rows.get(Configuration.of(spec).curve)
        if row is None or spec.volume not in self.volumes:
            return None
        return float(self.scores[row, self.volumes.index(spec.volume)])


def sampled_surface(sweep: ResolvedSweep, draw: int) -> Surface:
    """Draw *draw* of the curves that a sweep may show: the prior's mean, moved by what each belongs to.

    Each group (a model, a method, a setting, …) has one normal advantage, in units of the prior's scatter
    of curves, less for a kind that the prior holds more tightly than a curve. Of models the larger have
    the larger advantages, of settings those nearer to the middle of their method's learning rates: what
    fine-tunes mostly show.
    """
    design, known = configurations(sweep.spec), prior("score")
    kinds = [curve.groups(sweep.models[curve.model].family) for curve in design]
    sizes = np.log([sweep.models[curve.model].parameters or 1 for curve in design])
    features = known.mean[0] + np.outer(sizes - sizes.mean(), known.mean[1])
    scatter, random = np.sqrt(np.diag(known.cov)), np.random.default_rng(draw)
    promise = {"model": sizes, "setting": -_from_the_middle(design)}
    for kind in kinds[0]:
        names = [kind_of[kind] for kind_of in kinds]
        advantages = _advantages(names, random, promise.get(kind))
        step = _BETTER * scatter / np.sqrt(max(known.hold.get(kind, 1.0), 1.0))
        features = features + np.outer(advantages, step)
    errors = np.exp(log_law(features, np.array(sweep.spec.volumes, dtype=float)))
    return Surface(_rows(design), sweep.spec.volumes, np.clip(1 - errors, 0.0, 1.0), 0)


def measured_surfaces(
    sweep: ResolvedSweep, records: Sequence[TrialRecord], count: int
) -> list[Surface]:
    """*count* draws of what the joint laws expect after *records*; none while no record has a score.

    Not their mean: where little is known that makes all configurations alike, and a search of equals
    never ends.
    """
    design = configurations(sweep.spec)
    rows = _rows(design)
    runs: dict[int, list[tuple[float, float]]] = {}
    for record in sorted(records, key=lambda r: r.number):
        row = rows.get(Configuration.of(record.result.spec).curve)
        score = _score(sweep, record)
        if row is not None and score is not None:
            error = max(1 - score, _LEAST_ERROR)
            runs.setdefault(row, []).append((float(record.result.spec.volume), error))
    if not runs:
        return []
    curves = []
    for row, curve in enumerate(design):
        own = np.array(runs.get(row, [])).reshape(-1, 2)
        keys = tuple(f"{row}/{i}" for i in range(len(own)))
        model = sweep.models[curve.model]
        belongs = curve.groups(model.family)
        curves.append(CurveRuns(own[:, 0], own[:, 1], keys, belongs, model.parameters))
    volumes = sweep.spec.volumes
    seen = [surrogate_forecast(curves, volume, [volume], "score").draws for volume in volumes]
    scores = np.clip(1 - np.stack(seen, axis=-1), 0.0, 1.0)  # draws, configurations, volumes
    measured = sum(len(own) for own in runs.values())
    picks = (np.arange(count) + 0.5) / count * len(scores)
    return [Surface(rows, volumes, scores[int(pick)], measured) for pick in picks]


def _rows(design: Sequence[Configuration]) -> dict[Configuration, int]:
    return {curve: row for row, curve in enumerate(design)}


def _advantages(names: Sequence[str], random: np.random.Generator, promise: Array | None) -> Array:
    """A normal draw per distinct name, spread over *names* (C,); the larger where more is promised."""
    distinct = list(dict.fromkeys(names))
    drawn = random.standard_normal(len(distinct))
    if promise is not None:
        drawn = np.sort(drawn)
        distinct.sort(key=lambda name: float(promise[names.index(name)]))
    by_name = dict(zip(distinct, drawn.tolist(), strict=True))
    return np.array([by_name[name] for name in names])


def _from_the_middle(design: Sequence[Configuration]) -> Array:
    """How far, in logs, each learning rate lies from the middle of its method's (C,)."""
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
