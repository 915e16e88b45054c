"""Loss-to-score mapping of a task: score as a falling function of loss, with its prediction error.

Laws are of losses, decisions are on scores, and one is not always a proxy of the other (published rank
correlations run from -.18 to -.99). So the mapping is fitted to all trials of a task: either isotonic (no
shape assumed) or a logistic curve of ln loss with a learned ceiling, whichever predicts the trials of a
left-out model better. Its errors there are its uncertainty. A weak rank correlation is reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field

from tracker.errors import InputError, NotEnoughDataError
from tracker.frozen import Frozen
from tracker.laws.fitted_law import LeftOut, Parameter
from tracker.laws.robust_fit import Array, Form, content_generator, estimate
from tracker.metrics import rounded

#: With a smaller |Spearman's rho| (or the wrong sign) the loss is called no proxy.
WEAK = 0.6
_FEWEST = 8
_FOLDS = 5
_RESAMPLES = 400
_NEIGHBOURS = 20

Shape = Literal["isotonic", "logistic"]
_SHAPES: tuple[Shape, ...] = ("logistic", "isotonic")  # the fewer parameters first


class HeldOutError(NamedTuple):
    """Residual of a run's score, at its loss, from the mapping fitted without its model."""

    loss: float
    residual: float


class LossToScore(Frozen):
    """Fitted mapping from loss to score.

    ``knots``: (loss, score), ascending in loss; the mapping is linear between them and constant beyond.
    ``rank_correlation``: Spearman's rho of loss and score with its 80 % interval. ``proxy``: whether it is
    at most -0.6. ``held_out_error``: mean |error| of the score where the model was left out (``groups`` of
    them; folds of runs with one model), by shape in ``held_out``. ``constant_error``: the same of the mean
    score. ``domain``: smallest and largest loss. ``held_out_errors``: the residuals, by loss, that
    :meth:`scores` adds.
    """

    shape: Shape
    knots: tuple[tuple[float, float], ...]
    rank_correlation: Parameter
    proxy: bool
    held_out_error: float
    held_out: dict[str, float]
    constant_error: float
    groups: int
    domain: tuple[float, float]
    used: tuple[str, ...]
    left_out: tuple[LeftOut, ...] = ()
    held_out_errors: tuple[HeldOutError, ...] = Field(repr=False)

    def expected(self, losses: ArrayLike) -> Array:
        """Expected scores at *losses*, any shape; constant beyond the losses measured."""
        x, y = np.array(self.knots).T
        return np.asarray(np.interp(np.asarray(losses, dtype=float), x, y))

    def scores(self, loss_draws: ArrayLike) -> Array:
        """Score draws for loss draws of any shape: the expected score plus a held-out error near that loss.

        Each draw takes the error of one of the 20 runs nearest in loss, chosen by a fixed sequence,
        a little enlarged, since the quantiles of 20 errors cover less of a new one than they say
        (the 80 % ones 72 %). The same draws always give the same scores, within [0, 1].
        """
        draws = np.asarray(loss_draws, dtype=float)
        at, residual = np.array(self.held_out_errors).T
        width = min(_NEIGHBOURS, len(at))
        first = np.searchsorted(at, draws) - width // 2
        first = np.clip(first, 0, len(at) - width)
        chosen = first + np.random.default_rng(0).integers(width, size=draws.shape)
        sampled = self.expected(draws) + (1 + 3 / width) * residual[chosen]
        return np.asarray(np.clip(sampled, 0.0, 1.0))


def fit_loss_to_score(
    losses: ArrayLike,
    scores: ArrayLike,
    *,
    models: Sequence[str],
    keys: Sequence[str] | None = None,
    left_out: Sequence[LeftOut] = (),
) -> LossToScore:
    """Fit the mapping from *losses* (n,) > 0 to *scores* (n,) in [0, 1] of runs of *models* (n,).

    Raises NotEnoughDataError below eight runs or where all scores are one, InputError for values
    out of range.
    """
    names = tuple(keys) if keys is not None else tuple(str(i) for i in range(len(models)))
    x, y = np.asarray(losses, dtype=float), np.asarray(scores, dtype=float)
    _check(x, y)
    order = sorted(range(len(x)), key=lambda i: (x[i], y[i], models[i], names[i]))
    x, y = x[order], y[order]
    groups = _groups([models[i] for i in order])
    held_out = {shape: y - _held_out_scores(shape, x, y, groups) for shape in _SHAPES}
    errors = {shape: float(np.abs(missed).mean()) for shape, missed in held_out.items()}
    shape = min(_SHAPES, key=lambda s: errors[s])
    means = np.array([y[groups != g].mean() for g in groups])
    rho = _rank_correlation(x, y, content_generator("link", sorted(names)))
    return LossToScore(
        shape=shape,
        knots=_knots(shape, x, y),
        rank_correlation=rho,
        proxy=rho.value <= -WEAK,
        held_out_error=rounded(errors[shape]),
        held_out={name: rounded(error) for name, error in errors.items()},
        constant_error=rounded(np.abs(y - means).mean()),
        groups=len(np.unique(groups)),
        domain=(rounded(x[0]), rounded(x[-1])),
        used=tuple(names[i] for i in order),
        left_out=tuple(left_out),
        held_out_errors=tuple(
            HeldOutError(rounded(at), rounded(missed))
            for at, missed in zip(x, held_out[shape], strict=True)
        ),
    )


