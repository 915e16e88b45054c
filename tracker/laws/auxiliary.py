"""The further laws of a sweep: what tuning forgets, what tasks of a mix are worth, loss to score.

Each is fitted where its trials suffice; where they do not, the reason is kept in its place. The hyper-
parameters of a method matter more than what these laws vary, so a forgetting or mix law takes one learning
rate, that which was run most widely (of those, that with the lowest losses): a mix law that of its model
and method, a forgetting law one for all models where they share it. Trials of other rates are named as
left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

from tracker.errors import InputError, NotEnoughDataError
from tracker.laws.fitted_law import LeftOut
from tracker.laws.forgetting import FittedForgetting, ForgettingRun, fit_forgetting
from tracker.laws.learning_rates import RateWindow, across_models, family, per_model
from tracker.laws.loss_to_score import LossToScore, fit_loss_to_score
from tracker.laws.mixture import FittedMix, MixRun, fit_mix
from tracker.metrics import score_of
from tracker.trial import Frozen, MethodSpec, Objective, Status, TrialRecord, TrialResult


class ForgettingKey(Frozen):
    """``method``: its name and variant, the learning rate left out."""

    method: str
    suite: str

    @property
    def label(self) -> str:
        return f"{self.method} on {self.suite}"


class MixKey(Frozen):
    """One model under one setting of a method, on one task."""

    model: str
    method: MethodSpec
    task: str

    @property
    def label(self) -> str:
        return f"{self.model} {self.method.label}, {self.task}"


class AuxiliaryLaws(NamedTuple):
    """Laws by key, and under ``refused`` why the others could not be fitted, by label."""

    forgetting: dict[ForgettingKey, FittedForgetting]
    mixes: dict[MixKey, FittedMix]
    links: dict[str, LossToScore]
    refused: dict[str, str]


_Key = TypeVar("_Key")
_Law = TypeVar("_Law")


def auxiliary_laws(records: Iterable[TrialRecord], objective: Objective) -> AuxiliaryLaws:
    """Fit them all from the complete trials; tasks are those the objective weighs."""
    runs = _complete(records)
    tasks = sorted(task for task, weight in objective.weights.items() if weight > 0)
    tuned = [run for run in runs if run.spec.method.name != "none"]
    refused: dict[str, str] = {}
    common, own = across_models(tuned, tasks), per_model(tuned, tasks)
    forgetting = _forgetting(common, refused)
    mixes = _fitted(_mix_curves(own, tasks), refused, lambda k: f"mix: {k.label}")
    links = _fitted(_links(runs, tasks), refused, lambda task: f"link: {task}")
    return AuxiliaryLaws(forgetting, mixes, links, refused)


def forgetting_laws(records: Iterable[TrialRecord], objective: Objective) -> AuxiliaryLaws:
    """Those of :func:`auxiliary_laws` on what tuning forgets, and no others: they are the quick ones."""
    tuned = [run for run in _complete(records) if run.spec.method.name != "none"]
    tasks = sorted(task for task, weight in objective.weights.items() if weight > 0)
    refused: dict[str, str] = {}
    return AuxiliaryLaws(_forgetting(across_models(tuned, tasks), refused), {}, {}, refused)


def _forgetting(
    settings: Sequence[RateWindow], refused: dict[str, str]
) -> dict[ForgettingKey, FittedForgetting]:
    return _fitted(_forgetting_curves(settings), refused, lambda k: f"forgetting: {k.label}")


def mix_laws(
    records: Iterable[TrialRecord], objective: Objective, model: str, method: str
) -> AuxiliaryLaws:
    """The mix laws of *model* under *method* (as labelled, the learning rate left out) alone."""
    own = (
        record
        for record in records
        if record.result.spec.model.name == model and family(record.result.spec.method) == method
    )
    tasks = sorted(task for task, weight in objective.weights.items() if weight > 0)
    refused: dict[str, str] = {}
    curves = _mix_curves(per_model(_complete(own), tasks), tasks)
    laws = _fitted(curves, refused, lambda key: f"mix: {key.label}")
    return AuxiliaryLaws({}, laws, {}, refused)


def _fitted(
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
    """One result per spec, by key: the order of the table decides nothing."""
    found = {
        record.result.spec.key: record.result
        for record in sorted(records, key=lambda r: r.number)
        if record.result.status is Status.COMPLETE
    }
    return [found[key] for key in sorted(found)]


def _forgetting_curves(
    settings: Sequence[RateWindow],
) -> Iterator[tuple[ForgettingKey, Callable[[], FittedForgetting]]]:
    methods: defaultdict[str, list[RateWindow]] = defaultdict(list)
    for setting in settings:
        methods[family(setting.method)].append(setting)
    for method, found in sorted(methods.items()):
        runs = [run for setting in found for run in setting.runs]
        others = [out for setting in found for out in setting.others]
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
            own = spec.examples.get(task, 0)
            rows.append(MixRun(spec.key, own, spec.volume - own, loss))
    return rows, left_out


def _links(
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
        yield task, partial(_fit_link, rows, left_out)


def _fit_link(rows: list[tuple[float, float, str, str]], left_out: list[LeftOut]) -> LossToScore:
    return fit_loss_to_score(
        [row[0] for row in rows],
        [row[1] for row in rows],
        models=[row[2] for row in rows],
        keys=[row[3] for row in rows],
        left_out=left_out,
    )


def _without(run: TrialResult, what: str) -> LeftOut:
    return LeftOut(key=run.spec.key, reason=f"without {what}")
