"""Posterior of every candidate's quality as joint draws, by a hierarchical normal model.

The quality f of a configuration is that over fresh rows and seeds. Its k runs measured ``y = f + e + s``:

- *rows* e: the validation rows are a sample. ``TaskScore.replicates`` resample them, the same way for
  every trial of a task and n, so row noise common to all candidates cancels in a gap.
- *seeds* s: runs that differ in the seed alone differ; their pooled standard deviation is the noise
  floor. The mean of k runs carries floor / sqrt(k); the untouched base none. A floor from few repeats is
  uncertain, so the draws are of a Student t.
- *selection*: the largest of many noisy values is larger than its true value (the winner's curse). The prior
  is the sweep's response surface (:mod:`tracker.decision.response_surface`) of similar configurations, on the
  scale on which effects add up. Each configuration is shrunk towards it according to the precision of the
  surface and of the measurement. Only configurations that gained something are on it; below six there is no
  surface, and the runs alone count.

Draws of the posterior come by Matheron's rule: draw f, e and s from the prior, then correct f by the
difference between the measured y and the sampled one (Wilson et al., 2021, eq. 5). Without a surface that is
y - e - s. All draws come from generators seeded by content, so they depend on neither the machine nor the
order. Those of a configuration near a limit of the scale, such as a score of 0 or 1, are drawn on the limited
scale in the same order (:func:`tracker.metrics.limited`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from tracker.decision.label_swap import LabelSwap, find_label_swaps
from tracker.decision.noise import DRAWS, MeasurementNoise, generator, measurement_noise
from tracker.decision.outliers import Outlier, find_outliers, outlier_variance
from tracker.decision.response_surface import (
    FEWEST_CONFIGURATIONS,
    ResponseSurface,
    factors,
    fit_surface,
    log_evidence,
)
from tracker.laws.pooling import Array
from tracker.metrics import (
    Estimate,
    Source,
    interval,
    limited,
    perfect_quality,
    rounded,
    share_of_draws,
    weighted_quality,
)
from tracker.results import ConfigurationResults

#: Draws closer than this are tied: machines differ in the last bits.
TIE = 1e-9
#: Negligible difference as a share of the noise floor: 80 % intervals would need 2 (1.28 / share)^2, or some
#: fifty, seeds of both to show it.
NEGLIGIBLE = 0.25
#: Difference within noise as a share of the noise floor: of two candidates as near as that, one more run of
#: each puts the worse one ahead in more than one case of three.
WITHIN_NOISE = 0.5
#: Configurations that gained less than this share of the best one's gain are not on the surface: effects near
#: zero differ from those among the best, and most configurations of a sweep may lie there.
_LEAST_GAIN = 0.1
#: At most so many configurations, the best measured, share a surface.
_MOST_ON_SURFACE = 1000


class Posterior(NamedTuple):
    """Joint posterior of the candidates' qualities.

    ``mean``, ``measured`` (C,): expected quality and the plain mean of the runs. ``draws`` (DRAWS, C): of the
    quality. ``rows`` (DRAWS, C): row noise of one more run on the same rows; ``other_rows``: on as many other
    rows. ``seed_sd`` (C,): standard deviation of one more run on the same rows, 0 if unknown. ``unpaired``:
    labels of configurations whose row noise is not from replicates. ``outliers``: runs that are
    down-weighted. ``label_swaps``: configurations whose results fit better swapped, and are read so.
    """

    mean: Array
    measured: Array
    draws: Array
    rows: Array
    other_rows: Array
    seed_sd: Array
    sources: tuple[Source, ...]
    noise_floor: float | None
    unpaired: tuple[str, ...]
    outliers: tuple[Outlier, ...] = ()
    label_swaps: tuple[LabelSwap, ...] = ()

    @property
    def negligible(self) -> float:
        """Largest difference in quality that counts as none; 0 without a noise floor."""
        return NEGLIGIBLE * (self.noise_floor or 0.0)

    @property
    def within_noise(self) -> float:
        """Difference in quality up to which candidates are statistically tied; 0 without a noise floor."""
        return WITHIN_NOISE * (self.noise_floor or 0.0)

    def distinguishable(self, index: int, other: int) -> bool:
        """Whether *index* is better than *other* by more than noise in nine draws of ten; else a tie."""
        low = self.gap(index, other).low
        return low is not None and low > self.within_noise

    def quality(self, index: int) -> Estimate:
        """Expected quality of *index* with its 80 % interval, which holds it."""
        low, high = interval(self.draws[:, index])
        value = float(self.mean[index])  # at a limit of the scale all draws lie on one side of it
        return Estimate(
            value=rounded(value),
            low=rounded(min(low, value)),
            high=rounded(max(high, value)),
            source=self.sources[index],
        )

    def gap(self, index: int, other: int) -> Estimate:
        """Paired gap: quality of *index* minus that of *other*, on the same draws."""
        low, high = interval(self.draws[:, index] - self.draws[:, other])
        value = float(self.mean[index] - self.mean[other])
        return Estimate(
            value=rounded(value), low=rounded(min(low, value)), high=rounded(max(high, value))
        )

    def p_best(self, among: Sequence[int]) -> dict[int, float]:
        """Probability of each of *among* of being the best of them; 1 of a single one."""
        if len(among) == 1:
            return {among[0]: 1.0}
        found = p_best(self.draws[:, list(among)])
        shares = zip(among, found.tolist(), strict=True)
        return {i: share_of_draws(p, DRAWS, len(among)) for i, p in shares}

    def p_best_of(self, index: int, among: Sequence[int], gain: Array) -> float:
        """Probability of *index* of being the best of *among*, nothing else being *gain* (DRAWS,) better."""
        best = self.draws[:, index] >= self.draws[:, list(among)].max(axis=1) - TIE
        return share_of_draws(float((best & (gain <= 0)).mean()), DRAWS)

    def expected_regret(self, index: int, among: Sequence[int], gain: Array | float = 0.0) -> float:
        """Expected loss in quality of *index* against the best of *among*.

        *gain* (DRAWS,): by how much something else is ahead of it.
        """
        lost = self.draws[:, list(among)].max(axis=1) - self.draws[:, index]
        return rounded(float(np.maximum(lost, gain).mean()))

    def p_at_least(self, index: int, quality: float) -> float:
        """Probability that *index* has at least *quality*."""
        return share_of_draws(float((self.draws[:, index] >= quality - TIE).mean()), DRAWS)


def p_best(draws: Array) -> Array:
    """Probability (C,) of each column of *draws* (R, C) of being the largest; a tie is shared."""
    best = draws >= draws.max(axis=1, keepdims=True) - TIE
    return np.asarray((best / best.sum(axis=1, keepdims=True)).mean(axis=0))


def expected_regret(draws: Array, choice: int, among: Sequence[int] | NDArray[np.intp]) -> float:
    """Expected loss, over *draws* (R, C), of column *choice* against the best of the columns *among*."""
    return float((draws[:, among].max(axis=1) - draws[:, choice]).mean())


def posterior_of(
    configurations: Sequence[ConfigurationResults], weights: Mapping[str, float]
) -> Posterior:
    """Posterior of the qualities of *configurations*, each with every weighted task's score."""
    qualities = [_qualities(configuration, weights) for configuration in configurations]
    measured = np.array([np.mean(values) for values in qualities])
    on_surface = _surface_members(configurations, measured)
    noise, surface = _noise_and_surface(
        configurations, weights, on_surface, np.zeros(len(configurations))
    )
    outliers = find_outliers(configurations, qualities, noise, on_surface, surface)
    cleaned, added_variance = _without_outliers(configurations, outliers)
    if outliers:
        noise, surface = _noise_and_surface(cleaned, weights, on_surface, added_variance)
    label_swaps = _label_swaps(cleaned, weights, on_surface, noise, surface)
    if on_surface:  # outliers and swaps are known now
        noise, surface = _noise_and_surface(
            cleaned, weights, on_surface, added_variance, label_swaps, robust=False
        )
    centre, draws, rows = _sampled_posterior(configurations, noise, on_surface, surface)
    most = _ceiling(configurations[0], weights)
    least = 0.0 if _all_scores(configurations[0], weights) else -np.inf
    centre = np.clip(centre, least, most)
    _keep_limits(draws, centre, least, most)
    return Posterior(
        mean=rounded_array(centre),
        measured=measured,
        draws=draws,
        rows=rows,
        other_rows=noise.common + noise.rows,
        seed_sd=noise.run_sd,
        sources=_sources(len(configurations), on_surface),
        noise_floor=noise.floor,
        unpaired=noise.unpaired,
        outliers=outliers,
        label_swaps=label_swaps,
    )


