"""Paired bootstrap over a task's rows: resamples, standard errors, the standard error of forgetting.

The resamples depend on the task's name and its number of rows alone, so the replicates of two trials are
paired: their difference has the uncertainty of a gap.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tracker.errors import InputError
from tracker.task import SuiteMeasure

REPLICATES = 200
Floats = NDArray[np.float64]


def resamples(name: str, rows: int) -> Floats:
    """Counts (REPLICATES, rows) of each row in bootstrap resamples, seeded by the task's name.

    Raises InputError where there are no rows.
    """
    if rows < 1:
        raise InputError(f"{name}: found no rows to score; give its file at least one")
    digest = hashlib.sha256(f"{name}:{rows}".encode()).digest()
    generator = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    return generator.multinomial(rows, np.full(rows, 1.0 / rows), size=REPLICATES).astype(float)


def standard_error(replicates: Floats, rows: int) -> float | None:
    """Standard error: the deviation of *replicates*; ``None`` for a single row."""
    return float(replicates.std()) if rows > 1 else None


def bits_replicates(bits: Floats, byte_counts: Floats, weights: Floats) -> Floats:
    """Bits per byte (resamples,) on each of the resamples *weights* (resamples, rows)."""
    return np.asarray((weights @ bits) / (weights @ byte_counts))


def forgetting_error(
    measure: SuiteMeasure, before: Sequence[float], after: Sequence[float], rows: int
) -> float | None:
    """Standard error of forgetting by the paired bootstrap; ``None`` where the base's replicates are unknown.

    *before* and *after* (REPLICATES,): measures of base and tuned model on the same resamples of the same
    rows. The bootstrap (Efron and Tibshirani 1993, chapter 8) is of the ratio for bits per byte, of the
    difference for a score. Where no row's score changed the error would be 0, which so few rows do not
    show: half a row in each cell of the table of right and wrong leaves 1 / (rows + 2) (Agresti and Min
    2005), the least error of a score here.
    """
    if rows < 2 or not len(before) or len(before) != len(after):
        return None
    first, second = np.asarray(before, dtype=float), np.asarray(after, dtype=float)
    if measure == "score":
        return max(float((first - second).std()), 1.0 / (rows + 2))
    return float((second / first).std()) if first.all() else None
