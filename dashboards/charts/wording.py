"""Sizes and durations as people read them, and text that plotly must not read as markup."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tracker.numbers import ABSENT, count, interval, limits, present

_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_SI = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def compact(value: float | None, unit: str = "") -> str:
    """Count with an SI prefix: 317_000 → ``317k``; with a unit, ``317 kB``."""
    if not present(value):
        return ABSENT
    number, prefix = value, ""
    for factor, name in _SI:
        if abs(number) >= factor:
            number, prefix = number / factor, name
            break
    text = f"{number:.3g}" if abs(number) < 1000 else f"{number:.0f}"
    return f"{text} {prefix}{unit}" if unit else f"{text}{prefix}"


def about(value: float | None) -> str:
    """A size that is known only roughly, two digits: 417 → ``420``, 12345 → ``12,000``."""
    if not present(value) or value <= 0:
        return count(value)
    return count(float(f"{value:.2g}"))


def duration(seconds: float | None) -> str:
    """Seconds as the two largest units: 3725 → ``1 h 2 min``."""
    if not present(seconds):
        return ABSENT
    whole = max(0, round(seconds))
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


class WithInterval(Protocol):
    """A value with its 80 % interval; an end that is not known is ``None``."""

    @property
    def value(self) -> float: ...
    @property
    def low(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...


def estimate(found: WithInterval, write: Callable[[float], str]) -> str:
    """A value with its 80 % interval, as far as its error is known; *write* writes one number."""
    if not present(found.low) or not present(found.high):
        return f"{write(found.value)}, its error unknown"
    return f"{write(found.value)} ({interval(found.low, found.high, write)})"


def interval_or_unknown(found: WithInterval, write: Callable[[float], str]) -> str:
    """The 80 % interval of a value that stands beside it, or that its error is unknown."""
    if not present(found.low) or not present(found.high):
        return "its error is unknown"
    return interval(found.low, found.high, write)


def estimate_short(found: WithInterval, write: Callable[[float], str]) -> str:
    """A value with its interval in a column whose head says 80 %: ``71.5 % (69.6 to 73.5 %)``."""
    return f"{write(found.value)} ({limits(found.low, found.high, write)})"


def escaped(text: str) -> str:
    """Escape a user's *text* for plotly, which reads a little markup and ``%{field}``."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("%{", "% {")
