"""Cost model of trials: device seconds by model size and examples, fitted to those that have ended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls

from tracker.trial import Configuration

_FEWEST = 4


class CostModel(NamedTuple):
    """Seconds = ``fixed`` + ``per_example`` × D + ``per_parameter`` × N + ``per_work`` × N D.

    All terms are at least 0; N in millions of parameters, D in thousands of examples. ``millions``: N by
    model.
    """

    fixed: float
    per_example: float
    per_parameter: float
    per_work: float
    millions: Mapping[str, float]

    def seconds(self, configuration: Configuration) -> float:
        """Expected device seconds of a trial of *configuration*; above 0."""
        n, d = self.millions[configuration.model], (configuration.volume or 0) / 1e3
        price = self.fixed + self.per_example * d + self.per_parameter * n + self.per_work * n * d
        return float(max(price, 1e-12))


def learned_cost_model(
    took: Iterable[tuple[Configuration, float]], millions: Mapping[str, float]
) -> CostModel:
    """Fit a cost model to complete fine-tunes by least relative squares; N D alone before there are four."""
    rows = [(millions[c.model], (c.volume or 0) / 1e3, seconds) for c, seconds in took]
    if len(rows) < _FEWEST:
        return CostModel(0.0, 0.0, 0.0, 1.0, millions)
    n, d, seconds = np.array(rows, dtype=float).T
    design = np.column_stack([np.ones_like(n), d, n, n * d])
    # Divided by what was measured: relative errors count, or the longest trials would decide alone.
    terms, _ = nnls(design / seconds[:, None], np.ones_like(seconds))
    if not terms.any():
        return CostModel(0.0, 0.0, 0.0, 1.0, millions)
    fixed, per_example, per_parameter, per_work = terms.tolist()
    return CostModel(fixed, per_example, per_parameter, per_work, millions)
