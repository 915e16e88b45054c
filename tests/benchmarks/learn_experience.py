"""Learn ``tracker/select/experience.json`` from recorded tables: the prior of losses, and the widening.

The prior is the population of all curves of a table, averaged over tables, the spread between tables
added. The widening at *h* doublings is, per level, that quantile of the factors at which forecasts *h*
doublings ahead would just have held what was measured: every table is cut at every volume from its
fourth on, tables count alike.

``python -m tests.benchmarks.learn_experience [--write]``; without ``--write`` the file is printed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

import numpy as np

from tests.benchmarks.curve_tables import (
    LEVELS,
    PLAYGROUND,
    Table,
    forecasts,
    playground,
    published,
)
from tracker.select import pooling
from tracker.select.experience import FILE, prior
from tracker.select.joint import fit_curves
from tracker.select.laws import Array
from tracker.select.points import CurveRuns
from tracker.select.pooling import Prior

#: Before any table is seen: a loss of some nats whose power law starts at tens of thousands of examples.
BLANK = Prior(
    np.array([[np.log(3e4), np.log(0.3), np.log(0.3), 0.0], [0.0, 0.0, 0.2, -0.15]]),
    np.diag([2.0, 0.5, 1.0, 0.3]) ** 2,
    trust=5.0,
)
_FIRST_CUT = 4


def learn_prior(tables: Sequence[Table]) -> Prior:
    """The mean of the tables' populations; their covariance plus the scatter between tables."""
    pools = [_population(table.curves) for table in tables]
    means = np.array([pool.coefficients[:2] for pool in pools])
    mean = means.mean(axis=0)
    off = means[:, 0] - mean[0]
    between = off.T @ off / len(tables)
    return Prior(mean, np.mean([pool.cov for pool in pools], axis=0) + between)


def _population(curves: Sequence[CurveRuns]) -> pooling.Pool:
    """The curves' own population, hardly held back by the blank prior."""
    alone = [curve._replace(groups={}) for curve in curves]
    found = fit_curves(alone, held_out=False, start=BLANK).pool
    assert found is not None, "a recorded table has curves"
    return found


def needed_factors(table: Table, start: Prior) -> dict[int, Array]:
    """By doublings ahead: the factors (levels, any) needed by all forecasts so far ahead."""
    found: dict[int, list[Array]] = {}
    sizes = table.sizes
    for i in range(_FIRST_CUT - 1, len(sizes) - 1):
        fit = fit_curves(table.cut(sizes[i]), start=start)
        for j in range(i + 1, len(sizes)):
            true = table.at(sizes[j])
            kept = [c for c, law in enumerate(fit.laws) if law and np.isfinite(true[c])]
            told = forecasts([law for c in kept if (law := fit.laws[c])], sizes[j])
            found.setdefault(round(np.log2(sizes[j] / sizes[i])), []).append(
                told.needed(true[kept])
            )
    return {h: np.concatenate(parts, axis=1) for h, parts in sorted(found.items())}


def widening(factors: Sequence[dict[int, Array]]) -> tuple[list[int], Array]:
    """Doublings (H,) and the factor (levels, H): the tables' quantiles averaged, never falling with h."""
    doublings = sorted(set().union(*factors))
    rows = np.array(
        [
            [np.mean([np.quantile(f[h][i], level) for f in factors if h in f]) for h in doublings]
            for i, level in enumerate(LEVELS)
        ]
    )
    return doublings, np.maximum.accumulate(rows, axis=1)


def start_of(table: Table, losses: Prior) -> Prior:
    """The prior of the table's measure; *losses*: that of losses."""
    return prior("score") if table.measure == "score" else losses


def learned(tables: Sequence[Table], start: Prior) -> dict[str, object]:
    """The content of ``experience.json``; within the data intervals are taken as they are."""
    doublings, rows = widening([needed_factors(t, start_of(t, start)) for t in tables])
    factors = np.column_stack([np.ones(len(LEVELS)), rows])
    return {
        "learned_from": [table.name for table in tables],
        "prior": {"mean": _rounded(start.mean), "cov": _rounded(start.cov)},
        "widening": {
            "levels": list(LEVELS),
            "doublings": [0, *doublings],
            "factors": _rounded(factors),
        },
    }


def _rounded(values: Array) -> list[list[float]]:
    return [[float(f"{value:.4g}") for value in row] for row in values.tolist()]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    losses = [published("rectified_flan"), published("rectified_wmt19")]
    start = learn_prior(losses)
    scores = [playground("score"), playground("bits_per_byte")] if PLAYGROUND.exists() else []
    text = json.dumps(learned([*losses, *scores], start), indent=1) + "\n"
    if arguments.write:
        FILE.write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()
