"""Axes that charts share: training-set sizes, scores, differences of scores; ranges and tick formats."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from tracker.laws.curves import Metric
from tracker.numbers import count

#: Plotly sets at most about so many ticks; the formats keep them apart.
_TICKS = 12
#: Ticks that a phone has room for.
_FEW_TICKS = 7


def examples_axis(
    volumes: Sequence[float], *, log_x: bool, ends: tuple[float, float] | None = None
) -> dict[str, Any]:
    """Axis of training-set sizes. *volumes*: ticks of a logarithmic one; *ends*: its range."""
    axis: dict[str, Any] = {
        "title": "Training examples, all tasks",
        "type": "log" if log_x else "linear",
    }
    if ends is not None:
        axis["range"] = [math.log10(end) for end in ends] if log_x else [0, ends[1]]
    if not log_x:
        return axis | {"tickformat": ",~r"}
    kept = volumes[:: max(1, -(-len(volumes) // _FEW_TICKS))]
    return axis | {"tickvals": list(kept), "ticktext": [count(volume) for volume in kept]}


def difference_axis(title: str, ends: Sequence[float], *, scored: bool) -> dict[str, Any]:
    """Axis of differences between *ends*: of scores in points, else in the unit of the loss."""
    low, high = min(ends), max(ends)
    if not scored:
        return {"title": title, "tickformat": "+~g"}
    step = _round_step((high - low) / _FEW_TICKS)
    places = range(math.ceil(low / step), math.floor(high / step) + 1)
    return {
        "title": f"{title} (points)",
        "tickvals": [step * place for place in places],
        "ticktext": [
            f"{100 * step * place:+.6g}".replace("-", "−") if place else "0" for place in places
        ],
    }


def _round_step(least: float) -> float:
    """Tick step: the smallest of 1, 2, 5, 10, … that is not below *least*."""
    power = 10.0 ** math.floor(math.log10(least or 0.01))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * (1 - 1e-9))


def share_ticks(low: float, high: float, *, signed: bool = False) -> str:
    """Tick format of shares from *low* to *high*, in per cent: no label appears twice."""
    span = 100 * abs(high - low)
    digits = max(0, math.ceil(-math.log10(span / _TICKS))) if span > 0 else 1
    return f"{'+' * signed}.{digits}{'~' * (digits > 0)}%"


def quality_ticks(low: float, high: float, *, scored: bool) -> str:
    """Tick format of qualities: shares of a score, or, not *scored*, losses in their own unit."""
    return share_ticks(low, high) if scored else "~g"


def metric_ticks(metric: Metric) -> str:
    """Tick format of *metric*: whole per cent of a score, two digits of a loss."""
    return ".0%" if metric == "score" else ".2f"


def padded(values: Iterable[float], share: float, least: float) -> tuple[float, float]:
    """Range of *values* with *share* of its length on each side; *least*: the length if they are equal."""
    ends = list(values)
    pad = share * (max(ends) - min(ends) or least)
    return min(ends) - pad, max(ends) + pad
