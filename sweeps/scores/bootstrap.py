"""Paired bootstrap over a task's rows: resamples, standard errors, the error of what was forgotten.

The resamples depend on the task's name and its number of rows alone, so the replicates of two trials are
paired: their difference carries the uncertainty of a gap.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tracker.errors import InputError
from tracker.trial import SuiteMeasure

REPLICATES = 200
Floats = NDArray[np.float64]


def resamples(name: str, rows: int) -> Floats:
    """(REPLICATES, rows) counts of each row in bootstrap resamples drawn from the task's name.

    Raises InputError where there are no rows.
    """
    if rows < 1:
        raise InputError(f"{name}: found no rows to score; give its file at least one")
    digest = hashlib.sha256(f"{name}:{rows}".encode()).digest()
    generator = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    return generator.multinomial(rows, np.full(rows, 1.0 / rows), size=REPLICATES).astype(float)


def standard_error(replicates: Floats, rows: int) -> float | None:
    """The replicates' standard deviation; one row alone says nothing of its error."""
    return float(replicates.std()) if rows > 1 else None


def bits_replicates(bits: Floats, byte_counts: Floats, weights: Floats) -> Floats:
    """Bits per byte per row of *weights* (resamples, rows) → (resamples,)."""
    return np.asarray((weights @ bits) / (weights @ byte_counts))


def forgetting_error(
    measure: SuiteMeasure, before: Sequence[float], after: Sequence[float], rows: int
) -> float | None:
    """The standard error of what was forgotten, from what base and tuned model measured on the same
    resamples of the same rows, (REPLICATES,) each; None where the base's are not known.

    The paired bootstrap (Efron and Tibshirani 1993, chapter 8): of the ratio for bits per byte, of the
    difference for a score. Rows none of which was scored otherwise would have an error of 0, which so few
    rows cannot tell: half a row in each cell of the table of right and wrong leaves 1 / (rows + 2)
    (Agresti and Min 2005), the least error of a score here.
    """
    if rows < 2 or not len(before) or len(before) != len(after):
        return None
    first, second = np.asarray(before, dtype=float), np.asarray(after, dtype=float)
    if measure == "score":
        return max(float((first - second).std()), 1.0 / (rows + 2))
    return float((second / first).std()) if first.all() else None
