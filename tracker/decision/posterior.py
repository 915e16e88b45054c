"""What is believed of every candidate's quality, as joint draws: a hierarchical normal model.

A cell's quality f is that of its configuration over fresh rows and seeds. A cell of k runs measured
``y = f + e + s``:

- *rows* e: the validation rows are a sample. ``TaskScore.replicates`` resample them, the same way for
  every trial of a task and n, so what the rows do to all candidates alike cancels in a gap.
- *seeds* s: runs that differ in the seed alone differ; their pooled standard deviation is the noise
  floor. A cell of k runs carries floor / sqrt(k); the untouched base none. A floor from few repeats is
  itself uncertain, so the draws' scale is a Student t's.
- *selection*: the largest of many noisy values is larger than what it measures (the winner's curse).
  The cells' prior is the sweep's response surface (:mod:`tracker.decision.response_surface`): what similar
  configurations measured, on the scale on which effects add up. Each cell is drawn towards it by as
  much as the table itself says that the surface can be trusted and the measurement can not. Only cells
  that learned something are on it; below six there is no surface, and the runs alone count.

Draws of the posterior come by Matheron's rule: draw f, e and s from the prior, then move f by what the
measured y differs from the drawn one (Wilson et al., 2021, eq. 5). Without a surface that is y - e - s.
All draws come from generators seeded by content, so they depend on neither the machine nor the order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tracker.decision.label_swap import LabelSwap, find_label_swaps
from tracker.decision.noise import DRAWS, MeasurementNoise, generator, measurement_noise
from tracker.decision.outliers import Outlier, doubt, find_outliers
from tracker.decision.response_surface import (
    FEWEST_CONFIGURATIONS,
    ResponseSurface,
    evidence,
    factors,
    learn,
)
from tracker.laws.curves import CurveFits, CurveKey
from tracker.laws.fitted_law import FittedLaw
from tracker.laws.pooling import Array
from tracker.metrics import Estimate, Source, interval, rounded, weighted_quality
from tracker.results import ConfigurationResults

#: Draws closer than this are a tie: machines differ in the last bits.
TIE = 1e-9
#: Share of the noise floor that is nothing: to show so small a difference with 80 % intervals would take
#: 2 (1.28 / share)^2, or some fifty, seeds of both.
NEGLIGIBLE = 0.25
#: Share of the noise floor that is within noise: of candidates as near as that, one more run of each puts
#: the worse one ahead in more than one case of three.
WITHIN_NOISE = 0.5
#: A cell that gained less than this share of what the best did learned next to nothing: how factors add up
#: near zero says nothing of how they do among the leaders, and most cells of a sweep may lie there.
_LEARNED = 0.1
#: At most so many cells, the best measured, share a surface.
_LARGEST = 1000


class Posterior(NamedTuple):
    """Joint draws of the candidates' qualities.

    ``mean``, ``measured`` (C,): expected quality and the plain mean of the runs. ``draws``, ``rows``
    (DRAWS, C): the quality, and what these very rows add to every further run of it;
    ``other_rows``: what as many other rows would. ``seed_sd`` (C,): standard deviation of
    one further run about a cell's quality on the same rows, 0 where it is unknown. ``unpaired``: labels
    of cells whose row noise is not from replicates. ``suspects``: runs that count little as their
    result fits nothing else; ``exchanges``: cells whose results fit the other way round, and are read so.
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
        """The difference in quality that is none; 0 where the noise between seeds is not known."""
        return NEGLIGIBLE * (self.noise_floor or 0.0)

    @property
    def within_noise(self) -> float:
        """The difference in quality up to which two candidates are not told apart; 0 as above."""
        return WITHIN_NOISE * (self.noise_floor or 0.0)

    def distinguishable(self, index: int, other: int) -> bool:
        """Whether *index* is better than *other* by more than noise, in nine draws of ten."""
        low = self.gap(index, other).low
        return low is not None and low > self.within_noise

    def quality(self, index: int) -> Estimate:
        low, high = interval(self.draws[:, index])
        return Estimate(
            value=rounded(float(self.mean[index])),
            low=rounded(low),
            high=rounded(high),
            source=self.sources[index],
        )

    def gap(self, index: int, other: int) -> Estimate:
        """Quality of *index* minus that of *other*, on the same draws."""
        low, high = interval(self.draws[:, index] - self.draws[:, other])
        value = float(self.mean[index] - self.mean[other])
        return Estimate(value=rounded(value), low=rounded(low), high=rounded(high))

    def p_best(self, among: Sequence[int]) -> dict[int, float]:
        """Probability of each of *among* to be the best of them."""
        found = p_best(self.draws[:, list(among)])
        return {index: rounded(p) for index, p in zip(among, found.tolist(), strict=True)}

    def expected_regret(self, index: int, among: Sequence[int]) -> float:
        return rounded(expected_regret(self.draws, index, among))

    def p_at_least(self, index: int, quality: float) -> float:
        return rounded(float((self.draws[:, index] >= quality - TIE).mean()))


