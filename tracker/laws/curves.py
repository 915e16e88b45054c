"""The results table's curves: one law per model, method with its hyper-parameters, mix and task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from tracker.errors import InputError
from tracker.laws.fitted_law import FittedLaw, LeftOut
from tracker.laws.fitting import fit_curves
from tracker.laws.points import CurveRuns
from tracker.laws.pooling import Prior
from tracker.laws.prior import prior
from tracker.metrics import MEASURES, Measure, errors, pooled_sd
from tracker.results import method_of
from tracker.trial import Configuration, Frozen, MethodSpec

Metric = Measure
#: The stage whose trials look for hyper-parameters: points of a curve only where they share its
#: own.
TUNE_STAGE = "tune"
_METHOD = ["method", "variant", "rank", "virtual_tokens", "learning_rate"]
_CURVE = ["model", *_METHOD, "mix"]
#: What a model that nobody ran shares with those that were.
_PLACE = "place"
_SHARED = ("task", "method", "mix", "setting", _PLACE)
#: Trust in what the law over size starts from, chosen by leaving one model out of the recorded playground.
_SIZE_SLOPE = 0.3
_SIZE_HOLD = {_PLACE: 0.1, "model": 3.0, "family": 3.0, "pair": 3.0, "run": 3.0}


class CurveKey(Frozen):
    """A configuration's curve over the volume D, on one task; hashable."""

    model: str
    method: MethodSpec
    mix: str
    task: str

    @classmethod
    def of(cls, configuration: Configuration, task: str) -> CurveKey:
        """The curve of *configuration* on *task*."""
        return cls(
            model=configuration.model, method=configuration.method, mix=configuration.mix, task=task
        )

    @property
    def configuration(self) -> Configuration:
        """The configuration at any volume."""
        return Configuration(self.model, self.method, self.mix)

    @property
    def label(self) -> str:
        return f"{self.configuration.label}, {self.task}"


class CurveFits(NamedTuple):
    """``laws`` by curve, and for the curves that could not be fitted the reason."""

    laws: dict[CurveKey, FittedLaw]
    refused: dict[CurveKey, str]


def fit_table(table: pd.DataFrame, metric: Metric, tasks: Iterable[str] | None = None) -> CurveFits:
    """Fit every curve of a results table (:mod:`tracker.results`), D = volume in examples.

    *metric* ``bits_per_byte`` and ``loss_nats`` fit that loss; ``score`` fits the error 1 - score
    (:mod:`tracker.metrics`). Each complete run is one point,
    the untouched base of the model is the point D = 0 where a fit needs it. Trials of the tuning
    stage count only where their hyper-parameters are the curve's own. All tasks of the table are
    fitted together whatever *tasks* asks for, so that a law does not depend on who asks.
    """
    if metric not in MEASURES:
        raise InputError(f"metric {metric!r}: a law is fitted to one of {', '.join(MEASURES)}")
    columns = [
        *_CURVE,
        "family",
        "parameters",
        "volume",
        "seed",
        "key",
        "stage",
        "status",
        "task",
        "n",
    ]
    table = table[[*columns, metric]]
    runs, described = _all_runs(table, metric)
    fit = fit_curves([curve for curve, _ in runs.values()], start=prior(metric))
    wanted = set(described) if tasks is None else set(tasks)
    fits = CurveFits({}, {})
    for i, (key, (_, left_out)) in enumerate(runs.items()):
        law = fit.laws[i]
        if key.task not in wanted:
            continue
        if law is None:
            fits.refused[key] = fit.refused[i]
        else:
            fits.laws[key] = law.model_copy(update={"left_out": (*law.left_out, *left_out)})
    return fits


def fit_unmeasured_model(
    table: pd.DataFrame, metric: Metric, task: str, model: str, parameters: int
) -> dict[CurveKey, FittedLaw]:
    """Laws of *task* for a *model* of so many *parameters* that was not run: the joint law over size.

    One per method and mix that was measured; empty where nothing could be fitted.
    """
    found = fit_unmeasured_models(table, metric, {model: parameters})
    return {key: law for key, law in found.items() if key.task == task}


def fit_unmeasured_models(
    table: pd.DataFrame, metric: Metric, models: Mapping[str, int]
) -> dict[CurveKey, FittedLaw]:
    """:func:`fit_unmeasured_model` for every task and many *models* at once, name → parameters."""
    runs, _ = _columns_of(table, metric)
    asked: dict[CurveKey, CurveRuns] = {}
    none = np.zeros(0)
    known = [_placed(key, curve) for key, (curve, _) in runs.items()]
    for key, curve in zip(runs, known, strict=True):
        shared = {k: v for k, v in curve.groups.items() if k in _SHARED}
        for model, parameters in models.items():
            unmeasured = CurveRuns(none, none, (), shared, parameters)
            asked[key.model_copy(update={"model": model})] = unmeasured
    start = over_size(prior(metric))
    fit = fit_curves(known, unmeasured=list(asked.values()), held_out=False, start=start)
    return dict(zip(asked, fit.unmeasured, strict=False))


def over_size(start: Prior) -> Prior:
    """*start* for a law that is asked over model size (``tests/benchmarks/law_over_size.py``).

    Where few models were run, a model's own deviation would else take what is due to its size.
    """
    return start._replace(hold={**start.hold, **_SIZE_HOLD}, slope=_SIZE_SLOPE)


def _placed(key: CurveKey, curve: CurveRuns) -> CurveRuns:
    """*curve* beside the other models' in its place: a method need not do on one task as on another."""
    place = f"{key.method.name} {key.method.variant} {key.mix} {key.task}"
    return curve._replace(groups={**curve.groups, _PLACE: place})


