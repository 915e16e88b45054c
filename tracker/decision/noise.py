"""What blurs a measurement: the validation rows and the seeds, as variances and as draws."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tracker.laws.fitted_law import NoiseSource
from tracker.laws.points import (
    ASSUMED_NOISE,
    FEWEST_SIZES,
    CurvePoints,
    CurveRuns,
    points_of,
    residual_scale,
)
from tracker.laws.pooling import Array
from tracker.metrics import Measure, error_of, pooled_sd, se_of
from tracker.results import ConfigurationResults
from tracker.trial import TaskScore

DRAWS = 4096
#: Two models' errors on the same rows go together; assumed where no replicates tell how far.
ROWS_ALIKE = 0.5
#: Replicates that a task's scores usually come with.
_RESAMPLES = 200
#: A method's own repeats count as if these came with them, spread as all methods' are.
_BORROWED = 8
#: An assumption counts as sure as a deviation from so many values.
_ASSUMED_FREEDOM = 1


class MeasurementNoise(NamedTuple):
    """Of C cells, the mean over runs, ``quality`` (C,), and its noise.

    ``floor``: pooled standard deviation between seeds, ``None`` without repeats; ``run_sd`` (C,): the
    same by method, what one run adds to its configuration's quality on the same rows (without repeats
    and known rows: what :func:`noise_without_replicates` says), and
    ``variance`` (C,): of the mean over a cell's runs, without what the rows explain. ``common``,
    ``rows`` (DRAWS, C): centred draws of the rows' part, what they do to all cells together and what
    to each; ``rows_covariance`` (C, C): of the latter, ``lasting`` (C,)
    the share of it that further seeds would meet again. ``seed_draws`` (DRAWS, C): the seeds' part in
    units of its standard deviation. ``freedom``: of the floor.
    """

    quality: Array
    floor: float | None
    freedom: int
    run_sd: Array
    variance: Array
    common: Array
    rows: Array
    rows_covariance: Array
    lasting: Array
    seed_draws: Array
    unpaired: tuple[str, ...]


class NoiseWithoutReplicates(NamedTuple):
    """``variance`` (C,): of one run's weighted quality, 0 where the rows tell its noise. ``freedom``:
    how many residuals tell the least known task's; ``source``: whence, ``None`` if nothing was needed.
    """

    variance: Array
    freedom: int
    source: NoiseSource | None


def measurement_noise(
    cells: Sequence[ConfigurationResults],
    values: Sequence[Sequence[float]],
    weights: Mapping[str, float],
) -> MeasurementNoise:
    """The noise of *cells* whose runs' weighted qualities are *values*."""
    noise, unpaired = _row_draws(cells, weights)
    quality = np.array([np.mean(v) for v in values])
    common, rows, covariance = _apart(cells, quality, noise)
    floor, freedom, by_method = _between_seeds(cells, values)
    run_variance = np.array(
        [0.0 if c.untouched else by_method.get(c.spec.method.name, 0.0) for c in cells]
    )
    if floor is None:
        alone = noise_without_replicates(cells, weights)
        run_variance, freedom = alone.variance, alone.freedom
    # Seeds are compared on the same rows, so part of what differs between them is the rows' doing.
    between = _rows_between_seeds(cells, weights)
    beyond = max(1 - between / floor**2, 0.1) if floor and between else 1.0
    counts = np.array([len(v) for v in values])
    own = np.diag(covariance)
    lasting = ROWS_ALIKE if between is None else 1 - between / counts / np.maximum(own, 1e-18)
    return MeasurementNoise(
        quality=quality,
        floor=floor,
        freedom=freedom,
        run_sd=np.sqrt(run_variance),
        variance=beyond * run_variance / counts,
        common=common,
        rows=rows,
        rows_covariance=covariance,
        lasting=np.clip(np.broadcast_to(lasting, own.shape), 0.0, 1.0),
        seed_draws=_seed_draws(cells, freedom),
        unpaired=unpaired,
    )


def generator(*content: str | int) -> np.random.Generator:
    """The same numbers for the same content, on every machine and in every order."""
    return np.random.default_rng(zlib.crc32("|".join(map(str, content)).encode()))


def _between_seeds(
    cells: Sequence[ConfigurationResults], values: Sequence[Sequence[float]]
) -> tuple[float | None, int, dict[str, float]]:
    """Floor, degrees of freedom, and the variance between seeds of each method.

    A spoilt run must not pass for noise: repeats further apart than five robust deviations stay
    out. A method's variance is its own pooled with the overall one (moderated as in Smyth, 2004).
    """
    repeated = [
        (c.spec.method.name, np.asarray(v))
        for c, v in zip(cells, values, strict=True)
        if len(v) > 1 and not c.untouched
    ]
    usual = _usual_variance([v for _, v in repeated])
    kept = [
        (m, v) for m, v in repeated if not usual or ((v - np.median(v)) ** 2).max() <= 50 * usual
    ]
    floor = pooled_sd(v for _, v in kept)
    if floor is None:
        return None, 0, {}
    squares: dict[str, float] = {}
    degrees: dict[str, int] = {}
    for method, v in kept:
        squares[method] = squares.get(method, 0.0) + float(((v - v.mean()) ** 2).sum())
        degrees[method] = degrees.get(method, 0) + len(v) - 1
    return (
        floor,
        sum(degrees.values()),
        {
            method: (_BORROWED * floor**2 + squares.get(method, 0.0))
            / (_BORROWED + degrees.get(method, 0))
            for method in {c.spec.method.name for c in cells}
        },
    )


