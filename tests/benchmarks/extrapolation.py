"""Forecast the largest volume of published curves from a fraction of it, beside two simpler forecasts.

Budgets 1/8 ... 1/512 of 1,638,400 examples, 30 models, two tables (Lin et al., ICML 2024). The prior of
the joint fit is learned on the one table and the other is reported, both ways; nothing is tuned per table
or budget. PearCorr: the correlation of forecast and truth, in percent; RelAcc: (worst - chosen) / (worst -
best), in percent. AtS is :mod:`sweeps.search.strategies.ats`.

``python -m tests.benchmarks.extrapolation``
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from sweeps.search.strategies.ats import accept_then_stop as ats_line
from tests.benchmarks.curve_tables import Table, published
from tests.benchmarks.learn_prior import learn_prior
from tracker.laws.fitting import fit_curves
from tracker.laws.points import CurveRuns
from tracker.laws.pooling import Array, Prior

BUDGETS = (8, 16, 32, 64, 128, 256, 512)
Method = Callable[[list[CurveRuns], float], Array]


class Row(NamedTuple):
    """One method on one table: correlation, accuracy (mean, worst), median |ln error|, all in percent."""

    method: str
    table: str
    pearson: float
    accuracy: float
    worst: float
    error: float


def straight(curves: list[CurveRuns], size: float) -> Array:
    """The slope of the last two points, continued."""
    found = []
    for curve in curves:
        x, y = np.log(curve.sizes[-2:]), np.log(curve.values[-2:])
        found.append(np.exp(y[-1] + (y[-1] - y[-2]) / (x[-1] - x[-2]) * (np.log(size) - x[-1])))
    return np.array(found)


def accept_then_stop(curves: list[CurveRuns], size: float) -> Array:
    """AtS: a line in log-log through the largest sizes that it fits to five standard deviations."""
    lines = [ats_line(curve.sizes.tolist(), curve.values.tolist()) for curve in curves]
    return np.array([line.at(size) for line in lines])


def joint(prior: Prior) -> Method:
    """Our joint laws, from *prior*."""

    def method(curves: list[CurveRuns], size: float) -> Array:
        laws = [law for law in fit_curves(curves, start=prior).laws if law]
        return np.array([law.predict(size, allow_far=True).value[0] for law in laws])

    return method


def measure(name: str, method: Method, table: Table) -> Row:
    """*method* over all budgets of *table*."""
    end = float(table.sizes[-1])
    true = table.at(end)
    found = []
    for budget in BUDGETS:
        observed = method(table.cut(end / budget), end)
        chosen = true[observed.argmin()]
        accuracy = (true.max() - chosen) / (true.max() - true.min())
        error = np.median(np.abs(np.log(observed / true)))
        found.append((np.corrcoef(observed, true)[0, 1], accuracy, error))
    pearson, accuracy, error = 100 * np.array(found).T
    return Row(name, table.name, pearson.mean(), accuracy.mean(), accuracy.min(), error.mean())


def main() -> None:
    tables = {name: published(f"rectified_{name}") for name in ("flan", "wmt19")}
    print("method, table: PearCorr, RelAcc mean / worst, median |ln error|, percent")
    for learned, reported in (("wmt19", "flan"), ("flan", "wmt19")):
        prior, table = learn_prior([tables[learned]]), tables[reported]
        rows = [
            measure("last two points", straight, table),
            measure("AtS", accept_then_stop, table),
            measure(f"joint, prior of {learned}", joint(prior), table),
        ]
        for row in rows:
            values = f"{row.pearson:.1f}, {row.accuracy:.1f} / {row.worst:.1f}, {row.error:.1f}"
            print(f"{row.method}, {row.table}: {values}", flush=True)


if __name__ == "__main__":
    main()
