"""One tidy row per trial × task: the only form in which laws, recommendation and dashboard see results.

Columns, by origin (absent values are ``None``/``NaN``, never 0):

- trial: ``key number stage status reason seed``
- configuration: ``model parameters family method variant rank virtual_tokens learning_rate mix volume``
  and ``examples`` (of this row's task; 0 where the mix does not train it, absent where an outside table
  does not say how the volume splits). The untouched base has ``method == "none"``, ``volume == 0`` and
  ``mix == ""``.
- task score: ``task n loss_nats loss_nats_se bits_per_byte bits_per_byte_se score_name score score_se
  exact_match precision recall valid_format over_reach replicates`` (``replicates``: tuple of floats)
- general suites, repeated on each of the trial's rows: ``general.<suite>.before``, ``.after``,
  ``.after_se``, ``forgetting.<suite>`` and its standard error ``general.<suite>.lost_se``
- cost, repeated likewise: ``device train_tokens flops device_seconds train_seconds peak_bytes
  trained_parameters adapter_bytes seconds_per_1k_tokens``

A trial that ended without scores keeps one row with ``task`` = ``None``, so that no trial vanishes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from tracker.trial import TrialRecord, TrialResult

_SCORE_COLUMNS = (
    "task n loss_nats loss_nats_se bits_per_byte bits_per_byte_se score_name score score_se "
    "exact_match precision recall valid_format over_reach replicates"
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
    """The table of *records*, ordered by trial number, then task as the trial lists them."""
    rows = [row for record in sorted(records, key=lambda r: r.number) for row in _rows(record)]
    fixed = [*_TRIAL_COLUMNS, "examples", *_SCORE_COLUMNS, *_COST_COLUMNS]
    suites = dict.fromkeys(column for row in rows for column in row if column not in fixed)
    return pd.DataFrame(rows, columns=pd.Index([*fixed, *suites]))


def extended_table(
    table: pd.DataFrame, known: Sequence[TrialRecord], records: Sequence[TrialRecord]
) -> pd.DataFrame:
    """:func:`results_table` of *records*, of which *table* holds *known* already; the same objects.

    Where nothing but new trials came, their rows alone are made: a live page asks after every trial.
    """
    held = set(map(id, known))
    new = [record for record in records if id(record) not in held]
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
