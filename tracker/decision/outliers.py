"""Runs whose result fits nothing else: glitches, and diverged runs that were recorded as finished.

A run is held against what everything else says of it: the other seeds of its configuration, and the
response surface fitted without the configuration (neighbouring volumes, sizes, mixes, rates). What is
further off than five robust deviations is flagged, the worst first, and the others are judged again
without it: its variance is raised by the square of its miss, so that it can neither win nor ruin its
neighbours. The reader is asked to run it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tracker.decision.noise import MeasurementNoise
from tracker.decision.response_surface import ResponseSurface, leave_one_out
from tracker.laws.fitted_law import GLITCH_DEVIATIONS
from tracker.laws.pooling import Array
from tracker.metrics import rounded
from tracker.results import ConfigurationResults

_MOST_ROUNDS = 24


class Outlier(NamedTuple):
    """A run with *quality* where everything else says *expected*, ``deviations`` robust ones off."""

    key: str
    label: str
    quality: float
    expected: float
    deviations: float


class _Runs(NamedTuple):
    """Every run of the cells, flat: its cell, value, variance without and with what was added."""

    cell: Array
    value: Array
    base: Array
    added: Array

    def cells_values(self, count: int) -> tuple[Array, Array]:
        """Precision-weighted mean and variance of each of *count* cells."""
        precision = 1 / (self.base + self.added)
        total = np.bincount(self.cell.astype(int), precision, count)
        mean = np.bincount(self.cell.astype(int), precision * self.value, count) / total
        return mean, 1 / total


def find_outliers(
    cells: Sequence[ConfigurationResults],
    values: Sequence[Sequence[float]],
    known: MeasurementNoise,
    on_surface: Sequence[int],
    surface: ResponseSurface | None,
) -> tuple[Outlier, ...]:
    """Those among the runs of *cells*, whose qualities are *values*, the furthest off first; *told*: the
    cells that share *surface*.
    """
    if not known.variance.any():
        return ()
    counts = np.array([len(v) for v in values])
    runs = _flat(values, known.variance * counts)
    found: dict[int, Outlier] = {}
    groups = [(c.spec.model.name, c.spec.method.name) for c in cells]
    for _ in range(_MOST_ROUNDS):
        expected, sd = _expected(runs, known, on_surface, surface, len(cells))
        off = np.abs(runs.value - expected) / sd
        if surface is not None:  # which may miss by more than it says
            off /= max(1.0, 1.4826 * float(np.median(off[off > 0])) if off.any() else 1.0)
        fresh = _worst_by_group(off, runs, groups, set(found))
        if not fresh:
            break
        for r in fresh:
            i = int(runs.cell[r])
            runs.added[r] = doubt(runs.value[r] - expected[r])
            position = r - int(counts[:i].sum())
            found[r] = Outlier(
                key=cells[i].runs[position].spec.key,
                label=cells[i].label,
                quality=rounded(float(runs.value[r])),
                expected=rounded(float(expected[r])),
                deviations=rounded(float(off[r])),
            )
    return tuple(sorted(found.values(), key=lambda s: (-s.deviations, s.key)))


def doubt(miss: float) -> float:
    """The variance added to what is off by *miss*: as if its deviation were twice that."""
    return 4 * miss**2


def _flat(values: Sequence[Sequence[float]], base: Array) -> _Runs:
    cell = np.repeat(np.arange(len(values)), [len(v) for v in values])
    value = np.concatenate([np.asarray(v, dtype=float) for v in values])
    # A cell without noise of its own, such as the untouched base, is not judged.
    return _Runs(cell.astype(float), value, np.maximum(base[cell], 1e-18), np.zeros(len(cell)))


def _expected(
    runs: _Runs,
    known: MeasurementNoise,
    on_surface: Sequence[int],
    surface: ResponseSurface | None,
    count: int,
) -> tuple[Array, Array]:
    """What everything else says of each run (n,), and the deviation of the run about that (n,)."""
    quality, variance = runs.cells_values(count)
    surely, outside = np.zeros(count), np.zeros(count)
    if surface is not None:
        at = np.array(on_surface)
        rows = known.rows_covariance[np.ix_(at, at)]
        spread = surface.covariance + rows + np.diag(variance[at])
        without = leave_one_out(spread, quality[at], surface.mean)
        surely[at] = 1 / np.maximum(without.sd**2 - variance[at], 1e-18)
        outside[at] = without.expected
    cell = runs.cell.astype(int)
    precision = 1 / (runs.base + runs.added)
    others = 1 / variance[cell] - precision
    # Two other runs that agree can speak for themselves; one alone cannot say which is off.
    enough = (np.bincount(cell, minlength=count)[cell] > 2) | (surely[cell] > 0)
    total = others + surely[cell]
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = (quality[cell] / variance[cell] - runs.value * precision) + outside[cell] * surely[
            cell
        ]
        expected = np.where(enough & (total > 1e-9), mean / total, runs.value)
        sd = np.sqrt(1 / total + runs.base)
    known_noise = enough & (known.variance[cell] > 0) & np.isfinite(sd)
    return np.where(known_noise, expected, runs.value), np.where(known_noise, sd, 1.0)


def _worst_by_group(
    off: Array, runs: _Runs, groups: Sequence[tuple[str, str]], known: set[int]
) -> list[int]:
    """The furthest off beyond the threshold, one per model and method: it spoils the others' view."""
    worst: dict[tuple[str, str], int] = {}
    for r in np.flatnonzero(off > GLITCH_DEVIATIONS).tolist():
        group = groups[int(runs.cell[r])]
        if r not in known and (group not in worst or off[r] > off[worst[group]]):
            worst[group] = r
    return sorted(worst.values())
