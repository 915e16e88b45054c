"""Coverage of forecast intervals, widened as learned on other tables, never on the same.

Every table is cut at every size from its fourth on and every run at a larger one predicted. The cut
table's own held-out ends correct the widening, as they do in any fit. Beside the coverage
stands the intervals' median width against that of AtS's residual spread: the same quantiles of a normal with
the standard deviation of AtS's own errors on that table, which AtS could only know afterwards.

``python -m tests.benchmarks.coverage [--sweeps 200]``
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np
from scipy.stats import norm

from sweeps.search.strategies.ats import accept_then_stop
from tests.benchmarks.curve_tables import Cut, playground, predicted_cuts, published, synthetic
from tests.benchmarks.learn_prior import learn_prior, start_of, widening
from tracker.laws.backtest import BacktestErrors
from tracker.laws.curves import Metric
from tracker.laws.pooling import Array
from tracker.laws.prior import LEVELS, Widening


def ats_errors(cut: Cut) -> Array:
    """ln (forecast / run) of AtS (n,) for the same runs; NaN below three sizes."""
    lines = []
    for curve in cut.cut_curves:
        sizes = np.unique(curve.sizes)
        means = [curve.values[curve.sizes == d].mean() for d in sizes]
        lines.append(accept_then_stop(sizes.tolist(), means) if len(sizes) >= 3 else None)
    lines_and_sizes = [
        (lines[c], size) for c, size in zip(cut.curve.tolist(), cut.size, strict=True)
    ]
    values = [line.at(float(size)) if line else np.nan for line, size in lines_and_sizes]
    return np.asarray(np.log(values / cut.run))


def allowed(cut: Cut, others: Widening) -> Array:
    """The factors (levels, n) by which intervals are widened, as of a FittedLaw."""
    backtest_errors = BacktestErrors.of(cut.ends, others)
    return np.array(
        [others.at(cut.doublings, p) * backtest_errors.at(cut.doublings, p) for p in LEVELS]
    )


def row(name: str, cuts: Sequence[Cut], others: Widening) -> str:
    """One table's line of the CHANGELOG: coverage by level, and 80 % width against AtS's residual spread."""
    factors = [allowed(cut, others) for cut in cuts]
    covered = np.concatenate(
        [cut.needed <= wide for cut, wide in zip(cuts, factors, strict=True)], axis=1
    )
    middle = LEVELS.index(0.8)
    width = np.concatenate(
        [(cut.width * wide)[middle] for cut, wide in zip(cuts, factors, strict=True)]
    )
    ats = norm.ppf(0.9) * np.nanstd(np.concatenate([ats_errors(cut) for cut in cuts]))
    shares = " | ".join(f"{share:.1%}".rstrip("%") for share in covered.mean(axis=1))
    return f"| {name} | {shares} | {np.median(width):.3f}, {ats:.3f} | {covered.shape[1]:,} |"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sweeps", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="seed of the first synthetic sweep")
    arguments = parser.parse_args()
    began = time.perf_counter()
    tables = [published("rectified_flan"), published("rectified_wmt19")]
    tables += [playground("score"), playground("bits_per_byte")]
    losses = {0: learn_prior([tables[1]]), 1: learn_prior([tables[0]])}
    both = learn_prior(tables[:2])
    cuts = [
        predicted_cuts(table, start_of(table, losses.get(i, both)))
        for i, table in enumerate(tables)
    ]
    print("| | 50 % | 80 % | 95 % | half width at 80 %, and of AtS's residuals, in ln L | runs |")
    print("|---|---|---|---|---|---|")
    for i, table in enumerate(tables):
        others = widening([found for j, found in enumerate(cuts) if j != i])
        print(row(table.name, cuts[i], others), flush=True)
    others = widening(cuts)
    metrics: tuple[Metric, ...] = ("score", "bits_per_byte")
    for metric in metrics:
        every: list[Cut] = []
        for seed in range(arguments.first, arguments.first + arguments.sweeps):
            table = synthetic(seed, metric)
            every += predicted_cuts(table, start_of(table, both))
        name = f"{arguments.sweeps} synthetic sweeps, {metric}"
        print(row(name, every, others), flush=True)
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
