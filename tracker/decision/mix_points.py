"""What each mix measured at each volume for one model and method, and how far two of them are apart.

Mixes are compared at one learning rate, which matters more than they do: that run at the most mixes (of
those at the most volumes, then that of the highest quality), much as the mix law does. Noise, as in
:mod:`tracker.decision.noise`: the rows', which resamples of the rows tell and which largely cancel between
runs scored on the same rows, and the seeds', pooled over the whole sweep by method.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
from scipy import stats

from tracker.decision.noise import ROWS_ALIKE
from tracker.laws.points import ASSUMED_NOISE
from tracker.laws.pooling import Array
from tracker.metrics import MEASURES, Estimate, Measure, Z, forgetting_se, rounded
from tracker.results import method_of
from tracker.trial import MixSpec, Status, TrialRecord, TrialResult

#: The untouched base: no mix, no examples.
BASE = ("", 0)
#: Learning rates within this factor are one setting.
_SAME_RATE = 2.0
#: A method's own repeats count as if so many came with them, spread as all methods' are.
_BORROWED = 8
#: Volumes this far apart are not joined by a line.
_FAR_APART = 4.0
_FAMILY = ["method", "variant", "rank", "virtual_tokens"]

#: A mix at a volume.
Place = tuple[str, int]
#: What lies between two measured volumes of a mix: its share of each; or all of one.
Blend = tuple[tuple[float, Place], ...]


class Point(NamedTuple):
    """Of one mix at one volume: the mean quality over ``runs``, the rows' standard error of it, and
    what resamples of the rows differ by from their mean (R,), empty where there are none.
    """

    value: float
    runs: int
    se: float | None
    replicates: Array


class Noise(NamedTuple):
    """Standard deviation between seeds and its degrees of freedom; ``None`` without repeats."""

    sd: float
    freedom: int


class MixPoints(NamedTuple):
    """Everything one model and method measured under its mixes.

    A *quantity* is a task, or ``forgetting.<suite>``. ``measures``: what each task is decided on; of a
    loss the quality is minus it. ``noise`` lacks quantities that no two seeds measured. ``left_out``:
    mixes that were run at other learning rates alone.
    """

    model: str
    method: str
    learning_rate: float | None
    tasks: tuple[str, ...]
    suites: tuple[str, ...]
    measures: dict[str, Measure]
    mixes: dict[str, MixSpec]
    points: dict[tuple[Place, str], Point]
    noise: dict[str, Noise]
    left_out: tuple[str, ...]

    def volumes(self, mix: str, quantity: str) -> list[int]:
        """Where *quantity* was measured, ascending."""
        return sorted({v for ((m, v), q) in self.points if m == mix and q == quantity})

    def at(self, mix: str, volume: float, quantity: str) -> Blend | None:
        """*mix* at *volume*, between its two neighbours where it was not measured itself.

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
        if high / low > _FAR_APART:
            return None
        share = float(np.log(volume / low) / np.log(high / low))
        return ((1 - share, (mix, low)), (share, (mix, high)))

    def value(self, quantity: str, blend: Blend) -> Estimate:
        """The mean there, over fresh rows and seeds; a score stays between 0 and 1."""
        return self._estimate(quantity, blend, 0.0)

    def gap(self, quantity: str, after: Blend, before: Blend) -> Estimate:
        """The mean at *after* minus that at *before*, scored on the same rows; of scores at most 1."""
        return self._estimate(quantity, (*after, *((-w, place) for w, place in before)), -1.0)

    def _estimate(self, quantity: str, blend: Blend, least: float) -> Estimate:
        """*least*: what a sum of scores cannot be below; it cannot be above 1."""
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
        else:  # nothing tells it: as laws assume of a lone run, in units of the error
            errors = [abs(_error(p.value, self.measures.get(quantity))) for p in points]
            width = Z * ASSUMED_NOISE * float(np.sqrt((weights**2) @ np.square(errors)))
        spread = float(np.hypot(width, Z * (rows or 0.0)))
        low, high = value - spread, value + spread
        if self.measures.get(quantity) == "score":
            low, high = max(low, least), min(high, 1.0)
        return Estimate(value=rounded(value), low=rounded(low), high=rounded(high))