def _sources(count: int, on_surface: Sequence[int]) -> tuple[Source, ...]:
    shared = set(on_surface)
    return tuple("measured and neighbours" if i in shared else "measured" for i in range(count))


def _surface_members(configurations: Sequence[ConfigurationResults], measured: Array) -> list[int]:
    """Indices of the configurations on the surface: those that gained something; empty below six."""
    trained = [i for i, configuration in enumerate(configurations) if not configuration.untouched]
    if len(trained) < FEWEST_CONFIGURATIONS:
        return []
    untouched = [
        measured[i] for i, configuration in enumerate(configurations) if configuration.untouched
    ]
    start = float(np.median(untouched)) if untouched else min(measured[trained])
    least = start + _LEAST_GAIN * (max(measured[trained]) - start)
    gained = [i for i in trained if measured[i] >= least]
    trained = gained if len(gained) >= FEWEST_CONFIGURATIONS else trained
    return sorted(sorted(trained, key=lambda i: (-measured[i], i))[:_MOST_ON_SURFACE])


def _without_outliers(
    configurations: Sequence[ConfigurationResults], outliers: Sequence[Outlier]
) -> tuple[list[ConfigurationResults], Array]:
    """Configurations without outliers; one with no other runs keeps them, at the variance returned (C,)."""
    deviation = {s.key: s.quality - s.expected for s in outliers}
    concerned = {s.label for s in outliers}
    cleaned, added_variance = list(configurations), np.zeros(len(configurations))
    for i, configuration in enumerate(configurations):
        if configuration.label not in concerned:  # a key takes time to work out
            continue
        remaining = tuple(run for run in configuration.runs if run.spec.key not in deviation)
        cleaned[i] = configuration._replace(runs=remaining or configuration.runs)
        if not remaining:
            added_variance[i] = max(
                outlier_variance(deviation[run.spec.key]) for run in configuration.runs
            )
    return cleaned, added_variance


