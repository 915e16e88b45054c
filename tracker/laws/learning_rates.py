"""Which learning rate's trials a law over sizes or mixes takes: one, since it matters more than they do."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tracker.laws.fitted_law import LeftOut
from tracker.metrics import score_of
from tracker.trial import MethodSpec, TrialResult

#: Learning rates that lie within this factor count as one setting.
_WINDOW = 2.0


class RateWindow(NamedTuple):
    """The runs of one method within a window of learning rates, and those outside."""

    method: MethodSpec
    runs: list[TrialResult]
    others: list[LeftOut]


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
