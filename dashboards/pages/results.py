"""The tuned results that a page can show: tasks, mixes, sizes and volumes, and what it says without any."""

from __future__ import annotations

from typing import Any

import pandas as pd

from dashboards.charts.theme import in_order
from dashboards.charts.wording import plural
from dashboards.components import Choice, empty, link
from dashboards.snapshot import SweepView
from dashboards.state import Query, href
from tracker.laws.curves import Metric

METRIC_WORDS: dict[Metric, str] = {
    "score": "Score",
    "bits_per_byte": "Bits per byte",
    "loss_nats": "Loss, nats",
}
#: How many times the largest volume the comparison of sizes may look ahead.
_FURTHER = (2, 4)
#: The table is wide: what a page only looks through is taken without the rest.
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


def no_results(view: SweepView, detail: str, *, small: bool = False) -> Any:
    """In place of the results; *detail* says what is to come."""
    tally = view.findings.tally
    if not tally.ended:
        return empty("No trials yet", detail, small=small)
    lost = tally.ended - tally.by_status.get("complete", 0)
    told = f"{plural(tally.ended, 'trial')} ended, {lost or 'none'} of them without a result. "
    way = link(Choice("What became of them", href("/", Query(view.info.name)), False))
    more = f" {detail}" if view.info.is_live else ""
    return empty("No tuned trial has a score", [told, way, more], small=small)
