"""Measurement noise of each configuration: row sampling and seed variance, as variances and as draws."""

from __future__ import annotations

import math
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
from tracker.metrics import Measure, error_of, pooled_sd, score_variance, se_of
from tracker.results import ConfigurationResults
from tracker.task import TaskScore

DRAWS = 4096
#: Correlation of two models' errors on the same rows, assumed without replicates.
ROW_CORRELATION = 0.5
#: Usual number of replicates of a task's scores.
_RESAMPLES = 200
#: Degrees of freedom by which a method's variance between seeds is shrunk towards that of all methods.
_PRIOR_FREEDOM = 8
#: Degrees of freedom of an assumed noise.
_ASSUMED_FREEDOM = 1


class MeasurementNoise(NamedTuple):
    """Measurement noise of C configurations, whose mean measured quality is ``quality`` (C,).

    ``floor``: noise floor, the pooled standard deviation between seeds; ``None`` without repeats.
    ``freedom``: its degrees of freedom. ``run_sd`` (C,): the same by method, of one run on the same rows
    (without repeats and known rows that of :func:`noise_without_replicates`). ``variance`` (C,): of the mean
    over the runs of a configuration, without the part that the rows explain. ``common``, ``rows`` (DRAWS, C):
    centred draws of the row noise, the part common to all configurations and the rest. ``rows_covariance``
    (C, C): of the rest. ``persistent_share`` (C,): the share of its variance that more seeds on the same rows
    would not average out. ``seed_draws`` (DRAWS, C): seed noise in units of its standard deviation.
    ``unpaired``: labels of configurations whose row noise is not from replicates.
    """

    quality: Array
    floor: float | None
    freedom: int
    run_sd: Array
    variance: Array
    common: Array
    rows: Array
    rows_covariance: Array
    persistent_share: Array
    seed_draws: Array
    unpaired: tuple[str, ...]


class NoiseWithoutReplicates(NamedTuple):
    """Noise of one run's weighted quality where neither rows nor repeats measure it.

    ``variance`` (C,): 0 where the row noise is known. ``freedom``: number of residuals of the task with the
    fewest. ``source``: ``None`` if nothing was needed.
    """

    variance: Array
    freedom: int
    source: NoiseSource | None


def measurement_noise(
    configurations: Sequence[ConfigurationResults],
    values: Sequence[Sequence[float]],
    weights: Mapping[str, float],
) -> MeasurementNoise:
    """Measurement noise of *configurations*, whose runs have the weighted qualities *values*."""
    noise, unpaired = _row_noise(configurations, weights)
    quality = np.array([np.mean(v) for v in values])
    common, rows, covariance = _without_common(configurations, quality, noise)
    floor, freedom, by_method = _seed_variance(configurations, values)
    run_variance = np.array(
        [0.0 if c.untouched else by_method.get(c.spec.method.name, 0.0) for c in configurations]
    )
    if floor is None:
        without_replicates = noise_without_replicates(configurations, weights)
        run_variance, freedom = without_replicates.variance, without_replicates.freedom
    # Seeds are compared on the same rows, so part of the difference between them is row noise.
    rows_between_seeds = _rows_between_seeds(configurations, weights)
    share_beyond_rows = (
        max(1 - rows_between_seeds / floor**2, 0.1) if floor and rows_between_seeds else 1.0
    )
    counts = np.array([len(v) for v in values])
    row_variance = np.diag(covariance)
    persistent_share = (
        ROW_CORRELATION
        if rows_between_seeds is None
        else 1 - rows_between_seeds / counts / np.maximum(row_variance, 1e-18)
    )
    return MeasurementNoise(
        quality=quality,
        floor=floor,
        freedom=freedom,
        run_sd=np.sqrt(run_variance),
        variance=share_beyond_rows * run_variance / counts,
        common=common,
        rows=rows,
        rows_covariance=covariance,
        persistent_share=np.clip(np.broadcast_to(persistent_share, row_variance.shape), 0.0, 1.0),
        seed_draws=_seed_draws(configurations, freedom),
        unpaired=unpaired,
    )


def generator(*content: str | int) -> np.random.Generator:
    """Random generator seeded by *content*: the same on every machine and in every order."""
    return np.random.default_rng(zlib.crc32("|".join(map(str, content)).encode()))


def _seed_variance(
    configurations: Sequence[ConfigurationResults], values: Sequence[Sequence[float]]
) -> tuple[float | None, int, dict[str, float]]:
    """Noise floor, its degrees of freedom, and the variance between seeds of each method.

    A glitched run is not noise: repeats further apart than five robust deviations are left out.
    """
    repeated = [
        (c.spec.method.name, np.asarray(v))
        for c, v in zip(configurations, values, strict=True)
        if len(v) > 1 and not c.untouched
    ]
    typical = _robust_variance([v for _, v in repeated])
    kept = [
        (method, v)
        for method, v in repeated
        if not typical or ((v - np.median(v)) ** 2).max() <= 50 * typical
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
            method: moderated_variance(floor**2, squares.get(method, 0.0), degrees.get(method, 0))
            for method in {c.spec.method.name for c in configurations}
        },
    )


