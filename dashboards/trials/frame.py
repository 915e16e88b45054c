"""The trials grid: a row per trial as plain values, and how its columns are shown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import pandas as pd

from dashboards.charts.theme import method_label
from tracker.decision.analysis import Analysis

_PLAIN = (
    *("number", "status", "model", "parameters", "method", "variant", "rank", "virtual_tokens"),
    *("mix", "volume", "learning_rate", "seed", "stage", "train_tokens", "flops", "device"),
    *("device_seconds", "peak_bytes", "trained_parameters", "adapter_bytes"),
    *("seconds_per_1k_tokens", "reason"),
)


class Column(NamedTuple):
    """A column of the grid.

    ``form``: the function of ``assets/dashAgGridFunctions.js`` that writes its values. ``width``: in pixels.
    ``words``: text, not a number. ``usual``: shown unless the reader hides it.
    """

    field: str
    title: str
    form: str
    width: int
    words: bool = False
    usual: bool = True


_CONFIGURATION = (
    Column("number", "Trial", "plain", 84),
    Column("model", "Model", "plain", 120, words=True),
    Column("method", "Method", "plain", 140, words=True),
    Column("variant", "Variant", "plain", 108, words=True),
    Column("volume", "Examples", "count", 122),
    Column("mix", "Mix", "plain", 100, words=True),
    Column("status", "Status", "plain", 116, words=True),
    Column("quality", "Quality", "quality", 124),
)
_REST = (
    Column("learning_rate", "Learning rate", "rate", 134),
    Column("rank", "Rank", "plain", 88),
    Column("virtual_tokens", "Virtual tokens", "plain", 134),
    Column("seed", "Seed", "plain", 84),
    Column("device_seconds", "Device time", "seconds", 122),
    Column("train_tokens", "Train tokens", "count", 128),
    Column("parameters", "Parameters", "compact", 122, usual=False),
    Column("flops", "Training FLOP", "compact", 138, usual=False),
    Column("peak_bytes", "Peak memory", "bytes", 130, usual=False),
    Column("trained_parameters", "Trained parameters", "compact", 164, usual=False),
    Column("adapter_bytes", "Stored beside base", "bytes", 160, usual=False),
    Column("seconds_per_1k_tokens", "Seconds per 1k tokens", "rate", 180, usual=False),
    Column("device", "Device", "plain", 120, words=True, usual=False),
    Column("stage", "Stage", "plain", 100, words=True, usual=False),
    Column("reason", "Reason", "plain", 280, words=True),
)
_EXCLUDED = Column("excluded", "Excluded", "plain", 200, words=True)  # where some are


def trial_frame(analysis: Analysis) -> pd.DataFrame:
    """One row per trial of *analysis*, newest first; absent is NaN or ``None``.

    Tasks stand in the order of the objective's weights, then the others by name. Beside the columns of the
    results table: ``quality``, ``score.<task>``, ``error.<task>``, ``over_reach.<task>``,
    ``valid_format.<task>`` and ``forgetting.<suite>``.
    """
    table, weights = analysis.table, analysis.objective.weights
    suites = [name for name in table.columns if name.startswith("forgetting.")]
    trials = table.drop_duplicates("key").set_index("key")[[*_PLAIN, *suites]]
    scored = table[table["task"].notna()]
    for measure in ("score", "error", "over_reach", "valid_format"):
        measured = scored[scored[measure].notna()]
        wide = measured.pivot_table(index="key", columns="task", values=measure, aggfunc="first")
        weighted = [task for task in weights if task in wide]
        wide = wide[[*weighted, *(task for task in wide if task not in weights)]]
        trials = trials.join(wide.astype(float).add_prefix(f"{measure}."))
    trials = trials.join(analysis.trial_quality["value"].rename("quality"))
    trials = trials.sort_values("number", ascending=False).reset_index()
    return _typed(trials.assign(method=trials["method"].map(method_label)))


def frame_with_excluded(analysis: Analysis, excluded: Analysis) -> pd.DataFrame:
    """Frame of *analysis* and of the *excluded* trials, which say why in the column ``excluded``."""
    why = {record.result.spec.key: record.excluded for record in excluded.records}
    frames = [trial_frame(each).astype(object) for each in (analysis, excluded) if each.records]
    trials = pd.concat(frames, ignore_index=True).sort_values("number", ascending=False)
    trials["excluded"] = trials["key"].map(why).astype(object)
    trials["key"] = trials["key"].astype(str)
    return _typed(trials.reset_index(drop=True))


def _typed(trials: pd.DataFrame) -> pd.DataFrame:
    """*trials* with its numbers as such, and its texts as categories."""
    for field in trials.columns:
        if str(field).partition(".")[0] in (
            "score",
            "error",
            "over_reach",
            "valid_format",
            "forgetting",
        ):
            trials[field] = trials[field].astype(float)
    numbers = [column.field for column in (*_CONFIGURATION, *_REST) if not column.words]
    trials[numbers] = trials[numbers].astype(float)  # one all of ``None`` would pass for text
    for column in (*_CONFIGURATION, *_REST):
        if column.words:
            trials[column.field] = _categories(trials[column.field])
    if "excluded" in trials:
        trials["excluded"] = _categories(trials["excluded"])
    return trials


def _categories(texts: pd.Series[Any]) -> pd.Series[Any]:
    """*texts* as alphabetical categories: quick to sort and filter."""
    distinct = sorted(map(str, texts.dropna().unique()), key=lambda text: (text.lower(), text))
    return texts.astype(pd.CategoricalDtype(distinct, ordered=True))


def plain_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """*frame* as JSON takes it: one dict per row, absent is ``None``."""
    names = [str(name) for name in frame.columns]
    values = [  # NaN alone is not equal to itself
        [None if value != value else value for value in frame[name].tolist()] for name in names
    ]
    return [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]


def columns_of(fields: Iterable[str]) -> tuple[Column, ...]:
    """The grid's columns for a frame that has *fields*, the most important first."""
    names = [str(field) for field in fields]
    scores = _measured(names, "score.", "score", "share", usual=True)
    scores += _measured(names, "error.", "error, lower is better", "rate", usual=True)
    lost = _measured(names, "forgetting.", "lost", "percent", usual=True)
    over = _measured(names, "over_reach.", "false positives", "percent", usual=False)
    valid = _measured(names, "valid_format.", "valid answers", "share", usual=False)
    excluded = (_EXCLUDED,) if "excluded" in names else ()
    return (*_CONFIGURATION, *excluded, *scores, *lost, *_REST, *over, *valid)


