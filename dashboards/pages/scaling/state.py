"""What the scaling page shows, settled from its address and what was measured."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from dashboards.pages.results import (
    METRIC_WORDS,
    mixes_of,
    pairs_of,
    sizes_of,
    tasks_of,
    tuned_of,
    volumes_of,
)
from dashboards.state import Query, one_of
from tracker.laws.curves import Metric


class Shown(NamedTuple):
    """What the page shows: the query's wishes where they exist, the first of each otherwise.

    ``pair``: the two methods compared, ``full~lora``, empty where only one was run. ``volume``: that at
    which model sizes are compared, also one ahead of those measured.
    """

    task: str
    metric: Metric
    mix: str
    models: tuple[str, ...]
    log_x: bool
    together: bool
    pair: str
    volume: int


def shown(table: pd.DataFrame, query: Query) -> Shown | None:
    """Settle *query* against what was measured; ``None`` before the first tuned result."""
    tuned = tuned_of(table)
    if tuned.empty:
        return None
    tasks, mixes = tasks_of(tuned), mixes_of(tuned)
    metrics = [m for m in METRIC_WORDS if tuned[m].notna().any()]
    if not metrics:
        return None
    models = tuple(sizes_of(tuned))
    mix = one_of(mixes, query.get("mix"))
    volumes = volumes_of(tuned[tuned["mix"] == mix])
    pairs = pairs_of(tuned[tuned["mix"] == mix])
    return Shown(
        task=one_of(tasks, query.get("task")),
        metric=one_of(metrics, query.get("metric")),
        mix=mix,
        models=tuple(m for m in models if m in query.many("models")) or models,
        log_x=query.get("axis") != "linear",
        together=query.get("view") == "together",
        pair=one_of([*pairs, ""], query.get("pair")),
        volume=next((v for v in volumes if str(v) == query.get("volume")), _largest(tuned, mix)),
    )


def _largest(tuned: pd.DataFrame, mix: str) -> int:
    return int(tuned.loc[tuned["mix"] == mix, "volume"].max())
