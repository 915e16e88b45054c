"""How often intervals hold what was measured, widened as learned on the other tables, never on the same.

Every table is cut at every volume from its fourth on and foretold at every larger one. Beside the coverage
stands the intervals' median width against that of AtS's residual spread: the same quantiles of a normal with
the standard deviation of AtS's own errors on that table, which AtS could only know afterwards.

``python -m tests.benchmarks.coverage [--sweeps 200]``
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import norm

from sweeps.search.ats import accept_then_stop
from tests.benchmarks.curve_tables import (
    LEVELS,
    Forecast,
    Table,
    forecasts,
    playground,
    published,
    synthetic,
)
from tests.benchmarks.learn_experience import learn_prior, needed_factors, start_of, widening
from tracker.select.joint import fit_curves
from tracker.select.laws import Array
from tracker.select.pooling import Prior


class Told(NamedTuple):
    """Forecasts of one table: factors needed and half widths (levels, any), doublings, AtS's errors."""

    needed: Array
    width: Array
    doublings: Array
    ats_errors: Array


def told(table: Table, start: Prior, first: int = 4) -> Told:
    """All forecasts of *table* from its *first* volume on."""
    parts = []
    sizes = table.sizes
    for i in range(first - 1, len(sizes) - 1):
        cut = table.cut(sizes[i])
        fit = fit_curves(cut, start=start)
        for size in sizes[i + 1 :]:
            true = table.at(size)
            kept = [c for c, law in enumerate(fit.laws) if law and np.isfinite(true[c])]
            there = forecasts([law for c in kept if (law := fit.laws[c])], size)
            ats = [_ats_error(cut[c].sizes, cut[c].values, size, true[c]) for c in kept]
            far = np.full(len(kept), np.log2(size / sizes[i]))
            parts.append(Told(there.needed(true[kept]), _half(there), far, np.array(ats)))
    return Told(*(np.concatenate(column, axis=-1) for column in zip(*parts, strict=True)))


def _half(there: Forecast) -> Array:
    return np.asarray((there.high - there.low) / 2)


def _ats_error(sizes: Array, values: Array, size: float, true: float) -> float:
    distinct = np.unique(sizes)
    if len(distinct) < 3:
        return np.nan
    means = [values[sizes == d].mean() for d in distinct]
    line = accept_then_stop(distinct.tolist(), means)
    return float(np.log(line.at(size) / true))


def row(name: str, found: Told, doublings: Sequence[int], factors: Array) -> str:
    """One table's line: coverage by level, and width against AtS's residual spread at 80 %."""
    allowed = np.array([np.interp(found.doublings, [0, *doublings], [1, *f]) for f in factors])
    held = (found.needed <= allowed).mean(axis=1)
    shares = ", ".join(f"{p:.0%}: {h:.1%}" for p, h in zip(LEVELS, held, strict=True))
    width = np.median((found.width * allowed)[LEVELS.index(0.8)])
    ats = norm.ppf(0.9) * np.nanstd(found.ats_errors)
    against = f"80 % half width {width:.3f} in ln L, AtS {ats:.3f}"
    return f"{name}: {shares}; {against} ({found.needed.shape[1]} forecasts)"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sweeps", type=int, default=200)
    sweeps = parser.parse_args().sweeps
    tables = [published("rectified_flan"), published("rectified_wmt19")]
    tables += [playground("score"), playground("bits_per_byte")]
    losses = {0: learn_prior([tables[1]]), 1: learn_prior([tables[0]])}
    both = learn_prior(tables[:2])
    starts = [start_of(table, losses.get(i, both)) for i, table in enumerate(tables)]
    needed = [needed_factors(table, start) for table, start in zip(tables, starts, strict=True)]
    for i, (table, start) in enumerate(zip(tables, starts, strict=True)):
        others = [n for j, n in enumerate(needed) if j != i]
        print(row(table.name, told(table, start), *widening(others)), flush=True)
    for metric in ("score", "bits_per_byte"):
        drawn = [synthetic(seed, metric) for seed in range(sweeps)]  # type: ignore[arg-type]
        parts = [told(table, start_of(table, both)) for table in drawn]
        every = Told(*(np.concatenate(column, axis=-1) for column in zip(*parts, strict=True)))
        print(row(f"{sweeps} synthetic sweeps, {metric}", every, *widening(needed)), flush=True)


if __name__ == "__main__":
    main()