def moderated_variance(overall: float, squares: float, freedom: float) -> float:
    """Variance of one method shrunk towards the *overall* one (moderated as in Smyth, 2004).

    *squares*: sum of squared deviations of the method, with *freedom* degrees.
    """
    return (_PRIOR_FREEDOM * overall + squares) / (_PRIOR_FREEDOM + freedom)


def _robust_variance(repeats: Sequence[Array]) -> float:
    """Robust variance between seeds; 0 with fewer than five repeated configurations."""
    if len(repeats) < 5:
        return 0.0
    # The median of a squared normal is 0.455 times its variance.
    return float(np.median([v.var(ddof=1) for v in repeats])) / 0.455


def _row_noise(
    configurations: Sequence[ConfigurationResults], weights: Mapping[str, float]
) -> tuple[Array, tuple[str, ...]]:
    """Row noise (DRAWS, C), centred: one resample per draw and (task, n), for all its trials."""
    noise = np.zeros((DRAWS, len(configurations)))
    unpaired: list[str] = []
    for i, configuration in enumerate(configurations):
        for task, weight in weights.items():
            scores = configuration.scores(task)
            sizes = {(s.n, len(s.replicates)) for s in scores}
            if len(sizes) == 1 and scores[0].replicates:
                (n, count), *_ = sizes
                replicates = np.mean([s.replicates for s in scores], axis=0)
                pick = generator(task, str(n), count).integers(count, size=DRAWS)
                sign = 1 if configuration.measures.get(task, "score") == "score" else -1
                noise[:, i] += sign * weight * (replicates - replicates.mean())[pick]
                if lacking := _beyond_replicates(scores, float(replicates.var()), n):
                    noise[:, i] += weight * lacking * _normals_over_rows(configuration, task, n)
            elif sd := _row_sd(scores, configuration.measures.get(task, "score")):
                unpaired.append(configuration.label)
                normals = _normals_over_rows(configuration, task, scores[0].n)
                noise[:, i] += weight * sd * normals
    return noise, tuple(dict.fromkeys(unpaired))


def _normals_over_rows(configuration: ConfigurationResults, task: str, rows: int | None) -> Array:
    """Standard normals (DRAWS,), correlated between configurations as errors on the same rows are."""
    common = generator(task, str(rows)).standard_normal(DRAWS)
    independent = generator(configuration.key, task).standard_normal(DRAWS)
    return np.asarray(ROW_CORRELATION**0.5 * common + (1 - ROW_CORRELATION) ** 0.5 * independent)


def _beyond_replicates(scores: Sequence[TaskScore], variance: float, rows: int | None) -> float:
    """Deviation that the bootstrap's *variance* lacks on so few *rows*; 0 where it lacks none."""
    values = [score.score for score in scores if score.score is not None]
    if not values or not rows:
        return 0.0
    return math.sqrt(score_variance(float(np.mean(values)), variance, rows) - variance)


def _without_common(
    configurations: Sequence[ConfigurationResults], quality: Array, noise: Array
) -> tuple[Array, Array, Array]:
    """Common part of the row *noise* (DRAWS, C), the rest, and the covariance (C, C) of the rest.

    Easy or hard rows shift all configurations by a smooth function of their *quality* (C,), a quadratic here.
    That is the same as another level of the scores, so neighbours carry no information on it. A covariance
    from a few hundred resamples is mostly chance: its correlations are shrunk as far as chance alone would
    make them (Schäfer & Strimmer, 2005), in the draws as well.
    """
    degree = min(2, len(np.unique(quality)) - 1)
    basis = np.linalg.qr(np.vander(quality - quality.mean(), degree + 1))[0]
    common = (noise @ basis) @ basis.T
    rest = noise - common
    covariance = rest.T @ rest / DRAWS
    sd = np.sqrt(np.diag(covariance))
    correlation = covariance / np.maximum(np.outer(sd, sd), 1e-18)
    squares = correlation[~np.eye(len(configurations), dtype=bool)] ** 2
    total = float(squares.sum())
    chance = float(((1 - np.minimum(squares, 1)) ** 2).sum()) / _RESAMPLES
    shrink = min(1.0, chance / total) if total else 1.0
    normals = np.stack(
        [
            generator(configuration.key, "rows").standard_normal(DRAWS)
            for configuration in configurations
        ],
        axis=1,
    )
    rest = (1 - shrink) ** 0.5 * rest + shrink**0.5 * sd * normals
    return common, rest, (1 - shrink) * covariance + shrink * np.diag(sd**2)


