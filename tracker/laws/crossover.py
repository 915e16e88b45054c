"""Crossover of two methods' curves over data: the training-set size at which one overtakes the other.

Zhang et al. (ICLR 2024, arXiv 2402.17193) give the critical size in closed form for laws that share
E; ours do not, so each bootstrap replicate of the two laws is solved on a fine grid of sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tracker.laws.fitted_law import FittedLaw
from tracker.laws.pooling import Array
from tracker.metrics import share_of_draws

#: With fewer crossing replicates neither median nor interval is given.
FEWEST_CROSSINGS = 10


class CrossoverFit(NamedTuple):
    """Size at which the second curve overtakes the first, with the probability that it does.

    ``probability``: that it does between ``start`` and ``end``. ``median``, ``low``, ``high``: of the size;
    ``None`` where fewer than :data:`FEWEST_CROSSINGS` replicates cross.
    """

    probability: float
    median: float | None
    low: float | None
    high: float | None
    start: float
    end: float


def p_ahead(
    first: Sequence[FittedLaw], second: Sequence[FittedLaw], sizes: Array, most: float = np.inf
) -> Array:
    """Probability (m,) that *first* is better (smaller) than *second* at *sizes* (m,); ties count half.

    It is never 0 or 1, which no number of draws can show.

    Laws of the settings of either side, at least one: at each size the setting of the lowest median
    stands for its side. Compared are the curves themselves, without a run's noise; beyond what was
    measured they are spread as :meth:`FittedLaw.curves` says. Draws are paired by index: curves are
    drawn apart once the population is given. Beyond *most* no value can be, 1 for the error of a score:
    two curves there are level.
    """
    one, other = (np.minimum(_best_setting(laws, sizes), np.log(most)) for laws in (first, second))
    shares = (one < other).mean(axis=0) + 0.5 * (one == other).mean(axis=0)
    return np.array([share_of_draws(float(share), len(one)) for share in shares])


def _best_setting(laws: Sequence[FittedLaw], sizes: Array) -> Array:
    """Log draws (replicates, m) of the law with the lowest median at each size."""
    sampled = [law.log_curves(sizes, allow_far=True) for law in laws]
    best = np.array([law.median for law in sampled]).argmin(axis=0)
    return np.array([sampled[i].curves[:, place] for place, i in enumerate(best)]).T


def crossover_of_curves(
    first: Array, second: Array, sizes: Array, level: float = 0.8
) -> CrossoverFit:
    """Crossover of curves (replicates, m) at ascending *sizes* (m,).

    A replicate counts if *second* is not better at the smallest size and is at the largest; the
    size is that of its last change, interpolated in ln D.
    """
    lead = first - second
    crosses = (lead[:, 0] <= 0) & (lead[:, -1] > 0)
    start, end = float(sizes[0]), float(sizes[-1])
    probability = share_of_draws(float(crosses.mean()), len(crosses))
    if crosses.sum() < FEWEST_CROSSINGS:
        return CrossoverFit(probability, None, None, None, start, end)
    rows = lead[crosses]
    # The last index at which the second is not yet ahead.
    last = rows.shape[1] - 1 - (rows[:, ::-1] <= 0).argmax(axis=1)
    index = np.arange(len(rows))
    before, after = rows[index, last], rows[index, last + 1]
    logs = np.log(sizes)
    at = np.exp(logs[last] + (logs[last + 1] - logs[last]) * before / (before - after))
    low, median, high = np.quantile(at, [(1 - level) / 2, 0.5, (1 + level) / 2])
    return CrossoverFit(probability, float(median), float(low), float(high), start, end)