def p_best(draws: Array) -> Array:
    """Probability (C,) of each column of *draws* (R, C) to be the largest; a tie is shared."""
    best = draws >= draws.max(axis=1, keepdims=True) - TIE
    return np.asarray((best / best.sum(axis=1, keepdims=True)).mean(axis=0))


def expected_regret(draws: Array, choice: int, among: Sequence[int] | NDArray[np.intp]) -> float:
    """Mean over *draws* (R, C) of what column *choice* loses against the best of the columns *among*."""
    return float((draws[:, among].max(axis=1) - draws[:, choice]).mean())


def posterior_of(cells: Sequence[ConfigurationResults], weights: Mapping[str, float]) -> Posterior:
    """The joint belief about *cells*, each of which has every weighted task's score."""
    everything = [_qualities(cell, weights) for cell in cells]
    measured = np.array([np.mean(values) for values in everything])
    on_surface = _neighbours(cells, measured)
    known, surface = _learn(cells, weights, on_surface, np.zeros(len(cells)))
    outliers = find_outliers(cells, everything, known, on_surface, surface)
    sound, added = _without(cells, outliers)
    if outliers:
        known, surface = _learn(sound, weights, on_surface, added)
    label_swaps = _label_swaps(sound, weights, on_surface, known, surface)
    if on_surface:  # what spoils a table is known now
        known, surface = _learn(sound, weights, on_surface, added, label_swaps, robust=False)
    centre, draws, rows = _posterior(cells, known, on_surface, surface)
    return Posterior(
        mean=rounded_array(centre),
        measured=measured,
        draws=draws,
        rows=rows,
        other_rows=known.common + known.rows,
        seed_sd=known.run_sd,
        sources=_sources(len(cells), on_surface),
        noise_floor=known.floor,
        unpaired=known.unpaired,
        outliers=outliers,
        label_swaps=label_swaps,
    )


def _sources(count: int, on_surface: Sequence[int]) -> tuple[Source, ...]:
    shared = set(on_surface)
    return tuple("measured and neighbours" if i in shared else "measured" for i in range(count))


def _neighbours(cells: Sequence[ConfigurationResults], measured: Array) -> list[int]:
    """Indices of the cells that share a surface: those that learned something; empty below six."""
    trained = [i for i, cell in enumerate(cells) if not cell.untouched]
    if len(trained) < FEWEST_CONFIGURATIONS:
        return []
    untouched = [measured[i] for i, cell in enumerate(cells) if cell.untouched]
    start = float(np.median(untouched)) if untouched else min(measured[trained])
    least = start + _LEARNED * (max(measured[trained]) - start)
    learned = [i for i in trained if measured[i] >= least]
    trained = learned if len(learned) >= FEWEST_CONFIGURATIONS else trained
    return sorted(sorted(trained, key=lambda i: (-measured[i], i))[:_LARGEST])


def _without(
    cells: Sequence[ConfigurationResults], outliers: Sequence[Outlier]
) -> tuple[list[ConfigurationResults], Array]:
    """The cells without suspect runs; a cell with no other keeps them, at the variance returned (C,)."""
    off = {s.key: s.quality - s.expected for s in outliers}
    concerned = {s.label for s in outliers}
    sound, added = list(cells), np.zeros(len(cells))
    for i, cell in enumerate(cells):
        if cell.label not in concerned:  # a key takes time to work out
            continue
        rest = tuple(run for run in cell.runs if run.spec.key not in off)
        sound[i] = cell._replace(runs=rest or cell.runs)
        if not rest:
            added[i] = max(doubt(off[run.spec.key]) for run in cell.runs)
    return sound, added


def _label_swaps(
    cells: Sequence[ConfigurationResults],
    weights: Mapping[str, float],
    on_surface: Sequence[int],
    known: MeasurementNoise,
    surface: ResponseSurface | None,
) -> tuple[LabelSwap, ...]:
    if surface is None:
        return ()
    at = np.array(on_surface)
    noise = known.rows_covariance[np.ix_(at, at)] + np.diag(known.variance[at])
    alike, ceiling = factors([cells[i] for i in on_surface]), _ceiling(cells[0], weights)
    found = find_label_swaps(
        [cells[i] for i in on_surface],
        known.quality[at],
        surface.mean,
        surface.covariance + noise,
        lambda quality: evidence(alike, quality, noise, ceiling=ceiling),
    )
    return tuple(
        e._replace(
            first=tuple(on_surface[k] for k in e.first),
            second=tuple(on_surface[k] for k in e.second),
        )
        for e in found
    )


def _both_ways(known: MeasurementNoise, label_swaps: Sequence[LabelSwap]) -> MeasurementNoise:
    """*known* with cells that look exchanged as the mixture of both readings: its mean and variance."""
    quality, variance = known.quality.copy(), known.variance.copy()
    for swap in label_swaps:
        p = swap.probability
        for a, b in zip(swap.first, swap.second, strict=True):
            one, other = known.quality[a], known.quality[b]
            quality[a], quality[b] = one + p * (other - one), other + p * (one - other)
            variance[[a, b]] += p * (1 - p) * (other - one) ** 2
    return known._replace(quality=quality, variance=variance)