@lru_cache
def _quantile(freedom: int) -> float:
    """Half the width of an 80 % interval in standard deviations estimated with so many degrees."""
    return float(stats.t.ppf(0.9, freedom))


def _error(value: float, measure: Measure | None) -> float:
    return 1 - value if measure == "score" else value


def _rows_sd(weights: Array, points: Sequence[Point]) -> float | None:
    """What the rows do to the weighted sum; ``None`` where nothing tells."""
    lengths = {len(point.replicates) for point in points}
    if len(lengths) == 1 and lengths != {0}:
        return float((weights @ np.array([point.replicates for point in points])).std())
    if any(point.se is None for point in points):
        return None
    sd = weights * np.array([point.se for point in points], dtype=float)
    return float(np.sqrt(ROWS_ALIKE * sd.sum() ** 2 + (1 - ROWS_ALIKE) * (sd**2).sum()))


class MixTable(NamedTuple):
    """A sweep's complete runs, one row per run and quantity: ``model label rate mix volume seed
    quantity value se replicates``; what the seeds add, by (label's method, quantity); the mixes by name.

    ``settings``: every (model, method with its variant) that tuned, smallest model first.
    """

    rows: pd.DataFrame
    noise: dict[tuple[str, str], Noise]
    mixes: dict[str, MixSpec]
    measures: dict[str, Measure]
    labels: dict[str, str]
    settings: tuple[tuple[str, str], ...]

    def points(self, model: str, label: str) -> MixPoints:
        """What *model* measured with the method *label*, at its one learning rate, and untouched."""
        of_model = self.rows[self.rows["model"] == model]
        own = of_model[(of_model["label"] == label) & of_model["mix"].isin(self.mixes)]
        rate = _rate(own)
        ran = own["mix"].unique()
        own = own[_alike(own["rate"], rate)]
        base = of_model[of_model["label"] == "none"]
        found: dict[tuple[Place, str], Point] = {}
        for place, group in pd.concat([base, own]).groupby(
            ["mix", "volume", "quantity"], sort=True
        ):
            mix, volume, quantity = cast("tuple[str, int, str]", place)
            found[(mix, int(volume)), quantity] = _point(group)
        quantities = list(dict.fromkeys(q for _, q in found))
        method = self.labels[label]
        return MixPoints(
            model=model,
            method=label,
            learning_rate=rate,
            tasks=tuple(q for q in quantities if not q.startswith("forgetting.")),
            suites=tuple(q for q in quantities if q.startswith("forgetting.")),
            measures=self.measures,
            mixes={str(mix): self.mixes[mix] for mix in own["mix"].unique()},
            points=found,
            noise={q: self.noise[method, q] for q in quantities if (method, q) in self.noise},
            left_out=tuple(sorted({str(mix) for mix in ran} - set(own["mix"]))),
        )


