"""Mix law: loss of one task in a mix of several, L_i = C (N_i + k (N - N_i)^a)^(-b) + E.

N_i is the number of examples of task i, N that of all tasks (Li, Liu, Xing, ICML 2025). The fitted quantity
is the transfer rate: how many examples of this task one example of the others replaces, k (N - N_i)^a /
(N - N_i) at the usual number of others. It is negative where the others hurt. The effective number of
examples is at least one, so that harm cannot make it vanish.

Residuals are of log losses. Replayed general text is not counted in N. k and a are identified by a share of
the task that varies between mixes; with one share the law is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field

from tracker.errors import InputError, NotEnoughDataError
from tracker.frozen import Frozen
from tracker.laws.fitted_law import (
    MAX_EXTRAPOLATION,
    MAX_HELD_OUT_ERROR,
    LeftOut,
    Parameter,
    Prediction,
)
from tracker.laws.prior import doublings_outside, widened_interval
from tracker.laws.robust_fit import Array, Form, content_generator, estimate, resample
from tracker.metrics import rounded

FORM = "C (N_i + k (N - N_i)^a)^(-b) + E"
_REPLICATES = 200
_FEWEST_VOLUMES, _FREE = 3, 5  # the law has five parameters
#: Shares of a task within the mix that differ by less than this factor are one share.
_SAME_SHARE = 1.1

Effect = Literal["helps", "hurts", "unclear"]


class MixRun(NamedTuple):
    """Loss of one run on a task, with its number of examples of that task and of all others."""

    key: str
    task_examples: float
    other_examples: float
    loss: float


class FittedMix(Frozen):
    """Fitted mix law of one model, method and task.

    ``parameters``: C, k, a, b, E with 80 % intervals. ``transfer_rate``: examples of this task that one
    example of the others replaces, at ``at_other_examples`` of them (the geometric mean over the runs).
    ``effect``: its sign; ``unclear`` unless the 80 % interval excludes 0 and the law with transfer predicts
    the held-out largest training set better than that without, and less than half off. ``domain``: smallest
    and largest N_i and N - N_i. ``noise``: robust standard deviation of a run's log loss.
    ``held_out_error``: mean |relative error| at the largest training set of the law fitted without it;
    ``held_out_alone``: the same without transfer (k = 0). ``shares``: of the task within the mixes that
    identify k. ``replicates``: bootstrap rows of (ln C, transfer rate, ln a, ln b, ln E), relative to the
    references.
    """

    form: str = FORM
    parameters: dict[str, Parameter]
    transfer_rate: Parameter
    at_other_examples: float
    effect: Effect
    domain: dict[str, tuple[float, float]]
    shares: tuple[float, ...]
    noise: float
    held_out_error: float | None
    held_out_alone: float | None
    used: tuple[str, ...]
    left_out: tuple[LeftOut, ...] = ()
    task_reference: float
    best: tuple[float, ...]
    replicates: tuple[tuple[float, ...], ...] = Field(repr=False)

    def predict(
        self,
        task_examples: float,
        other_examples: float,
        level: float = 0.8,
        *,
        allow_far: bool = False,
    ) -> Prediction:
        """Prediction of one run's loss, arrays of one element.

        The interval is widened by how many doublings both numbers together lie outside their domains.
        Raises NotEnoughDataError beyond 16 times the largest volumes measured unless *allow_far*.
        """
        for name, whose, examples in (
            ("task_examples", "the task", task_examples),
            ("other_examples", "other tasks", other_examples),
        ):
            limit = MAX_EXTRAPOLATION * self.domain[name][1]
            if examples > limit and not allow_far:
                raise NotEnoughDataError(
                    f"{examples:,.0f} examples of {whose}: the law is trusted up to "
                    f"{limit:,.0f}: measure more, or allow far extrapolation"
                )
        at = _Sizes(
            np.array([task_examples]),
            np.array([other_examples]),
            self.task_reference,
            self.at_other_examples,
        )
        curves = _log_losses(np.array(self.replicates), at)
        normals = np.random.default_rng(0).standard_normal(len(curves))[:, None]
        far = doublings_outside(task_examples, self.domain["task_examples"]) + doublings_outside(
            other_examples, self.domain["other_examples"]
        )
        low, high = widened_interval(curves + self.noise * normals, far, level)
        value = np.exp(_log_losses(np.array([self.best]), at)[0])
        return Prediction(value, np.exp(low), np.exp(high), np.array([far > 0]))


class _Sizes(NamedTuple):
    """Numbers of examples of n runs, and the reference numbers of the parameters."""

    task_examples: Array
    other_examples: Array
    task_reference: float
    at_other_examples: float

    @property
    def log_others(self) -> Array:
        """ln of the other examples over their reference; hugely negative where there are none."""
        return np.log(np.maximum(self.other_examples, 1e-300) / self.at_other_examples)

    def part(self, mask: Array) -> _Sizes:
        return self._replace(
            task_examples=self.task_examples[mask], other_examples=self.other_examples[mask]
        )


def fit_mix(
    runs: Sequence[MixRun],
    left_out: Sequence[LeftOut] = (),
    *,
    what: str = "this task",
    replicates: int = _REPLICATES,
) -> FittedMix:
    """Fit the mix law to the runs of all mixes and training-set sizes; *what* names the curve in messages.

    Raises NotEnoughDataError naming the trials to add, and InputError for losses
    without a logarithm.
    """
    runs = sorted(
        runs, key=lambda r: (r.task_examples + r.other_examples, r.task_examples, r.loss, r.key)
    )
    task_examples, other_examples, loss = (
        np.array([getattr(run, name) for run in runs], dtype=float)
        for name in ("task_examples", "other_examples", "loss")
    )
    shares = _check(task_examples, other_examples, loss, what)
    positive = other_examples[other_examples > 0]
    sizes = _Sizes(
        task_examples,
        other_examples,
        rounded(np.exp(np.log(task_examples[task_examples > 0]).mean())),
        rounded(np.exp(np.log(positive).mean())),
    )
    targets = np.log(loss)
    form = _form(sizes, targets)
    estimated = estimate(form, targets)
    rng = content_generator("mix", [run.key for run in runs])
    draws = resample(form, targets, estimated, rng, replicates)
    parameters = _published(estimated.theta[None], draws, sizes)
    transfer_rate = Parameter.of(estimated.theta[1], draws[:, 1])
    alone, error = (_held_out(sizes, targets, transfer=t) for t in (False, True))
    predicts_better = (
        error is not None and alone is not None and error < min(alone, MAX_HELD_OUT_ERROR)
    )
    is_clear = predicts_better and not _below_one_example(estimated.theta, sizes)
    return FittedMix(
        parameters=parameters,
        transfer_rate=transfer_rate,
        at_other_examples=sizes.at_other_examples,
        effect=_effect_of(transfer_rate) if is_clear else "unclear",
        domain={
            "task_examples": (float(task_examples.min()), float(task_examples.max())),
            "other_examples": (float(other_examples.min()), float(other_examples.max())),
        },
        shares=tuple(rounded(share) for share in shares),
        noise=rounded(estimated.scale),
        held_out_error=error,
        held_out_alone=alone,
        used=tuple(run.key for run in runs),
        left_out=tuple(left_out),
        task_reference=sizes.task_reference,
        best=tuple(rounded(x) for x in estimated.theta),
        replicates=tuple(tuple(rounded(x) for x in row) for row in draws),
    )


def _effect_of(transfer_rate: Parameter) -> Effect:
    """Sign of the transfer rate, if its 80 % interval has one."""
    return "helps" if transfer_rate.low > 0 else "hurts" if transfer_rate.high < 0 else "unclear"


def _below_one_example(theta: Array, sizes: _Sizes) -> bool:
    """Whether a run with examples of the task has at most one effective example.

    More harm would change nothing there, so the transfer rate is not identified.
    """
    effective = _effective(theta[None], sizes)[0]
    return bool((effective[sizes.task_examples > 0] <= 1).any())


def _check(task_examples: Array, other_examples: Array, loss: Array, what: str) -> list[float]:
    """Distinct shares of the task in its mixes; raises where they or the runs are too few."""
    if len(loss) and loss.min() <= 0:
        raise InputError(f"{what}: found a loss of {loss.min():g}; a law needs losses above 0")
    total = task_examples + other_examples
    shares: list[float] = []
    for share in np.sort(task_examples / np.maximum(total, 1)).tolist():
        if not shares or share > shares[-1] * _SAME_SHARE:
            shares.append(share)
    volumes = len(np.unique(total))
    if len(shares) < 2 or not (task_examples > 0).any() or not (other_examples > 0).any():
        share_text = (
            f"{np.median(task_examples / np.maximum(total, 1)):.3g}"
            if len(task_examples)
            else "no trials"
        )
        raise NotEnoughDataError(
            f"{what}: its share of the mix is the same in all trials ({share_text}), so the effect of "
            "other tasks is not identified: add mixes with 1/2 and 3 times its weight and run "
            f"{_FEWEST_VOLUMES} training-set sizes of each"
        )
    if volumes < _FEWEST_VOLUMES or len(loss) < _FREE + 1:
        raise NotEnoughDataError(
            f"{what}: {len(loss)} runs at {volumes} training-set sizes; a mix law needs {_FREE + 1} runs "
            f"at {_FEWEST_VOLUMES} sizes: run more sizes of its mixes"
        )
    return shares


def _form(sizes: _Sizes, targets: Array, *, transfer: bool = True) -> Form:
    """Form of the law with weak priors: a near 1, b about .5, transfer rate within a few, E below losses."""
    low, high = float(targets.min()), float(targets.max())
    centre = np.array([high, 0.0, 0.0, np.log(0.5), low - 1.0])
    sd = np.array([2.0, 1.0, 0.3, 1.0, 2.0])
    if not transfer:
        sd[1:3] = 1e-6
    mesh = np.stack(np.meshgrid([0.0, 0.3], [0.3, 0.9], [-0.1, -3.0]), -1)
    starts = [
        [targets.mean(), transfer_rate if transfer else 0.0, 0.0, np.log(b), low + below]
        for transfer_rate, b, below in mesh.reshape(-1, 3)
    ]
    return Form(lambda theta: _log_losses(theta, sizes), np.array(starts), centre, sd)


def _effective(theta: Array, sizes: _Sizes) -> Array:
    """Effective numbers of examples (rows, n), at least one."""
    transfer_rate, log_a = theta[:, 1, None], theta[:, 2, None]
    relative = np.exp(np.exp(np.clip(log_a, -3, 1.5)) * sizes.log_others)
    return np.asarray(
        np.maximum(sizes.task_examples + transfer_rate * sizes.at_other_examples * relative, 1.0)
    )


def _log_losses(theta: Array, sizes: _Sizes) -> Array:
    """ln L (rows, n) for theta (rows, 5): ln C at the reference, transfer rate, ln a, ln b, ln E."""
    log_c, log_b, log_e = (theta[:, i, None] for i in (0, 3, 4))
    effective = _effective(theta, sizes)
    log_term = log_c - np.exp(np.clip(log_b, -6, 2)) * np.log(effective / sizes.task_reference)
    return np.asarray(np.log(np.exp(np.clip(log_term, -50, 50)) + np.exp(np.clip(log_e, -50, 50))))


def _published(best: Array, replicates: Array, sizes: _Sizes) -> dict[str, Parameter]:
    """Parameters of the law as published, with intervals from the bootstrap *replicates*."""
    log_c, transfer_rate, log_a, log_b, log_e = np.concatenate([best, replicates]).T
    a, b = np.exp(np.clip(log_a, -3, 1.5)), np.exp(np.clip(log_b, -6, 2))
    values = {
        "C": np.exp(np.clip(log_c + b * np.log(sizes.task_reference), -50, 50)),
        "k": transfer_rate * sizes.at_other_examples ** (1 - a),
        "a": a,
        "b": b,
        "E": np.exp(np.clip(log_e, -50, 50)),
    }
    return {name: Parameter.of(column[0], column[1:]) for name, column in values.items()}


def _held_out(sizes: _Sizes, targets: Array, *, transfer: bool) -> float | None:
    """Mean |relative error| at the largest training sets of the law fitted without them."""
    total = sizes.task_examples + sizes.other_examples
    last = total >= total.max() / _SAME_SHARE
    if (~last).sum() < _FREE + 1 or len(np.unique(total[~last])) < 2:
        return None
    kept = sizes.part(~last)
    theta = estimate(_form(kept, targets[~last], transfer=transfer), targets[~last]).theta
    predicted = _log_losses(theta[None], sizes.part(last))[0]
    return rounded(float(np.abs(np.expm1(predicted - targets[last])).mean()))
