"""The 80 % interval of a measured value from its standard error: one rule for every page."""

from __future__ import annotations

from tracker.metrics import Z, normal_interval

__all__ = ["Z80", "normal_interval"]

#: Of a normal distribution: 80 % lies within this many standard errors.
Z80 = Z
