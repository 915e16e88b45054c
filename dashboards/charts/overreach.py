"""What a tuned model answers beside the right answers: recall, precision, over-reach, valid format.

Each against examples, as the change from the untouched base. A tuned model answers more; whether it also
answers wrongly more is what precision and over-reach say. Where the base has no such value (a model that
never claims anything has no precision) the values stand as they are, and the figure says so.

The 80 % intervals are of a share p of n rows, sqrt(p (1 - p) / n) with two successes and two failures
added (Agresti and Coull, The American Statistician 52, 1998), joined with the pooled deviation between
seeds. n counts all rows evaluated, while precision and over-reach are shares of fewer, which the results
do not number: their true intervals are at least as wide.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from dashboards.charts.generalisation import between_seeds, with_settings
from dashboards.charts.interval import Z80
from dashboards.charts.theme import in_order

Kind = Literal["recall", "precision", "over_reach", "valid_format"]
#: In the order of the panels, with what each is called and means.
KINDS: dict[Kind, tuple[str, str]] = {
    "recall": ("Recall", "of the rows that have an answer, the share answered rightly"),
    "precision": ("Precision", "of the answers that claim something, the share that is right"),
    "over_reach": ("Over-reach", "of the rows without an answer, the share answered all the same"),
    "valid_format": ("Valid format", "the share of answers that have the form asked for"),
}
_NEEDED = "method variant rank virtual_tokens learning_rate mix volume n".split()


class Reading(NamedTuple):
    """One volume, seeds averaged: ``value`` as measured, ``change`` and its interval as drawn.

    ``low``, ``high`` are ``None`` where the number of rows is not known.
    """

    volume: int
    runs: int
    value: float
    change: float
    low: float | None
    high: float | None


class Trace(NamedTuple):
    """One method of the model, by ascending volume."""

    method: str
    readings: tuple[Reading, ...]


class Panel(NamedTuple):
    """``base``: the untouched model's value, ``None`` where it has none: changes are values then."""

    kind: Kind
    base: float | None
    traces: tuple[Trace, ...]


class Overreach(NamedTuple):
    """One task and model. ``missing``: kinds that no tuned trial measured."""

    task: str
    model: str
    panels: tuple[Panel, ...]
    missing: tuple[Kind, ...]

    @property
    def methods(self) -> tuple[str, ...]:
        """Methods with a trace in some panel, in the order every page uses."""
        return in_order(trace.method for panel in self.panels for trace in panel.traces)


def overreach(
    table: pd.DataFrame, *, task: str, model: str, mix: str, settings: dict[str, str]
) -> Overreach:
    """The panels of *model* on *task* under *mix*.

    *settings*: by method the setting to take, as :func:`dashboards.charts.generalisation.with_settings`
    names it; methods that are not there are left out.
    """
    wanted = (table["task"] == task) & (table["status"] == "complete") & (table["model"] == model)
    rows = with_settings(table.loc[wanted, [*_NEEDED, *KINDS]])
    base = rows[rows["method"] == "none"]
    tuned = rows[(rows["mix"] == mix) & rows["method"].isin(list(settings))]
    tuned = tuned[tuned["setting"] == tuned["method"].map(settings)]
    panels, missing = [], []
    for kind in KINDS:
        measured = tuned[tuned[kind].notna()]
        if measured.empty:
            missing.append(kind)
            continue
        zero = base[kind].astype(float).dropna()
        panels.append(_panel(kind, measured, zero, base["n"].max()))
    return Overreach(task, model, tuple(panels), tuple(missing))


def _panel(kind: Kind, tuned: pd.DataFrame, zero: pd.Series[float], base_rows: float) -> Panel:
    base = float(zero.mean()) if len(zero) else None
    base_se = 0.0 if base is None else _share_se(base, base_rows)
    grouped = tuned.groupby(["method", "volume"])
    means = grouped.agg(value=(kind, "mean"), runs=(kind, "size"), rows=("n", "mean")).reset_index()
    between = between_seeds(grouped[kind]) or 0.0
    found: dict[str, list[Reading]] = {}
    for method, volume, value, runs, rows in means.itertuples(index=False, name=None):
        change, zero_at = value - (base or 0.0), base or 0.0
        half = Z80 * float(np.sqrt(_share_se(value, rows) ** 2 + base_se**2 + between**2 / runs))
        low, high = (None, None)
        if np.isfinite(half):  # a share stays within 0 and 1
            low, high = max(change - half, -zero_at), min(change + half, 1 - zero_at)
        found.setdefault(method, []).append(
            Reading(int(volume), int(runs), float(value), float(change), low, high)
        )
    order = in_order(found)
    return Panel(kind, base, tuple(Trace(method, tuple(found[method])) for method in order))


def _share_se(share: float, rows: float) -> float:
    """NaN where *rows* is not known."""
    near = (share * rows + 2) / (rows + 4)
    return float(np.sqrt(near * (1 - near) / (rows + 4)))
