"""Measured quality by mix and training-set size for one model and method, with paired gaps.

Mixes are compared at one learning rate, since it matters more than the mix: that run at the most mixes (of
those at the most sizes, then that of the highest quality), much as the mix law does. Noise is that of
:mod:`tracker.decision.noise`: row noise from resamples, which largely cancels between runs scored on the same
rows, and seed noise, pooled over the whole sweep by method.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
from scipy import stats

from tracker.decision.noise import ROW_CORRELATION, moderated_variance
from tracker.laws.points import ASSUMED_NOISE
from tracker.laws.pooling import Array
from tracker.metrics import MEASURES, Estimate, Measure, Z, forgetting_se, rounded
from tracker.results import method_columns, method_of
from tracker.trial import MixSpec, Status, TrialRecord, TrialResult

#: The untouched base: no mix, no examples.
BASE = ("", 0)
#: Learning rates within this factor are one setting.
_SAME_RATE = 2.0
#: Sizes further apart than this factor are not interpolated.
_LARGEST_GAP = 4.0

#: A mix at a training-set size.
MixSize = tuple[str, int]
#: A mix between two of its measured sizes: the weight of each; or all of one.
Interpolation = tuple[tuple[float, MixSize], ...]


class Point(NamedTuple):
    """Measured quality of one mix at one training-set size: the mean over ``runs``.

    ``se``: its standard error by rows. ``replicates`` (R,): resamples of the rows, centred; empty without.
    """

    value: float
    runs: int
    se: float | None
    replicates: Array


class Noise(NamedTuple):
    """Standard deviation between seeds and its degrees of freedom."""

    sd: float
    freedom: int


class MixPoints(NamedTuple):
    """Measurements of one model and method under its mixes.

    A *quantity* is a task, or ``forgetting.<suite>``. ``measures``: what each task is decided on; of a
    loss the quality is minus it. ``noise``: only of quantities that two seeds measured. ``left_out``: mixes
    run at other learning rates alone.
    """

    model: str
    method: str
    learning_rate: float | None
    tasks: tuple[str, ...]
    suites: tuple[str, ...]
    measures: dict[str, Measure]
    mixes: dict[str, MixSpec]
    points: dict[tuple[MixSize, str], Point]
    noise: dict[str, Noise]
    left_out: tuple[str, ...]

    def volumes(self, mix: str, quantity: str) -> list[int]:
        """Training-set sizes at which *quantity* was measured, ascending."""
        return sorted({v for ((m, v), q) in self.points if m == mix and q == quantity})

    def at(self, mix: str, volume: float, quantity: str) -> Interpolation | None:
        """Interpolation of *mix* at *volume* between its two neighbours, if not measured there.

        ``None`` outside what was measured, or where the neighbours are more than four times apart.
        """
        volumes = np.array(self.volumes(mix, quantity))
        if not len(volumes) or not 0.99 * volumes[0] <= volume <= 1.01 * volumes[-1]:
            return None
        near = int(volumes[np.abs(volumes - volume).argmin()])
        if abs(near / volume - 1) <= 0.04:  # whole examples of several tasks round so far
            return ((1.0, (mix, near)),)
        after = int(np.searchsorted(volumes, volume))
        low, high = int(volumes[after - 1]), int(volumes[after])
        if high / low > _LARGEST_GAP:
            return None
        share = float(np.log(volume / low) / np.log(high / low))
        return ((1 - share, (mix, low)), (share, (mix, high)))

    def value(self, quantity: str, blend: Interpolation) -> Estimate:
        """Mean quality over fresh rows and seeds; a score stays between 0 and 1."""
        return self._estimate(quantity, blend, 0.0)

    def gap(self, quantity: str, after: Interpolation, before: Interpolation) -> Estimate:
        """Paired gap: the mean at *after* minus that at *before*, on the same rows; of scores at most 1."""
        return self._estimate(quantity, (*after, *((-w, place) for w, place in before)), -1.0)

    def _estimate(self, quantity: str, blend: Interpolation, least: float) -> Estimate:
        """Weighted sum with its 80 % interval; *least*: lower limit of a sum of scores, 1 being the upper."""
        weights = np.array([weight for weight, _ in blend])
        points = [self.points[place, quantity] for _, place in blend]
        value = float(weights @ [point.value for point in points])
        trained = [
            0.0 if place == BASE else 1.0 / p.runs
            for (_, place), p in zip(blend, points, strict=True)
        ]
        seeds = float((weights**2) @ trained)
        rows = _rows_sd(weights, points)
        noise = self.noise.get(quantity)
        if noise is not None:
            width = _quantile(noise.freedom) * noise.sd * np.sqrt(seeds)
        elif rows is not None:
            width = 0.0
        else:  # unknown: assumed as for laws, in units of the error
            errors = [abs(_error(p.value, self.measures.get(quantity))) for p in points]
            width = Z * ASSUMED_NOISE * float(np.sqrt((weights**2) @ np.square(errors)))
        spread = float(np.hypot(width, Z * (rows or 0.0)))
        low, high = value - spread, value + spread
        if self.measures.get(quantity) == "score":
            low, high = max(low, least), min(high, 1.0)
        return Estimate(value=rounded(value), low=rounded(low), high=rounded(high))


@lru_cache
def _quantile(freedom: int) -> float:
    """Half width of an 80 % interval, in standard deviations estimated with *freedom* degrees."""
    return float(stats.t.ppf(0.9, freedom))


def _error(value: float, measure: Measure | None) -> float:
    return 1 - value if measure == "score" else value


def _rows_sd(weights: Array, points: Sequence[Point]) -> float | None:
    """Standard deviation by rows of the weighted sum; ``None`` if unknown."""
    lengths = {len(point.replicates) for point in points}
    if len(lengths) == 1 and lengths != {0}:
        return float((weights @ np.array([point.replicates for point in points])).std())
    if any(point.se is None for point in points):
        return None
    sd = weights * np.array([point.se for point in points], dtype=float)
    return float(np.sqrt(ROW_CORRELATION * sd.sum() ** 2 + (1 - ROW_CORRELATION) * (sd**2).sum()))


class MixTable(NamedTuple):
    """Complete runs of a sweep, one row per run and quantity.

    Columns of ``rows``: model, label, rate, mix, volume, seed, quantity, value, se, replicates. ``noise``:
    between seeds, by (method, quantity). ``mixes``: by name. ``labels``: method's name by label.
    ``settings``: every (model, method with its variant) that tuned, smallest model first.
    """

    rows: pd.DataFrame
    noise: dict[tuple[str, str], Noise]
    mixes: dict[str, MixSpec]
    measures: dict[str, Measure]
    labels: dict[str, str]
    settings: tuple[tuple[str, str], ...]

    def points(self, model: str, label: str) -> MixPoints:
        """Measurements of *model* with the method *label* at one learning rate, and of its untouched base."""
        of_model = self.rows[self.rows["model"] == model]
        of_method = of_model[(of_model["label"] == label) & of_model["mix"].isin(self.mixes)]
        rate = _rate(of_method)
        mixes_run = of_method["mix"].unique()
        of_method = of_method[_same_rate(of_method["rate"], rate)]
        base = of_model[of_model["label"] == "none"]
        measured: dict[tuple[MixSize, str], Point] = {}
        for place, group in pd.concat([base, of_method]).groupby(
            ["mix", "volume", "quantity"], sort=True
        ):
            mix, volume, quantity = cast("tuple[str, int, str]", place)
            measured[(mix, int(volume)), quantity] = _point(group)
        quantities = list(dict.fromkeys(q for _, q in measured))
        method = self.labels[label]
        return MixPoints(
            model=model,
            method=label,
            learning_rate=rate,
            tasks=tuple(q for q in quantities if not q.startswith("forgetting.")),
            suites=tuple(q for q in quantities if q.startswith("forgetting.")),
            measures=self.measures,
            mixes={str(mix): self.mixes[mix] for mix in of_method["mix"].unique()},
            points=measured,
            noise={q: self.noise[method, q] for q in quantities if (method, q) in self.noise},
            left_out=tuple(sorted({str(mix) for mix in mixes_run} - set(of_method["mix"]))),
        )


def mix_table(table: pd.DataFrame, records: Iterable[TrialRecord]) -> MixTable:
    """Complete runs by mix, from *table*, the results table of *records* (:mod:`tracker.results`)."""
    results = {r.result.spec.key: r.result for r in records if r.result.status is Status.COMPLETE}
    specs = (result.spec for result in results.values())
    # A mix whose split by task an outside table does not say cannot be compared.
    mixes = {spec.mix.name: spec.mix for spec in specs if spec.mix and spec.mix.weights}
    complete = table[table["status"] == Status.COMPLETE.value].copy()
    family = [column for column in method_columns(complete) if column != "learning_rate"]
    parts = complete[family].astype(object).where(complete[family].notna(), None)
    families = parts.drop_duplicates()
    named = {
        row: method_of(dict(zip(family, row, strict=True))).label
        for row in families.itertuples(index=False, name=None)
    }
    complete["label"] = [named[row] for row in parts.itertuples(index=False, name=None)]
    measures = _measures(complete)
    tasks = _task_rows(complete, measures)
    rows = pd.concat([tasks, *_suite_rows(complete, results)], ignore_index=True)
    labels = {label: str(family[0]) for family, label in named.items()}
    return MixTable(rows, _noise(rows, labels), mixes, measures, labels, _settings(rows))


def _settings(rows: pd.DataFrame) -> tuple[tuple[str, str], ...]:
    tuned = rows[rows["mix"] != ""].drop_duplicates(["model", "label"])
    ordered = tuned.sort_values(["parameters", "model", "label"], kind="stable")
    pairs = zip(ordered["model"], ordered["label"], strict=True)
    return tuple((str(model), str(label)) for model, label in pairs)


_KEPT = ["model", "parameters", "label", "learning_rate", "mix", "volume", "seed"]


def _task_rows(complete: pd.DataFrame, measures: Mapping[str, Measure]) -> pd.DataFrame:
    parts = []
    for task, measure in measures.items():
        of_task = complete[(complete["task"] == task) & complete[measure].notna()]
        part = of_task[_KEPT].rename(columns={"learning_rate": "rate"})
        part["quantity"] = task
        part["value"] = of_task[measure] * (1.0 if measure == "score" else -1.0)
        part["se"] = of_task[f"{measure}_se"]
        part["replicates"] = of_task["replicates"] if measure == "score" else None
        parts.append(part)
    columns = [*(c if c != "learning_rate" else "rate" for c in _KEPT), "quantity", "value", "se"]
    return pd.concat(parts) if parts else pd.DataFrame(columns=pd.Index([*columns, "replicates"]))


def _suite_rows(complete: pd.DataFrame, results: Mapping[str, TrialResult]) -> list[pd.DataFrame]:
    trials = complete.drop_duplicates("key")
    parts = []
    for name in (c for c in complete.columns if c.startswith("forgetting.")):
        of_suite = trials[trials[name].notna()]
        suite = name.removeprefix("forgetting.")
        part = of_suite[_KEPT].rename(columns={"learning_rate": "rate"})
        part["quantity"], part["value"] = name, of_suite[name]
        errors = [forgetting_se(results[key], suite) for key in of_suite["key"]]
        part["se"] = np.array(errors, dtype=float)
        part["replicates"] = None
        parts.append(part)
    return parts


def _measures(complete: pd.DataFrame) -> dict[str, Measure]:
    """Measure of each task (:func:`tracker.metrics.measures_of`), in the order of the trials' tasks."""
    counts = complete[complete["task"].notna()].groupby("task", sort=False)[list(MEASURES)].count()
    return {
        str(task): next(m for m in MEASURES if row[m])
        for task, row in counts.iterrows()
        if any(row[m] for m in MEASURES)
    }