def _learn(
    cells: Sequence[ConfigurationResults],
    weights: Mapping[str, float],
    on_surface: Sequence[int],
    added: Array,
    label_swaps: Sequence[LabelSwap] = (),
    *,
    robust: bool = True,
) -> tuple[MeasurementNoise, ResponseSurface | None]:
    """What blurs *cells*, beside the variances *added* (C,) to it, and the surface of those *told*;
    *exchanges*: whose values are read both ways; *robust*: glitched runs may be among them.

    Without repeats nobody can tell what is a configuration's own from what is its seed's: half of what
    the neighbours do not explain is taken for either.
    """
    known = measurement_noise(cells, [_qualities(cell, weights) for cell in cells], weights)
    known = _both_ways(known._replace(variance=known.variance + added), label_swaps)
    if not on_surface:
        return known, None
    at = np.array(on_surface)
    covariance = known.rows_covariance[np.ix_(at, at)] + np.diag(known.variance[at])
    surface = learn(
        factors([cells[i] for i in on_surface]),
        known.quality[at],
        covariance,
        ceiling=_ceiling(cells[0], weights),
        robust=robust,
    )
    if known.floor is not None:
        return known, surface
    half = surface.own / 2
    variance, run_sd = known.variance.copy(), known.run_sd.copy()
    variance[at] += half
    run_sd[at] = np.sqrt(run_sd[at] ** 2 + half)
    shared = surface.covariance - np.diag(half)
    surface = surface._replace(covariance=shared, own=half)
    return known._replace(variance=variance, run_sd=run_sd), surface


def _ceiling(cell: ConfigurationResults, weights: Mapping[str, float]) -> float:
    """The quality of a model without error: a score of 1, a loss of 0."""
    return float(sum(w for t, w in weights.items() if cell.measures.get(t, "score") == "score"))


def _posterior(
    cells: Sequence[ConfigurationResults],
    known: MeasurementNoise,
    on_surface: Sequence[int],
    surface: ResponseSurface | None,
) -> tuple[Array, Array, Array]:
    """Centre (C,), draws of the quality and of what the rows add to it (DRAWS, C)."""
    measured, noise = known.quality, known.variance
    centre, rows = measured.copy(), known.rows.copy()
    seeds = known.seed_draws * np.sqrt(noise)
    draws = measured - known.common - rows - seeds
    if surface is None:
        return centre, draws, known.common + _lasting(cells, known, rows)
    at = np.array(on_surface)
    prior = surface.covariance
    covariance = known.rows_covariance[np.ix_(at, at)]
    weight = np.linalg.inv(prior + covariance + np.diag(noise[at]))
    mean = surface.mean
    centre[at] = mean + prior @ weight @ (measured[at] - mean)
    drawn = _prior_draws([cells[i].key for i in on_surface], prior)
    differs = (measured[at] - mean - drawn - known.rows[:, at] - seeds[:, at]) @ weight
    told_draws = mean + drawn + differs @ prior
    told_draws = centre[at] + surface.widen * (told_draws - centre[at])
    draws[:, at] = told_draws - known.common[:, at]
    rows[:, at] += differs @ covariance
    return centre, draws, known.common + _lasting(cells, known, rows)


def _lasting(cells: Sequence[ConfigurationResults], known: MeasurementNoise, rows: Array) -> Array:
    """Draws (DRAWS, C) of the part of *rows* that further seeds meet again: normal given the whole."""
    share = known.lasting
    sd = np.sqrt(share * (1 - share) * np.diag(known.rows_covariance))
    drawn = [generator(cell.key, "lasting").standard_normal(DRAWS) for cell in cells]
    lasting = np.stack(drawn, axis=1)
    lasting *= sd  # in place: of a large sweep each such array takes a tenth of all memory
    lasting += share * rows
    return np.asarray(lasting)


def _prior_draws(keys: Sequence[str], covariance: Array) -> Array:
    """Normal draws (DRAWS, n) of *covariance* (n, n)."""
    # A millionth of the variance that cells do not share keeps the root real on every machine.
    jitter = 1e-9 * float(np.trace(covariance)) / len(covariance)
    root = np.linalg.cholesky(covariance + jitter * np.eye(len(covariance)))
    normals = np.stack([generator(key, "surface").standard_normal(DRAWS) for key in keys], axis=1)
    return np.asarray(normals @ root.T)


def rounded_array(values: Array) -> Array:
    return np.array([rounded(value) for value in values.tolist()])


def configuration_laws(
    results: ConfigurationResults, weights: Mapping[str, float], fits: CurveFits
) -> dict[str, FittedLaw]:
    """The laws of a configuration's curve by weighted task; empty unless all are there and used it."""
    found: dict[str, FittedLaw] = {}
    for task in weights:
        law = fits.laws.get(CurveKey.of(results.configuration, task))
        if law is None or results.spec.key not in law.used:
            return {}
        found[task] = law
    return found


def _qualities(cell: ConfigurationResults, weights: Mapping[str, float]) -> list[float]:
    values = (weighted_quality(run, weights, cell.measures) for run in cell.runs)
    return [value for value in values if value is not None]