def _row_sd(scores: Sequence[TaskScore], measure: Measure) -> float | None:
    """Largest standard error of *scores*, ``None`` if unknown.

    Where it is absent, the largest that the mean of n values in [0, 1] can have; none for a loss.
    """
    errors = []
    for score in scores:
        error = se_of(score, measure)
        if error is not None:
            errors.append(error)
        elif measure == "score" and score.n and score.score is not None and 0 <= score.score <= 1:
            largest = score.score * (1 - score.score) / score.n
            errors.append(math.sqrt(score_variance(score.score, largest, score.n)))
    return max(errors, default=None)


def _rows_between_seeds(
    configurations: Sequence[ConfigurationResults], weights: Mapping[str, float]
) -> float | None:
    """Variance between runs of one configuration that the rows explain; ``None`` without replicates."""
    squares, freedom = 0.0, 0
    for configuration in configurations:
        if configuration.untouched or len(configuration.runs) < 2:
            continue
        total, enough = 0.0, True
        for task, weight in weights.items():
            scores = configuration.scores(task)
            lengths = {len(s.replicates) for s in scores}
            if len(lengths) != 1 or lengths == {0}:
                enough = False
                break
            replicates = np.array([s.replicates for s in scores])
            deviations = replicates - replicates.mean(axis=0)
            total += weight**2 * float(deviations.var(axis=1).sum())
        if enough:
            squares, freedom = squares + total, freedom + len(configuration.runs) - 1
    return squares / freedom if freedom else None


def _seed_draws(configurations: Sequence[ConfigurationResults], freedom: int) -> Array:
    """Standard draws of the seed noise (DRAWS, C), a Student t: a floor from few repeats is uncertain."""
    scale = np.ones(DRAWS)
    if freedom:
        # Two more than counted, so that the draws have a variance even with one.
        scale = np.sqrt((freedom + 2) / generator("floor").chisquare(freedom + 2, DRAWS))
    return np.stack(
        [
            generator(configuration.key, "seed").standard_normal(DRAWS) * scale
            for configuration in configurations
        ],
        axis=1,
    )


# -- noise without repeats and without row noise -------------------------------------------------------


def noise_without_replicates(
    configurations: Sequence[ConfigurationResults], weights: Mapping[str, float]
) -> NoiseWithoutReplicates:
    """Noise of *configurations* on the tasks of *weights* where neither rows nor repeats measure it.

    A noise of zero would make any gap significant. It is estimated by the residuals of runs about smooth
    curves over training-set sizes, as for the laws (:mod:`tracker.laws.points`), and assumed as there where
    no curve has four sizes. It is in units of ln error: the noise of a quality is the error times it.
    """
    variance = np.zeros(len(configurations))
    freedoms: list[int] = []
    source: NoiseSource | None = None
    for task, weight in weights.items():
        unknown = [not _row_noise_known(configuration, task) for configuration in configurations]
        if not any(unknown):
            continue
        residual_noise = _residual_noise(_curves(configurations, task))
        scale, freedom = residual_noise or (ASSUMED_NOISE, _ASSUMED_FREEDOM)
        source = "residuals" if residual_noise and source != "assumed" else "assumed"
        freedoms.append(freedom)
        errors = np.array([_error(configuration, task) or 0.0 for configuration in configurations])
        variance += np.where(unknown, (weight * scale * errors) ** 2, 0.0)
    return NoiseWithoutReplicates(variance, min(freedoms, default=0), source)


def _residual_noise(curves: Sequence[CurvePoints]) -> tuple[float, int] | None:
    """Robust deviation of a log error about the curves, and the number of residuals."""
    scale = residual_scale(curves)
    if scale is None:
        return None
    return scale, sum(len(p.sizes) - 2 for p in curves if len(p.sizes) > FEWEST_SIZES)


def _row_noise_known(configuration: ConfigurationResults, task: str) -> bool:
    """Whether the row noise is known: by a standard error, resamples or a number of rows."""
    measure = configuration.measures.get(task, "score")
    return any(
        s.replicates or se_of(s, measure) is not None or (measure == "score" and s.n)
        for s in configuration.scores(task)
    )


def _error(configuration: ConfigurationResults, task: str) -> float | None:
    measure = configuration.measures.get(task, "score")
    errors = [
        e for s in configuration.scores(task) if (e := error_of(s, measure)) is not None and e > 0
    ]
    return float(np.mean(errors)) if errors else None


def _curves(configurations: Sequence[ConfigurationResults], task: str) -> list[CurvePoints]:
    """Curves of the error over training-set sizes, of every model, method and mix."""
    runs_by_curve: defaultdict[tuple[object, ...], list[tuple[float, float, str]]] = defaultdict(
        list
    )
    for configuration in configurations:
        error, spec = _error(configuration, task), configuration.spec
        if error is not None and not configuration.untouched:
            curve = (spec.model.name, spec.method, spec.mix.name if spec.mix else "", spec.train)
            runs_by_curve[curve].append((spec.volume, error, configuration.key))
    return [
        points_of(
            CurveRuns(
                np.array([run[0] for run in runs], dtype=float),
                np.array([run[1] for run in runs]),
                tuple(run[2] for run in runs),
                {},
            )
        )
        for runs in runs_by_curve.values()
    ]
