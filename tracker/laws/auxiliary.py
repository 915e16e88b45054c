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

import numpy as np

from tracker.errors import InputError, NotEnoughDataError
from tracker.laws.fitted_law import LeftOut, Parameter
from tracker.laws.forgetting import FittedForgetting, ForgettingRun, fit_forgetting
from tracker.laws.loss_to_score import LossToScore, fit_loss_to_score
from tracker.laws.mixture import FittedMix, MixRun, fit_mix
from tracker.metrics import score_of
from tracker.numbers import number
from tracker.trial import Frozen, MethodSpec, Objective, Status, TrialRecord, TrialResult

#: Learning rates that lie within this factor count as one setting.
_WINDOW = 2.0


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
    loss_to_score: dict[str, LossToScore]
    refused: dict[str, str]


class RateWindow(NamedTuple):
    """The runs of one method within a window of learning rates, and those outside."""

    method: MethodSpec
    runs: list[TrialResult]
    others: list[LeftOut]


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
    loss_to_score = _fitted(_loss_to_score(runs, tasks), refused, lambda task: f"link: {task}")
    return AuxiliaryLaws(forgetting, mixes, loss_to_score, refused)


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


def per_model(runs: Sequence[TrialResult], tasks: Sequence[str]) -> list[RateWindow]:
    """Each model's and method's own setting."""
    families: defaultdict[tuple[str, str], list[TrialResult]] = defaultdict(list)
    for run in runs:
        families[family(run.spec.method), run.spec.model.name].append(run)
    return [_chosen(found, tasks) for _, found in sorted(families.items())]


def across_models(runs: Sequence[TrialResult], tasks: Sequence[str]) -> list[RateWindow]:
    """Each method's one setting for all models, where it was run as widely as their own: another
    learning rate for another size would pass for an effect of size. Else each model's own.
    """
    families: defaultdict[str, list[TrialResult]] = defaultdict(list)
    for run in runs:
        families[family(run.spec.method)].append(run)
    settings = []
    for _, found in sorted(families.items()):
        common, own = _chosen(found, tasks), per_model(found, tasks)
        widely = sum(_coverage(setting.runs) for setting in own)
        settings += [common] if _coverage(common.runs) >= widely else own
    return settings


def _chosen(runs: Sequence[TrialResult], tasks: Sequence[str]) -> RateWindow:
    """The learning rate run at the most models, mixes and volumes, then of least loss."""
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


def family(method: MethodSpec) -> str:
    return method.without_rate.label


def _same_rate(run: TrialResult, rate: float) -> bool:
    own = run.spec.method.learning_rate or 0.0
    if not own or not rate:
        return own == rate
    return bool(abs(np.log(own / rate)) <= np.log(_WINDOW) / 2 + 1e-9)


def _coverage(runs: Sequence[TrialResult]) -> int:
    specs = [run.spec for run in runs]
    return len({(s.model.name, s.mix.name if s.mix else "", s.volume) for s in specs})


def _loss(runs: Sequence[TrialResult], tasks: Sequence[str]) -> float:
    """Mean ln loss over runs and tasks; infinite where nothing was measured."""
    found = [
        np.log(loss)
        for run in runs
        for task in tasks
        if (score := score_of(run, task)) and (loss := score.bits_per_byte or score.loss_nats)
    ]
    return round(float(np.mean(found)), 9) if found else float("inf")


# -- in words; wrapping and colour are the caller's ----------------------------------------------------


def auxiliary_lines(laws: AuxiliaryLaws) -> list[str]:
    """Every auxiliary law in plain words, one unwrapped line each; 80 % intervals throughout."""
    out = [_forgetting_line(key, law) for key, law in laws.forgetting.items()]
    out += [_mix_line(key, law) for key, law in laws.mixes.items()]
    out += [_loss_to_score_line(task, link) for task, link in laws.loss_to_score.items()]
    return out + refusals(laws.refused)


def refusals(refused: dict[str, str]) -> list[str]:
    """One line per reason, with the first law it holds for and how many more."""
    labels: dict[str, list[str]] = {}
    for label, reason in refused.items():
        labels.setdefault(reason, []).append(label)
    return [
        f"Not fitted: {found[0]}{f' and {len(found) - 1} more' if len(found) > 1 else ''}: {reason}"
        for reason, found in labels.items()
    ]


def _forgetting_line(key: ForgettingKey, law: FittedForgetting) -> str:
    parameters = "; ".join(
        f"{name} {'cannot be told' if value is None else _interval(value)}"
        for name, value in law.parameters.items()
    )
    (_, volume), (least, most) = law.domain["examples"], law.domain["parameters"]
    share = law.domain["replay"][1]
    replay = f", replay up to {share:g}" if share else ""
    told = law.predict(most, volume, share)
    value, low, high = (float(side[0]) for side in (told.value, told.low, told.high))
    lost = "loses"
    if value < 0:
        lost, value, low, high = "gains", -value, -high, -low
    others = ", ".join(f"{kind} {e:.1%}" for kind, e in law.held_out.items())
    verdict = "" if law.kind == "law" else " (the published law foretells it no better)"
    return (
        f"Forgetting by {key.label}: {law.form}{verdict}, with {parameters}; {_rows(law)}, "
        f"{least:,.0f} to {most:,.0f} parameters, up to {volume:,.0f} examples{replay}. "
        f"A run of the largest size at the most of these {lost} {number(value)} (80 % "
        f"{number(low)} to {number(high)}). Error at the held-out largest volume, as a share of "
        f"the base's loss: {others or 'not known'}."
    )


def _mix_line(key: MixKey, law: FittedMix) -> str:
    verdict = {
        "helps": "the other tasks help",
        "hurts": "the other tasks hurt",
        "unclear": "whether the other tasks help cannot be told",
    }[law.effect]
    error = "not known" if law.held_out_error is None else f"{law.held_out_error:.1%}"
    alone = "not known" if law.held_out_alone is None else f"{law.held_out_alone:.1%}"
    return (
        f"Mix, {key.label}: {verdict}: one example of theirs is worth {_interval(law.transfer_rate)} of its own, "
        f"beside {law.at_other_examples:,.0f} of them; {law.form}, {_rows(law)}, "
        f"error at the held-out largest volume {error} (without transfer {alone})."
    )


def _loss_to_score_line(task: str, link: LossToScore) -> str:
    verdict = "" if link.proxy else " The loss is not a proxy here: decide on the score."
    return (
        f"Link, {task}: {link.shape}, rank correlation of loss and score "
        f"{_interval(link.rank_correlation)}, {_rows(link)}; it misses the score of a model it has not "
        f"seen by {number(link.held_out_error)} on average (the mean score by {number(link.constant_error)})."
        f"{verdict}"
    )


def _interval(value: Parameter) -> str:
    return f"{number(value.value)} (80 % {number(value.low)} to {number(value.high)})"


def _rows(law: FittedForgetting | FittedMix | LossToScore) -> str:
    out = f", {len(law.left_out)} left out" if law.left_out else ""
    return f"{len(law.used)} runs used{out}"
