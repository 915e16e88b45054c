"""Best quality so far against counted cost, trial by trial."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dashboards.charts.chart import Chart
from dashboards.charts.theme import (
    METHOD_LABELS,
    Palette,
    method_colour,
    method_label,
    method_symbol,
    template,
)
from dashboards.charts.wording import compact, escaped
from tracker.decision.analysis import Analysis
from tracker.numbers import quality

#: Dots that can still be seen apart, and that a browser draws quickly.
_MAX_DOTS = 250


class ScoredTrial(NamedTuple):
    """Quality and cost of one trial.

    ``spent``: FLOP counted so far, of trials without a result too;
    ``quality``: in [0, 1] where scores decide, minus the loss where there are none.
    """

    number: int
    key: str
    label: str
    method: str
    spent: float
    quality: float


class BestSoFar(NamedTuple):
    """Scored trials in the order they were planned, and the best quality up to each.

    ``uncounted``: trials left out because their cost or one of the weighted scores is unknown;
    ``thinned``: others left out of a large sweep, none of which raised the best. ``best_trial``: the trial
    with the best quality, whether or not its cost is known; the earlier of equals. ``scored``: quality is a
    mean of scores alone.
    """

    trials: tuple[ScoredTrial, ...]
    best: tuple[float, ...]
    uncounted: int
    thinned: int = 0
    best_trial: ScoredTrial | None = None
    scored: bool = True

    @property
    def has_cost(self) -> bool:
        """Whether the cost of any trial is known; the untouched base costs nothing."""
        return any(trial.spent > 0 for trial in self.trials)


def trial_label(row: Mapping[Any, object]) -> str:
    """A trial in words: ``en-1m · LoRA dora r8 · 2,000 examples · even``."""
    name = str(row["method"])
    if name == "none":
        return f"{row['model']} · {METHOD_LABELS[name]}"
    parts = [method_label(name), _text(row.get("variant"))]
    if rank := _whole(row.get("rank")):
        parts.append(f"r{rank}")
    if tokens := _whole(row.get("virtual_tokens")):
        parts.append(f"{tokens} tokens")
    method = " ".join(part for part in parts if part)
    return f"{row['model']} · {method} · {_whole(row['volume']):,} examples · {row['mix']}"


def best_so_far(analysis: Analysis) -> BestSoFar:
    """Best quality over counted cost, by trial number. The untouched base costs nothing to train."""
    table = analysis.table
    every = table.drop_duplicates("key").set_index("key", drop=False).sort_values("number")
    flops = every["flops"].astype(float).where(every["method"] != "none", 0.0)
    reached = analysis.trial_quality["value"].reindex(every.index)
    every = every.assign(flops=flops, spent=flops.fillna(0.0).cumsum(), quality=reached)
    ended = every[every["status"] == "complete"]
    scored = ended.dropna(subset=["flops", "quality"])
    scored = scored.assign(best=scored["quality"].cummax())
    shown = scored[_kept(scored["best"].to_numpy(dtype=float))]
    first = ended.dropna(subset=["quality"]).nlargest(1, "quality")  # keeps the order of equals
    unknown, thinned = len(ended) - len(scored), len(scored) - len(shown)
    return BestSoFar(
        _trials(shown),
        tuple(shown["best"]),
        unknown,
        thinned,
        next(iter(_trials(first)), None),
        analysis.scores_alone,
    )


def _trials(rows: pd.DataFrame) -> tuple[ScoredTrial, ...]:
    return tuple(
        ScoredTrial(
            int(row["number"]),
            str(row["key"]),
            trial_label(row),
            str(row["method"]),
            row["spent"],
            row["quality"],
        )
        for row in rows.to_dict("records")
    )


def _kept(best: np.ndarray) -> np.ndarray:
    """Which of many trials are shown: every one that raised the best, the last, and some of the rest."""
    count = len(best)
    kept = np.ones(count, dtype=bool)
    if count > _MAX_DOTS:
        kept[:] = False
        kept[np.linspace(0, count - 1, _MAX_DOTS).round().astype(int)] = True
        kept |= np.diff(best, prepend=-np.inf) > 0
    return kept


def draw_best_so_far(data: BestSoFar, colours: Palette) -> Chart:
    """Dots per trial, a step line for the best."""
    figure = Chart()
    spent = [t.spent for t in data.trials]
    figure.add_scatter(
        x=spent,
        y=data.best,
        mode="lines",
        line={"shape": "hv", "color": colours.text, "width": 2},
        hoverinfo="skip",
    )
    for method in dict.fromkeys(t.method for t in data.trials):
        trials = [t for t in data.trials if t.method == method]
        figure.add_scatter(
            x=[t.spent for t in trials],
            y=[t.quality for t in trials],
            mode="markers",
            marker={
                "color": method_colour(method, colours),
                "symbol": "x-thin" if method == "none" else method_symbol(method),
                "size": 8,
                "opacity": 0.85,
                "line": {"width": 1.5 if method == "none" else 0.5, "color": colours.surface}
                | ({"color": colours.muted} if method == "none" else {}),
            },
            customdata=[
                [
                    t.number,
                    escaped(t.label),
                    quality(t.quality, scored=data.scored),
                    compact(t.spent, "FLOP"),
                ]
                for t in trials
            ],
            hovertemplate="<b>%{customdata[1]}</b><br>quality %{customdata[2]}<br>"
            "trial %{customdata[0]}, %{customdata[3]} spent so far<extra></extra>",
        )
    figure.update_layout(
        template=template(colours),
        xaxis={
            "title": "Training spent so far (FLOP)",
            "rangemode": "tozero",
            "exponentformat": "SI",
        },
        yaxis={
            "title": "Quality (weighted)",
            "tickformat": ".0%" if data.scored else "~g",
        },
    )
    return figure


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _whole(value: object) -> int:
    return int(value) if isinstance(value, (int, float)) and not pd.isna(value) else 0
