"""Outliers among the runs: glitches, and diverged runs that were recorded as finished.

A run is compared with its expected quality from the other seeds of its configuration and from the response
surface fitted without the configuration (neighbouring training-set sizes, models, mixes, rates). A run
further off than five robust deviations is flagged, the worst first, and the others are judged again without
it: its variance is raised by the square of its deviation, so that it can neither win nor distort its
neighbours. A caveat says to run it again.
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
    """Run whose *quality* is ``deviations`` robust deviations off the *expected* one."""

    key: str
    label: str
    quality: float
    expected: float
    deviations: float


class _Runs(NamedTuple):
    """Runs of all configurations, flat: index of the configuration, value, variance and added variance."""

    configuration: Array
    value: Array
    base: Array
    added: Array

    def by_configuration(self, count: int) -> tuple[Array, Array]:
        """Precision-weighted mean and variance of each of *count* configurations."""
        precision = 1 / (self.base + self.added)
        total = np.bincount(self.configuration.astype(int), precision, count)
        mean = np.bincount(self.configuration.astype(int), precision * self.value, count) / total
        return mean, 1 / total


def find_outliers(
    configurations: Sequence[ConfigurationResults],
    values: Sequence[Sequence[float]],
    noise: MeasurementNoise,
    on_surface: Sequence[int],
    surface: ResponseSurface | None,
) -> tuple[Outlier, ...]:
    """Outliers among the runs of *configurations*, whose qualities are *values*, the furthest off first.

    *on_surface*: indices of the configurations that share *surface*.
    """
    if not noise.variance.any():
        return ()
    counts = np.array([len(v) for v in values])
    runs = _flat(values, noise.variance * counts)
    outliers: dict[int, Outlier] = {}
    groups = [(c.spec.model.name, c.spec.method.name) for c in configurations]
    for _ in range(_MOST_ROUNDS):
        expected, sd = _expected(runs, noise, on_surface, surface, len(configurations))
        deviations = np.abs(runs.value - expected) / sd
        if surface is not None:  # its errors may be larger than its variance says
            above = deviations[deviations > 0]
            deviations /= max(1.0, 1.4826 * float(np.median(above)) if len(above) else 1.0)
        flagged = _worst_by_group(deviations, runs, groups, set(outliers))
        if not flagged:
            break
        for r in flagged:
            i = int(runs.configuration[r])
            runs.added[r] = outlier_variance(runs.value[r] - expected[r])
            position = r - int(counts[:i].sum())
            outliers[r] = Outlier(
                key=configurations[i].runs[position].spec.key,
                label=configurations[i].label,
                quality=rounded(float(runs.value[r])),
                expected=rounded(float(expected[r])),
                deviations=rounded(float(deviations[r])),
            )
    return tuple(sorted(outliers.values(), key=lambda s: (-s.deviations, s.key)))


def outlier_variance(deviation: float) -> float:
    """Variance added to an outlier off by *deviation*: as if its standard deviation were twice that."""
    return 4 * deviation**2


def _flat(values: Sequence[Sequence[float]], base: Array) -> _Runs:
    index = np.repeat(np.arange(len(values)), [len(v) for v in values])
    value = np.concatenate([np.asarray(v, dtype=float) for v in values])
    # A configuration without noise, such as the untouched base, is not judged.
    return _Runs(index.astype(float), value, np.maximum(base[index], 1e-18), np.zeros(len(index)))


def _expected(
    runs: _Runs,
    noise: MeasurementNoise,
    on_surface: Sequence[int],
    surface: ResponseSurface | None,
    count: int,
) -> tuple[Array, Array]:
    """Expected value (n,) of each run from all others, and its standard deviation about that (n,)."""
    quality, variance = runs.by_configuration(count)
    outside_precision, outside_mean = np.zeros(count), np.zeros(count)
    if surface is not None:
        at = np.array(on_surface)
        rows = noise.rows_covariance[np.ix_(at, at)]
        spread = surface.covariance + rows + np.diag(variance[at])
        without = leave_one_out(spread, quality[at], surface.mean)
        outside_precision[at] = 1 / np.maximum(without.sd**2 - variance[at], 1e-18)
        outside_mean[at] = without.expected
    index = runs.configuration.astype(int)
    precision = 1 / (runs.base + runs.added)
    others = 1 / variance[index] - precision
    # Two other runs that agree suffice; with one other run either may be the outlier.
    enough = (np.bincount(index, minlength=count)[index] > 2) | (outside_precision[index] > 0)
    total = others + outside_precision[index]
    with np.errstate(divide="ignore", invalid="ignore"):
        weighted = quality[index] / variance[index] - runs.value * precision
        mean = weighted + outside_mean[index] * outside_precision[index]
        expected = np.where(enough & (total > 1e-9), mean / total, runs.value)
        sd = np.sqrt(1 / total + runs.base)
    judged = enough & (noise.variance[index] > 0) & np.isfinite(sd)
    return np.where(judged, expected, runs.value), np.where(judged, sd, 1.0)


def _worst_by_group(
    deviations: Array, runs: _Runs, groups: Sequence[tuple[str, str]], flagged: set[int]
) -> list[int]:
    """Furthest off beyond the threshold, one per model and method: it distorts the others' deviations."""
    worst: dict[tuple[str, str], int] = {}
    for r in np.flatnonzero(deviations > GLITCH_DEVIATIONS).tolist():
        group = groups[int(runs.configuration[r])]
        if r not in flagged and (group not in worst or deviations[r] > deviations[worst[group]]):
            worst[group] = r
    return sorted(worst.values())
