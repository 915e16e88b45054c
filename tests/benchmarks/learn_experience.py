"""Learn ``tracker/select/experience.json`` from recorded tables: the prior of losses, and the widening.

The prior is the population of all curves of a table, averaged over tables, the spread between tables
added. The widening at *h* doublings is, per level, that quantile of the factors at which forecasts *h*
doublings ahead would just have held what was measured, over what the cut table's own misses ask for:
every table is cut at every volume from its fourth on, tables count alike.

``python -m tests.benchmarks.learn_experience [--write]``; without ``--write`` the file is printed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

import numpy as np

from tests.benchmarks.curve_tables import (
    PLAYGROUND,
    Cut,
    Table,
    foretold,
    playground,
    published,
)
from tracker.select import pooling
from tracker.select.experience import FILE, LEVELS, Widening, prior
from tracker.select.joint import fit_curves
from tracker.select.laws import Array
from tracker.select.misses import Misses
from tracker.select.points import CurveRuns
from tracker.select.pooling import Prior

#: Before any table is seen: a loss of some nats whose power law starts at tens of thousands of examples.
BLANK = Prior(
    np.array([[np.log(3e4), np.log(0.3), np.log(0.3), 0.0], [0.0, 0.0, 0.2, -0.15]]),
    np.diag([2.0, 0.5, 1.0, 0.3]) ** 2,
    trust=5.0,
)
_ROUNDS = 5


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


def widening(tables: Sequence[Sequence[Cut]]) -> Widening:
    """The factors that the cuts of *tables* needed over their own misses, never falling with h.

    A table's own misses are counted over the widening itself, so this is iterated to a fixed point.
    Tables count alike: the geometric mean of their quantiles.
    """
    doublings = sorted({h for cuts in tables for cut in cuts for h in _whole(cut).tolist()})
    found = Widening(np.array([0.0, *doublings]), np.ones((len(LEVELS), len(doublings) + 1)))
    for _ in range(_ROUNDS):
        logs = [[_needed_at(cuts, found, h) for h in doublings] for cuts in tables]
        rows = np.maximum(np.nanmean(logs, axis=0).T, 0.0)
        factors = np.exp(np.maximum.accumulate(rows, axis=1))
        found = found._replace(factors=np.column_stack([np.ones(len(LEVELS)), factors]))
    return found


def _needed_at(cuts: Sequence[Cut], others: Widening, far: float) -> Array:
    """Log factors (levels,) that forecasts *far* doublings ahead needed; NaN where there are none."""
    needed = [(cut.needed / over_own_misses(cut, others))[:, _whole(cut) == far] for cut in cuts]
    joined = np.concatenate(needed, axis=1)
    if not joined.shape[1]:
        return np.full(len(LEVELS), np.nan)
    return np.log([np.quantile(row, p) for row, p in zip(joined, LEVELS, strict=True)])


def over_own_misses(cut: Cut, others: Widening) -> Array:
    """Factors (levels, n) on the widening of *others* that the cut's own held-out ends ask for."""
    misses = Misses.of(cut.ends, others)
    return np.array([misses.at(cut.doublings, p) for p in LEVELS])


def _whole(cut: Cut) -> Array:
    return np.asarray(np.round(cut.doublings))


def start_of(table: Table, losses: Prior) -> Prior:
    """The prior of the table's measure; *losses*: that of losses."""
    return prior("score") if table.measure == "score" else losses


def learned(tables: Sequence[Table], start: Prior) -> dict[str, object]:
    """The content of ``experience.json``; within the data intervals are taken as they are."""
    found = widening([foretold(t, start_of(t, start)) for t in tables])
    return {
        "learned_from": [table.name for table in tables],
        "prior": {"mean": _rounded(start.mean), "cov": _rounded(start.cov)},
        "widening": {
            "levels": list(LEVELS),
            "doublings": found.doublings.astype(int).tolist(),
            "factors": _rounded(found.factors),
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
