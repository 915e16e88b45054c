"""Fit of design points to the devices: predicted peaks, what is done to keep within a device, what cannot be.

What cannot fit any device, one row at a time with its activations recomputed, is left out of the design of
a sweep that begins (:class:`sweeps.search.bounds.SearchBounds`), unless ``engine.run_unfit`` asks for it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import NamedTuple

from sweeps.data.encoding import evaluation_rows, suite_text, training_stream
from sweeps.finetune.memory import Lengths, Peaks, bounds_of, first_fit, predicted_peaks
from sweeps.finetune.out_of_memory import Rung, rungs
from sweeps.resolve import ResolvedSweep
from sweeps.search.bounds import Unfit, unfit_key
from sweeps.search.devices import Device, devices
from sweeps.search.space import (
    all_hyperparameter_choices,
    design_points,
    trial_spec,
)
from tracker.numbers import memory
from tracker.task import SuiteSpec, TaskSpec
from tracker.trial import (
    EvaluationSpec,
    MethodSpec,
    ModelSpec,
    TrainSpec,
    TrialSpec,
)


class Fit(NamedTuple):
    """Fit of a trial: its ``peaks`` with ``rung``, the first that is predicted to fit a worker's share.

    ``rung``: ``None`` where none does; the peaks are then the last rung's. ``problem``: why it does not fit.
    ``evaluates_whole``: whether an evaluation batch fits; it is halved where it does not.
    """

    peaks: Peaks
    rung: Rung | None
    problem: str | None
    evaluates_whole: bool = True


def fit_of(spec: TrialSpec, among: Sequence[Device]) -> Fit:
    """Fit of *spec* to the roomiest device of *among*."""
    best = max(among, key=lambda device: device.share)
    lengths = row_lengths(spec)
    rung = first_fit(spec, lengths, best.share, device=best.kind)
    last = rungs(spec)[-1]
    shown = predicted_peaks(spec, lengths, device=best.kind, rung=rung or last)
    if rung is not None and shown.evaluation <= best.share:
        return Fit(shown, rung, None)
    at_least = _least(spec, lengths, best)
    if at_least <= best.share:
        return Fit(shown, rung, None, evaluates_whole=False)
    if at_least <= best.alone:
        problem = (
            f"needs {memory(at_least)} beside the other workers of its device, which leave "
            f"{memory(best.share)} for each; lower engine.workers"
        )
    else:
        problem = (
            f"needs {memory(at_least)} at least, the device has {memory(best.alone)}; take a smaller model, "
            "an adapter, a 4-bit base, or a lower train.max_length"
        )
    return Fit(shown, rung, problem)


def _least(spec: TrialSpec, lengths: Lengths, device: Device) -> int:
    """Bytes that *spec* needs with a row at a time."""
    one = spec.model_copy(update={"evaluation": _one_row(spec.evaluation)})
    return predicted_peaks(one, lengths, device=device.kind, rung=rungs(spec)[-1]).bytes


def _one_row(evaluation: EvaluationSpec) -> EvaluationSpec:
    return evaluation.model_copy(update={"batch_size": 1})


def row_lengths(spec: TrialSpec) -> Lengths:
    """Lengths of the rows of *spec*; reads and encodes its data."""
    stream = training_stream(spec) if spec.mix is not None else []
    of_stream = Lengths.of(stream, (), spec.evaluation.max_new_tokens)
    evaluated = _evaluated(
        spec.model, spec.tasks, spec.general, spec.evaluation, spec.train.max_length
    )
    return evaluated._replace(longest=of_stream.longest, trained=of_stream.trained)


@lru_cache(maxsize=64)
def _evaluated(
    model: ModelSpec,
    tasks: tuple[TaskSpec, ...],
    general: tuple[SuiteSpec, ...],
    evaluation: EvaluationSpec,
    max_length: int,
) -> Lengths:
    """Lengths of the rows that a model is evaluated on."""
    spec = TrialSpec(
        model=model,
        method=MethodSpec(name="none"),
        tasks=tasks,
        general=general,
        train=TrainSpec(max_length=max_length),
        evaluation=evaluation,
    )
    answered = [task for task in (*tasks, *(suite.task for suite in general)) if task is not None]
    rows = [
        row for task in answered for row in evaluation_rows(task, task.validation, spec).encoded
    ]
    texts = [row for suite in general if suite.text for row in suite_text(suite.text, spec).encoded]
    lengths = Lengths.of((), rows, evaluation.max_new_tokens)
    with_texts = Lengths.of((), [*rows, *texts], evaluation.max_new_tokens)
    return lengths._replace(evaluated=with_texts.evaluated, answered=with_texts.answered)


def unfit_points(sweep: ResolvedSweep, models: Collection[str] | None = None) -> Unfit:
    """Settings of the design that fit no device even alone; none where ``engine.run_unfit`` asks for them.

    *models*: by default all. Reads no data of those that fit whatever their rows are.
    """
    if sweep.spec.engine.run_unfit:
        return Unfit()
    roomiest = max(devices(sweep.spec.engine), key=lambda device: device.alone)
    needs: dict[str, int] = {}
    for point in design_points(sweep.spec):
        if models is not None and point.model not in models:
            continue
        settings = all_hyperparameter_choices(sweep.spec, point.method.name)
        lengths: Lengths | None = None  # of the same rows whatever the setting
        for method in dict.fromkeys(setting.without_rate for setting in settings):
            setting = point._replace(method=method)
            spec = trial_spec(sweep, setting, 0)
            if bounds_of(spec) <= roomiest.alone:
                continue
            lengths = lengths or row_lengths(spec)
            least = _least(spec, lengths, roomiest)
            if least > roomiest.alone:
                needs[unfit_key(setting)] = least
    return Unfit(roomiest.alone, needs)
