"""Replay of a search strategy on a recorded results table in place of training: seconds, not hours."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Any, NamedTuple

from sweeps.search.driver import Driver
from sweeps.search.engines.instant import InstantEngine, MemoryResults, NullListener
from sweeps.search.replay.table import NOT_RECORDED, RecordedTable
from sweeps.search.study import SEED, StudyAdapter
from sweeps.spec import Halving, Search
from tracker.trial import Configuration, TrialResult, TrialSpec

_SEEDS_APART = 100_003  # samplers are seeded by number too, which stays below this
#: Shares of a replay's budget at which its choice is judged.
CURVE = tuple(2 ** (-i / 2) for i in range(12, -1, -1))


class Point(NamedTuple):
    """Choice of a strategy with a budget of ``share`` of the full cost, and its regret; ``cost``: spent.

    ``regret`` as :meth:`~sweeps.search.replay.table.RecordedTable.regret` gives it.
    """

    share: float
    cost: float
    trials: int
    regret: float
    chosen: Configuration | None


class Replayed(NamedTuple):
    """Replay of one strategy with one seed; the last point of ``curve`` is the end.

    ``substituted``: trials with the result of a neighbouring learning rate; ``missing``: fine-tunes that
    are not in the table.
    """

    strategy: str
    budget: float
    seed: int
    substituted: int
    missing: int
    curve: tuple[Point, ...]

    @property
    def end(self) -> Point:
        """Choice, cost and regret at the end."""
        return self.curve[-1]


class ReplayEngine(InstantEngine):
    """Ends each job at once with the table's result; recorded seeds from *seed* on."""

    def __init__(self, table: RecordedTable, results: MemoryResults, seed: int) -> None:
        super().__init__(results, self._recorded)
        self.table, self.seed = table, seed
        self.substituted = 0

    def _recorded(self, spec: TrialSpec) -> TrialResult:
        answer, stands_in = self.table.answer(spec, self.seed)
        self.substituted += stands_in
        return answer

    def price(self, spec: TrialSpec) -> float:
        """Recorded cost of the trial, known before it runs."""
        return self.table.answer(spec, self.seed)[0].cost.device_seconds or 0.0


def replay(
    table: RecordedTable,
    strategy: str,
    *,
    fraction: float,
    seed: int,
    halving: Halving = Halving(),  # noqa: B008 - frozen
) -> Replayed:
    """Replay *strategy* with a budget of *fraction* of the full cost.

    *seed*: of the order of models and mixes and of samplers, and the first recorded seed that is read. The
    strategy proposes one trial at a time and has observed the outcomes of all before.
    """
    settings: dict[str, Any] = {"strategy": strategy, "window": 1, "halving": halving}
    search = Search.model_construct(**settings)
    budget = fraction * table.full_seconds
    sweep = table.sweep(search, seed, budget)
    results = MemoryResults()
    engine = ReplayEngine(table, results, seed)
    study = StudyAdapter(None, sweep.spec, SEED + seed * _SEEDS_APART)
    driver = Driver(sweep, results, study, engine, NullListener(), price=engine.price)
    driver.run()
    missing = sum(
        r.result.reason == NOT_RECORDED and r.stage != "baseline" for r in driver.records.values()
    )
    curve = tuple(_curve(table, driver, fraction))
    return Replayed(strategy, fraction, seed, engine.substituted, missing, curve)


def _curve(table: RecordedTable, driver: Driver, fraction: float) -> Iterator[Point]:
    """Choice and regret after each share of the budget."""
    spent = list(accumulate(o.seconds or 0.0 for o in driver.outcomes))
    last: Point | None = None
    for part in CURVE:
        limit = part * fraction * table.full_seconds * (1 + 1e-9)
        count = sum(cost <= limit for cost in spent)
        if part == CURVE[-1]:
            count = len(spent)
        if last is None or count > last.trials:
            choice = driver.strategy.choice(driver.outcomes[:count])
            cost = spent[count - 1] / table.full_seconds if count else 0.0
            last = Point(0.0, cost, count, table.regret(choice), table.chosen(choice))
        yield last._replace(share=part * fraction)
