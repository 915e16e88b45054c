"""How far the laws of one table missed the ends of its own curves, and what their intervals learn of it.

Tables differ in how well the law fits them by more than other people's tables tell: what a table shows
itself is the better guide near its data, what others showed the only one far from it. Each curve's
largest size is foretold without it (one origin of a rolling-origin evaluation; Tashman 2000), and the
recorded widening is multiplied by the ratio at which the intervals would have held as often as they
say (normalised conformal prediction; Papadopoulos et al. 2008), raised to a share in [0, 1].
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tracker.laws.pooling import Array
from tracker.laws.prior import LEVELS, Widening, by_level, recorded
from tracker.trial import Frozen

#: Fewer ends say nothing of how far forecasts miss.
TELLING = 8
_RATIO = (0.1, 5.0)


class Ends(NamedTuple):
    """Ends of curves foretold without them: the factors ``needed`` (levels, n) at which their intervals
    would just have held them, ``doublings`` (n,) ahead.
    """

    needed: Array
    doublings: Array

    @classmethod
    def none(cls) -> Ends:
        return cls(np.zeros((len(LEVELS), 0)), np.zeros(0))


class BacktestErrors(Frozen):
    """``ratios``: by level of LEVELS, how many times wider than the recorded widening intervals for the
    ``count`` ends had to be; 1 where too few ends tell.
    """

    count: int = 0
    ratios: tuple[float, ...] = (1.0,) * len(LEVELS)

    @classmethod
    def of(cls, ends: Ends, others: Widening | None = None) -> BacktestErrors:
        """The misses of *ends*, over the widening learned from *others*: the shipped one if None."""
        count = len(ends.doublings)
        if count < TELLING:
            return cls()
        others = others or recorded()
        over = [
            row / others.at(ends.doublings, p) for row, p in zip(ends.needed, LEVELS, strict=True)
        ]
        # The quantile of split conformal prediction, the forecast to come counted as one more.
        ratios = [
            np.quantile(row, p, method="weibull") for row, p in zip(over, LEVELS, strict=True)
        ]
        return cls(count=count, ratios=tuple(np.clip(ratios, *_RATIO).tolist()))

    def at(self, doublings: Array, level: float) -> Array:
        """The factor (m,) on the recorded widening at *doublings* (m,) beyond the data.

        Within the first doubling it sets in. The recorded widening counts as one end tested as far
        as the ends were, and as h^2 at h doublings, where they tell less: a ratio to the power of
        n / (n + h^2).
        """
        share = np.minimum(doublings, 1.0) * self.count
        share /= self.count + np.maximum(doublings, 1.0) ** 2
        return by_level([ratio**share for ratio in self.ratios], level)
