"""Auxiliary laws of a sweep: forgetting, transfer between tasks of a mix, and loss to score.

Each is fitted where there are enough trials; otherwise the reason is kept in its place. The hyper-parameters
of a method matter more than what these laws vary, so a forgetting or mix law takes one learning rate: that
run at the most models, mixes and training-set sizes (of those, that with the lowest losses). A mix law takes
that of its model and method, a forgetting law one for all models where they share it. Trials of other rates
are listed as left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np

from tracker.errors import InputError, NotEnoughDataError
from tracker.frozen import Frozen
from tracker.laws.fitted_law import LeftOut
from tracker.laws.forgetting import FittedForgetting, ForgettingRun, fit_forgetting
from tracker.laws.loss_to_score import LossToScore, fit_loss_to_score
from tracker.laws.mixture import FittedMix, MixRun, fit_mix
from tracker.metrics import score_of
from tracker.trial import MethodSpec, Objective, Status, TrialRecord, TrialResult

#: Learning rates within this factor are one setting.
_RATE_WINDOW = 2.0


class ForgettingKey(Frozen):
    """Key of a forgetting law; ``method``: its label without the learning rate."""

    method: str
    suite: str

    @property
    def label(self) -> str:
        return f"{self.method} on {self.suite}"


class MixKey(Frozen):
    """Key of a mix law: one model under one setting of a method, on one task."""

    model: str
    method: MethodSpec
    task: str

    @property
    def label(self) -> str:
        return f"{self.model} {self.method.label}, {self.task}"


class AuxiliaryLaws(NamedTuple):
    """Fitted auxiliary laws by key, and in ``refused`` the reasons for the others, by label."""

    forgetting: dict[ForgettingKey, FittedForgetting]
    mixes: dict[MixKey, FittedMix]
    loss_to_score: dict[str, LossToScore]
    refused: dict[str, str]


class RateWindow(NamedTuple):
    """Runs of one method within a window of learning rates, and those outside."""

    method: MethodSpec
    runs: list[TrialResult]
    others: list[LeftOut]


_Key = TypeVar("_Key")
_Law = TypeVar("_Law")


def auxiliary_laws(records: Iterable[TrialRecord], objective: Objective) -> AuxiliaryLaws:
    """Fit all auxiliary laws from the complete trials, for the tasks that the objective weighs."""
    runs = _complete(records)
    tasks = sorted(task for task, weight in objective.weights.items() if weight > 0)
    tuned = [run for run in runs if run.spec.method.name != "none"]
    refused: dict[str, str] = {}
    across = rate_windows_across_models(tuned, tasks)
    of_each_model = rate_windows_per_model(tuned, tasks)
    forgetting = _fit_forgetting_laws(across, refused)
    mixes = _fit_all(_mix_curves(of_each_model, tasks), refused, lambda k: f"mix: {k.label}")
    loss_to_score = _fit_all(
        _loss_to_score(runs, tasks), refused, lambda task: f"loss to score: {task}"
    )
    return AuxiliaryLaws(forgetting, mixes, loss_to_score, refused)


def forgetting_laws(records: Iterable[TrialRecord], objective: Objective) -> AuxiliaryLaws:
    """Fit the forgetting laws alone: the quick ones of :func:`auxiliary_laws`."""
    tuned = [run for run in _complete(records) if run.spec.method.name != "none"]
    tasks = sorted(task for task, weight in objective.weights.items() if weight > 0)
    refused: dict[str, str] = {}
    return AuxiliaryLaws(
        _fit_forgetting_laws(rate_windows_across_models(tuned, tasks), refused), {}, {}, refused
    )


def _fit_forgetting_laws(
    settings: Sequence[RateWindow], refused: dict[str, str]
) -> dict[ForgettingKey, FittedForgetting]:
    return _fit_all(_forgetting_curves(settings), refused, lambda k: f"forgetting: {k.label}")


def mix_laws(
    records: Iterable[TrialRecord], objective: Objective, model: str, method: str
) -> AuxiliaryLaws:
    """Fit the mix laws alone, of *model* under *method* (its label without the learning rate)."""
    of_setting = (
        record
        for record in records
        if record.result.spec.model.name == model
        and method_family(record.result.spec.method) == method
    )
    tasks = sorted(task for task, weight in objective.weights.items() if weight > 0)
    refused: dict[str, str] = {}
    curves = _mix_curves(rate_windows_per_model(_complete(of_setting), tasks), tasks)
    laws = _fit_all(curves, refused, lambda key: f"mix: {key.label}")
    return AuxiliaryLaws({}, laws, {}, refused)


def _fit_all(
    fits: Iterable[tuple[_Key, Callable[[], _Law]]],
    refused: dict[str, str],
    label: Callable[[_Key], str],
) -> dict[_Key, _Law]:
    laws: dict[_Key, _Law] = {}
    for key, fit in fits:
        try:
            laws[key] = fit()
        except (NotEnoughDataError, InputError) as error:
            refused[label(key)] = str(error)
    return laws


def _complete(records: Iterable[TrialRecord]) -> list[TrialResult]:
    """Complete results in the order of their keys, one per spec."""
    by_key = {
        record.result.spec.key: record.result
        for record in sorted(records, key=lambda r: r.number)
        if record.result.status is Status.COMPLETE
    }
    return [by_key[key] for key in sorted(by_key)]


def _forgetting_curves(
    settings: Sequence[RateWindow],
) -> Iterator[tuple[ForgettingKey, Callable[[], FittedForgetting]]]:
    methods: defaultdict[str, list[RateWindow]] = defaultdict(list)
    for setting in settings:
        methods[method_family(setting.method)].append(setting)
    for method, windows in sorted(methods.items()):
        runs = [run for setting in windows for run in setting.runs]
        others = [out for setting in windows for out in setting.others]
        for suite in sorted({score.suite for run in runs for score in run.general}):
            made = [(run, _forgetting_run(run, suite)) for run in runs]
            rows = [row for _, row in made if row]
            lacking = [
                _without(run, f"{suite} or the model's size") for run, row in made if not row
            ]
            key = ForgettingKey(method=method, suite=suite)
            yield key, partial(fit_forgetting, rows, [*others, *lacking])


def _forgetting_run(run: TrialResult, suite: str) -> ForgettingRun | None:
    score = next((s for s in run.general if s.suite == suite), None)
    parameters, volume = run.spec.model.parameters, run.spec.volume
    if score is None or score.before is None or score.after is None:
        return None
    if parameters is None or volume < 1:
        return None
    is_score = score.measure == "score"
    return ForgettingRun(
        key=run.spec.key,
        parameters=parameters,
        examples=volume,
        replay=run.spec.mix.replay if run.spec.mix else 0.0,
        rise=score.before - score.after if is_score else score.after - score.before,
        base=1.0 if is_score else score.before,
    )


def _mix_curves(
    settings: Sequence[RateWindow], tasks: Sequence[str]
) -> Iterator[tuple[MixKey, Callable[[], FittedMix]]]:
    for setting in settings:
        model = setting.runs[0].spec.model.name
        for task in tasks:
            key = MixKey(model=model, method=setting.method, task=task)
            rows, left_out = _mix_runs(setting, task)
            yield key, partial(_fit_mix, rows, left_out, task)


def _fit_mix(rows: list[MixRun], left_out: list[LeftOut], task: str) -> FittedMix:
    if not rows:
        reasons = sorted({out.reason for out in left_out})
        raise NotEnoughDataError(f"{task}: no trial can be used: {'; '.join(reasons)}")
    return fit_mix(rows, left_out, what=task)


def _mix_runs(setting: RateWindow, task: str) -> tuple[list[MixRun], list[LeftOut]]:
    rows, left_out = [], list(setting.others)
    for run in setting.runs:
        spec, score = run.spec, score_of(run, task)
        extra = spec.mix.extra_epochs.get(task, 0) if spec.mix else 0
        loss = score and (score.bits_per_byte or score.loss_nats)
        if not loss:
            left_out.append(_without(run, f"loss on {task}"))
        elif not spec.examples:
            reason = "its table does not say how many examples each task had"
            left_out.append(LeftOut(key=spec.key, reason=reason))
        elif extra:
            reason = f"{extra} extra passes over {task}: the law counts distinct examples"
            left_out.append(LeftOut(key=spec.key, reason=reason))
        else:
            task_examples = spec.examples.get(task, 0)
            rows.append(MixRun(spec.key, task_examples, spec.volume - task_examples, loss))
    return rows, left_out


def _loss_to_score(
    runs: Sequence[TrialResult], tasks: Sequence[str]
) -> Iterator[tuple[str, Callable[[], LossToScore]]]:
    for task in tasks:
        rows, left_out = [], []
        for run in runs:
            score = score_of(run, task)
            loss = score and (score.bits_per_byte or score.loss_nats)
            if score is None or score.score is None or not loss:
                left_out.append(_without(run, f"both loss and score on {task}"))
            else:
                rows.append((loss, score.score, run.spec.model.name, run.spec.key))
        yield task, partial(_fit_loss_to_score, rows, left_out)


def _fit_loss_to_score(
    rows: list[tuple[float, float, str, str]], left_out: list[LeftOut]
) -> LossToScore:
    return fit_loss_to_score(
        [row[0] for row in rows],
        [row[1] for row in rows],
        models=[row[2] for row in rows],
        keys=[row[3] for row in rows],
        left_out=left_out,
    )


def _without(run: TrialResult, what: str) -> LeftOut:
    return LeftOut(key=run.spec.key, reason=f"without {what}")


# -- the learning rate that a law takes ----------------------------------------------------------------


def rate_windows_per_model(runs: Sequence[TrialResult], tasks: Sequence[str]) -> list[RateWindow]:
    """Learning-rate window of each model and method."""
    families: defaultdict[tuple[str, str], list[TrialResult]] = defaultdict(list)
    for run in runs:
        families[method_family(run.spec.method), run.spec.model.name].append(run)
    return [_widest_window(of_family, tasks) for _, of_family in sorted(families.items())]


def rate_windows_across_models(
    runs: Sequence[TrialResult], tasks: Sequence[str]
) -> list[RateWindow]:
    """Learning-rate window of each method, one for all models where it covers as much as one per model.

    A different learning rate for each size would look like an effect of size.
    """
    families: defaultdict[str, list[TrialResult]] = defaultdict(list)
    for run in runs:
        families[method_family(run.spec.method)].append(run)
    settings = []
    for _, of_family in sorted(families.items()):
        shared, of_each_model = (
            _widest_window(of_family, tasks),
            rate_windows_per_model(of_family, tasks),
        )
        coverage = sum(_coverage(setting.runs) for setting in of_each_model)
        settings += [shared] if _coverage(shared.runs) >= coverage else of_each_model
    return settings


def _widest_window(runs: Sequence[TrialResult], tasks: Sequence[str]) -> RateWindow:
    """Window of the learning rate run at the most models, mixes and sizes, then of lowest loss."""
    rates = sorted({run.spec.method.learning_rate or 0.0 for run in runs})
    windows = [[run for run in runs if _same_rate(run, rate)] for rate in rates]
    best = min(
        range(len(rates)), key=lambda i: (-_coverage(windows[i]), _loss(windows[i], tasks), i)
    )
    rate, inside = rates[best], windows[best]
    method = next(
        run.spec.method for run in inside if (run.spec.method.learning_rate or 0.0) == rate
    )
    others = [
        LeftOut(key=run.spec.key, reason=f"another learning rate than {rate:.3g}")
        for run in runs
        if not _same_rate(run, rate)
    ]
    return RateWindow(method, inside, others)


def method_family(method: MethodSpec) -> str:
    """Label of a method without its learning rate."""
    return method.without_rate.label


def _same_rate(run: TrialResult, rate: float) -> bool:
    of_run = run.spec.method.learning_rate or 0.0
    if not of_run or not rate:
        return of_run == rate
    return bool(abs(np.log(of_run / rate)) <= np.log(_RATE_WINDOW) / 2 + 1e-9)


def _coverage(runs: Sequence[TrialResult]) -> int:
    specs = [run.spec for run in runs]
    return len({(s.model.name, s.mix.name if s.mix else "", s.volume) for s in specs})


def _loss(runs: Sequence[TrialResult], tasks: Sequence[str]) -> float:
    """Mean ln loss over runs and tasks; infinite without a measurement."""
    log_losses = [
        np.log(loss)
        for run in runs
        for task in tasks
        if (score := score_of(run, task)) and (loss := score.bits_per_byte or score.loss_nats)
    ]
    return round(float(np.mean(log_losses)), 9) if log_losses else float("inf")
