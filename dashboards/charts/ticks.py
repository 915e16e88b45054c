"""Number formats of chart axes, with as many digits as the range shown asks for."""

from __future__ import annotations

import math

#: Plotly sets at most about so many ticks; the formats keep them apart.
_TICKS = 12


def share_ticks(low: float, high: float, *, signed: bool = False) -> str:
    """Plotly's format for an axis of shares from *low* to *high*, in per cent: no label appears twice."""
    span = 100 * abs(high - low)
    digits = max(0, math.ceil(-math.log10(span / _TICKS))) if span > 0 else 1
    return f"{'+' * signed}.{digits}{'~' * (digits > 0)}%"


def quality_axis(low: float, high: float, *, scored: bool, signed: bool = False) -> str:
    """The same for qualities: shares of a score, or, not *scored*, losses in their own unit."""
    return share_ticks(low, high, signed=signed) if scored else "~g"