def _label_swaps(
    configurations: Sequence[ConfigurationResults],
    weights: Mapping[str, float],
    on_surface: Sequence[int],
    noise: MeasurementNoise,
    surface: ResponseSurface | None,
) -> tuple[LabelSwap, ...]:
    if surface is None:
        return ()
    at = np.array(on_surface)
    covariance_of_noise = noise.rows_covariance[np.ix_(at, at)] + np.diag(noise.variance[at])
    similarities, ceiling = (
        factors([configurations[i] for i in on_surface]),
        _ceiling(configurations[0], weights),
    )
    swaps = find_label_swaps(
        [configurations[i] for i in on_surface],
        noise.quality[at],
        surface.mean,
        surface.covariance + covariance_of_noise,
        lambda quality: log_evidence(similarities, quality, covariance_of_noise, ceiling=ceiling),
    )
    return tuple(
        swap._replace(
            first=tuple(on_surface[k] for k in swap.first),
            second=tuple(on_surface[k] for k in swap.second),
        )
        for swap in swaps
    )


def _with_swaps_mixed(
    noise: MeasurementNoise, label_swaps: Sequence[LabelSwap]
) -> MeasurementNoise:
    """Mean and variance of the mixture of both readings, for label-swapped configurations."""
    quality, variance = noise.quality.copy(), noise.variance.copy()
    for swap in label_swaps:
        p = swap.probability
        for a, b in zip(swap.first, swap.second, strict=True):
            first, second = noise.quality[a], noise.quality[b]
            quality[a], quality[b] = first + p * (second - first), second + p * (first - second)
            variance[[a, b]] += p * (1 - p) * (second - first) ** 2
    return noise._replace(quality=quality, variance=variance)


def _noise_and_surface(
    configurations: Sequence[ConfigurationResults],
    weights: Mapping[str, float],
    on_surface: Sequence[int],
    added_variance: Array,
    label_swaps: Sequence[LabelSwap] = (),
    *,
    robust: bool = True,
) -> tuple[MeasurementNoise, ResponseSurface | None]:
    """Measurement noise of *configurations*, with *added_variance* (C,), and their response surface.

    *on_surface*: indices of those on the surface. *label_swaps*: configurations read both ways. *robust*:
    glitched runs may be among them. Without repeats a configuration's independent deviation is confounded
    with its seed's: half of the nugget is taken for each.
    """
    noise = measurement_noise(
        configurations,
        [_qualities(configuration, weights) for configuration in configurations],
        weights,
    )
    noise = _with_swaps_mixed(noise._replace(variance=noise.variance + added_variance), label_swaps)
    if not on_surface:
        return noise, None
    at = np.array(on_surface)
    covariance = noise.rows_covariance[np.ix_(at, at)] + np.diag(noise.variance[at])
    surface = fit_surface(
        factors([configurations[i] for i in on_surface]),
        noise.quality[at],
        covariance,
        ceiling=_ceiling(configurations[0], weights),
        robust=robust,
    )
    if noise.floor is not None:
        return noise, surface
    half = surface.nugget / 2
    variance, run_sd = noise.variance.copy(), noise.run_sd.copy()
    variance[at] += half
    run_sd[at] = np.sqrt(run_sd[at] ** 2 + half)
    shared = surface.covariance - np.diag(half)
    surface = surface._replace(covariance=shared, nugget=half)
    return noise._replace(variance=variance, run_sd=run_sd), surface


