"""Predictions of a task at N training examples for every configuration, with the probability of being best.

A configuration here is a curve over data: model, method with its hyper-parameters, and mix. Its law
(:mod:`tracker.laws.fitted_law`) gives the value at N with intervals for one run, whether or not N was
measured. P(best) compares the laws themselves, without a run's noise.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np

from tracker.decision.analysis import Analysis
from tracker.decision.posterior import p_best
from tracker.errors import Argument, ArgumentError, NotEnoughDataError
from tracker.frozen import Frozen
from tracker.laws.curves import CurveKey, fit_unmeasured_model
from tracker.laws.fitted_law import MAX_EXTRAPOLATION, FittedLaw
from tracker.laws.pooling import Array
from tracker.metrics import Interval, Measure, rounded, share_of_draws, value_from_error
from tracker.trial import MethodSpec
from tracker.validation import unknown

#: Interval levels in per cent; the keys of ``Predicted.intervals``.
LEVELS = ("50", "80", "95")
_DRAWS = 4096
_FEWEST_MODEL_SIZES = 2  # from which another size can be predicted


class Curve(Frozen):
    """Configuration at any training-set size; ``parameters``: of its model, ``None`` if unknown."""

    label: str
    model: str
    parameters: int | None
    method: MethodSpec
    mix: str


class Predicted(Curve):
    """Prediction for one configuration, ``value`` in the task's measure.

    ``intervals``: for one run, by level in per cent. ``measured_from``, ``measured_to``: smallest and largest
    N measured above 0. ``extrapolation``: factor by which N is outside what was measured, on either side; 1
    within. ``p_best``: probability that no other configuration predicted is better. ``held_out_error``:
    relative error of the law at the largest N measured when fitted without it; ``None`` with too few sizes.
    """

    value: float
    intervals: dict[str, Interval]
    p_best: float
    measured_from: float
    measured_to: float
    extrapolation: float
    held_out_error: float | None


class Refused(Curve):
    """Configuration that cannot be predicted, and why."""

    reason: str


class Forecast(Frozen):
    """Predictions for all configurations, as ``sft-select predict --json`` prints them.

    ``measure``: ``score`` (larger is better, in [0, 1]), ``bits_per_byte`` or ``loss_nats`` (smaller
    is better). ``predictions``: best value first. ``outside``: how many of them were not measured as
    far as ``examples``. ``notes``: on the sweep as a whole.
    """

    sweep: str
    task: str
    measure: Measure
    examples: int
    model_params: int | None
    outside: int
    predictions: tuple[Predicted, ...]
    refused: tuple[Refused, ...]
    notes: tuple[str, ...] = ()


def predict(
    analysis: Analysis,
    task: str,
    examples: int,
    *,
    model_params: int | None = None,
    allow_far: bool = False,
) -> Forecast:
    """Predict *task* at *examples* for every curve measured, or for a model of *model_params*.

    Curves whose largest N is below a sixteenth of *examples* are refused unless *allow_far*. Raises
    ArgumentError for an unknown task or no examples, NotEnoughDataError where no curve answers.
    """
    measures = analysis.measures
    wrong = [] if examples > 0 else [Argument("examples", f"found {examples}; allowed: at least 1")]
    if task not in measures:
        wrong.append(Argument("task", unknown(task, measures)))
    if wrong:
        raise ArgumentError(*wrong)
    measure = measures[task]
    sizes = {r.result.spec.model.name: r.result.spec.model.parameters for r in analysis.records}
    if model_params is None:
        fits = analysis.fits_of({task: measure})
        laws, refused = fits.laws, fits.refused
    else:
        name, refused = f"a model of {model_params:,} parameters", {}
        laws = fit_unmeasured_model(analysis.table, measure, task, name, model_params)
        sizes = _with_size(sizes, name, model_params)
    if not allow_far:
        refused |= {
            key: _too_far_reason(law, examples)
            for key, law in laws.items()
            if _is_too_far(law, examples)
        }
        laws = {key: law for key, law in laws.items() if key not in refused}
    if not laws and not allow_far:
        raise NotEnoughDataError(_no_prediction_reason(task, examples, refused))
    predictions = _predictions(laws, sizes, measure, examples)
    return Forecast(
        sweep=analysis.sweep,
        task=task,
        measure=measure,
        examples=examples,
        model_params=model_params,
        outside=sum(p.extrapolation > 1 for p in predictions),
        predictions=tuple(predictions),
        refused=tuple(
            Refused(**_configuration(key, sizes), reason=reason)
            for key, reason in sorted(refused.items(), key=lambda item: item[0].label)
        ),
        notes=analysis.notes,
    )


def _with_size(
    sizes: Mapping[str, int | None], name: str, model_params: int
) -> dict[str, int | None]:
    """Model sizes with one more; raises ArgumentError with too few measured ones."""
    measured = sorted({size for size in sizes.values() if size is not None})
    if len(measured) < _FEWEST_MODEL_SIZES:
        problem = (
            f"found {len(measured)} measured sizes; allowed with at least {_FEWEST_MODEL_SIZES}"
        )
        raise ArgumentError(
            Argument("model_params", f"{problem}: measure another size, or leave this out")
        )
    if model_params <= 0:
        raise ArgumentError(Argument("model_params", f"found {model_params}; allowed: at least 1"))
    return {**sizes, name: model_params}


def _predictions(
    laws: Mapping[CurveKey, FittedLaw],
    sizes: Mapping[str, int | None],
    measure: Measure,
    examples: int,
) -> list[Predicted]:
    if not laws:
        return []
    keys = sorted(laws, key=lambda key: key.label)
    errors = np.stack([_draws(key, laws[key], examples) for key in keys], axis=1)
    predictions = [
        _predicted(key, laws[key], sizes, measure, examples, p)
        for key, p in zip(keys, _p_best(errors), strict=True)
    ]
    sign = -1 if measure == "score" else 1
    return sorted(predictions, key=lambda p: (sign * p.value, p.parameters or np.inf, p.label))


def _p_best(errors: Array) -> list[float]:
    """Probability of each column of *errors* (DRAWS, C) of being the smallest; 1 of a single one."""
    shares, curves = p_best(-errors).tolist(), errors.shape[1]
    return [share_of_draws(p, _DRAWS, curves) if curves > 1 else 1.0 for p in shares]


def _predicted(
    key: CurveKey,
    law: FittedLaw,
    sizes: Mapping[str, int | None],
    measure: Measure,
    examples: int,
    p_best: float,
) -> Predicted:
    intervals = {}
    value = 0.0
    for level in LEVELS:
        prediction = law.predict(examples, float(level) / 100, allow_far=True)
        value = _in_measure(prediction.value[0], measure)
        low, high = sorted(
            _in_measure(bound[0], measure) for bound in (prediction.low, prediction.high)
        )
        intervals[level] = Interval(low=low, high=high)
    start, end = law.domain
    return Predicted(
        **_configuration(key, sizes),
        value=value,
        intervals=intervals,
        p_best=p_best,
        measured_from=start,
        measured_to=end,
        extrapolation=rounded(max(examples / end, 1.0 if law.base else start / examples, 1.0)),
        held_out_error=None if law.held_out_error is None else rounded(law.held_out_error),
    )


def _configuration(key: CurveKey, sizes: Mapping[str, int | None]) -> dict[str, object]:
    label = key.label.removesuffix(f", {key.task}")
    return {
        "label": label,
        "model": key.model,
        "parameters": sizes.get(key.model),
        "method": key.method,
        "mix": key.mix,
    }


def _in_measure(error: float, measure: Measure) -> float:
    """Value of *error* in the task's measure, six digits; a score stays in [0, 1]."""
    value = rounded(float(value_from_error(float(error), measure)))
    return min(max(value, 0.0), 1.0) if measure == "score" else value


def _draws(key: CurveKey, law: FittedLaw, examples: int) -> Array:
    """Draws (4096,) of the curve's error at *examples*, independent between curves."""
    replicates = law.curves(examples, allow_far=True)[:, 0]
    seed = zlib.crc32(key.model_dump_json().encode())
    return np.asarray(np.random.default_rng(seed).choice(replicates, size=_DRAWS))


def _is_too_far(law: FittedLaw, examples: int) -> bool:
    return examples > MAX_EXTRAPOLATION * law.domain[1]


def _too_far_reason(law: FittedLaw, examples: int) -> str:
    end = law.domain[1]
    return (
        f"{examples:,} examples are {examples / end:,.0f} times the largest measured, {end:,.0f}; a "
        f"law is trusted up to {MAX_EXTRAPOLATION:g} times: measure more, or add --allow-far"
    )


def _no_prediction_reason(task: str, examples: int, refused: Mapping[CurveKey, str]) -> str:
    if not refused:
        return f"no curve of {task} was measured with examples above 0: there is nothing to predict from"
    first = min(refused, key=lambda key: key.label)
    return (
        f"none of {len(refused)} curves of {task} can be predicted at {examples:,} examples; "
        f"the first, {first.label}: {refused[first]}"
    )
