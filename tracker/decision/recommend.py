"""From results to one recommendation: a pure function, the same bytes on every machine.

The rule. Among the candidates that keep every constraint:

1. The best is the one with the highest predicted quality (:mod:`tracker.decision.posterior`). 2. A
candidate is told apart from another where the 80 % interval of their paired gap lies beyond half the
noise floor (the standard deviation between seeds): nearer ones change places in one rerun of three.
3. A difference below a quarter of the noise floor is nothing: it would take some fifty seeds of both
to be shown. Of those whose expected loss against the best is less, the cheapest is chosen: smallest
model, then fewest counted training operations, then fewest training tokens. Without a noise floor only
0 is within noise, and nothing.

With ``target_quality=Q`` the cheapest that reaches quality Q with P >= 0.9 is chosen instead; where none
does, the rule above names the closest. Cost is counted cost: the clock is reported, and obeyed only
where the user's own constraint asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tracker.constraints import MEASURED, satisfied
from tracker.decision.analysis import Analysis
from tracker.decision.caveats import caveats
from tracker.decision.explain import question, reasons
from tracker.decision.next_experiments import next_experiments
from tracker.decision.posterior import TIE, configuration_laws
from tracker.decision.recommendation import (
    Crossover,
    ExamplesNeeded,
    Recommendation,
    RunnerUp,
    TargetQuality,
)
from tracker.decision.target_quality import (
    examples_needed,
    measured_sizes,
    reaching,
    weighted_curves,
)
from tracker.errors import InputError, NothingAdmittedError
from tracker.laws.crossover import CrossoverFit, overtakes
from tracker.metrics import Estimate, rounded
from tracker.trial import Objective, TrialRecord

_RUNNERS_UP = 3
_GRID = 257


class Pick(NamedTuple):
    """Indices into the candidates: the choice, the best, and those not to be told from the best."""

    choice: int
    best: int
    level: tuple[int, ...]
    reached: bool


def recommend(
    records: Sequence[TrialRecord],
    objective: Objective,
    *,
    target_quality: float | None = None,
    sweep: str = "",
    notes: Sequence[str] = (),
) -> Recommendation:
    """Which configuration of *records* to take for *objective*: :func:`recommendation` of its analysis."""
    return recommendation(Analysis(records, objective, sweep=sweep, notes=notes), target_quality)


def recommendation(known: Analysis, target_quality: float | None = None) -> Recommendation:
    """Which configuration to take under the objective of *known*; see the module for the rule.

    *target_quality*: ask for the smallest and cheapest of at least this quality, in [0, 1] for scores; minus
    a loss where that is what the tasks are decided on (:mod:`tracker.metrics`). Raises InputError for
    unknown tasks and constraints, NotEnoughDataError where no trial is complete or no candidate keeps the
    constraints.
    """
    return known.once_here(
        ("recommendation", target_quality), lambda: _recommendation(known, target_quality)
    )


def _recommendation(known: Analysis, target_quality: float | None) -> Recommendation:
    objective = known.objective
    scored = all(measure == "score" for measure in known.decided.values())
    if target_quality is not None and scored and not 0 < target_quality <= 1:
        raise InputError(f"target quality {target_quality:g}: allowed is above 0 and at most 1")
    if not known.admitted:
        raise NothingAdmittedError(_nothing_admitted(known))
    pick = choose(known, target_quality)
    index, belief = pick.choice, known.posterior
    p_best = belief.p_best(known.admitted)
    runners_up = _runners_up(known, index, p_best)
    regret = belief.expected_regret(index, known.admitted)
    answer = _reach(known, pick, target_quality, objective.constraints)
    return Recommendation(
        sweep=known.sweep,
        question=question(objective, target_quality, known.decided),
        objective=objective,
        trial=known.scored[index].spec,
        choice=known.candidates[index],
        why=reasons(known, index, pick.best, pick.level, p_best[index], regret, answer),
        p_best=p_best[index],
        expected_regret=regret,
        distinguishable=bool(runners_up) and all(runner.distinguishable for runner in runners_up),
        next_experiments=()
        if pick.reached  # who is best was not asked
        else next_experiments(known, index, _rivals(known, runners_up, p_best)),
        runners_up=runners_up,
        satisfied=satisfied(
            known.scored, index, known.candidates[index].forgetting, objective.constraints
        ),
        rejected=known.rejected,
        caveats=(*caveats(known, index), *known.notes),
        noise_floor=None if belief.noise_floor is None else rounded(belief.noise_floor),
        candidates=len(known.candidates),
        admitted=len(known.admitted),
        frontier=tuple(c.label for c in known.candidates if c.on_frontier),
        crossovers=_crossovers(known, index),
        target_quality=answer,
    )


def choose(known: Analysis, target_quality: float | None = None) -> Pick:
    """The rule of the module, on what is known already."""
    belief, admitted = known.posterior, known.admitted
    by_cost = sorted(admitted, key=known.cost_order)
    best = max(by_cost, key=lambda i: belief.centre[i])  # the cheapest among equals
    level = tuple(i for i in by_cost if i == best or not belief.apart(best, i))
    if target_quality is not None:
        enough = reaching(belief, by_cost, target_quality)
        if enough:
            return Pick(enough[0], best, level, True)
    given_up = belief.negligible + TIE
    index = next(i for i in by_cost if belief.centre[best] - belief.centre[i] <= given_up)
    return Pick(index, best, level, False)


def _runners_up(known: Analysis, index: int, p_best: dict[int, float]) -> tuple[RunnerUp, ...]:
    others = [i for i in sorted(known.admitted, key=known.cost_order) if i != index]
    others.sort(key=lambda i: -known.posterior.centre[i])  # stable: the cheaper first among equals
    found = []
    for i in others[:_RUNNERS_UP]:
        found.append(
            RunnerUp(
                candidate=known.candidates[i],
                gap=known.posterior.gap(index, i),
                distinguishable=known.posterior.apart(index, i),
                p_best=p_best[i],
            )
        )
    return tuple(found)


def _rivals(known: Analysis, runners_up: Sequence[RunnerUp], p_best: dict[int, float]) -> list[int]:
    """Runners-up that the choice cannot be told from, the likeliest best first."""
    index = {c.label: i for i, c in enumerate(known.candidates)}
    level = [index[r.candidate.label] for r in runners_up if not r.distinguishable]
    return sorted(level, key=lambda i: -p_best[i])


def _crossovers(known: Analysis, index: int) -> tuple[Crossover, ...]:
    """Per pair of methods on the choice's model and mix, the better at little data first.

    A method with several curves (variants, ranks, learning rates) is taken at the best of them.
    """
    choice = known.candidates[index]
    curves: dict[str, int] = {}
    for i, c in enumerate(known.candidates):
        if (c.model, c.mix) == (choice.model, choice.mix) and configuration_laws(
            known.scored[i], known.weights, known.fits
        ):
            held = curves.get(c.method.name)
            if held is None or known.posterior.centre[i] > known.posterior.centre[held]:
                curves[c.method.name] = i
    names = sorted(curves)
    pairs = [(a, b) for k, a in enumerate(names) for b in names[k + 1 :]]
    found = [_crossover(known, curves[a], curves[b]) for a, b in pairs]
    return tuple(c for c in found if c is not None)


def _crossover(known: Analysis, one: int, other: int) -> Crossover | None:
    laws = [configuration_laws(known.scored[i], known.weights, known.fits) for i in (one, other)]
    ranges = [measured_sizes(each) for each in laws]
    start, end = max(r[0] for r in ranges), min(r[1] for r in ranges)
    if start >= end:
        return None
    sizes = np.geomspace(start, end, _GRID)
    errors = [-weighted_curves(each, known.weights, known.decided, sizes) for each in laws]
    forward = overtakes(errors[0], errors[1], sizes)
    backward = overtakes(errors[1], errors[0], sizes)
    ahead = float((errors[0][:, 0] <= errors[1][:, 0]).mean())
    if ahead >= 0.5:
        return _as_crossover(known, one, other, forward)
    return _as_crossover(known, other, one, backward)


def _as_crossover(known: Analysis, first: int, second: int, fit: CrossoverFit) -> Crossover:
    a, b = known.candidates[first], known.candidates[second]
    examples = None
    if fit.median is not None and fit.low is not None and fit.high is not None:
        examples = Estimate(
            value=float(round(fit.median)),
            low=float(round(fit.low)),
            high=float(round(fit.high)),
            source="law",
        )
    return Crossover(
        model=a.model,
        mix=a.mix,
        first=a.method.name,
        second=b.method.name,
        probability=rounded(fit.probability),
        examples=examples,
        measured_from=fit.start,
        measured_to=fit.end,
    )


def _reach(
    known: Analysis, pick: Pick, quality: float | None, constraints: Mapping[str, float]
) -> TargetQuality | None:
    if quality is None:
        return None
    needed: tuple[ExamplesNeeded, ...] = ()
    if not pick.reached:
        needed = examples_needed(known.scored, known.weights, known.fits, quality, constraints)
    return TargetQuality(
        quality=quality,
        reached=pick.reached,
        probability=known.posterior.p_at_least(pick.choice, quality),
        needed=needed,
    )


def _nothing_admitted(known: Analysis) -> str:
    parts = []
    for r in known.rejected:
        if r.limit is None:
            continue
        sign = ">=" if r.constraint.startswith("min.") else "<="
        value = "" if r.best_value is None else f"; its best candidate has {r.best_value:.4g}"
        unmeasured = f" ({r.unmeasured} not measured)" if r.unmeasured else ""
        parts.append(f"{r.constraint} {sign} {r.limit:g} rejects {r.count}{unmeasured}{value}")
    clock = (
        " (measured on the clock)" if any(r.constraint in MEASURED for r in known.rejected) else ""
    )
    return (
        f"no candidate of {len(known.candidates)} keeps every constraint{clock}: "
        f"{'; '.join(parts)}: relax one, or measure more configurations"
    )
