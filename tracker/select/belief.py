"""What is believed of every candidate's quality, as joint draws.

A cell's quality is that of its configuration over fresh rows and seeds. Three things blur it:

- *rows*: the validation rows are a sample. ``TaskScore.replicates`` resample them, the same way for
  every trial of a task and n, so what the rows do to all candidates alike cancels in a gap.
- *seeds*: runs that differ in the seed alone differ; their pooled standard deviation is the noise
  floor. A cell of k runs carries floor / sqrt(k); the untouched base none.
- *selection*: the largest of many noisy values is larger than what it measures (the winner's
  curse). Where the cell's curve has a law and volumes on both sides, the cell is drawn towards what
  the law fitted without the cell's own volume says there, each weighted by its precision, so that a
  lucky run does not win by luck. At either end of a curve the law without it would extrapolate, and
  curves that rise late make it miss by far: the runs alone count there.

All draws come from generators seeded by content, so they depend on neither the machine nor the
order.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tracker.select.cells import Cell, rounded, run_quality
from tracker.select.choice import LEVEL, Estimate, Source
from tracker.select.curves import CurveFits, CurveKey, pooled_sd
from tracker.select.laws import FittedLaw
from tracker.select.solve import Array

DRAWS = 4096
#: Draws closer than this are a tie: machines differ in the last bits.
TIE = 1e-9


class Belief(NamedTuple):
    """Joint draws of the candidates' qualities.

    ``centre``, ``measured`` (C,): predicted quality and the plain mean of the runs. ``draws``,
    ``rows`` (DRAWS, C): the draws, and their part from the rows alone. ``unpaired``: labels of
    cells whose row noise is not from replicates.
    """

    centre: Array
    measured: Array
    draws: Array
    rows: Array
    sources: tuple[Source, ...]
    noise_floor: float | None
    unpaired: tuple[str, ...]

    def quality(self, index: int) -> Estimate:
        low, high = interval(self.draws[:, index])
        return Estimate(
            value=rounded(float(self.centre[index])),
            low=rounded(low),
            high=rounded(high),
            source=self.sources[index],
        )

    def gap(self, index: int, other: int) -> Estimate:
        """Quality of *index* minus that of *other*, on the same draws."""
        low, high = interval(self.draws[:, index] - self.draws[:, other])
        value = float(self.centre[index] - self.centre[other])
        return Estimate(value=rounded(value), low=rounded(low), high=rounded(high))

    def p_best(self, among: Sequence[int]) -> dict[int, float]:
        """Probability of each of *among* to be the best of them; a tie is shared."""
        draws = self.draws[:, list(among)]
        best = draws >= draws.max(axis=1, keepdims=True) - TIE
        share = (best / best.sum(axis=1, keepdims=True)).mean(axis=0)
        return {index: rounded(float(p)) for index, p in zip(among, share, strict=True)}

    def expected_regret(self, index: int, among: Sequence[int]) -> float:
        draws = self.draws[:, list(among)]
        return rounded(float((draws.max(axis=1) - self.draws[:, index]).mean()))

    def p_reaches(self, index: int, quality: float) -> float:
        return rounded(float((self.draws[:, index] >= quality - TIE).mean()))


def believe(cells: Sequence[Cell], weights: Mapping[str, float], fits: CurveFits) -> Belief:
    """The joint belief about *cells*, each of which has every weighted task's score."""
    qualities = [_qualities(cell, weights) for cell in cells]
    measured = np.array([np.mean(values) for values in qualities])
    floor, freedom = pooled_sd(qualities), sum(len(values) - 1 for values in qualities)
    centre, sd, sources = _with_laws(cells, weights, fits, measured, floor)
    rows, unpaired = _row_noise(cells, weights)
    draws = rounded_array(centre) + rows + _seed_noise(cells, sd, freedom)
    return Belief(rounded_array(centre), measured, draws, rows, sources, floor, unpaired)


def rounded_array(values: Array) -> Array:
    return np.array([rounded(value) for value in values.tolist()])


def cell_laws(cell: Cell, weights: Mapping[str, float], fits: CurveFits) -> dict[str, FittedLaw]:
    """The laws of the cell's curve by weighted task; empty unless all are there and used it."""
    spec = cell.spec
    mix = spec.mix.name if spec.mix else ""
    found: dict[str, FittedLaw] = {}
    for task in weights:
        key = CurveKey(model=spec.model.name, method=spec.method, mix=mix, task=task)
        law = fits.laws.get(key)
        if law is None or spec.key not in law.used:
            return {}
        found[task] = law
    return found


