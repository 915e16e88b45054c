"""The tuned results that a chart can show: tasks, mixes, sizes, volumes and pairs of methods."""

from __future__ import annotations

import pandas as pd

from dashboards.charts.theme import in_order
from tracker.laws.curves import Metric

METRIC_WORDS: dict[Metric, str] = {
    "score": "Score",
    "bits_per_byte": "Bits per byte",
    "loss_nats": "Loss, nats",
}
#: How many times the largest volume the comparison of sizes may look ahead.
_FURTHER = (2, 4)
#: The table is wide: what is only looked through is taken without the rest.
_COLUMNS = ["model", "parameters", "method", "mix", "volume", "task", "examples", *METRIC_WORDS]


def tuned_of(table: pd.DataFrame) -> pd.DataFrame:
    """The scored rows of tuned trials, in the columns that tell what was run and measured."""
    return table.loc[(table["method"] != "none") & table["task"].notna(), _COLUMNS]


def tasks_of(tuned: pd.DataFrame) -> list[str]:
    """Trained tasks first, then those only evaluated."""
    trained = tuned[tuned["examples"] > 0]["task"].unique().tolist()
    return list(dict.fromkeys([*trained, *tuned["task"].unique().tolist()]))


def mixes_of(tuned: pd.DataFrame) -> list[str]:
    """The mix measured most often first: it has the longest curves."""
    return [str(mix) for mix in tuned["mix"].value_counts().index]


def sizes_of(tuned: pd.DataFrame) -> dict[str, int | None]:
    """Models, the smallest first, and their parameters; ``None`` where not known, last."""
    known = tuned[["model", "parameters"]].drop_duplicates()
    ordered = known.sort_values("parameters").drop_duplicates("model")
    sizes = zip(ordered["model"].tolist(), ordered["parameters"].tolist(), strict=True)
    return {str(model): None if pd.isna(size) else int(size) for model, size in sizes}


def volumes_of(tuned: pd.DataFrame, *, ahead: bool = True) -> list[int]:
    """Volumes measured; *ahead*: then the multiples of the largest that are looked ahead to."""
    measured = sorted({int(volume) for volume in tuned["volume"].unique() if volume > 0})
    further = [factor * measured[-1] for factor in _FURTHER] if ahead and measured else []
    return [*measured, *further] or [0]


def pairs_of(tuned: pd.DataFrame) -> list[str]:
    """Every two methods, ``full~lora``; full tuning and LoRA first."""
    methods = in_order(str(method) for method in tuned["method"].unique())
    return [f"{a}~{b}" for i, a in enumerate(methods) for b in methods[i + 1 :]]
