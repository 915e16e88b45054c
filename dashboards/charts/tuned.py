"""Options of charts among the tuned results: tasks, mixes, model sizes, training-set sizes, method pairs."""

from __future__ import annotations

import pandas as pd

from dashboards.charts.theme import ordered_methods
from tracker.laws.curves import Metric

METRIC_WORDS: dict[Metric, str] = {
    "score": "Score",
    "error": "Error",
    "bits_per_byte": "Bits per byte",
    "loss_nats": "Loss, nats",
}
#: Multiples of the largest training-set size at which model sizes are compared by prediction.
_PREDICTED_MULTIPLES = (2, 4)
#: The table is wide: what is only looked through is taken without the rest.
_COLUMNS = ["model", "parameters", "method", "mix", "volume", "task", "examples", *METRIC_WORDS]


def tuned_of(table: pd.DataFrame) -> pd.DataFrame:
    """The scored rows of tuned trials, in the columns of what was run and measured."""
    return table.loc[(table["method"] != "none") & table["task"].notna(), _COLUMNS]


def tasks_of(tuned: pd.DataFrame) -> list[str]:
    """Tasks: those trained first, then those only evaluated."""
    trained = tuned[tuned["examples"] > 0]["task"].unique().tolist()
    return list(dict.fromkeys([*trained, *tuned["task"].unique().tolist()]))


def mixes_of(tuned: pd.DataFrame) -> list[str]:
    """Mixes, the one measured most often first: it has the longest curves."""
    return [str(mix) for mix in tuned["mix"].value_counts().index]


def sizes_of(tuned: pd.DataFrame) -> dict[str, int | None]:
    """Models, the smallest first, and their parameters; ``None`` where not known, last."""
    models = tuned[["model", "parameters"]].drop_duplicates()
    ordered = models.sort_values("parameters").drop_duplicates("model")
    sizes = zip(ordered["model"].tolist(), ordered["parameters"].tolist(), strict=True)
    return {str(model): None if pd.isna(size) else int(size) for model, size in sizes}


def volumes_of(tuned: pd.DataFrame, *, ahead: bool = True) -> list[int]:
    """Training-set sizes measured; *ahead*: then multiples of the largest, for predictions."""
    measured = sorted({int(volume) for volume in tuned["volume"].unique() if volume > 0})
    multiples = _PREDICTED_MULTIPLES if ahead and measured else ()
    return [*measured, *(factor * measured[-1] for factor in multiples)] or [0]


def pairs_of(tuned: pd.DataFrame) -> list[str]:
    """Pairs of methods, ``full~lora``; full tuning and LoRA first."""
    methods = ordered_methods(str(method) for method in tuned["method"].unique())
    return [f"{a}~{b}" for i, a in enumerate(methods) for b in methods[i + 1 :]]