def _qualities(cell: Cell, weights: Mapping[str, float]) -> list[float]:
    values = (run_quality(run, dict(weights)) for run in cell.runs)
    return [value for value in values if value is not None]


def interval(draws: Array) -> tuple[float, float]:
    """The 80 % interval of *draws* (n,)."""
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _with_laws(
    cells: Sequence[Cell],
    weights: Mapping[str, float],
    fits: CurveFits,
    measured: Array,
    floor: float | None,
) -> tuple[Array, Array, tuple[Source, ...]]:
    """Centre and seed-like standard deviation of each cell, and where the centre comes from.

    The rows' error is common to the cell and to its law (the same rows), so it has no part in the
    weights. Without a noise floor the cell's own precision is unknown: it is taken as it is.
    """
    centre, sd, sources = measured.copy(), np.zeros(len(cells)), ["measured"] * len(cells)
    for i, cell in enumerate(cells):
        if floor is None or cell.untouched:
            continue
        sd[i] = floor / np.sqrt(len(cell.runs))
        told = _law_without(cell, weights, fits)
        if told and sd[i] > 0:
            own, other = sd[i] ** -2, told[1] ** -2
            centre[i] = (own * measured[i] + other * told[0]) / (own + other)
            sd[i] = (own + other) ** -0.5
            sources[i] = "measured and law"
    return centre, sd, tuple(sources)  # type: ignore[arg-type]


def _law_without(
    cell: Cell, weights: Mapping[str, float], fits: CurveFits
) -> tuple[float, float] | None:
    """Quality at the cell's volume by the laws fitted without that volume, and its error's
    deviation; ``None`` at the ends of a curve.

    The deviation is the larger of what the bootstrap says and of how far the laws fitted without
    one volume really missed on this curve (median over its volumes): a law of the wrong form counts
    little.
    """
    quality, variance = 0.0, 0.0
    for task, law in cell_laws(cell, weights, fits).items():
        here = next((w for w in law.without if w.examples == cell.spec.volume), None)
        if here is None or not law.domain[0] < here.examples < law.domain[1]:
            return None
        missed = [abs(w.missed) for w in law.without if w.examples > 0]
        log_sd = max(here.log_sd, 1.4826 * float(np.median(missed)))
        quality += weights[task] * (1 - here.value)
        variance += (weights[task] * here.value * log_sd) ** 2
    return (quality, float(np.sqrt(variance))) if variance else None


def _row_noise(
    cells: Sequence[Cell], weights: Mapping[str, float]
) -> tuple[Array, tuple[str, ...]]:
    """Centred row noise (DRAWS, C): one resample per draw and (task, n), for all its trials."""
    noise = np.zeros((DRAWS, len(cells)))
    unpaired: list[str] = []
    for i, cell in enumerate(cells):
        for task, weight in weights.items():
            scores = cell.scores(task)
            same = {(s.n, len(s.replicates)) for s in scores}
            if len(same) == 1 and scores[0].replicates:
                (n, count), *_ = same
                replicates = np.mean([s.replicates for s in scores], axis=0)
                pick = _generator(task, n, count).integers(count, size=DRAWS)
                noise[:, i] += weight * (replicates - replicates.mean())[pick]
            else:
                unpaired.append(cell.label)
                normals = _generator(cell.key, task).standard_normal(DRAWS)
                noise[:, i] += (
                    weight * max(_row_sd(s.score, s.score_se, s.n) for s in scores) * normals
                )
    return noise, tuple(dict.fromkeys(unpaired))


def _row_sd(score: float | None, se: float | None, n: int) -> float:
    """The standard error; where absent the largest that the mean of n values in [0, 1] can have."""
    if se is not None:
        return se
    mean = 0.5 if score is None else score
    return float(np.sqrt(mean * (1 - mean) / n))


def _seed_noise(cells: Sequence[Cell], sd: Array, freedom: int) -> Array:
    """Noise between seeds (DRAWS, C); a floor from few repeats is itself uncertain, for all alike."""
    scale = np.ones(DRAWS)
    if freedom:
        # Two more than counted, so that the draws have a variance even with one.
        scale = np.sqrt((freedom + 2) / _generator("floor").chisquare(freedom + 2, DRAWS))
    noise = [
        _generator(cell.key, "seed").standard_normal(DRAWS) * scale * spread
        for cell, spread in zip(cells, sd.tolist(), strict=True)
    ]
    return np.stack(noise, axis=1)


def _generator(*content: str | int) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32("|".join(map(str, content)).encode()))
