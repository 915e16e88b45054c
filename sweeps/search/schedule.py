"""Which trials a strategy is expected to run, and where it would stop. Runs nothing.

The strategy itself is driven, by the driver of a sweep, over results that are expected
(:mod:`sweeps.search.expectation`) at the plan's prices. Results will be others, and so will the trials be
that follow from them: what is shown is an expectation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sweeps.resolve import ResolvedSweep
from sweeps.search.driver import Driver
from sweeps.search.engines.engine import Ended, Event, Job
from sweeps.search.expectation import Surface, drawn_surface, measured_surfaces
from sweeps.search.plan import Plan
from sweeps.search.replay.replay import MemoryResults, Nobody
from sweeps.search.space import Cell, Values, configurations
from sweeps.search.study import StudyAdapter
from tracker.trial import Cost, Status, TaskScore, TrialRecord, TrialResult, TrialSpec

#: Strategies that decide as they go, yet leave no value to chance.
SCHEDULED = frozenset({"law", "halving", "ats"})

_DRAWS = 3  # surfaces played through where nothing was measured; the one of middling cost is shown
_FEW = 60  # configurations, above which one surface must do, or asking would take too long
_MOST = 600  # configurations, above which even one would


class ScheduledTrial(NamedTuple):
    """One trial: ``round`` counts from 0, and all of a round are chosen before any of it ends.

    ``done``: it has run, so that ``seconds`` were measured.
    """

    number: int
    round: int
    stage: str
    values: Values
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

    def as_json(self) -> dict[str, Any]:
        """As plain data, extents by name."""
        extents = {
            name: getattr(self, name)._asdict() for name in ("extent", "grid", "least", "most")
        }
        trials = [trial._asdict() for trial in self.trials]
        return self._asdict() | {"trials": trials} | extents


class _Expected:
    """An engine that ends each job at once with the surface's score, at its cell's price.

    Untouched bases are given no score, and general suites none to anyone: constraints count as unknown.
    """

    slots = 1

    def __init__(
        self, surface: Surface, results: MemoryResults, seconds: Mapping[Cell, float], base: float
    ) -> None:
        self.surface, self.results, self.seconds, self.base = surface, results, seconds, base
        self._ended: list[str] = []

    def submit(self, job: Job) -> None:
        self.results.keep(job.key, self._result(job.spec))
        self._ended.append(job.key)

    def events(self, timeout: float) -> Iterable[Event]:
        ended, self._ended = self._ended, []
        return [Ended(key) for key in ended]

    def cancel(self, key: str) -> None:
        """Nothing runs long enough to be."""

    def close(self) -> None:
        """Nothing runs."""

    def _result(self, spec: TrialSpec) -> TrialResult:
        score, seconds = self.surface.score(spec), self.base
        if spec.mix is not None:
            seconds = self.seconds[
                Cell(spec.model.name, spec.method.name, spec.mix.name, spec.volume)
            ]
        tasks = [
            TaskScore(task=task.name, score_name=task.score, score=score)
            for task in spec.tasks
            if score is not None
        ]
        cost = Cost(device="expected", device_seconds=seconds)
        return TrialResult(spec=spec, status=Status.COMPLETE, tasks=tuple(tasks), cost=cost)


def expected_schedule(
    sweep: ResolvedSweep, records: Sequence[TrialRecord], plan: Plan
) -> Schedule | None:
    """The schedule of *sweep* from its start, what of *records* it holds already done.

    ``None`` for a strategy that leaves values to chance or whose list is fixed, and for a design that is
    :func:`too_large`. *plan*: where prices come from.
    """
    if sweep.spec.search.strategy not in SCHEDULED or too_large(sweep):
        return None
    count = _DRAWS if len(configurations(sweep.spec)) <= _FEW else 1
    surfaces = measured_surfaces(sweep, records, count)
    surfaces = surfaces or [drawn_surface(sweep, draw) for draw in range(count)]
    played = sorted(
        (_played(sweep, each, records, plan) for each in surfaces),
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
    sweep: ResolvedSweep, surface: Surface, records: Sequence[TrialRecord], plan: Plan
) -> Schedule:
    results = MemoryResults()
    for record in records:
        results.keep(record.result.spec.key, record.result)
    done = set(results.ended)
    seconds = {planned.cell: planned.seconds for planned in plan.cells}
    engine = _Expected(surface, results, seconds, plan.base_seconds)
    driver = Driver(sweep, results, StudyAdapter(None, sweep.spec), engine, Nobody())
    driver.run()
    trials, at = [], -1
    for asked, told in zip(driver.asked, driver.told, strict=True):
        # Only a round's first trial waits for all before it.
        at += driver.strategy.needs(asked.number) == asked.number
        took = told.seconds or 0.0
        trials.append(
            ScheduledTrial(asked.number, at, asked.stage, asked.values, took, asked.key in done)
        )
    own = Extent(len(trials), sum(trial.seconds for trial in trials))
    grid = _grid(sweep, seconds, plan.base_seconds)
    return Schedule(trials, _stop(driver), grid, surface.measured, 1, own, own)


def _stop(driver: Driver) -> str:
    """Why *driver* asked for no more."""
    strategy, budget = driver.strategy, driver.sweep.spec.budget
    count = len(driver.asked)
    if budget and budget.trials and count >= budget.trials:
        return f"the budget of {budget.trials} trials is spent"
    if count >= strategy.planned:
        return "every trial of the design has run"
    if budget is None:
        return "no further trial is expected to change the choice by more than the noise"
    if budget.gpu_hours and driver.spent_seconds >= budget.gpu_hours * 3600:
        return f"the budget of {budget.gpu_hours:g} GPU-hours is spent"
    return "nothing that the budget still pays for is expected to change the choice"


def _grid(sweep: ResolvedSweep, seconds: Mapping[Cell, float], base: float) -> Extent:
    """Every configuration at every volume of its mix, and the untouched bases."""
    spec = sweep.spec
    prices = [base] * len(spec.models)
    for c in configurations(spec):
        for volume in spec.volumes_of(c["mix"]):
            prices.append(seconds[Cell(c["model"], c["method"], c["mix"], volume)])
    return Extent(len(prices), sum(prices))