def mix_table(table: pd.DataFrame, records: Iterable[TrialRecord]) -> MixTable:
    """*table* is the results table of *records* (:mod:`tracker.results`)."""
    results = {r.result.spec.key: r.result for r in records if r.result.status is Status.COMPLETE}
    specs = (result.spec for result in results.values())
    # A mix whose split by task an outside table does not say cannot be compared.
    mixes = {spec.mix.name: spec.mix for spec in specs if spec.mix and spec.mix.weights}
    complete = table[table["status"] == Status.COMPLETE.value].copy()
    parts = complete[_FAMILY].astype(object).where(complete[_FAMILY].notna(), None)
    families = parts.drop_duplicates()
    named = {
        row: method_of(dict(zip(_FAMILY, row, strict=True))).label
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
    found = []
    for task, measure in measures.items():
        own = complete[(complete["task"] == task) & complete[measure].notna()]
        part = own[_KEPT].rename(columns={"learning_rate": "rate"})
        part["quantity"] = task
        part["value"] = own[measure] * (1.0 if measure == "score" else -1.0)
        part["se"] = own[f"{measure}_se"]
        part["replicates"] = own["replicates"] if measure == "score" else None
        found.append(part)
    columns = [*(c if c != "learning_rate" else "rate" for c in _KEPT), "quantity", "value", "se"]
    return pd.concat(found) if found else pd.DataFrame(columns=pd.Index([*columns, "replicates"]))


def _suite_rows(complete: pd.DataFrame, results: Mapping[str, TrialResult]) -> list[pd.DataFrame]:
    trials = complete.drop_duplicates("key")
    found = []
    for name in (c for c in complete.columns if c.startswith("forgetting.")):
        own = trials[trials[name].notna()]
        suite = name.removeprefix("forgetting.")
        part = own[_KEPT].rename(columns={"learning_rate": "rate"})
        part["quantity"], part["value"] = name, own[name]
        errors = [forgetting_se(results[key], suite) for key in own["key"]]
        part["se"] = np.array(errors, dtype=float)
        part["replicates"] = None
        found.append(part)
    return found


def _measures(complete: pd.DataFrame) -> dict[str, Measure]:
    """As :func:`tracker.metrics.measures_of`, in the order the trials list their tasks."""
    known = complete[complete["task"].notna()].groupby("task", sort=False)[list(MEASURES)].count()
    return {
        str(task): next(m for m in MEASURES if row[m])
        for task, row in known.iterrows()
        if any(row[m] for m in MEASURES)
    }


def _noise(rows: pd.DataFrame, labels: Mapping[str, str]) -> dict[tuple[str, str], Noise]:
    """Between seeds: each method's own variance pooled with all methods' (as in blur)."""
    tuned = rows[rows["mix"] != ""]
    same = ["model", "label", "rate", "mix", "volume", "quantity"]
    groups = tuned.groupby(same, dropna=False)["value"]
    apart = pd.DataFrame({"sum": groups.var(ddof=1) * (groups.size() - 1), "df": groups.size() - 1})
    apart = apart[apart["df"] > 0].reset_index()
    if apart.empty:
        return {}
    apart["method"] = apart["label"].map(labels)
    overall = apart.groupby("quantity")[["sum", "df"]].sum()
    sums = apart.groupby(["method", "quantity"])[["sum", "df"]].sum()
    own = {place: (row["sum"], row["df"]) for place, row in sums.iterrows()}
    found = {}
    for quantity, (squares, freedom) in overall.iterrows():
        for method in set(labels.values()):
            mine, more = own.get((method, quantity), (0.0, 0.0))
            pooled = (_BORROWED * squares / freedom + mine) / (_BORROWED + more)
            found[method, str(quantity)] = Noise(float(np.sqrt(pooled)), int(freedom))
    return found


def _point(group: pd.DataFrame) -> Point:
    lengths = {len(r) if isinstance(r, Sequence) else 0 for r in group["replicates"]}
    replicates = np.zeros(0)
    if len(lengths) == 1 and lengths != {0}:
        replicates = np.mean(group["replicates"].tolist(), axis=0)
        replicates = replicates - replicates.mean()
    errors = group["se"].astype(float)
    se = None if errors.isna().any() else float(errors.max())
    return Point(float(group["value"].mean()), len(group), se, replicates)


def _rate(own: pd.DataFrame) -> float | None:
    """The learning rate run at the most mixes, then volumes, then of the highest quality."""
    rates = sorted({float(r) for r in own["rate"].dropna()})
    if not rates:
        return None

    def worth(rate: float) -> tuple[int, int, float]:
        inside = own[_alike(own["rate"], rate)]
        tasks = inside[~inside["quantity"].str.startswith("forgetting.")]
        places = inside.drop_duplicates(["mix", "volume"])
        return places["mix"].nunique(), len(places), round(float(tasks["value"].mean()), 9)

    return max(rates, key=worth)


def _alike(rates: pd.Series[Any], rate: float | None) -> pd.Series[Any]:
    if rate is None:
        return rates.isna()
    within = np.sqrt(_SAME_RATE) * (1 + 1e-9)
    return rates.between(rate / within, rate * within)
