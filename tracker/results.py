"""Results table, one tidy row per trial × task, and the complete runs of each configuration grouped.

The table is the only form in which laws and pages see results; decisions are taken on the groups. Columns of
the table, by origin (absent values are ``None``/``NaN``, never 0):

- trial: ``key number stage status reason seed``
- configuration: ``model parameters family method variant rank virtual_tokens learning_rate mix volume``,
  the other hyper-parameters of :data:`tracker.trial.HYPERPARAMETERS` where some trial has them, and
  ``examples`` (of this row's task; 0 where the mix does not train it, absent where an outside table
  does not say how the volume splits). The untouched base has ``method == "none"``, ``volume == 0`` and
  ``mix == ""``.
- task score: ``task n loss_nats loss_nats_se bits_per_byte bits_per_byte_se score_name score score_se
  error error_se exact_match precision recall valid_format over_reach replicates`` (``replicates``: tuple
  of floats; standard errors are at least what so few rows show, :func:`tracker.metrics.se_of`)
- general suites, repeated on each of the trial's rows: ``general.<suite>.before``, ``.after``,
  ``.after_se``, ``forgetting.<suite>`` and its standard error ``general.<suite>.lost_se``
- cost, repeated likewise: ``device train_tokens flops device_seconds train_seconds peak_bytes
  trained_parameters adapter_bytes seconds_per_1k_tokens``

A trial that ended without scores keeps one row with ``task`` = ``None``, so that no trial vanishes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tracker.errors import NotEnoughDataError
from tracker.frozen import Frozen
from tracker.metrics import (
    FORGETTING_LIMITS,
    MEASURES,
    Estimate,
    Measure,
    Z,
    estimate,
    forgetting_of,
    forgetting_se,
    measures_of,
    pooled_sd,
    score_of,
    se_of,
    shares,
    suite_of,
    value_of,
)
from tracker.task import TaskScore
from tracker.trial import (
    HYPERPARAMETERS,
    Configuration,
    MethodSpec,
    Status,
    TrialRecord,
    TrialResult,
    TrialSpec,
)

_SCORE_COLUMNS = (
    "task n loss_nats loss_nats_se bits_per_byte bits_per_byte_se score_name score score_se "
    "error error_se exact_match precision recall valid_format over_reach replicates"
).split()
_COST_COLUMNS = (
    "device train_tokens flops device_seconds train_seconds peak_bytes trained_parameters "
    "adapter_bytes seconds_per_1k_tokens"
).split()
_TRIAL_COLUMNS = (
    "key number stage status reason seed model parameters family method variant rank virtual_tokens "
    "learning_rate mix volume"
).split()


def results_table(records: Iterable[TrialRecord]) -> pd.DataFrame:
    """Results table of *records*, ordered by trial number, then task as the trial lists them."""
    rows = [row for record in sorted(records, key=lambda r: r.number) for row in _rows(record)]
    fixed = [*_TRIAL_COLUMNS, "examples", *_SCORE_COLUMNS, *_COST_COLUMNS]
    present = {column for row in rows for column in row}
    others = [name for name in HYPERPARAMETERS if name in present and name not in fixed]
    suites = dict.fromkeys(c for row in rows for c in row if c not in fixed and c not in others)
    return pd.DataFrame(rows, columns=pd.Index([*fixed, *others, *suites]))


def method_columns(table: pd.DataFrame) -> list[str]:
    """Columns of a results table that hold the method and its hyper-parameters, for :func:`method_of`."""
    return ["method", *(name for name in HYPERPARAMETERS if name in table)]


def extended_table(
    table: pd.DataFrame, known: Sequence[TrialRecord], records: Sequence[TrialRecord]
) -> pd.DataFrame:
    """Results table of *records*, extended from the *table* of *known*, a part of the same objects.

    Where nothing but new trials came, their rows alone are made: a live page is redrawn after every trial.
    """
    known_ids = set(map(id, known))
    new = [record for record in records if id(record) not in known_ids]
    if len(records) != len(known) + len(new) or table.empty:
        return results_table(records)
    if not new:
        return table
    both = pd.concat([table, results_table(new).astype(object)], ignore_index=True)
    if new[0].number < known[-1].number:
        both = both.sort_values("number", kind="stable", ignore_index=True)
    return both.infer_objects()


def _rows(record: TrialRecord) -> list[dict[str, Any]]:
    result = record.result
    trial = _trial_columns(record) | _suite_columns(result)
    trial |= {name: getattr(result.cost, name) for name in _COST_COLUMNS}
    if not result.tasks:
        return [trial | {"task": None, "replicates": ()}]
    examples = result.spec.examples
    split_unknown = result.spec.origin and result.spec.volume and not examples
    elsewhere = None if split_unknown else 0
    return [
        trial
        | {name: getattr(score, name) for name in _SCORE_COLUMNS}
        | {f"{measure}_se": se_of(score, measure) for measure in MEASURES}
        | {"examples": examples.get(score.task, elsewhere)}
        for score in result.tasks
    ]


def _trial_columns(record: TrialRecord) -> dict[str, Any]:
    spec, method = record.result.spec, record.result.spec.method
    return {
        "key": spec.key,
        "number": record.number,
        "stage": record.stage,
        "status": record.result.status.value,
        "reason": record.result.reason,
        "seed": spec.seed,
        "model": spec.model.name,
        "parameters": spec.model.parameters,
        "family": spec.model.family,
        "method": method.name,
        "variant": method.variant,
        "rank": method.rank,
        "virtual_tokens": method.virtual_tokens,
        "learning_rate": method.learning_rate,
        **method.settings,
        "mix": spec.mix.name if spec.mix else "",
        "volume": spec.volume,
    }


def _suite_columns(result: TrialResult) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for suite in result.general:
        columns[f"general.{suite.suite}.before"] = suite.before
        columns[f"general.{suite.suite}.after"] = suite.after
        columns[f"general.{suite.suite}.after_se"] = suite.after_se
        columns[f"general.{suite.suite}.lost_se"] = suite.forgetting_error
        columns[f"forgetting.{suite.suite}"] = suite.forgetting
    return columns


def method_of(row: pd.Series[Any] | Mapping[Any, Any]) -> MethodSpec:
    """Method of a *row* of the table; what a row leaves empty, or has no column for, is ``None``."""

    def known(column: str) -> Any:
        value = row.get(column)
        if pd.isna(value):
            return None
        return value.item() if isinstance(value, np.generic) else value

    # A column with an absent value holds whole numbers as floats, which validation takes back.
    return MethodSpec(
        name=row["method"], **{name: known(name) for name in HYPERPARAMETERS if name in row}
    )


def quality_table(
    table: pd.DataFrame, weights: Mapping[str, float], measures: Mapping[str, Measure]
) -> pd.DataFrame:
    """The weighted quality of every trial of a results table, with its rows' standard error.

    Columns ``value`` and ``se`` by trial key, of the complete trials that measured every task of a weight
    above 0; as :func:`tracker.metrics.weighted_quality` and :func:`~tracker.metrics.weighted_se` of one run.
    """
    wanted = shares(weights)
    parts = []
    complete = table[table["status"] == Status.COMPLETE.value]
    for task, share in wanted.items():
        measure = measures.get(task, "score")
        of_task = complete[complete["task"] == task].set_index("key")
        value = of_task[measure].astype(float) * (1 if measure == "score" else -1)
        squared = (share * of_task[f"{measure}_se"].astype(float)) ** 2
        parts.append(pd.DataFrame({"value": share * value, "se": squared}))
    if not parts:
        return pd.DataFrame({"value": [], "se": []}, dtype=float)
    joined = pd.concat(parts)
    summed, known = joined.groupby(level=0).sum(min_count=1), joined.groupby(level=0).count()
    summed = summed[known["value"] == len(wanted)]
    summed["se"] = np.sqrt(summed["se"]).where(known["se"] == len(wanted))
    return summed


class CountedCost(Frozen):
    """Counted cost, the same on every machine; means over seeds. The base costs 0 to train."""

    parameters: int | None
    trained_parameters: int | None = None
    train_tokens: float | None = None
    flops: float | None = None
    adapter_bytes: float | None = None


class MeasuredCost(Frozen):
    """Cost measured by clock and device; means over seeds. Reported, never used to choose."""

    device: str
    device_seconds: float | None = None
    train_seconds: float | None = None
    seconds_per_1k_tokens: float | None = None
    peak_bytes: float | None = None


class ConfigurationResults(NamedTuple):
    """Complete runs of one configuration, by seed. ``key`` is that of the spec with seed 0.

    ``measures``: what each task is decided on, the same for all configurations of a sweep.
    """

    key: str
    label: str
    runs: tuple[TrialResult, ...]
    measures: Mapping[str, Measure] = MappingProxyType({})

    @property
    def spec(self) -> TrialSpec:
        return self.runs[0].spec

    @property
    def configuration(self) -> Configuration:
        return Configuration.of(self.spec)

    @property
    def untouched(self) -> bool:
        return self.spec.method.name == "none"

    def mean(self, quantity: Callable[[TrialResult], float | None]) -> float | None:
        """Mean over the runs that measured it; None if none did."""
        found = [value for run in self.runs if (value := quantity(run)) is not None]
        return float(np.mean(found)) if found else None

    def scores(self, task: str) -> list[TaskScore]:
        """Validation scores of the runs on *task* that hold the measure it is decided on."""
        measure = self.measures.get(task, "score")
        found = (s for run in self.runs if (s := score_of(run, task)))
        return [s for s in found if value_of(s, measure) is not None]

    def rows(self, tasks: Iterable[str]) -> int | None:
        """Fewest validation rows that one of *tasks* was measured on; ``None`` where not known."""
        sizes = [score.n for task in tasks for score in self.scores(task)]
        known = [size for size in sizes if size is not None]
        return min(known) if known and len(known) == len(sizes) else None

    @property
    def tasks(self) -> list[str]:
        """Tasks on which its trials were to be evaluated, or were."""
        named = [task.name for task in self.spec.tasks]
        return list(dict.fromkeys([*named, *(s.task for run in self.runs for s in run.tasks)]))

    @property
    def counted(self) -> CountedCost:
        """Counted cost; the untouched base needs no training and no stored adapter."""
        parameters = self.spec.model.parameters
        if self.untouched:
            return CountedCost(
                parameters=parameters,
                trained_parameters=0,
                train_tokens=0,
                flops=0,
                adapter_bytes=0,
            )
        return CountedCost(
            parameters=parameters,
            trained_parameters=self.runs[0].cost.trained_parameters,
            train_tokens=self.mean(lambda r: r.cost.train_tokens),
            flops=self.mean(lambda r: r.cost.flops),
            adapter_bytes=self.mean(lambda r: r.cost.adapter_bytes),
        )

    @property
    def measured(self) -> MeasuredCost:
        """Cost measured by clock and device, means over seeds."""
        return MeasuredCost(
            device=", ".join(sorted({run.cost.device for run in self.runs})),
            device_seconds=self.mean(lambda r: r.cost.device_seconds),
            train_seconds=self.mean(lambda r: r.cost.train_seconds),
            seconds_per_1k_tokens=self.mean(lambda r: r.cost.seconds_per_1k_tokens),
            peak_bytes=self.mean(lambda r: r.cost.peak_bytes),
        )


def by_configuration(records: Iterable[TrialRecord]) -> list[ConfigurationResults]:
    """Complete trials grouped by configuration, the smallest model first, then by label.

    Raises NotEnoughDataError where no trial is complete.
    """
    complete: dict[str, TrialResult] = {}
    for record in sorted(records, key=lambda r: r.number):
        if record.result.status is Status.COMPLETE:
            complete[record.result.spec.key] = record.result
    if not complete:
        raise NotEnoughDataError(
            "no trial is complete, so there is nothing to choose from: run the sweep first"
        )
    runs: defaultdict[str, list[tuple[int, str, TrialResult]]] = defaultdict(list)
    for key, result in complete.items():
        spec = result.spec
        runs[spec.model_copy(update={"seed": 0}).key].append((spec.seed, key, result))
    labels = {key: Configuration.of(found[0][2].spec).label for key, found in runs.items()}
    same = Counter(labels.values())
    measures = measures_of(complete.values())
    grouped = []
    for key, found in runs.items():
        # Two configurations that differ in what a label leaves out, such as the schedule.
        label = labels[key] if same[labels[key]] == 1 else f"{labels[key]} [{key[:6]}]"
        results = tuple(result for _, _, result in sorted(found, key=lambda r: r[:2]))
        grouped.append(ConfigurationResults(key, label, results, measures))
    return sorted(grouped, key=lambda c: (_size(c), c.label, c.key))


def _size(results: ConfigurationResults) -> float:
    """Sort key by size: a model whose parameters are not known comes last."""
    parameters = results.spec.model.parameters
    return np.inf if parameters is None else parameters


def forgetting(results: Sequence[ConfigurationResults]) -> list[dict[str, Estimate]]:
    """Forgetting per configuration and suite: mean over seeds, its interval from rows and seeds.

    The rows are the same for every seed, so their error does not shrink with seeds; the seeds' does.
    """
    suites = sorted({suite.suite for c in results for run in c.runs for suite in run.general})
    found: list[dict[str, Estimate]] = [{} for _ in results]
    for suite in suites:
        values = [
            [v for run in c.runs if (v := forgetting_of(run, suite)) is not None] for c in results
        ]
        between = pooled_sd(values) or 0.0
        for estimates, each, value in zip(found, results, values, strict=True):
            if value:
                sd = each.mean(partial(forgetting_se, suite=suite))
                seeds = 0.0 if each.untouched else between / np.sqrt(len(value))
                spread = None if sd is None else Z * np.hypot(sd, seeds)
                measure = next(s.measure for r in each.runs if (s := suite_of(r, suite)))
                least, most = FORGETTING_LIMITS[measure]
                estimates[suite] = estimate(float(np.mean(value)), spread, least, most)
    return found
