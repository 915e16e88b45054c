"""The noise of runs that nobody repeated, where the rows scored are not stated either.

Zero would be a lie that makes any gap sure. What is left to tell it is how far runs lie from smooth
curves over volumes, as the laws take it (:mod:`tracker.laws.points`); where no curve has four
volumes, it is assumed as there. It is in units of ln error, so that of a quality is the error times it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tracker.laws.fitted_law import NoiseSource
from tracker.laws.points import (
    ASSUMED_NOISE,
    ENOUGH,
    CurvePoints,
    CurveRuns,
    points_of,
    residual_scale,
)
from tracker.laws.pooling import Array
from tracker.metrics import error_of, se_of
from tracker.results import ConfigurationResults

#: An assumption counts as sure as a deviation from so many values.
_ASSUMED_FREEDOM = 1


class NoiseWithoutReplicates(NamedTuple):
    """``variance`` (C,): of one run's weighted quality, 0 where the rows tell its noise. ``freedom``:
    how many residuals tell the least known task's; ``source``: whence, ``None`` if nothing was needed.
    """

    variance: Array
    freedom: int
    source: NoiseSource | None


def noise_without_replicates(
    cells: Sequence[ConfigurationResults], weights: Mapping[str, float]
) -> NoiseWithoutReplicates:
    """The noise of *cells* on the tasks of *weights* where neither rows nor repeats tell it."""
    variance = np.zeros(len(cells))
    freedoms: list[int] = []
    source: NoiseSource | None = None
    for task, weight in weights.items():
        unknown = [not _rows_known(cell, task) for cell in cells]
        if not any(unknown):
            continue
        told = _told(_curves(cells, task))
        scale, freedom = told or (ASSUMED_NOISE, _ASSUMED_FREEDOM)
        source = "residuals" if told and source != "assumed" else "assumed"
        freedoms.append(freedom)
        errors = np.array([_error(cell, task) or 0.0 for cell in cells])
        variance += np.where(unknown, (weight * scale * errors) ** 2, 0.0)
    return NoiseWithoutReplicates(variance, min(freedoms, default=0), source)


def _told(curves: Sequence[CurvePoints]) -> tuple[float, int] | None:
    """What the curves' residuals say of a log error, and how many they are."""
    scale = residual_scale(curves)
    if scale is None:
        return None
    return scale, sum(len(p.sizes) - 2 for p in curves if len(p.sizes) > ENOUGH)


def _rows_known(cell: ConfigurationResults, task: str) -> bool:
    """Whether a standard error, resamples or a number of rows tell the noise of the rows."""
    measure = cell.measures.get(task, "score")
    return any(
        s.replicates or se_of(s, measure) is not None or (measure == "score" and s.n)
        for s in cell.scores(task)
    )


def _error(cell: ConfigurationResults, task: str) -> float | None:
    measure = cell.measures.get(task, "score")
    found = [e for s in cell.scores(task) if (e := error_of(s, measure)) is not None and e > 0]
    return float(np.mean(found)) if found else None


def _curves(cells: Sequence[ConfigurationResults], task: str) -> list[CurvePoints]:
    """The errors over volumes of every model, method and mix."""
    found: defaultdict[tuple[object, ...], list[tuple[float, float, str]]] = defaultdict(list)
    for cell in cells:
        error, spec = _error(cell, task), cell.spec
        if error is not None and not cell.untouched:
            curve = (spec.model.name, spec.method, spec.mix.name if spec.mix else "", spec.train)
            found[curve].append((spec.volume, error, cell.key))
    return [
        points_of(
            CurveRuns(
                np.array([run[0] for run in runs], dtype=float),
                np.array([run[1] for run in runs]),
                tuple(run[2] for run in runs),
                {},
            )
        )
        for runs in found.values()
    ]
