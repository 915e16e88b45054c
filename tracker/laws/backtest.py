"""Backtest errors of a sweep's laws at the ends of its curves, and the widening of intervals by them.

Tables differ in how well the law fits them by more than recorded tables show. A sweep's own errors are the
better guide near its data; those of recorded tables are the only one far from it. Each curve's largest size
is predicted without it (one origin of a rolling-origin evaluation; Tashman 2000). The recorded widening is
multiplied by the ratio at which the intervals would have covered as often as they say (normalised conformal
prediction; Papadopoulos et al. 2008), raised to a share in [0, 1].
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tracker.frozen import Frozen
from tracker.laws.pooling import Array
from tracker.laws.prior import LEVELS, Widening, by_level, recorded_widening

#: Backtest errors of fewer curves are not used.
FEWEST_ENDS = 8
_RATIO = (0.1, 5.0)


class CurveEnds(NamedTuple):
    """Backtest of n curves: the largest size of each, predicted without it.

    ``needed`` (levels, n): the factors at which the intervals would just have covered the measurement.
    ``doublings`` (n,): how far ahead of the other sizes it was.
    """

    needed: Array
    doublings: Array

    @classmethod
    def none(cls) -> CurveEnds:
        return cls(np.zeros((len(LEVELS), 0)), np.zeros(0))


class BacktestErrors(Frozen):
    """Correction of the recorded widening by the backtest errors of a sweep's own curves.

    ``ratios``: by level of LEVELS, how many times wider than recorded the intervals at the ``count`` ends
    had to be; 1 where there are too few.
    """

    count: int = 0
    ratios: tuple[float, ...] = (1.0,) * len(LEVELS)

    @classmethod
    def of(cls, ends: CurveEnds, others: Widening | None = None) -> BacktestErrors:
        """Ratios of *ends* to the widening learned from *others*; by default to the shipped one."""
        count = len(ends.doublings)
        if count < FEWEST_ENDS:
            return cls()
        others = others or recorded_widening()
        over = [
            row / others.at(ends.doublings, p) for row, p in zip(ends.needed, LEVELS, strict=True)
        ]
        # The quantile of split conformal prediction, the forecast to come counted as one more.
        ratios = [
            np.quantile(row, p, method="weibull") for row, p in zip(over, LEVELS, strict=True)
        ]
        return cls(count=count, ratios=tuple(np.clip(ratios, *_RATIO).tolist()))

    def at(self, doublings: Array, level: float) -> Array:
        """Factor (m,) on the recorded widening at *doublings* (m,) beyond the data.

        It grows over the first doubling. The recorded widening counts as one end tested as far as the
        ends were, and as h^2 at h doublings, where they say less: a ratio to the power of n / (n + h^2).
        """
        share = np.minimum(doublings, 1.0) * self.count
        share /= self.count + np.maximum(doublings, 1.0) ** 2
        return by_level([ratio**share for ratio in self.ratios], level)
