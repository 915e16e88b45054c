"""The trials grid: a row per trial as plain values, and how its columns are shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from dashboards.figures.progress import trial_quality
from dashboards.figures.theme import method_words

_PLAIN = (
    *("number", "status", "model", "method", "variant", "rank", "virtual_tokens", "mix", "volume"),
    *("learning_rate", "seed", "stage", "train_tokens", "flops", "device_seconds", "peak_bytes"),
    "reason",
)


def trial_rows(table: pd.DataFrame, weights: Mapping[str, float]) -> list[dict[str, Any]]:
    """One dict per trial, newest first; absent is ``None``.

    Beside the table's own columns: ``quality``, ``score.<task>`` and ``forgetting.<suite>``.
    """
    if table.empty:
        return []
    suites = [name for name in table.columns if name.startswith("forgetting.")]
    trials = table.drop_duplicates("key").set_index("key")[[*_PLAIN, *suites]]
    scored = table[table["task"].notna()]
    scores = scored.pivot_table(index="key", columns="task", values="score", aggfunc="first")
    trials = trials.join(scores.add_prefix("score."))
    trials = trials.join(trial_quality(table, weights).rename("quality"))
    trials = trials.sort_values("number", ascending=False).reset_index()
    trials["method"] = trials["method"].map(method_words)
    rows = trials.astype(object).where(trials.notna(), None).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]


def column_defs(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The grid's columns for *table*, most telling first."""
    tasks = table.loc[table["score"].notna(), "task"].unique().tolist()
    suites = [name for name in table.columns if name.startswith("forgetting.")]
    return [
        _column("number", "Trial", "plain", width=84, pinned="left"),
        _column("status", "Status", "plain", width=116, words=True),
        _column("model", "Model", "plain", width=120, words=True),
        _column("method", "Method", "plain", width=140, words=True),
        _column("variant", "Variant", "plain", width=108, words=True),
        _column("volume", "Examples", "count", width=122),
        _column("mix", "Mix", "plain", width=100, words=True),
        _column("quality", "Quality", "quality", width=108),
        *(_column(f"score.{task}", f"{task}, score", "percent", width=140) for task in tasks),
        *(_column(name, f"{name[11:]}, lost", "percent", width=140) for name in suites),
        _column("learning_rate", "Learning rate", "rate", width=134),
        _column("rank", "Rank", "plain", width=88),
        _column("virtual_tokens", "Virtual tokens", "plain", width=134),
        _column("seed", "Seed", "plain", width=84),
        _column("device_seconds", "Device time", "seconds", width=122),
        _column("train_tokens", "Train tokens", "count", width=128),
        _column("reason", "Reason", "plain", width=280, words=True),
    ]


def _column(
    field: str, title: str, form: str, *, width: int, words: bool = False, **more: Any
) -> dict[str, Any]:
    kind = "agTextColumnFilter" if words else "agNumberColumnFilter"
    return {
        "field": field,
        "headerName": title,
        "width": width,
        "filter": kind,
        "valueFormatter": {"function": f"{form}(params.value)"},
        "type": None if words else "rightAligned",
        **more,
    }
