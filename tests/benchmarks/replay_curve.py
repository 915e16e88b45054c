"""Regret against cost on recorded tables: how little of the full cost a strategy needs.

Tables: the public ones, the recorded playground grid and synthetic sweeps from known laws. Prints, per
table and budget, median and worst regret over seeds; for successive halving also that of the best of all
factors 2–4 and all starting volumes, picked with hindsight (``halving*``): more than any user could do.

``python -m tests.benchmarks.replay_curve [TABLE.csv ...] [--synthetic N] [--seeds 20] [-o FOLDER]``
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from dashboards.replay_plot import write_plot
from sweeps.search.replay.replay import Replayed, replay
from sweeps.search.replay.report import report
from sweeps.search.replay.table import RecordedTable
from sweeps.search.strategies import STRATEGIES
from sweeps.spec import Halving
from tests.benchmarks.record_playground import TABLE as PLAYGROUND
from tests.benchmarks.synthetic import synthetic_sweep
from tracker.importing.trials import read_table

PUBLIC = Path(__file__).parents[3] / "shared" / "data" / "public_results"
BUDGETS = (1 / 64, 1 / 32, 1 / 16, 1 / 10, 1 / 8, 1 / 4, 1 / 2)
HINDSIGHT_SEEDS = 5
GOOD = 1.0  # regret, in percent or points


class Named(NamedTuple):
    """A table with what it is called."""

    name: str
    table: RecordedTable


def tables(paths: Sequence[Path], synthetic: int) -> Iterator[Named]:
    """The tables at *paths* (by default all that are there), then *synthetic* drawn ones."""
    usual = [PUBLIC / "rectified_flan.csv", PUBLIC / "rectified_wmt19.csv", PLAYGROUND]
    for path in paths or [path for path in usual if path.exists()]:
        recorded = read_table(path)
        yield Named(path.name.split(".")[0], RecordedTable(recorded.records, recorded.objective))
    for seed in range(synthetic):
        sampled = synthetic_sweep(seed, rates=3)
        yield Named(f"synthetic-{seed}", RecordedTable(sampled.records, sampled.objective))


def hindsight(table: RecordedTable, fraction: float) -> tuple[float, float, str]:
    """Median and worst regret of the best of all halvings within *fraction*, and which it was."""
    found = []
    for factor, start in itertools.product((2, 3, 4), table.volumes):
        settings = Halving(factor=factor, start=start)
        runs = [
            replay(table, "halving", fraction=fraction, seed=seed, halving=settings)
            for seed in range(HINDSIGHT_SEEDS)
        ]
        regrets = [run.end.regret for run in runs]
        found.append((statistics.median(regrets), max(regrets), f"factor {factor} from {start:,}"))
    return min(found)


def compare(named: Named, strategies: Sequence[str], seeds: int) -> list[Replayed]:
    """Every strategy at every budget and seed, printed as it comes."""
    table = named.table
    print(f"\n{named.name}: full cost {table.full_cost:.4g} {table.cost_unit}")
    print(f"{'':12}" + "".join(f"{f'1/{1 / budget:g}':>14}" for budget in BUDGETS) + "   seconds")
    runs = []
    for strategy in strategies:
        begun = time.perf_counter()
        columns = []
        for budget in BUDGETS:
            replayed = [
                replay(table, strategy, fraction=budget, seed=seed) for seed in range(seeds)
            ]
            regrets = [run.end.regret for run in replayed]
            columns.append(f"{statistics.median(regrets):6.2f} /{max(regrets):6.2f}")
            runs += replayed
        seconds = time.perf_counter() - begun
        print(
            f"{strategy:12}" + "".join(f"{column:>14}" for column in columns) + f"{seconds:10.0f}"
        )
    return runs


def reached(runs: Sequence[Replayed]) -> Iterator[str]:
    """By strategy: the least budget from which on median, and worst, regret stay good."""
    for strategy in dict.fromkeys(run.strategy for run in runs):
        words = []
        for name, summary in (("median", statistics.median), ("worst", max)):
            good = None
            for budget in reversed(BUDGETS):
                regrets = [
                    r.end.regret for r in runs if (r.strategy, r.budget) == (strategy, budget)
                ]
                if summary(regrets) > GOOD:
                    break
                good = budget
            words.append(f"{name} from {f'1/{1 / good:g}' if good else 'no budget'} on")
        yield f"{strategy:12}regret ≤ {GOOD:g}: {', '.join(words)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("tables", type=Path, nargs="*")
    parser.add_argument("--synthetic", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--strategy", action="append", choices=list(STRATEGIES))
    parser.add_argument("--hindsight", action="store_true", help="the best of all halvings too")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    for named in tables(options.tables, options.synthetic):
        runs = compare(named, options.strategy or list(STRATEGIES), options.seeds)
        for line in reached(runs):
            print(line)
        for budget in BUDGETS if options.hindsight else ():
            median, worst, which = hindsight(named.table, budget)
            print(f"halving* at 1/{1 / budget:g}: {median:.2f} / {worst:.2f} ({which})")
        if options.output:
            options.output.mkdir(parents=True, exist_ok=True)
            data = options.output / f"{named.name}.json"
            found = report(named.name, named.table, options.seeds, runs)
            data.write_text(json.dumps(found, indent=1), encoding="utf-8")
            write_plot(data)


if __name__ == "__main__":
    main()
