"""Learn ``tracker/laws/prior.json`` from recorded tables: the prior of losses, and the widening.

The prior is the population of all curves of a table, averaged over tables, the spread between tables
added. The widening at *h* doublings is, per level, that quantile of the factors at which forecasts *h*
doublings ahead would just have held what was measured: every table is cut at every volume from its
fourth on, tables count alike.

``python -m tests.benchmarks.learn_prior [--write]``; without ``--write`` the file is printed.
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
    playground,
    predicted_cuts,
    published,
)
from tracker.laws import pooling
from tracker.laws.fitting import fit_curves
from tracker.laws.points import CurveRuns
from tracker.laws.pooling import Array, Prior
from tracker.laws.prior import FILE, LEVELS, Widening, prior

#: Before any table is seen: a loss of some nats whose power law starts at tens of thousands of examples.
BLANK = Prior(
    np.array([[np.log(3e4), np.log(0.3), np.log(0.3), 0.0], [0.0, 0.0, 0.2, -0.15]]),
    np.diag([2.0, 0.5, 1.0, 0.3]) ** 2,
    trust=5.0,
)


def learn_prior(tables: Sequence[Table]) -> Prior:
    """The mean of the tables' populations; their covariance plus the scatter between tables."""
    pools = [_population(table.curves) for table in tables]
    means = np.array([pool.coefficients[:2] for pool in pools])
    mean = means.mean(axis=0)
    off = means[:, 0] - mean[0]
    between = off.T @ off / len(tables)
    return Prior(mean, np.mean([pool.cov for pool in pools], axis=0) + between)


def _population(curves: Sequence[CurveRuns]) -> pooling.Pool:
    """Population of *curves* under the almost flat blank prior."""
    alone = [curve._replace(groups={}) for curve in curves]
    found = fit_curves(alone, held_out=False, start=BLANK).pool
    assert found is not None, "a recorded table has curves"
    return found


def widening(tables: Sequence[Sequence[Cut]]) -> Widening:
    """The factors that the cuts of *tables* needed, never falling with h.

    Tables count alike: the geometric mean of their quantiles.
    """
    doublings = sorted({h for cuts in tables for cut in cuts for h in _whole(cut).tolist()})
    logs = [[_needed_at(cuts, h) for h in doublings] for cuts in tables]
    factors = np.exp(np.maximum.accumulate(np.nanmean(logs, axis=0).T, axis=1))
    within = np.ones((len(LEVELS), 1))
    return Widening(np.array([0.0, *doublings]), np.maximum(np.hstack([within, factors]), 1.0))


def _needed_at(cuts: Sequence[Cut], far: float) -> Array:
    """Log factors (levels,) that forecasts *far* doublings ahead needed; NaN where there are none."""
    needed = np.concatenate([cut.needed[:, _whole(cut) == far] for cut in cuts], axis=1)
    if not needed.shape[1]:
        return np.full(len(LEVELS), np.nan)
    return np.log([np.quantile(row, p) for row, p in zip(needed, LEVELS, strict=True)])


def _whole(cut: Cut) -> Array:
    return np.asarray(np.round(cut.doublings))


def start_of(table: Table, losses: Prior) -> Prior:
    """The prior of the table's measure; *losses*: that of losses."""
    return prior("score") if table.measure == "score" else losses


def learned(tables: Sequence[Table], start: Prior) -> dict[str, object]:
    """The content of ``prior.json``; within the data intervals are taken as they are."""
    found = widening([predicted_cuts(t, start_of(t, start)) for t in tables])
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
