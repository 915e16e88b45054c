"""The 80 % interval of a measured value from its standard error: one rule for every page."""

from __future__ import annotations

import math

from tracker.configurations import Z

#: Of a normal distribution: 80 % lies within this many standard errors.
Z80 = Z


def normal_interval(
    value: float, error: float | None, least: float = -math.inf, most: float = math.inf
) -> tuple[float, float] | None:
    """*value* ± 1.28 of its standard *error*, kept within *least* and *most*.

    ``None`` where the error is not known, and where it is 0: rows that all came out alike, as with a score
    of exactly 0 or 100 %, do not tell how far it is off.
    """
    if error is None or math.isnan(error) or error == 0:
        return None
    half = Z80 * error
    return max(least, value - half), min(most, value + half)
