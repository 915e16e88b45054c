"""A recorded table stands in for training: strategies are compared in seconds.

The driver, ledger and strategies are those of a sweep; only what trains is exchanged, and where ends of
trials are kept. Nothing touches a disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from sweeps.finetune.trial_home import TrialHome
from sweeps.search.driver import Driver
from sweeps.search.engines.engine import Ended, Event, Job
from sweeps.search.replay.space import Setting
from sweeps.search.replay.table import NOT_RECORDED, RecordedTable
from sweeps.search.study import SEED, StudyAdapter
from sweeps.search_settings import Halving, Search
from sweeps.spec import SweepSpec
from tracker.trial import TrialRecord, TrialResult, TrialSpec

_NOWHERE = TrialHome(Path(), Path(), Path())
_SEEDS_APART = 100_003  # samplers are seeded by number too, which stays below this
#: Shares of a replay's budget at which its choice is asked for.
CURVE = tuple(2 ** (-i / 2) for i in range(12, -1, -1))


class Point(NamedTuple):
    """What a strategy would choose with ``share`` of the full cost, of which it spent ``cost``.

    ``regret`` as :meth:`~sweeps.search.replay.table.RecordedTable.regret` gives it.
    """

    share: float
    cost: float
    trials: int
    regret: float
    chosen: Setting | None


class Replayed(NamedTuple):
    """One strategy on one seed. ``substituted``: trials answered by a neighbouring learning rate;
    ``missing``: fine-tunes that the table lacks. The last point of ``curve`` is the end.
    """

    strategy: str
    budget: float
    seed: int
    substituted: int
    missing: int
    curve: tuple[Point, ...]

    @property
    def end(self) -> Point:
        """What was chosen, and at what cost."""
        return self.curve[-1]


class MemoryResults:
    """Ends of trials, kept as long as the replay."""

    def __init__(self) -> None:
        self.ended: dict[str, TrialResult] = {}

    def result(self, key: str) -> TrialResult | None:
        return self.ended.get(key)

    def keep(self, key: str, result: TrialResult) -> None:
        self.ended[key] = result

    def job(self, key: str, spec: TrialSpec, _sweep: SweepSpec) -> Job:
        return Job(key, spec, _NOWHERE, "")

    def tidy(self, key: str) -> None:
        """Nothing is left behind."""

    def drop_model(self, key: str) -> None:
        """Nothing was trained."""


class ReplayEngine:
    """Ends each job at once with what the table says."""

    slots = 1

    def __init__(self, table: RecordedTable, results: MemoryResults, seed: int) -> None:
        self.table, self.results, self.seed = table, results, seed
        self.substituted = 0
        self._ended: list[str] = []

    def submit(self, job: Job) -> None:
        answer, stands_in = self.table.answer(job.spec, self.seed)
        self.substituted += stands_in
        self.results.keep(job.key, answer)
        self._ended.append(job.key)

    def events(self, timeout: float) -> Iterable[Event]:
        ended, self._ended = self._ended, []
        return [Ended(key) for key in ended]

    def cancel(self, key: str) -> None:
        """Every trial ends as it begins."""

    def close(self) -> None:
        """Nothing runs."""

    def price(self, spec: TrialSpec) -> float:
        """What the table's trial took, known before it runs."""
        return self.table.answer(spec, self.seed)[0].cost.device_seconds or 0.0


class Nobody:
    """An audience of none."""

    problem: str | None = None

    def delivered(self) -> set[str]:
        return set()

    def begin(self, number: int, stage: str, spec: TrialSpec) -> None:
        pass

    def progress(self, key: str) -> None:
        pass

    def end(self, record: TrialRecord) -> None:
        pass


def replay(
    table: RecordedTable,
    strategy: str,
    *,
    fraction: float,
    seed: int,
    halving: Halving = Halving(),  # noqa: B008 - frozen
) -> Replayed:
    """One run of *strategy* with a budget of *fraction* of the full cost.

    *seed* draws the order of models and mixes and the samplers' numbers, and says which recorded seed
    is seen first. A strategy asks for one trial at a time and knows the outcomes of all before.
    """
    settings: dict[str, Any] = {"strategy": strategy, "window": 1, "halving": halving}
    search = Search.model_construct(**settings)
    budget = fraction * table.full_seconds
    sweep = table.sweep(search, seed, budget)
    results = MemoryResults()
    engine = ReplayEngine(table, results, seed)
    ledger = StudyAdapter(None, sweep.spec, SEED + seed * _SEEDS_APART)
    driver = Driver(sweep, results, ledger, engine, Nobody(), price=engine.price)
    driver.run()
    missing = sum(
        r.result.reason == NOT_RECORDED and r.stage != "baseline" for r in driver.records.values()
    )
    curve = tuple(_curve(table, driver, fraction))
    return Replayed(strategy, fraction, seed, engine.substituted, missing, curve)


def _curve(table: RecordedTable, driver: Driver, fraction: float) -> Iterator[Point]:
    """The choice after each share of the budget."""
    spent = list(accumulate(o.seconds or 0.0 for o in driver.told))
    last: Point | None = None
    for part in CURVE:
        limit = part * fraction * table.full_seconds * (1 + 1e-9)
        count = sum(cost <= limit for cost in spent)
        if part == CURVE[-1]:
            count = len(spent)
        if last is None or count > last.trials:
            choice = driver.strategy.choice(driver.told[:count])
            cost = spent[count - 1] / table.full_seconds if count else 0.0
            last = Point(0.0, cost, count, table.regret(choice), table.chosen(choice))
        yield last._replace(share=part * fraction)