def _ceiling(configuration: ConfigurationResults, weights: Mapping[str, float]) -> float:
    """Quality of a model without error: a score of 1, a loss of 0."""
    return perfect_quality(weights, configuration.measures)


def _all_scores(configuration: ConfigurationResults, weights: Mapping[str, float]) -> bool:
    return all(configuration.measures.get(task, "score") == "score" for task in weights)


def _keep_limits(draws: Array, centre: Array, least: float, most: float) -> None:
    """Draw every column of *draws* (DRAWS, C) that leaves [*least*, *most*] on the limited scale, in place.

    Each draw keeps its rank within the column, so that configurations stay paired.
    """
    outside = np.flatnonzero((draws.min(axis=0) < least) | (draws.max(axis=0) > most))
    normals = special.ndtri((np.arange(DRAWS) + 0.5) / DRAWS)
    for i in outside.tolist():
        order = draws[:, i].argsort(kind="stable")
        draws[order, i] = limited(float(centre[i]), float(draws[:, i].std()), normals, least, most)


def _sampled_posterior(
    configurations: Sequence[ConfigurationResults],
    noise: MeasurementNoise,
    on_surface: Sequence[int],
    surface: ResponseSurface | None,
) -> tuple[Array, Array, Array]:
    """Posterior mean (C,), draws of the quality and draws of its row noise (DRAWS, C)."""
    measured, variance = noise.quality, noise.variance
    centre, rows = measured.copy(), noise.rows.copy()
    seeds = noise.seed_draws * np.sqrt(variance)
    draws = measured - noise.common - rows - seeds
    if surface is None:
        return centre, draws, noise.common + _persistent_rows(configurations, noise, rows)
    at = np.array(on_surface)
    prior = surface.covariance
    covariance = noise.rows_covariance[np.ix_(at, at)]
    weight = np.linalg.inv(prior + covariance + np.diag(variance[at]))
    mean = surface.mean
    centre[at] = mean + prior @ weight @ (measured[at] - mean)
    sampled = _prior_draws([configurations[i].key for i in on_surface], prior)
    correction = (measured[at] - mean - sampled - noise.rows[:, at] - seeds[:, at]) @ weight
    surface_draws = mean + sampled + correction @ prior
    surface_draws = centre[at] + surface.widen * (surface_draws - centre[at])
    draws[:, at] = surface_draws - noise.common[:, at]
    rows[:, at] += correction @ covariance
    return centre, draws, noise.common + _persistent_rows(configurations, noise, rows)


def _persistent_rows(
    configurations: Sequence[ConfigurationResults], noise: MeasurementNoise, rows: Array
) -> Array:
    """Draws (DRAWS, C) of the part of *rows* that more seeds on the same rows share: normal given *rows*."""
    share = noise.persistent_share
    sd = np.sqrt(share * (1 - share) * np.diag(noise.rows_covariance))
    sampled = [
        generator(configuration.key, "lasting").standard_normal(DRAWS)
        for configuration in configurations
    ]
    persistent = np.stack(sampled, axis=1)
    persistent *= sd  # in place: of a large sweep each such array takes a tenth of all memory
    persistent += share * rows
    return np.asarray(persistent)


def _prior_draws(keys: Sequence[str], covariance: Array) -> Array:
    """Normal draws (DRAWS, n) of *covariance* (n, n)."""
    # A jitter keeps the root real on every machine.
    jitter = 1e-9 * float(np.trace(covariance)) / len(covariance)
    root = np.linalg.cholesky(covariance + jitter * np.eye(len(covariance)))
    normals = np.stack([generator(key, "surface").standard_normal(DRAWS) for key in keys], axis=1)
    return np.asarray(normals @ root.T)


def rounded_array(values: Array) -> Array:
    """Values to six significant digits."""
    return np.array([rounded(value) for value in values.tolist()])


def _qualities(configuration: ConfigurationResults, weights: Mapping[str, float]) -> list[float]:
    """Weighted quality of each run."""
    values = (weighted_quality(run, weights, configuration.measures) for run in configuration.runs)
    return [value for value in values if value is not None]