def _usual_variance(repeats: Sequence[Array]) -> float:
    """A robust variance between seeds; 0 where fewer than five cells tell."""
    if len(repeats) < 5:
        return 0.0
    # The median of a squared normal is 0.455 times its variance.
    return float(np.median([v.var(ddof=1) for v in repeats])) / 0.455


def _row_draws(
    cells: Sequence[ConfigurationResults], weights: Mapping[str, float]
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
                pick = generator(task, str(n), count).integers(count, size=DRAWS)
                noise[:, i] += weight * (replicates - replicates.mean())[pick]
            elif sd := _row_sd(scores, cell.measures.get(task, "score")):
                unpaired.append(cell.label)
                common = generator(task, str(scores[0].n)).standard_normal(DRAWS)
                own = generator(cell.key, task).standard_normal(DRAWS)
                mixed = ROWS_ALIKE**0.5 * common + (1 - ROWS_ALIKE) ** 0.5 * own
                noise[:, i] += weight * sd * mixed
    return noise, tuple(dict.fromkeys(unpaired))


def _apart(
    cells: Sequence[ConfigurationResults], quality: Array, noise: Array
) -> tuple[Array, Array, Array]:
    """*noise* (DRAWS, C) as what it does to the scale, the rest, and the covariance (C, C) of the rest.

    Easy or hard rows bend the scale for all cells, by a smooth function of their *quality* (C,), a
    quadratic here. That cannot be told from the level of the scores, so no neighbour tells it. A
    covariance from a few hundred resamples is mostly chance: its correlations are shrunk as far as
    chance alone would make them (Schäfer & Strimmer, 2005), in the draws as well.
    """
    degree = min(2, len(np.unique(quality)) - 1)
    basis = np.linalg.qr(np.vander(quality - quality.mean(), degree + 1))[0]
    common = (noise @ basis) @ basis.T
    rest = noise - common
    covariance = rest.T @ rest / DRAWS
    sd = np.sqrt(np.diag(covariance))
    alike = covariance / np.maximum(np.outer(sd, sd), 1e-18)
    squares = alike[~np.eye(len(cells), dtype=bool)] ** 2
    total = float(squares.sum())
    chance = float(((1 - np.minimum(squares, 1)) ** 2).sum()) / _RESAMPLES
    shrink = min(1.0, chance / total) if total else 1.0
    normals = np.stack(
        [generator(cell.key, "rows").standard_normal(DRAWS) for cell in cells], axis=1
    )
    rest = (1 - shrink) ** 0.5 * rest + shrink**0.5 * sd * normals
    return common, rest, (1 - shrink) * covariance + shrink * np.diag(sd**2)


def _row_sd(scores: Sequence[TaskScore], measure: Measure) -> float | None:
    """The largest standard error of *scores*; where absent the largest that the mean of n values in
    [0, 1] can have, and ``None`` where n is not known either, or it is a loss.
    """
    found = []
    for score in scores:
        se = se_of(score, measure)
        if se is not None:
            found.append(se)
        elif measure == "score" and score.n and score.score is not None and 0 <= score.score <= 1:
            found.append(float(np.sqrt(score.score * (1 - score.score) / score.n)))
    return max(found, default=None)


def _rows_between_seeds(
    cells: Sequence[ConfigurationResults], weights: Mapping[str, float]
) -> float | None:
    """Variance between runs of one cell that their rows explain: of replicates about the cell's;
    ``None`` where no repeats with replicates tell.
    """
    squares, freedom = 0.0, 0
    for cell in cells:
        if cell.untouched or len(cell.runs) < 2:
            continue
        total, enough = 0.0, True
        for task, weight in weights.items():
            scores = cell.scores(task)
            lengths = {len(s.replicates) for s in scores}
            if len(lengths) != 1 or lengths == {0}:
                enough = False
                break
            replicates = np.array([s.replicates for s in scores])
            apart = replicates - replicates.mean(axis=0)
            total += weight**2 * float(apart.var(axis=1).sum())
        if enough:
            squares, freedom = squares + total, freedom + len(cell.runs) - 1
    return squares / freedom if freedom else None


def _seed_draws(cells: Sequence[ConfigurationResults], freedom: int) -> Array:
    """Standard draws of the seeds' noise (DRAWS, C); a floor from few repeats is itself uncertain,
    for all alike.
    """
    scale = np.ones(DRAWS)
    if freedom:
        # Two more than counted, so that the draws have a variance even with one.
        scale = np.sqrt((freedom + 2) / generator("floor").chisquare(freedom + 2, DRAWS))
    return np.stack(
        [generator(cell.key, "seed").standard_normal(DRAWS) * scale for cell in cells], axis=1
    )


# -- runs that nobody repeated, where the rows scored are not stated either ----------------------------


def noise_without_replicates(
    cells: Sequence[ConfigurationResults], weights: Mapping[str, float]
) -> NoiseWithoutReplicates:
    """The noise of *cells* on the tasks of *weights* where neither rows nor repeats tell it.

    Zero would be a lie that makes any gap sure. What is left to tell it is how far runs lie from smooth
    curves over volumes, as the laws take it (:mod:`tracker.laws.points`); where no curve has four
    volumes, it is assumed as there. It is in units of ln error, so that of a quality is the error times it.
    """
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
    return scale, sum(len(p.sizes) - 2 for p in curves if len(p.sizes) > FEWEST_SIZES)


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
