"""Sizes and durations as people read them, and text that plotly must not read as markup."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tracker.numbers import ABSENT, count, interval, limits, present

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


_SCORES = {
    "exact_match": "exact match",
    "macro_f1": "macro-F1",
    "token_f1": "token-F1",
    "multilabel_f1": "F1 of several labels",
    "number": "right numbers",
    "json": "F1 of JSON values",
    "chrf": "chrF",
    "rouge_l": "ROUGE-L",
}


def score_name(name: str, other: str | None = None) -> str:
    """Name of a score as people read it; of one that is not ours *other*, else as it is."""
    return _SCORES.get(name, other or name)


def about(value: float | None) -> str:
    """A size that is known only roughly, two digits: 417 → ``420``, 12345 → ``12,000``."""
    if not present(value) or value <= 0:
        return count(value)
    return count(float(f"{value:.2g}"))


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
