"""Numbers as people read them: one way to write each kind of quantity, on pages and at the terminal.

A score is written in per cent (``71.5 %``), a difference of scores in points (``+1.6 points``), a
relative change in per cent with its sign (``+5.4 %``), a probability in whole per cent (``80 %``, ``>99 %``).
Inside a sentence no number has an exponent such as e-05. What is absent is a dash, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeGuard

#: In place of a number that is not there.
ABSENT = "–"
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_WORDS = ((1e12, "trillion"), (1e9, "billion"), (1e6, "million"))
_FLOP = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"))
#: Below this a decimal fraction is mostly zeros.
_TINY = 1e-6


def number(value: float, digits: int = 3) -> str:
    """*value* to so many digits: ``0.000075``, ``12,300``, ``1.23 trillion``; far out ``2.5 × 10^-9``."""
    if not math.isfinite(value) or value == 0:
        return f"{value:g}"
    rounded = float(f"{value:.{digits - 1}e}")
    size = abs(rounded)
    if not _TINY <= size < 1e15:
        mantissa, _, power = f"{rounded:.{digits - 1}e}".partition("e")
        return f"{_trimmed(mantissa)} × 10^{int(power)}"
    for factor, word in _WORDS:
        if size >= factor:
            return f"{rounded / factor:.{digits}g} {word}" if size < 1000 * factor else (
                f"{rounded / factor:,.0f} {word}"
            )  # fmt: skip
    places = max(0, digits - 1 - math.floor(math.log10(size)))
    return _trimmed(f"{rounded:,.{places}f}")


def work(flops: float) -> str:
    """Counted training operations: ``1.3 TFLOP``."""
    for factor, prefix in _FLOP:
        if flops >= factor:
            return f"{flops / factor:.3g} {prefix}FLOP of training"
    return f"{flops:,.0f} FLOP of training"


def percent(value: float | None, digits: int = 1) -> str:
    """A share as per cent: 0.6612 → ``66.1 %``."""
    return _hundredths(value, f".{digits}f", "%")


def signed_percent(value: float | None, digits: int = 1) -> str:
    """A change as per cent with its sign: 0.02 → ``+2.0 %``."""
    return _hundredths(value, f"+.{digits}f", "%")


def score(value: float | None) -> str:
    """A score in [0, 1]: 0.715 → ``71.5 %``."""
    return percent(value)


def points(value: float | None, digits: int = 1, *, signed: bool = True) -> str:
    """A difference of two scores: 0.016 → ``+1.6 points``."""
    return _hundredths(value, f"{'+' if signed else ''}.{digits}f", "points")


def mean_count(value: float) -> str:
    """A number of things, or its mean over runs: ``3``, ``2.5``."""
    return count(int(value)) if value == int(value) else number(value)


def likelihood(nats: float) -> str:
    """A likelihood of which *nats* is -log: 0.48 → ``0.619``."""
    return number(math.exp(-nats)) if nats < 700 else f"10^-{nats / math.log(10):.0f}"


def relative(value: float | None) -> str:
    """A relative change, such as what a general suite lost: 0.054 → ``+5.4 %``."""
    return signed_percent(value)


def probability(value: float | None) -> str:
    """A probability: 0.803 → ``80 %``; 0.9998 → ``>99 %``: 100 and 0 are written where they are exact."""
    text = percent(value, 0)
    if present(value) and 0 < value < 1 and text in ("100 %", "0 %"):
        return ">99 %" if value > 0.5 else "<1 %"
    return text


def interval(low: float, high: float, write: Callable[[float], str] = score) -> str:
    """An 80 % interval, its unit once: ``80 % interval 69.6 to 73.5 %``; *write* writes one end."""
    return f"80 % interval {limits(low, high, write)}"


def limits(low: float | None, high: float | None, write: Callable[[float], str] = score) -> str:
    """The two ends of an interval, their unit once: ``69.6 to 73.5 %``."""
    if not present(low) or not present(high):
        return ABSENT
    first, last = write(low), write(high)
    _, space, unit = last.partition(" ")
    return f"{first.removesuffix(space + unit)} to {last}"


def in_measure(number: float | None, metric: str) -> str:
    """A score as per cent, a loss with three digits."""
    return score(number) if metric == "score" or number is None else f"{number:.3f}"


def quality(value: float | None, digits: int = 1, *, scored: bool | None = None) -> str:
    """A quality: a score as per cent, minus a loss as a number.

    *scored*: whether it is a mean of scores alone; by default whether it is 0 or more.
    """
    if not present(value) or (is_score(value) if scored is None else scored):
        return percent(value, digits)
    return f"{value:.4g}".replace("-", "−")


def quality_gap(value: float | None, *, scored: bool, signed: bool = True) -> str:
    """A difference of two qualities: in points, or in the unit of the loss."""
    if scored or not present(value):
        return points(value, 1 if signed else 2, signed=signed)
    return f"{value:{'+' if signed else ''}.3g}".replace("-", "−")


def regret_text(value: float, *, scored: bool) -> str:
    """An expected regret, never rounded to nothing: ``0.16 points``, ``less than 0.01 points``."""
    if not scored:
        return number(value)
    return "less than 0.01 points" if 0 < value < 5e-5 else points(value, 2, signed=False)


def is_score(value: float) -> bool:
    """Whether a quality is a score: minus a loss, or minus an error, lies below 0."""
    return value >= 0


def count(value: float | None) -> str:
    """A whole number with thin groups: 12000 → ``12,000``."""
    return f"{round(value):,}" if present(value) else ABSENT


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


def rough_duration(seconds: float) -> str:
    """An expected duration in one unit: ``8 s``, ``11 min``, ``1.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def memory(size: float) -> str:
    """Bytes in the unit that reads best: ``37 MiB``, ``20.3 GiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit != "GiB" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def money(amount: float, currency: str) -> str:
    """An amount of money: ``2.50 EUR``, ``1,234 EUR``, never rounded to nothing: ``less than 0.01 EUR``."""
    if 0 < amount < 0.01:
        return f"less than 0.01 {currency}"
    return f"{amount:,.{0 if amount >= 1000 else 2}f} {currency}"


def plural(number: int, noun: str, several: str | None = None) -> str:
    """``1 trial``, ``2 trials``; *several*: an irregular plural, such as ``glitches``."""
    return f"{number:,} {noun if number == 1 else several or f'{noun}s'}"


def present(value: float | None) -> TypeGuard[float]:
    """Whether there is a finite number; faster than pandas tells it of one value."""
    return value is not None and math.isfinite(value)


def _hundredths(value: float | None, form: str, unit: str) -> str:
    if not present(value):
        return ABSENT
    text = f"{100 * value:{form}}"
    zero = not text.strip("+-0.")
    return f"{text.replace('-', '+' if '+' in form else '') if zero else text} {unit}".replace(
        "-", "−"
    )


def _trimmed(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text
