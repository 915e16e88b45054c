"""Laws of a results table: one per model, method with its hyper-parameters, mix and task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from tracker.errors import InputError
from tracker.frozen import Frozen
from tracker.laws.fitted_law import FittedLaw, LeftOut
from tracker.laws.fitting import fit_curves
from tracker.laws.points import CurveRuns
from tracker.laws.pooling import Prior
from tracker.laws.prior import prior
from tracker.metrics import MEASURES, Measure, errors, pooled_sd
from tracker.results import ConfigurationResults, method_columns, method_of
from tracker.trial import Configuration, MethodSpec

Metric = Measure
#: The stage of trials that tune hyper-parameters: they are points of a curve only where they share its
#: hyper-parameters.
TUNE_STAGE = "tune"
#: Groups that an unmeasured model shares with measured ones.
_PLACE = "position"
_SHARED = ("task", "method", "mix", "setting", _PLACE)
#: Trust in the prior of the law over model size, chosen by leaving one model out of the recorded playground.
_SIZE_SLOPE = 0.3
_SIZE_GROUP_TRUST = {_PLACE: 0.1, "model": 3.0, "family": 3.0, "pair": 3.0, "run": 3.0}


class CurveKey(Frozen):
    """Key of a curve: a configuration at any training-set size D, on one task; hashable."""

    model: str
    method: MethodSpec
    mix: str
    task: str

    @classmethod
    def of(cls, configuration: Configuration, task: str) -> CurveKey:
        """Key of the curve of *configuration* on *task*."""
        return cls(
            model=configuration.model, method=configuration.method, mix=configuration.mix, task=task
        )

    @property
    def configuration(self) -> Configuration:
        """The configuration, without a training-set size."""
        return Configuration(self.model, self.method, self.mix)

    @property
    def label(self) -> str:
        return f"{self.configuration.label}, {self.task}"


class CurveFits(NamedTuple):
    """Fitted laws by curve, and in ``refused`` the reason for every curve without one."""

    laws: dict[CurveKey, FittedLaw]
    refused: dict[CurveKey, str]


def fit_table(table: pd.DataFrame, metric: Metric, tasks: Iterable[str] | None = None) -> CurveFits:
    """Fit every curve of a results table (:mod:`tracker.results`), D = training-set size in examples.

    *metric* ``bits_per_byte`` and ``loss_nats`` fit that loss; ``score`` fits the error 1 - score
    (:mod:`tracker.metrics`). Each complete run is one point. The untouched base of the model is the point
    D = 0 where a fit needs it. Trials of the tuning stage count only where they share the curve's
    hyper-parameters. *tasks*: those returned. All tasks of the table are fitted together, so that a law does
    not depend on which are.
    """
    if metric not in MEASURES:
        raise InputError(f"metric {metric!r}: a law is fitted to one of {', '.join(MEASURES)}")
    runs, measured_tasks = _runs_by_curve(table, metric)
    fit = fit_curves([curve for curve, _ in runs.values()], start=prior(metric))
    wanted = set(measured_tasks) if tasks is None else set(tasks)
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
    """Laws of *task* for an unmeasured *model* of so many *parameters*, by the joint law over model size.

    One per method and mix that was measured; empty where nothing could be fitted.
    """
    laws = fit_unmeasured_models(table, metric, {model: parameters})
    return {key: law for key, law in laws.items() if key.task == task}


def fit_unmeasured_models(
    table: pd.DataFrame, metric: Metric, models: Mapping[str, int]
) -> dict[CurveKey, FittedLaw]:
    """Laws of every task for unmeasured *models*, name → parameters, by the joint law over model size."""
    runs, _ = _runs_by_curve(table, metric)
    wanted: dict[CurveKey, CurveRuns] = {}
    empty = np.zeros(0)
    measured = [_in_group(key, curve) for key, (curve, _) in runs.items()]
    for key, curve in zip(runs, measured, strict=True):
        shared = {k: v for k, v in curve.groups.items() if k in _SHARED}
        for model, parameters in models.items():
            runs_of_model = CurveRuns(empty, empty, (), shared, parameters)
            wanted[key.model_copy(update={"model": model})] = runs_of_model
    start = size_prior(prior(metric))
    fit = fit_curves(measured, unmeasured=list(wanted.values()), held_out=False, start=start)
    return dict(zip(wanted, fit.unmeasured, strict=False))


def configuration_laws(
    results: ConfigurationResults, weights: Mapping[str, float], fits: CurveFits
) -> dict[str, FittedLaw]:
    """Laws of a configuration's curve by weighted task; empty unless all were fitted, and to its runs."""
    laws: dict[str, FittedLaw] = {}
    for task in weights:
        law = fits.laws.get(CurveKey.of(results.configuration, task))
        if law is None or results.spec.key not in law.used:
            return {}
        laws[task] = law
    return laws


