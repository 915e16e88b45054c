"""A strategy with a budget in trials on the recorded playground, as a live sweep has it.

``replay`` budgets in cost and lets a strategy ask for one trial at a time; here trials are counted, and asked
for in windows. Prints regret in points for each seed, with median and worst.

``python -m tests.benchmarks.counted_trials [--strategy law] [--trials 36] [--window 8] [--seeds 8]``
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
from typing import Any

from sweeps.search.driver import Driver
from sweeps.search.engines.instant import MemoryResults, NullListener
from sweeps.search.replay.replay import ReplayEngine
from sweeps.search.replay.table import RecordedTable
from sweeps.search.strategies import STRATEGIES
from sweeps.search.study import SEED, StudyAdapter
from sweeps.spec import Budget, Halving, Search
from tests.benchmarks.record_playground import TABLE
from tests.benchmarks.replay_curve import tables

_SEEDS_APART = 1000
_NO_LIMIT = 1e12  # seconds


def regret(table: RecordedTable, strategy: str, trials: int, window: int, seed: int) -> float:
    """What the choice of *strategy* after so many *trials* lies behind the best of *table*, in its unit."""
    settings: dict[str, Any] = {"strategy": strategy, "window": window, "halving": Halving()}
    sweep = table.sweep(Search.model_construct(**settings), seed, _NO_LIMIT)
    spec = sweep.spec.model_copy(update={"budget": Budget(trials=trials)})
    sweep = dataclasses.replace(sweep, spec=spec)
    results = MemoryResults()
    engine = ReplayEngine(table, results, seed)
    study = StudyAdapter(None, spec, SEED + seed * _SEEDS_APART)
    driver = Driver(sweep, results, study, engine, NullListener(), price=engine.price)
    driver.run()
    return table.regret(driver.strategy.choice(driver.outcomes))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--strategy", choices=list(STRATEGIES), default="law")
    parser.add_argument("--trials", type=int, default=36)
    parser.add_argument("--window", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=8)
    options = parser.parse_args()
    table = next(iter(tables([TABLE], 0))).table
    found = []
    for seed in range(options.seeds):
        found.append(regret(table, options.strategy, options.trials, options.window, seed))
        print(f"seed {seed}: {found[-1]:.2f}", flush=True)
    print(f"median {statistics.median(found):.2f}, worst {max(found):.2f}")


if __name__ == "__main__":
    main()
