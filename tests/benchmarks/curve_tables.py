"""Recorded and drawn tables as :class:`tracker.laws.points.CurveRuns`, for the benchmarks of the laws."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tests.benchmarks.synthetic import synthetic_sweep
from tracker.laws.backtest import CurveEnds
from tracker.laws.curves import Metric, table_runs
from tracker.laws.fitted_law import log_forecast, spread
from tracker.laws.fitting import fit_curves
from tracker.laws.points import CurveRuns
from tracker.laws.pooling import Array, Prior
from tracker.laws.prior import LEVELS
from tracker.results import results_table

PUBLIC = Path(__file__).parents[3] / "shared" / "data" / "public_results"
PLAYGROUND = Path(__file__).parents[1] / "recorded" / "playground.csv.gz"


class Table(NamedTuple):
    """``curves`` without the base; ``measure``: ``loss``, or ``score`` for errors of scores."""

    name: str
    curves: list[CurveRuns]
    measure: str = "loss"

    def cut(self, largest: float) -> list[CurveRuns]:
        """Curves without the runs above *largest*."""
        return [_some(curve, curve.sizes <= largest) for curve in self.curves]

    def at(self, size: float) -> Array:
        """The values (C,) at *size*; the mean log over seeds."""
        found = [np.log(c.values[c.sizes == size]) for c in self.curves]
        return np.array([np.exp(v.mean()) if len(v) else np.nan for v in found])

    @property
    def sizes(self) -> Array:
        return np.unique(np.concatenate([c.sizes for c in self.curves]))


def published(name: str) -> Table:
    """``rectified_flan`` or ``rectified_wmt19``: the loss of 30 models at 200 ... 1,638,400 examples."""
    rows = pd.read_csv(PUBLIC / f"{name}.csv")
    rows = rows[rows["examples"] > 0]
    return Table(name, [_curve(str(m), group) for m, group in rows.groupby("model", sort=True)])


def playground(metric: str) -> Table:
    """The recorded playground: ``score`` (its error) or ``bits_per_byte`` at 50 ... 1,600 examples."""
    rows = pd.read_csv(PLAYGROUND, dtype={"mix": str})
    loss = metric == "bits_per_byte"
    kept = rows["metric"].eq(metric) if loss else rows["direction"].eq("maximize")
    rows = rows[
        kept & rows["examples"].gt(0) & rows["status"].eq("complete") & rows["value"].notna()
    ]
    if not loss:
        rows = rows.assign(value=np.maximum(1 - rows["value"], 0.5 / rows["n"]))
    again = rows[rows["seed"] > 0].groupby(["model", "method", "learning_rate"]).size()
    curves = []
    columns = ["task", "model", "method", "learning_rate", "mix"]
    for key, group in rows.groupby(columns, sort=True):
        task, model, method, rate, mix = key
        if (model, method, rate) in again.index:  # the pair's own learning rate
            curves.append(_curve(str(model), group, task=str(task), mix=str(mix)))
    noise = _pooled_noise(rows, columns)
    with_noise = [c._replace(noise_sd=noise[c.groups["task"]]) for c in curves]
    return Table(f"playground {metric}", with_noise, "loss" if loss else "score")


def synthetic(seed: int, metric: Metric) -> Table:
    """A sweep drawn from known laws (:mod:`tests.benchmarks.synthetic`), glitches and all."""
    records = synthetic_sweep(seed, replicates=False).records
    curves = table_runs(results_table(records), metric)
    tuned = [_some(c, c.sizes > 0) for c in curves]
    return Table("synthetic", tuned, "score" if metric == "score" else "loss")


def _pooled_noise(rows: pd.DataFrame, columns: list[str]) -> dict[str, float]:
    grouped = rows.groupby([*columns, "examples"])["value"]
    centred = rows.assign(
        off=rows["value"] - grouped.transform("mean"), many=grouped.transform("size")
    )
    repeated = centred[centred["many"] > 1]
    freedom = (1 - 1 / repeated["many"]).groupby(repeated["task"]).sum()
    squares = (repeated["off"] ** 2).groupby(repeated["task"]).sum()
    return {str(task): float(value) ** 0.5 for task, value in (squares / freedom).items()}


def _curve(model: str, group: pd.DataFrame, **groups: str) -> CurveRuns:
    first = group.iloc[0]
    named = {"model": model, "method": str(first["method"]), "family": str(first["family"])}
    return CurveRuns(
        sizes=group["examples"].to_numpy(dtype=float),
        values=group["value"].to_numpy(dtype=float),
        keys=tuple(str(i) for i in group.index),
        groups=named | groups,
        parameters=float(first["model_params"]),
    )


def _some(curve: CurveRuns, keep: NDArray[np.bool_]) -> CurveRuns:
    keys = tuple(k for k, kept in zip(curve.keys, keep, strict=True) if kept)
    return curve._replace(sizes=curve.sizes[keep], values=curve.values[keep], keys=keys)


class Cut(NamedTuple):
    """Predictions of n runs by a table without them, cut at a smaller size.

    ``needed`` (levels, n): factors at which intervals before any widening would just have covered the run;
    ``width`` (levels, n): their half widths in ln L; ``doublings`` (n,) ahead; ``curve`` (n,), ``size`` (n,)
    and ``run`` (n,), its value. ``cut_curves``: the curves without larger sizes; ``ends``: their backtest.
    """

    needed: Array
    width: Array
    doublings: Array
    curve: NDArray[np.intp]
    size: Array
    run: Array
    cut_curves: list[CurveRuns]
    ends: CurveEnds


def predicted_cuts(table: Table, start: Prior, first: int = 4) -> list[Cut]:
    """Predictions of *table* cut at every size from its *first* on, the largest excepted."""
    sizes = table.sizes
    return [_predicted_cut(table, start, float(size)) for size in sizes[first - 1 : -1]]


def _predicted_cut(table: Table, start: Prior, end: float) -> Cut:
    curves_below = table.cut(end)
    fit = fit_curves(curves_below, start=start)
    parts = []
    for c, (law, curve) in enumerate(zip(fit.laws, table.curves, strict=True)):
        beyond = curve.sizes > end
        if law is None or not beyond.any():
            continue
        sizes, runs = curve.sizes[beyond], curve.values[beyond]
        logs = log_forecast(law.replicates.rows, sizes, law.domain[1])
        run = spread(logs, law.noise, law.noise_at, LEVELS)
        width, far = (run.high - run.low) / 2, np.log2(sizes / law.domain[1])
        parts.append((run.needed(np.log(runs)), width, far, np.full(len(sizes), c), sizes, runs))
    needed, width, doublings, curves, sizes, runs = (
        np.concatenate(column, axis=-1) for column in zip(*parts, strict=True)
    )
    return Cut(needed, width, doublings, curves, sizes, runs, curves_below, fit.ends)
