"""Numbers inside sentences, as people read them: no exponents such as e-05."""

from __future__ import annotations

import math

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


def small(value: float) -> str:
    """A difference of qualities, which nobody should have to read as 7.5e-05."""
    return "less than 0.0001" if 0 < value < 1e-4 else f"{value:.2g}"


def work(flops: float) -> str:
    """Counted training operations: ``1.3 TFLOP``."""
    for factor, prefix in _FLOP:
        if flops >= factor:
            return f"{flops / factor:.3g} {prefix}FLOP of training"
    return f"{flops:,.0f} FLOP of training"


def _trimmed(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text