def _noise(rows: pd.DataFrame, labels: Mapping[str, str]) -> dict[tuple[str, str], Noise]:
    """Noise between seeds, each method's variance shrunk towards that of all (as in the noise floor)."""
    tuned = rows[rows["mix"] != ""]
    setting = ["model", "label", "rate", "mix", "volume", "quantity"]
    groups = tuned.groupby(setting, dropna=False)["value"]
    repeats = pd.DataFrame(
        {"sum": groups.var(ddof=1) * (groups.size() - 1), "df": groups.size() - 1}
    )
    repeats = repeats[repeats["df"] > 0].reset_index()
    if repeats.empty:
        return {}
    repeats["method"] = repeats["label"].map(labels)
    overall = repeats.groupby("quantity")[["sum", "df"]].sum()
    sums = repeats.groupby(["method", "quantity"])[["sum", "df"]].sum()
    by_method = {place: (row["sum"], row["df"]) for place, row in sums.iterrows()}
    noise = {}
    for quantity, (squares, freedom) in overall.iterrows():
        for method in set(labels.values()):
            of_method = by_method.get((method, quantity), (0.0, 0.0))
            pooled = moderated_variance(squares / freedom, *of_method)
            noise[method, str(quantity)] = Noise(float(np.sqrt(pooled)), int(freedom))
    return noise


