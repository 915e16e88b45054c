"""Regret of a search whose file grew, beside one that began with the larger file, on the recorded playground.

The first file lacks a model, another one for each seed, and the largest training-set size. It spends half of
the budget; then the file grows, and the rest is spent. The other search spends the whole budget on the larger
file.

``python -m tests.benchmarks.extended_search [--strategies law ats …] [--seeds 20] [--trials 36]``; without
``--trials`` the budget is device time, ``--fraction`` of the table's full cost.
"""

from __future__ import annotations

import argparse
import dataclasses
from statistics import fmean, stdev
from typing import Any, NamedTuple

from sweeps.resolve import ResolvedSweep
from sweeps.search.driver import Driver
from sweeps.search.engines.engine import Job
from sweeps.search.engines.instant import MemoryResults, NullListener
from sweeps.search.generations import KeptTrial
from sweeps.search.replay.replay import ReplayEngine
from sweeps.search.replay.table import RecordedTable
from sweeps.search.space import in_space
from sweeps.search.study import SEED, StudyAdapter
from sweeps.spec import Budget, Halving, Search
from tests.benchmarks.record_playground import TABLE
from tests.benchmarks.replay_curve import tables

STRATEGIES = ("law", "ats", "halving", "random", "tpe")
_SEEDS_APART = 1000
_NO_LIMIT = 1e12  # seconds


class CountingEngine(ReplayEngine):
    """A replay that remembers what it ran."""

    ran: list[str]

    def submit(self, job: Job) -> None:
        self.ran = [*getattr(self, "ran", []), job.key]
        super().submit(job)


class Compared(NamedTuple):
    """Regrets of one seed, of a search that grew and one begun large; ``again``: trials that ran twice."""

    grown: float
    large: float
    again: int


def compared(table: RecordedTable, strategy: str, seed: int, budget: Budget) -> Compared:
    """Replay both searches."""
    whole = _sweep(table, strategy, seed, budget)
    large, _ = _driven(table, whole, MemoryResults(), seed)
    results = MemoryResults()
    small = _smaller(whole, seed)
    first, ran = _driven(table, small, results, seed)
    kept = _kept(first, whole)
    second, more = _driven(table, whole, results, seed, kept)
    return Compared(_regret(table, second), _regret(table, large), len({*ran} & {*more}))


def _sweep(table: RecordedTable, strategy: str, seed: int, budget: Budget) -> ResolvedSweep:
    settings: dict[str, Any] = {"strategy": strategy, "window": 1, "halving": Halving()}
    sweep = table.sweep(Search.model_construct(**settings), seed, _NO_LIMIT)
    spec = sweep.spec.model_copy(update={"budget": budget})
    return dataclasses.replace(sweep, spec=spec)


def _smaller(sweep: ResolvedSweep, seed: int) -> ResolvedSweep:
    """*sweep* without one of its models and its largest size, for half of its budget."""
    spec, budget = sweep.spec, sweep.spec.budget
    assert budget is not None, "a replay has a budget"
    without = sorted(sweep.models)[seed % len(sweep.models)]
    volumes = spec.volumes[:-1]
    mixes = {
        name: mix.model_copy(
            update={"volumes": tuple(v for v in mix.volumes or () if v in volumes)}
        )
        for name, mix in spec.mixes.items()
    }
    half = Budget(
        trials=budget.trials and budget.trials // 2,
        gpu_hours=budget.gpu_hours and budget.gpu_hours / 2,
    )
    models = tuple(model for model in spec.models if model.label != without)
    changed = {"models": models, "volumes": volumes, "mixes": mixes, "budget": half}
    known = {name: model for name, model in sweep.models.items() if name != without}
    return dataclasses.replace(sweep, spec=spec.model_copy(update=changed), models=known)


def _kept(first: Driver, sweep: ResolvedSweep) -> list[KeptTrial]:
    """Trials of *first* that ran and that *sweep* has."""
    return [
        KeptTrial(
            trial.key, trial.number, trial.stage, trial.configuration,
            trial.spec.seed - sweep.spec.first_seed if trial.spec.mix else 0,
            trial.spec.train.max_length,
        )
        for trial in first.trials
        if first.results.result(trial.key) and in_space(sweep.spec, trial.configuration)
    ]  # fmt: skip


def _driven(
    table: RecordedTable,
    sweep: ResolvedSweep,
    results: MemoryResults,
    seed: int,
    kept: list[KeptTrial] | None = None,
) -> tuple[Driver, list[str]]:
    engine = CountingEngine(table, results, seed)
    study = StudyAdapter(None, sweep.spec, SEED + seed * _SEEDS_APART)
    if kept is not None:
        study.begin_generation(kept, ())
    driver = Driver(sweep, results, study, engine, NullListener(), price=engine.price)
    driver.run()
    return driver, getattr(engine, "ran", [])


def _regret(table: RecordedTable, driver: Driver) -> float:
    return table.regret(driver.strategy.choice(driver.outcomes))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=STRATEGIES)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--each", action="store_true", help="print each seed's, too")
    parser.add_argument("--trials", type=int)
    parser.add_argument("--fraction", type=float, default=0.5)
    options = parser.parse_args()
    table = next(iter(tables([TABLE], 0))).table
    hours = options.fraction * table.full_seconds / 3600
    budget = Budget(trials=options.trials) if options.trials else Budget(gpu_hours=hours)
    for strategy in options.strategies:
        found = []
        for seed in range(options.seeds):
            found.append(compared(table, strategy, seed, budget))
            if options.each:
                print(f"{strategy} {seed}: {found[-1]}", flush=True)
        gaps = [each.grown - each.large for each in found]
        error = stdev(gaps) / len(gaps) ** 0.5
        print(
            f"{strategy:8} regret grown {fmean(each.grown for each in found):5.2f}, begun large "
            f"{fmean(each.large for each in found):5.2f}, difference {fmean(gaps):+.2f} ± {error:.2f}; "
            f"trials run again: {sum(each.again for each in found)}",
            flush=True,
        )


if __name__ == "__main__":
    main()