def size_prior(start: Prior) -> Prior:
    """Prior of the law over model size, from *start* (measured by ``tests/benchmarks/law_over_size.py``).

    With few models, a model's own deviation would otherwise absorb the effect of its size.
    """
    return start._replace(
        group_trust={**start.group_trust, **_SIZE_GROUP_TRUST}, slope_trust=_SIZE_SLOPE
    )


def _in_group(key: CurveKey, curve: CurveRuns) -> CurveRuns:
    """Add the group of the curve's method, mix and task: a method's effect differs between tasks."""
    position = f"{key.method.name} {key.method.variant} {key.mix} {key.task}"
    return curve._replace(groups={**curve.groups, _PLACE: position})


def table_runs(table: pd.DataFrame, metric: Metric) -> list[CurveRuns]:
    """Runs of every curve of *table*, as :func:`fit_table` fits them."""
    return [curve for curve, _ in _runs_by_curve(table, metric)[0].values()]


def _runs_by_curve(
    table: pd.DataFrame, metric: Metric
) -> tuple[dict[CurveKey, tuple[CurveRuns, list[LeftOut]]], list[str]]:
    """Runs of every curve, with those left out and why; and the tasks of *table*.

    Rows are named by their position in *table*: copying each curve out of it takes longer than fitting all
    laws.
    """
    columns_read = "family parameters volume seed key stage status task n".split()
    curve_columns = ["model", *method_columns(table), "mix"]
    table = table[[*curve_columns, *columns_read, metric]]
    complete = (table["status"] == "complete").to_numpy(dtype=bool)
    tuned = (table["method"] != "none").to_numpy(dtype=bool)
    curve = table.groupby(curve_columns, dropna=False, sort=True).ngroup().to_numpy()
    lost = _positions(curve, ~complete & tuned)
    columns = _Columns(table, metric)
    by_curve: dict[CurveKey, tuple[CurveRuns, list[LeftOut]]] = {}
    tasks = sorted({str(t) for t in table.loc[complete & tuned, "task"].dropna()})
    for task in tasks:
        of_task = complete & (table["task"] == task).to_numpy(dtype=bool)
        bases = _positions(table["model"].to_numpy(), of_task & ~tuned)
        points = _positions(curve, of_task & tuned)
        noise = _seed_noise(columns, points.values())
        for number, positions in points.items():
            if any(columns.stage[position] != TUNE_STAGE for position in positions):
                key = curve_key(table.iloc[positions[0]], task)
                all_runs = [*bases.get(key.model, ()), *positions]
                shared = table.iloc[positions[-1]]
                by_curve[key] = columns.runs(key, all_runs, lost.get(number, []), shared, noise)
    return by_curve, tasks


def _positions(groups: ArrayLike, among: ArrayLike) -> dict[Any, list[int]]:
    """Positions of the rows *among*, by group in ascending order."""
    labels = np.asarray(groups)
    by_group: dict[Any, list[int]] = {}
    for position in np.flatnonzero(np.asarray(among)).tolist():
        by_group.setdefault(labels[position], []).append(position)
    return {label: by_group[label] for label in sorted(by_group)}


class _Columns:
    """Columns of a results table as plain lists."""

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
        positions: Sequence[int],
        lost: Sequence[int],
        shared: pd.Series[Any],
        noise: float | None,
    ) -> tuple[CurveRuns, list[LeftOut]]:
        """Runs at *positions*, and why others are left out; *shared*: a row with what they have in common."""
        measured = [position for position in positions if self.measured[position]]
        measured.sort(key=lambda i: (self.volume[i], self.seed[i], self.key[i]))
        left_out = [
            LeftOut(key=self.key[i], reason=f"{self.status[i]} at {self.volume[i]} examples")
            for i in sorted(lost, key=lambda i: self.key[i])
        ]
        unmeasured = sorted(self.key[i] for i in positions if not self.measured[i])
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
    """Key of the curve on *task* that a *row* of the table is a point of."""
    return CurveKey(model=row["model"], method=method_of(row), mix=row["mix"], task=task)


def _groups(key: CurveKey, row: pd.Series[Any]) -> dict[str, str]:
    """Groups of a curve, by kind: laws of one group are pooled."""
    family = _absent(row["family"])
    shared = key.configuration.groups(None if family is None else str(family))
    return {"task": key.task, **shared}


def _seed_noise(columns: _Columns, curves: Iterable[Sequence[int]]) -> float | None:
    """Standard deviation between runs that differ in the seed alone, over *curves*."""
    replicates: dict[tuple[int, float], list[float]] = {}
    for number, positions in enumerate(curves):
        for position in positions:
            if columns.measured[position]:
                setting = number, columns.volume[position]
                replicates.setdefault(setting, []).append(columns.errors[position])
    return pooled_sd(replicates[setting] for setting in sorted(replicates))


def _absent(value: Any) -> Any:
    """A table's value as the types have it: None for absent, a whole number as int."""
    if pd.isna(value):
        return None
    if isinstance(value, (float, np.floating)) and float(value).is_integer() and value >= 1:
        return int(value)
    return value.item() if isinstance(value, np.generic) else value