def _check(x: Array, y: Array) -> None:
    if len(x) < _FEWEST:
        raise NotEnoughDataError(
            f"loss and score measured in {len(x)} runs; a mapping needs {_FEWEST}: "
            f"run {_FEWEST - len(x)} more trial(s)"
        )
    if x.min() <= 0 or y.min() < 0 or y.max() > 1:
        raise InputError(
            f"found losses from {x.min():g} and scores from {y.min():g} to {y.max():g}; allowed are "
            "losses above 0 and scores from 0 to 1"
        )
    for values, what in ((y, "score"), (x, "lose")):
        if np.ptp(values) == 0:
            raise NotEnoughDataError(
                f"all {len(values)} runs {what} {values[0]:g}, so loss does not predict score: run "
                f"trials that {what} otherwise (more examples, a larger model)"
            )


def _groups(models: Sequence[str]) -> Array:
    """Groups that are left out together: a model; with one model, every fifth run in order of loss."""
    names = sorted(set(models))
    if len(names) > 1:
        return np.array([names.index(name) for name in models], dtype=float)
    return np.arange(len(models), dtype=float) % _FOLDS


def _held_out_scores(shape: Shape, x: Array, y: Array, groups: Array) -> Array:
    """Held-out score of each run (n,), from the mapping fitted without its group."""
    predicted = np.empty_like(y)
    for group in np.unique(groups):
        out = groups == group
        at, score = np.array(_knots(shape, x[~out], y[~out])).T
        predicted[out] = np.interp(x[out], at, score)
    return predicted


def _knots(shape: Shape, x: Array, y: Array) -> tuple[tuple[float, float], ...]:
    at, score = _isotonic(x, y) if shape == "isotonic" else _logistic(x, y)
    return tuple((rounded(a), rounded(s)) for a, s in zip(at, score, strict=True))


def _isotonic(x: Array, y: Array) -> tuple[Array, Array]:
    from sklearn.isotonic import IsotonicRegression

    fit = IsotonicRegression(increasing=False).fit(x, y)
    return fit.X_thresholds_, fit.y_thresholds_


def _logistic(x: Array, y: Array) -> tuple[Array, Array]:
    """Logistic curve ceiling / (1 + (loss / middle)^steepness) on a grid of losses."""
    log_x = np.log(x)
    top = float(np.clip(y.max(), 0.02, 0.98))
    centre = np.array([np.log(top / (1 - top)), log_x.mean(), np.log(2.0)])
    sd = np.array([1.5, max(2 * float(np.ptp(log_x)), 0.1), 1.0])
    starts = np.array([[centre[0], m, centre[2]] for m in np.quantile(log_x, [0.2, 0.5, 0.8])])

    def curve(theta: Array, at: Array) -> Array:
        ceiling, middle, slope = (theta[:, i, None] for i in range(3))
        steep = np.exp(np.clip(slope, -5, 5))
        rise = np.clip(steep * (at - middle), -50, 50)
        return np.asarray(1 / (1 + np.exp(-np.clip(ceiling, -50, 50))) / (1 + np.exp(rise)))

    theta = estimate(Form(lambda t: curve(t, log_x), starts, centre, sd), y).theta
    at = np.linspace(log_x[0], log_x[-1], 65) if np.ptp(log_x) else log_x[:1]
    return np.exp(at), curve(theta[None], at)[0]


def _rank_correlation(x: Array, y: Array, rng: np.random.Generator) -> Parameter:
    """Spearman's rho with its interval from resampled runs, where it is defined."""
    value = float(_spearman(x[None], y[None])[0])
    picks = rng.integers(len(x), size=(_RESAMPLES, len(x)))
    resampled = _spearman(x[picks], y[picks])
    return Parameter.of(value, resampled[np.isfinite(resampled)])


def _spearman(x: Array, y: Array) -> Array:
    """Spearman's rho of each pair of rows (rows,); NaN where one is constant."""
    from scipy.stats import rankdata

    ranks = [rankdata(values, axis=1) for values in (x, y)]
    a, b = (rank - rank.mean(axis=1, keepdims=True) for rank in ranks)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1)))
