"""Numbers as people read them. Absent is a dash, never 0."""

from __future__ import annotations

import math
from collections.abc import Iterable

ABSENT = "–"
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_SI = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def percent(value: float | None, digits: int = 1) -> str:
    """A share as per cent: 0.6612 → ``66.1 %``."""
    if missing(value):
        return ABSENT
    number = round(100 * _known(value), digits) + 0.0  # + 0.0 turns −0.0 into 0.0
    return f"{number:.{digits}f} %".replace("-", "−")


def in_measure(number: float | None, metric: str) -> str:
    """A score as per cent, a loss with three digits."""
    return percent(number) if metric == "score" or number is None else f"{number:.3f}"


def signed_percent(value: float | None, digits: int = 1) -> str:
    """A change as per cent with its sign: 0.02 → ``+2.0 %``."""
    if missing(value):
        return ABSENT
    number = round(100 * _known(value), digits) + 0.0
    return f"{number:+.{digits}f} %".replace("-", "−")


def quality(value: float | None, digits: int = 1) -> str:
    """A quality: a score as per cent, minus a loss (it is below 0) as a number."""
    if missing(value) or _is_score(_known(value)):
        return percent(value, digits)
    return f"{_known(value):.4g}".replace("-", "−")


def quality_gap(value: float | None, *, scored: bool, signed: bool = True) -> str:
    """A difference of two qualities: in per cent of the score, or in the unit of the loss."""
    if scored or missing(value):
        return signed_percent(value) if signed else percent(value, 2)
    return f"{_known(value):{'+' if signed else ''}.3g}".replace("-", "−")


def quality_ticks(values: Iterable[float]) -> str:
    """Plotly's number format for an axis of qualities."""
    return ".0%" if all(_is_score(value) for value in values) else "~g"


def _is_score(value: float) -> bool:
    """A score's estimate may come out a little below 0; no loss is that small."""
    return value > -0.02


def compact(value: float | None, unit: str = "") -> str:
    """A count with an SI prefix: 317_000 → ``317k``; with a unit, ``317 kB``."""
    if missing(value):
        return ABSENT
    number, prefix = _known(value), ""
    for factor, name in _SI:
        if abs(number) >= factor:
            number, prefix = number / factor, name
            break
    text = f"{number:.3g}" if abs(number) < 1000 else f"{number:.0f}"
    return f"{text} {prefix}{unit}" if unit else f"{text}{prefix}"


def count(value: float | None) -> str:
    """A whole number with thin groups: 12000 → ``12,000``."""
    return ABSENT if missing(value) else f"{round(_known(value)):,}"


def about(value: float | None) -> str:
    """A size that is known only roughly, two digits: 417 → ``420``, 12345 → ``12,000``."""
    if missing(value) or _known(value) <= 0:
        return count(value)
    return count(float(f"{_known(value):.2g}"))


def duration(seconds: float | None) -> str:
    """Seconds as the two largest units: 3725 → ``1 h 2 min``."""
    if missing(seconds):
        return ABSENT
    whole = max(0, round(_known(seconds)))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def time_span(low: float, high: float) -> str:
    """Two durations in seconds in one unit: 912, 1230 → ``15 to 21 min``."""
    unit, name = next((u, n) for u, n in _UNITS if high >= 2 * u or u == 1)
    digits = 1 if high / unit < 10 and unit > 60 else 0
    first, last = (f"{value / unit:.{digits}f}" for value in (low, high))
    return f"{last} {name}" if first == last else f"{first} to {last} {name}"


def plural(number: int, noun: str) -> str:
    """``1 trial``, ``2 trials``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def unmarked(text: str) -> str:
    """A user's *text* as plotly shows it verbatim: it reads a little markup and ``%{field}``."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("%{", "% {")


def missing(value: float | None) -> bool:
    """Whether there is no number; faster than pandas tells it of one value."""
    return value is None or not math.isfinite(value)


def _known(value: float | None) -> float:
    assert value is not None
    return value
