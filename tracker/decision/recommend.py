"""Recommendation from a sweep's results: a pure function, the same bytes on every machine.

The rule, among the candidates that keep every constraint:

1. The best is the one with the highest predicted quality (:mod:`tracker.decision.posterior`).
2. Two candidates are statistically tied unless the 80 % interval of their paired gap lies beyond half the
   noise floor (the standard deviation between seeds): nearer ones change places in one rerun of three.
3. A difference below a quarter of the noise floor is negligible: it would take some fifty seeds of both to
   show it. Of the candidates whose expected loss against the best is negligible, the cheapest is chosen:
   smallest model, then fewest counted training operations, then fewest training tokens. Without a noise floor
   only a difference of 0 is within noise, or negligible.

With a target the cheapest that reaches it with P >= 0.9 is chosen instead; where none does, the rule above
names the closest (:mod:`tracker.decision.target_quality`). Cost is counted cost: measured time is reported,
and counts only in a constraint of the user.

There is no recommendation before a fine-tune is complete: untouched bases alone say nothing of tuning. One
that reaches a stated quality on a hundred rows or more is an answer all the same: no tuning is needed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from tracker.constraints import MEASURED, quality_deviation, satisfied, sign
from tracker.decision.analysis import Analysis
from tracker.decision.answer_quality import abstention, worst_labels
from tracker.decision.caveats import caveats
from tracker.decision.explain import question, reasons, target_text
from tracker.decision.majority import majorities_of
from tracker.decision.next_experiments import next_experiments
from tracker.decision.posterior import TIE
from tracker.decision.recommendation import (
    ENOUGH_ROWS,
    Crossover,
    Recommendation,
    RunnerUp,
    TaskResult,
)
from tracker.decision.target_quality import (
    TargetChances,
    check_target,
    measured_sizes,
    target_chances,
    weighted_curves,
)
from tracker.decision.target_quality import answer as target_answer
from tracker.decision.unrun import unrun_rivals
from tracker.errors import NoRecommendationError, NothingAdmittedError
from tracker.laws.crossover import CrossoverFit, crossover_of_curves
from tracker.laws.curves import configuration_laws
from tracker.metrics import Estimate, normal_interval, rounded, task_value
from tracker.numbers import count, number, plural, probability
from tracker.trial import Status

_RUNNERS_UP = 3
_GRID = 257


class Pick(NamedTuple):
    """Indices of the choice, the best, and the candidates tied with the best.

    ``chances``: how surely each candidate reaches the target, where the objective has one.
    """

    choice: int
    best: int
    tied: tuple[int, ...]
    chances: TargetChances | None = None

    @property
    def reached(self) -> bool:
        """Whether the choice reaches the target."""
        return self.chances is not None and bool(self.chances.reaching([self.choice]))


def recommend(analysis: Analysis) -> Recommendation:
    """Recommend a configuration under the objective of *analysis*, by the rule of the module.

    With a target in the objective the smallest and cheapest that reaches it is taken. Raises ArgumentError
    for unknown tasks and constraints, NoRecommendationError where no fine-tune is complete and no untouched
    base reaches the target, NothingAdmittedError where no candidate keeps the constraints.
    """
    return analysis.cached_for_objective("recommendation", lambda: _recommendation(analysis))


def _check_answerable(analysis: Analysis) -> None:
    """Raise what :func:`recommend` raises before anything is chosen."""
    if not any(record.result.status is Status.COMPLETE for record in analysis.records):
        raise _none_complete(analysis)
    if analysis.objective.target is not None:
        check_target(analysis.objective.target, analysis.measures, list(analysis.weights))
    if not analysis.admitted:
        raise _nothing_admitted(analysis)
    if analysis.scores_alone and all(c.measured_quality == 0 for c in analysis.candidates):
        raise _all_zero(analysis)


def _recommendation(analysis: Analysis) -> Recommendation:
    objective = analysis.objective
    _check_answerable(analysis)
    pick = choose(analysis)
    if all(results.untouched for results in analysis.scored):
        _check_untouched(analysis, pick)
    index, posterior = pick.choice, analysis.posterior
    unrun = unrun_rivals(analysis, index)
    p_best = posterior.p_best(analysis.admitted)
    if unrun.named:
        p_best[index] = posterior.p_best_of(index, analysis.admitted, unrun.gain)
    runners_up = _runners_up(analysis, index, p_best)
    regret = posterior.expected_regret(index, analysis.admitted, unrun.gain)
    answer = None
    if objective.target is not None and pick.chances is not None:
        answer = target_answer(analysis, objective.target, pick.chances, index)
    return Recommendation(
        sweep=analysis.sweep,
        question=question(objective, analysis.measures),
        objective=objective,
        trial=analysis.scored[index].spec,
        choice=analysis.candidates[index],
        why=reasons(
            analysis,
            index,
            pick.best,
            pick.tied,
            p_best[index],
            regret,
            answer,
            sum(rival.may_be_ahead for rival in unrun.named),
        ),
        p_best=p_best[index],
        expected_regret=regret,
        distinguishable=bool(runners_up)
        and all(runner.distinguishable for runner in runners_up)
        and not any(rival.may_be_ahead for rival in unrun.named),
        next_experiments=()
        if pick.reached  # the best was not the question
        else next_experiments(analysis, index, _rivals(analysis, runners_up, p_best)),
        runners_up=runners_up,
        satisfied=satisfied(
            analysis.scored, index, analysis.candidates[index].forgetting, objective.constraints
        ),
        rejected=analysis.rejected,
        caveats=(*caveats(analysis, index), *analysis.notes),
        noise_floor=None if posterior.noise_floor is None else rounded(posterior.noise_floor),
        candidates=len(analysis.candidates),
        admitted=len(analysis.admitted),
        frontier=tuple(c.label for c in analysis.candidates if c.on_frontier),
        crossovers=_crossovers(analysis, index),
        target_quality=answer,
        task_results=_task_results(analysis, index),
        tied=_tied(analysis, pick),
        unrun=unrun.named,
        majorities=majorities_of(analysis.scored[index], analysis.weights),
        worst_labels=worst_labels(analysis.scored[index], analysis.weights),
        abstention=abstention(analysis.scored[index], analysis.weights, objective.constraints),
    )


def choose(analysis: Analysis) -> Pick:
    """Choose a candidate by the rule of the module."""
    posterior, admitted = analysis.posterior, analysis.admitted
    by_cost = sorted(admitted, key=analysis.cost_order)
    best = max(by_cost, key=lambda i: posterior.mean[i])  # the cheapest among equals
    tied = tuple(i for i in by_cost if i == best or not posterior.distinguishable(best, i))
    chances = None
    if analysis.objective.target is not None:
        chances = target_chances(analysis, analysis.objective.target)
        if reaching := chances.reaching(by_cost):
            return Pick(reaching[0], best, tied, chances)
        if (closest := chances.closest(by_cost, posterior.mean)) is not None:
            return Pick(closest, best, tied, chances)
    tolerance = posterior.negligible + TIE
    index = next(i for i in by_cost if posterior.mean[best] - posterior.mean[i] <= tolerance)
    return Pick(index, best, tied, chances)


def _task_results(analysis: Analysis, index: int) -> tuple[TaskResult, ...]:
    """What the choice measured on each task, the weighted ones first."""
    results, found = analysis.scored[index], []
    for task in dict.fromkeys([*analysis.weights, *results.tasks]):
        measure = analysis.measures.get(task, "score")
        value = results.mean(partial(task_value, task=task, measure=measure))
        if value is None:
            continue
        error = quality_deviation(analysis.scored, index, f"min.{task}")
        ends = normal_interval(value, error, 0.0, 1.0 if measure == "score" else math.inf)
        low, high = ends or (None, None)
        found.append(
            TaskResult(
                task=task,
                measure=measure,
                name=results.scores(task)[0].score_name if measure in ("score", "error") else None,
                value=Estimate(
                    value=rounded(value),
                    low=None if low is None else rounded(low),
                    high=None if high is None else rounded(high),
                ),
                rows=results.rows([task]),
            )
        )
    return tuple(found)


def _tied(analysis: Analysis, pick: Pick) -> int:
    """How many other admitted candidates are statistically tied with the choice, not better for sure."""
    if pick.choice == pick.best:
        return len(pick.tied) - 1
    posterior, others = analysis.posterior, (i for i in analysis.admitted if i != pick.choice)
    gaps = ((posterior.gap(pick.choice, i), i) for i in others)
    return sum(
        not (posterior.distinguishable(pick.choice, i) or (gap.high is not None and gap.high < 0))
        for gap, i in gaps
    )


def _runners_up(analysis: Analysis, index: int, p_best: dict[int, float]) -> tuple[RunnerUp, ...]:
    others = [i for i in sorted(analysis.admitted, key=analysis.cost_order) if i != index]
    others.sort(key=lambda i: -analysis.posterior.mean[i])  # stable: the cheaper first among equals
    runners_up = []
    for i in others[:_RUNNERS_UP]:
        runners_up.append(
            RunnerUp(
                candidate=analysis.candidates[i],
                gap=analysis.posterior.gap(index, i),
                distinguishable=analysis.posterior.distinguishable(index, i),
                p_best=p_best[i],
            )
        )
    return tuple(runners_up)


def _rivals(
    analysis: Analysis, runners_up: Sequence[RunnerUp], p_best: dict[int, float]
) -> list[int]:
    """Runners-up tied with the choice, the likeliest best first."""
    index = {c.label: i for i, c in enumerate(analysis.candidates)}
    tied = [index[r.candidate.label] for r in runners_up if not r.distinguishable]
    return sorted(tied, key=lambda i: -p_best[i])


def _crossovers(analysis: Analysis, index: int) -> tuple[Crossover, ...]:
    """Crossovers of every pair of methods on the choice's model and mix, the better at little data first.

    Of a method with several curves (variants, ranks, learning rates) the best one is taken.
    """
    choice = analysis.candidates[index]
    curves: dict[str, int] = {}
    for i, c in enumerate(analysis.candidates):
        if (c.model, c.mix) == (choice.model, choice.mix) and configuration_laws(
            analysis.scored[i], analysis.weights, analysis.fits
        ):
            best_so_far = curves.get(c.method.name)
            if (
                best_so_far is None
                or analysis.posterior.mean[i] > analysis.posterior.mean[best_so_far]
            ):
                curves[c.method.name] = i
    names = sorted(curves)
    pairs = [(a, b) for k, a in enumerate(names) for b in names[k + 1 :]]
    crossovers = [_crossover(analysis, curves[a], curves[b]) for a, b in pairs]
    return tuple(c for c in crossovers if c is not None)


def _crossover(analysis: Analysis, first: int, second: int) -> Crossover | None:
    laws = [
        configuration_laws(analysis.scored[i], analysis.weights, analysis.fits)
        for i in (first, second)
    ]
    ranges = [measured_sizes(of_configuration) for of_configuration in laws]
    start, end = max(r[0] for r in ranges), min(r[1] for r in ranges)
    if start >= end:
        return None
    sizes = np.geomspace(start, end, _GRID)
    errors = [
        -weighted_curves(of_configuration, analysis.weights, analysis.weighted_measures, sizes)
        for of_configuration in laws
    ]
    forward = crossover_of_curves(errors[0], errors[1], sizes)
    backward = crossover_of_curves(errors[1], errors[0], sizes)
    ahead = float((errors[0][:, 0] <= errors[1][:, 0]).mean())
    if ahead >= 0.5:
        return _crossover_between(analysis, first, second, forward)
    return _crossover_between(analysis, second, first, backward)


def _crossover_between(analysis: Analysis, first: int, second: int, fit: CrossoverFit) -> Crossover:
    a, b = analysis.candidates[first], analysis.candidates[second]
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


# -- no recommendation yet ---------------------------------------------------------------------------

#: What to do about fine-tunes that ended so; first comes what the user can change at once.
_REMEDIES = {
    Status.DIVERGED: "lower the learning rates",
    Status.INFEASIBLE: "take a smaller model or batch",
    Status.FAILED: "mend what failed (`sft-select status` names it)",
}


def _none_complete(analysis: Analysis) -> NoRecommendationError:
    ended = _ended(analysis)
    why = f"no trial is complete ({ended})" if ended else "no trial is complete"
    return NoRecommendationError(why, _remedy(analysis))


def _check_untouched(analysis: Analysis, pick: Pick) -> None:
    """Check that an untouched base is an answer where nothing else is; raises NoRecommendationError."""
    rows = analysis.candidates[pick.choice].rows
    if pick.reached and rows is not None and rows >= ENOUGH_ROWS:
        return
    bases = ", ".join(dict.fromkeys(results.spec.model.name for results in analysis.scored))
    ended = _ended(analysis)
    tuned = any(not results.untouched for results in analysis.configurations)
    lacking = "has a score for every weighted task" if tuned else "is complete"
    why = (
        f"only untouched base models were measured ({bases}), and no fine-tune {lacking}"
        f"{f' ({ended})' * bool(ended)}"
    )
    if pick.chances is not None and analysis.objective.target is not None:
        sure = probability(float(pick.chances.together[pick.choice]))
        wanted = target_text(analysis.objective.target, analysis.measures)
        on = "an unknown number of" if rows is None else count(rows)
        why += (
            f"; {analysis.candidates[pick.choice].model} untouched reaches {wanted} with "
            f"probability {sure} on {on} rows, where 90 % on {ENOUGH_ROWS} rows would be an answer"
        )
    raise NoRecommendationError(why, _remedy(analysis))


def _all_zero(analysis: Analysis) -> NoRecommendationError:
    rows = min((c.rows for c in analysis.candidates if c.rows is not None), default=None)
    on = "" if rows is None else f" on {plural(rows, 'row')}"
    return NoRecommendationError(
        f"each of {plural(len(analysis.candidates), 'candidate')} scored exactly 0{on} "
        f"({', '.join(analysis.weights)}), so none is better than another",
        "look at the answers of a trial, mend prompt, answer or score, or train on more examples",
    )


def _ended(analysis: Analysis) -> str:
    """How the trials that are not complete ended: ``3 diverged, 1 failed``."""
    ended = Counter(record.result.status for record in analysis.records)
    return ", ".join(
        f"{ended[s]} {s.value}" for s in Status if s is not Status.COMPLETE and ended[s]
    )


def _remedy(analysis: Analysis) -> str:
    ended = {record.result.status for record in analysis.records}
    if any(record.result.spec.origin for record in analysis.records):
        return "import a table with the scores of a fine-tune"
    steps = [text for status, text in _REMEDIES.items() if status in ended]
    return f"{', '.join(steps)}, and run the sweep again" if steps else "run the sweep"


def _nothing_admitted(analysis: Analysis) -> NothingAdmittedError:
    rejections = []
    for r in analysis.rejected:
        if r.limit is None:
            continue
        value = (
            f"; the nearest is {r.nearest} with {number(r.nearest_value, 4)}"
            if r.nearest is not None and r.nearest_value is not None
            else ""
        )
        unmeasured = f" ({r.unmeasured} not measured)" if r.unmeasured else ""
        rejections.append(
            f"{r.constraint} {sign(r.constraint)} {r.limit:g} rejects {r.count}{unmeasured}{value}"
        )
    clock = (
        " (measured on the clock)"
        if any(r.constraint in MEASURED for r in analysis.rejected)
        else ""
    )
    return NothingAdmittedError(
        f"no candidate of {len(analysis.candidates)} keeps every constraint{clock}: "
        f"{'; '.join(rejections)}",
        "relax one, or measure more configurations",
    )