def _measured(
    names: list[str],
    prefix: str,
    word: str,
    form: Literal["share", "percent", "rate"],
    *,
    usual: bool,
) -> list[Column]:
    return [
        Column(name, f"{name.removeprefix(prefix)}, {word}", form, 140 + 30 * (not usual),
               usual=usual)
        for name in names
        if name.startswith(prefix)
    ]  # fmt: skip


def definitions(columns: Iterable[Column], shown: Iterable[str]) -> list[dict[str, Any]]:
    """*columns* as AG Grid takes them; those whose field is not in *shown* are hidden."""
    wanted = set(shown)
    return [_definition(column, column.field in wanted) for column in columns]


def _definition(column: Column, shown: bool) -> dict[str, Any]:
    definition: dict[str, Any] = {
        "field": column.field,
        "headerName": column.title,
        "width": column.width,
        "hide": not shown,
        "filter": "agTextColumnFilter" if column.words else "agNumberColumnFilter",
        "valueFormatter": {"function": f"{column.form}(params.value)"},
        "type": None if column.words else "rightAligned",
    }
    if column.form in ("percent", "share", "quality"):
        definition["filterParams"] = {
            "allowedCharPattern": r"\d\-−\.% ",
            "numberParser": {"function": f"{column.form}Typed(params)"},
            "numberFormatter": {"function": f"{column.form}Shown(params)"},
        }
    if column.field == "number":
        definition |= {"pinned": "left", "lockVisible": True, "cellRenderer": "TrialLink"}
    return definition