def table_runs(table: pd.DataFrame, metric: Metric) -> list[CurveRuns]:
    """The runs of every curve of *table*, as :func:`fit_table` fits them."""
    return [curve for curve, _ in _columns_of(table, metric)[0].values()]


def _columns_of(
    table: pd.DataFrame, metric: Metric
) -> tuple[dict[CurveKey, tuple[CurveRuns, list[LeftOut]]], list[str]]:
    columns = "family parameters volume seed key stage status task n".split()
    return _all_runs(table[[*_CURVE, *columns, metric]], metric)


def _all_runs(
    table: pd.DataFrame, metric: Metric
) -> tuple[dict[CurveKey, tuple[CurveRuns, list[LeftOut]]], list[str]]:
    """The runs of every curve with those left out and why; and the tasks there are.

    Rows are named by their place in *table*: a curve copied out of it, one at a time, takes longer than
    all laws together.
    """
    complete = (table["status"] == "complete").to_numpy(dtype=bool)
    tuned = (table["method"] != "none").to_numpy(dtype=bool)
    curve = table.groupby(_CURVE, dropna=False, sort=True).ngroup().to_numpy()
    lost = _places(curve, ~complete & tuned)
    columns = _Columns(table, metric)
    found: dict[CurveKey, tuple[CurveRuns, list[LeftOut]]] = {}
    tasks = sorted({str(t) for t in table.loc[complete & tuned, "task"].dropna()})
    for task in tasks:
        own = complete & (table["task"] == task).to_numpy(dtype=bool)
        bases = _places(table["model"].to_numpy(), own & ~tuned)
        points = _places(curve, own & tuned)
        noise = _seed_noise(columns, points.values())
        for number, places in points.items():
            if any(columns.stage[place] != TUNE_STAGE for place in places):
                key = curve_key(table.iloc[places[0]], task)
                all_runs = [*bases.get(key.model, ()), *places]
                shared = table.iloc[places[-1]]
                found[key] = columns.runs(key, all_runs, lost.get(number, []), shared, noise)
    return found, tasks


def _places(groups: ArrayLike, among: ArrayLike) -> dict[Any, list[int]]:
    """By group, in ascending order, the places *among* the rows."""
    labels = np.asarray(groups)
    found: dict[Any, list[int]] = {}
    for place in np.flatnonzero(np.asarray(among)).tolist():
        found.setdefault(labels[place], []).append(place)
    return {label: found[label] for label in sorted(found)}


class _Columns:
    """What is read of every row of a table, as plain lists."""

    def __init__(self, table: pd.DataFrame, metric: Metric) -> None:
        values = table[metric].to_numpy(dtype=float)
        self.metric = metric
        self.errors = errors(values, table["n"].to_numpy(dtype=float), metric)
        self.measured = ~np.isnan(values)
        self.volume, self.seed = table["volume"].tolist(), table["seed"].tolist()
        self.key, self.status = table["key"].tolist(), table["status"].tolist()
        self.stage = table["stage"].tolist()

    def runs(
        self,
        key: CurveKey,
        places: Sequence[int],
        lost: Sequence[int],
        shared: pd.Series[Any],
        noise: float | None,
    ) -> tuple[CurveRuns, list[LeftOut]]:
        """The runs at *places* and why others are left out; *shared*: a row with what they share."""
        measured = [place for place in places if self.measured[place]]
        measured.sort(key=lambda i: (self.volume[i], self.seed[i], self.key[i]))
        left_out = [
            LeftOut(key=self.key[i], reason=f"{self.status[i]} at {self.volume[i]} examples")
            for i in sorted(lost, key=lambda i: self.key[i])
        ]
        unmeasured = sorted(self.key[i] for i in places if not self.measured[i])
        left_out += [LeftOut(key=name, reason=f"no {self.metric}") for name in unmeasured]
        runs = CurveRuns(
            sizes=np.array([self.volume[i] for i in measured], dtype=float),
            values=self.errors[measured],
            keys=tuple(self.key[i] for i in measured),
            groups=_groups(key, shared),
            parameters=_absent(shared["parameters"]),
            noise_sd=noise,
        )
        return runs, left_out


def curve_key(row: pd.Series[Any], task: str) -> CurveKey:
    """The curve that a *row* of the table lies on, of *task*."""
    return CurveKey(model=row["model"], method=method_of(row), mix=row["mix"], task=task)


def _groups(key: CurveKey, row: pd.Series[Any]) -> dict[str, str]:
    """What a curve shares with others: its laws are drawn towards theirs."""
    family = _absent(row["family"])
    shared = key.configuration.groups(None if family is None else str(family))
    return {"task": key.task, **shared}


def _seed_noise(columns: _Columns, curves: Iterable[Sequence[int]]) -> float | None:
    """The spread between runs that differ in nothing but the seed."""
    alike: dict[tuple[int, float], list[float]] = {}
    for number, places in enumerate(curves):
        for place in places:
            if columns.measured[place]:
                same = number, columns.volume[place]
                alike.setdefault(same, []).append(columns.errors[place])
    return pooled_sd(alike[same] for same in sorted(alike))


def _absent(value: Any) -> Any:
    """A cell of the table as the types have it: None for absent, a whole number as int."""
    if pd.isna(value):
        return None
    if isinstance(value, (float, np.floating)) and float(value).is_integer() and value >= 1:
        return int(value)
    return value.item() if isinstance(value, np.generic) else value