def _point(group: pd.DataFrame) -> Point:
    lengths = {len(r) if isinstance(r, Sequence) else 0 for r in group["replicates"]}
    replicates = np.zeros(0)
    if len(lengths) == 1 and lengths != {0}:
        replicates = np.mean(group["replicates"].tolist(), axis=0)
        replicates = replicates - replicates.mean()
    errors = group["se"].astype(float)
    se = None if errors.isna().any() else float(errors.max())
    return Point(float(group["value"].mean()), len(group), se, replicates)


def _rate(rows: pd.DataFrame) -> float | None:
    """Learning rate run at the most mixes, then sizes, then of the highest quality."""
    rates = sorted({float(r) for r in rows["rate"].dropna()})
    if not rates:
        return None

    def preference(rate: float) -> tuple[int, int, float]:
        inside = rows[_same_rate(rows["rate"], rate)]
        tasks = inside[~inside["quantity"].str.startswith("forgetting.")]
        places = inside.drop_duplicates(["mix", "volume"])
        return places["mix"].nunique(), len(places), round(float(tasks["value"].mean()), 9)

    return max(rates, key=preference)


def _same_rate(rates: pd.Series[Any], rate: float | None) -> pd.Series[Any]:
    if rate is None:
        return rates.isna()
    within = np.sqrt(_SAME_RATE) * (1 + 1e-9)
    return rates.between(rate / within, rate * within)
