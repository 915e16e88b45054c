"""A recommendation in sentences; wrapping and colour are the caller's."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType

import numpy as np

from tracker.constraints import Rejection, SatisfiedConstraint, sign
from tracker.decision.analysis import Analysis
from tracker.decision.answer_quality import abstention_text, summary_lines
from tracker.decision.majority import majority_text
from tracker.decision.recommendation import (
    ENOUGH_ROWS,
    Candidate,
    Crossover,
    NextExperiment,
    Recommendation,
    RunnerUp,
    TargetQuality,
    TaskResult,
)
from tracker.decision.target_quality import LIKELY, weighted_curves
from tracker.laws.curves import configuration_laws
from tracker.metrics import (
    FIGURES,
    MEASURE_NAMES,
    Estimate,
    Measure,
    normal_interval,
    se_of,
    value_of,
)
from tracker.metrics import interval as interval_of
from tracker.numbers import (
    count,
    in_measure,
    interval,
    is_score,
    number,
    percent,
    plural,
    points,
    probability,
    quality,
    quality_gap,
    regret_text,
    relative,
    score,
    work,
)
from tracker.task import TaskScore
from tracker.trial import Objective, Target

_LOSSES = frozenset({"bits_per_byte", "loss_nats"})


def quality_text(estimate: Estimate, *, scored: bool | None = None) -> str:
    """A quality with its interval: ``71.5 % (80 % interval 69.6 to 73.5 %)``.

    *scored*: whether it is a mean of scores alone; by default whether it is 0 or more.
    """
    return with_interval(estimate, quality_writer(estimate.value, scored))


def quality_writer(value: float, scored: bool | None = None) -> Callable[[float], str]:
    """Function that writes qualities like *value*; *scored* as of :func:`quality_text`."""
    if scored if scored is not None else is_score(value):
        return score
    return partial(quality, scored=False)


def with_interval(estimate: Estimate, write: Callable[[float], str]) -> str:
    """An estimate with its interval; *write* writes one number."""
    value = write(estimate.value)
    if estimate.low is None or estimate.high is None:
        return value
    return f"{value} ({interval(estimate.low, estimate.high, write)})"


def question(objective: Objective, measures: Mapping[str, Measure] = MappingProxyType({})) -> str:
    """The question in one line; *measures*: what each task is decided on, by default its score."""
    tasks = ", ".join(f"{name} {w:g}" for name, w in objective.weights.items() if w > 0)
    bounds = ", ".join(
        f"{name} {sign(name)} {limit:g}" for name, limit in objective.constraints.items()
    )
    named = {measures.get(name, "score") for name, w in objective.weights.items() if w > 0}
    if "score" in named:
        minus = " or ".join(
            word for word, of in (("error", {"error"}), ("loss", _LOSSES)) if named & of
        )
        what = f"score, minus the {minus} of a task without a score" if minus else "score"
        best = "highest"
    else:
        what, best = "error" if named == {"error"} else "loss", "lowest"
    wanted, target = f"{best} weighted {what} ({tasks})", objective.target
    if isinstance(target, dict):
        wanted = f"smallest and cheapest with {target_text(target, measures)}"
    elif target is not None:
        enough = f"at least {target:g}" if best == "highest" else f"at most {-target:g}"
        wanted = f"smallest and cheapest with a weighted {what} ({tasks}) of {enough}"
    return f"{wanted}, subject to {bounds}" if bounds else wanted


def target_text(target: Target, measures: Mapping[str, Measure]) -> str:
    """A target in a few words: ``0.8``, or by task ``intent >= 0.9 and spoken <= 0.2``."""
    if not isinstance(target, dict):
        return f"{target:g}"
    return " and ".join(
        f"{task} {'>=' if measures.get(task, 'score') == 'score' else '<='} {value:g}"
        for task, value in sorted(target.items())
    )


def wanted_text(target: TargetQuality) -> str:
    """The target of an answer in the words of :func:`target_text`."""
    if target.quality is not None:
        return target_text(target.quality, {})
    return target_text(
        {t.task: t.value for t in target.tasks}, {t.task: t.measure for t in target.tasks}
    )


def reasons(
    analysis: Analysis,
    index: int,
    best: int,
    level: Sequence[int],
    p_best: float,
    regret: float,
    target_quality: TargetQuality | None,
    unrun: int = 0,
) -> tuple[str, ...]:
    """Why candidate *index* is chosen, in sentences without anything a clock measured.

    *unrun*: how many rivals were not run at the largest training-set size and may be ahead there.
    """
    choice, top = analysis.candidates[index], analysis.candidates[best]
    scored = analysis.scores_alone
    lines = [_headline(analysis, index, best, level, target_quality)]
    neighbours = " and those of similar configurations"
    origin = "its own runs" + neighbours * (choice.quality.source != "measured")
    lines.append(f"Predicted quality {quality_text(choice.quality, scored=scored)}, from {origin}.")
    if len(analysis.admitted) > 1:
        beside = "".join(f", and of {count(n)} not run at the largest size," for n in [unrun] if n)
        lines.append(
            f"It is the best of {count(len(analysis.admitted))} admitted candidates{beside} with probability "
            f"{probability(p_best)}; taking it loses {regret_text(regret, scored=scored)} of quality on "
            "average."
        )
    elif target_quality is not None:  # else the headline has said so
        lines.append(f"It is {unrivalled(len(analysis.candidates), analysis.rejected)}.")
    if index != best and (target_quality is None or not target_quality.reached):
        gap = with_interval(analysis.posterior.gap(best, index), _gap_writer(scored))
        nothing = "less than a quarter of the noise floor"
        if analysis.posterior.noise_floor is None:
            nothing = "no difference that one seed can show"
        lines.append(f"{top.label} is ahead by {gap}: {nothing}.")
    compared = len(analysis.admitted) > 1 or any(
        c.method.name != "none" for c in analysis.candidates
    )
    if choice.method.name == "none" and compared:
        lines.append(_untouched(analysis, choice))
    more = _with_more_data(analysis, index)
    return (*lines, *([more] if more else []))


def _gap_writer(scored: bool) -> Callable[[float], str]:
    return partial(quality_gap, scored=scored)


def unrivalled(candidates: int, rejected: Sequence[Rejection]) -> str:
    """The choice where there is no runner-up to compare it with, in a few words."""
    if candidates > 1:
        return "the only candidate that keeps the constraints"
    unscored = any(rejection.limit is None for rejection in rejected)
    return f"the only configuration measured{' on every task' * unscored}"


def _untouched(analysis: Analysis, choice: Candidate) -> str:
    better = [
        r for r in analysis.rejected if r.best_quality and r.best_quality > choice.quality.value
    ]
    if not better:
        return "The untouched base suffices: nothing needs to be trained."
    best = max(better, key=lambda r: r.best_quality or 0.0)
    value = quality(best.best_quality, scored=analysis.scores_alone)
    return (
        "No tuned model does better and keeps every constraint, so the base is left untouched: "
        f"{best.constraint} alone rejects {best.best}, quality {value}."
    )


def _headline(
    analysis: Analysis,
    index: int,
    best: int,
    level: Sequence[int],
    target_quality: TargetQuality | None,
) -> str:
    choice, top = analysis.candidates[index], analysis.candidates[best]
    if target_quality is not None and target_quality.reached:
        none_needed = "No tuning is needed: " * (choice.method.name == "none")
        return (
            f"{none_needed}{choice.label} is the smallest, then cheapest, that reaches "
            f"{wanted_text(target_quality)} (probability {probability(target_quality.probability)})."
        )
    if target_quality is not None:
        return not_reached(target_quality, choice.label)
    if len(analysis.admitted) == 1:
        what = unrivalled(len(analysis.candidates), analysis.rejected)
        return f"{choice.label} is {what}: there is no other to compare it with."
    if index == best:
        others = len(level) - 1
        tied = f"; it is statistically tied with {plural(others, 'other')}" if others else ""
        return f"{choice.label} has the highest predicted quality{tied}."
    return f"{choice.label} is statistically tied with {top.label} and costs less by counted cost."


def not_reached(target: TargetQuality, closest: str) -> str:
    """That nothing measured reaches the *target*, what comes *closest*, and what would reach it."""
    wanted = wanted_text(target)
    if target.state == "not met":
        text = f"Target not met: nothing measured reaches {wanted}"
    else:
        text = (
            f"Target met or not is unknown: nothing measured reaches {wanted} with probability 90 %"
        )
    text += f"; the closest is {closest} ({_sure(target)})."
    if not target.needed:
        return f"{text} No law says what would reach it within 16 times the data measured."
    likely = [n for n in target.needed if n.probability >= LIKELY]
    if likely:
        would = "; ".join(
            f"{n.label} with probability {probability(n.probability)}, at {examples_text(n.examples)}"
            for n in likely
        )
        return f"{text} By their laws these reach it within 16 times the data measured: {would}."
    most = target.needed[0]
    return (
        f"{text} No law is likely to reach it within 16 times the data measured: {most.label} does with "
        f"probability {probability(most.probability)}, and takes {examples_text(most.examples)} then."
    )


def _sure(target: TargetQuality) -> str:
    """How surely the choice reaches *target*, by task where it has several."""
    if target.probability is None:
        lacking = ", ".join(t.task for t in target.tasks if t.probability is None)
        return f"probability not known: {lacking} not measured"
    parts = [f"probability {probability(target.probability)}"]
    if len(target.tasks) > 1:
        parts += [f"{t.task} {probability(t.probability)}" for t in target.tasks]
    return ", ".join(parts)


def _with_more_data(analysis: Analysis, index: int) -> str | None:
    """The predicted quality at twice the largest training-set size, where the choice has it and laws."""
    laws = configuration_laws(analysis.scored[index], analysis.weights, analysis.fits)
    volume = analysis.candidates[index].volume
    if not laws or any(law.domain[1] != volume for law in laws.values()):
        return None
    draws = weighted_curves(
        laws, analysis.weights, analysis.weighted_measures, np.array([2.0 * volume])
    )[:, 0]
    low, high = interval_of(draws)
    estimate = Estimate(value=float(np.median(draws)), low=low, high=high)
    predicted = quality_text(estimate, scored=analysis.scores_alone)
    return f"With twice the data its curve predicts {predicted}."


def summary(recommendation: Recommendation) -> list[str]:
    """The answer in three lines: the choice, how sure it is, what to do next.

    Where a target quality is not reached, the first line says so and what would reach it. A task most of
    whose rows have one answer has a line more, and answers that are counted by label two.
    """
    r = recommendation
    first = f"Choice: {r.choice.label}"
    if r.missed and r.target_quality is not None:
        first = not_reached(r.target_quality, r.choice.label)
    majorities = [f"Majority on {majority_text(majority)}" for majority in r.majorities]
    scores = [f"Scores: {'; '.join(map(_task_result, r.task_results))}"] * bool(r.task_results)
    answers = summary_lines(r.worst_labels, r.abstention)
    sure = f"How sure: {_certainty(r)}"
    return [first, sure, *scores, *majorities, *answers, f"Next: {_next_step(r)}"]


def _task_result(result: TaskResult) -> str:
    """What the choice measured on a task: ``intent macro_f1 81.2 % (80 % interval 79.1 to 83.2 %)``."""
    name = result.name or MEASURE_NAMES[result.measure]
    text = f"{result.task} {name} {with_interval(result.value, partial(in_measure, metric=result.measure))}"
    return text if result.measure == "score" else f"{text}, lower is better"


def score_line(measured: TaskScore) -> str:
    """A task's score with its interval and the number of rows that it was measured on."""
    measure: Measure = "error" if measured.score is None and measured.error is not None else "score"
    value, error = value_of(measured, measure), se_of(measured, measure)
    most = 1.0 if measure == "score" else math.inf
    ends = None if value is None else normal_interval(value, error, 0.0, most)
    spread = ""
    if ends is not None:
        spread = f" ({interval(*ends, lambda end: in_measure(end, measure))})"
    rows = "" if measured.n is None else f" on {plural(measured.n, 'row')}"
    return f"{measured.score_name} {in_measure(value, measure)}{spread}{_figures(measured)}{rows}"


def _figures(measured: TaskScore) -> str:
    """Other figures of a score, and the rows that have none: ``, micro F1 61.2 %, macro F1 40.3 %,``."""
    parts = [f"{FIGURES[name]} {percent(value)}" for name, value in measured.figures.items()]
    if measured.unscored:
        parts.append(f"none for {plural(measured.unscored, 'row')} on which the function failed")
    return f", {', '.join(parts)}," if parts else ""


def lines(recommendation: Recommendation) -> list[str]:
    """The whole answer, one unwrapped line per statement; what a clock measured comes last."""
    r, choice = recommendation, recommendation.choice
    out = [*summary(r), f"Question: {r.question}", *r.why]
    out += [f"Forgetting on {suite}: {_lost(r, suite)}" for suite in choice.forgetting]
    out.append(f"Counted cost: {_cost(recommendation)}")
    out += [_runner_up(runner, r.scored) for runner in r.runners_up]
    out += [f"To settle it: {_experiment(r, experiment)}" for experiment in r.next_experiments]
    out += [_satisfied(kept) for kept in r.satisfied if kept.probability is not None]
    out += [_rejection(rejection, r.scored) for rejection in r.rejected]
    out += [_crossover(crossover) for crossover in r.crossovers]
    out += [f"To withhold on {abstention_text(each)}" for each in r.abstention]
    out += [f"Caveat: {caveat}" for caveat in r.caveats]
    seconds = choice.measured.device_seconds
    if seconds is not None:
        out.append(f"Measured: {seconds:,.1f} s on {choice.measured.device} (not used to choose)")
    return out


def tied(recommendation: Recommendation) -> int:
    """How many other candidates the choice is statistically tied with, on every page and in every line."""
    if recommendation.tied is not None:
        return recommendation.tied
    return sum(not (r.distinguishable or r.surely_better) for r in recommendation.runners_up)


def _certainty(r: Recommendation) -> str:
    parts = [f"predicted quality {_kind(r)}{quality_text(r.choice.quality, scored=r.scored)}"]
    target = r.target_quality
    if target is not None:
        whose = "reaches" if target.reached else "the closest reaches"
        parts.append(f"target {target.state}: {whose} {wanted_text(target)} with {_sure(target)}")
    if r.admitted > 1:
        parts.append(f"best with probability {probability(r.p_best)}")
    if ties := tied(r):
        parts.append(f"statistically tied with {plural(ties, 'other')}")
    elif not r.runners_up:
        parts.append(unrivalled(r.candidates, r.rejected))
    rows = r.choice.rows
    if rows is not None and rows < ENOUGH_ROWS:
        parts.append(f"measured on only {plural(rows, 'row')}")
    if r.caveats:
        parts.append(plural(len(r.caveats), "caveat"))
    return ", ".join(parts)


def _kind(r: Recommendation) -> str:
    """What a quality is that is no score."""
    if r.scored:
        return ""
    if any(r.choice.scores.get(t) is not None for t, w in r.objective.weights.items() if w > 0):
        return "(scores, minus what is no score) "
    measures = {t.measure for t in r.task_results if r.objective.weights.get(t.task)}
    return f"(minus the {'error' if measures == {'error'} else 'loss'}) "


def _next_step(r: Recommendation) -> str:
    if r.missed and r.target_quality is not None:
        likely = any(n.probability >= LIKELY for n in r.target_quality.needed)
        more = "measure with more data" if likely else "measure other configurations"
        if r.target_quality.state == "unknown":
            more = f"run more seeds of the closest, or {more}"
        return f"{more}, or take the best measured: --target-quality none"
    if r.choice.method.name == "none":
        return "nothing to train; the untouched base is recommended"
    if (rival := r.likeliest_unrun) is not None:
        return (
            f"to settle it, run {rival.label} at {count(rival.examples)} examples, where it is ahead with "
            f"probability {probability(rival.probability)}; or train the choice as it is"
        )
    if not r.next_experiments:
        return "write it to a file with -o and train it"
    most = max(r.next_experiments, key=lambda experiment: experiment.regret_removed or 0.0)
    short = most.model_copy(update={"p_distinguishes": None})
    return f"to settle it, run {_experiment(r, short)}; or train the choice as it is"


def next_experiment_text(experiment: NextExperiment, *, scored: bool = True) -> str:
    """One experiment in a sentence, without anything a clock measured; *scored*: quality is a score."""
    parts = [] if experiment.flops is None else [work(experiment.flops)]
    if experiment.regret_removed is not None:
        removed = regret_text(experiment.regret_removed, scored=scored)
        parts.append(f"removes {removed} of expected regret")
    if experiment.p_distinguishes is not None and experiment.p_change is not None:
        parts.append(
            "distinguishes the choice from its closest rival with probability "
            f"{probability(experiment.p_distinguishes)}"
        )
        parts.append(f"changes the choice with probability {probability(experiment.p_change)}")
    if experiment.regret_removed is None:
        parts.append("measures the noise between seeds, which is not known yet")
    return f"{experiment.label} ({', '.join(parts)})"


def examples_text(examples: Estimate) -> str:
    """A training-set size with its interval: ``4,600 examples (80 % interval 4,100 to 5,300)``."""
    value, _, between = with_interval(examples, count).partition(" ")
    return f"{value} examples{' ' * bool(between)}{between}"


def _experiment(r: Recommendation, experiment: NextExperiment) -> str:
    return next_experiment_text(experiment, scored=r.scored)


def _lost(r: Recommendation, suite: str) -> str:
    """What a general suite lost: points of a score, else per cent of the bits per byte."""
    measures = {spec.name: spec.measure for spec in r.trial.general}
    if measures.get(suite) == "score":
        return with_interval(r.choice.forgetting[suite], points)
    return f"{with_interval(r.choice.forgetting[suite], relative)} in bits per byte"


def _runner_up(runner: RunnerUp, scored: bool) -> str:
    verdict = "distinguishable" if runner.distinguishable else "statistically tied with the choice"
    if runner.surely_better:
        verdict = "better, but larger or more expensive"
    value = quality(runner.candidate.quality.value, scored=scored)
    gap = with_interval(runner.gap, _gap_writer(scored))
    named = f"Runner-up: {runner.candidate.label}, quality {value}"
    return f"{named}, the choice minus it {gap}, {verdict}"


def _cost(recommendation: Recommendation) -> str:
    cost = recommendation.choice.counted
    size = cost.parameters
    parts = [
        "an unknown number of parameters" if size is None else f"{count(size)} parameters",
        "" if cost.flops is None else work(cost.flops),
        "" if cost.train_tokens is None else f"{count(cost.train_tokens)} training tokens",
    ]
    return ", ".join(filter(None, parts))


def _bound(constraint: str, limit: float) -> str:
    return f"{constraint} {sign(constraint)} {limit:g}"


def _satisfied(h: SatisfiedConstraint) -> str:
    return f"Keeps {_bound(h.constraint, h.limit)} with probability {probability(h.probability)}"


def _rejection(r: Rejection, scored: bool) -> str:
    if r.limit is None:
        return f"Rejected: {count(r.count)} without {r.constraint}"
    # In the unit of the bound, which stands as it was written.
    value = "" if r.best_value is None else f" at {number(r.best_value)}"
    unknown = f", {count(r.unmeasured)} of them not measured" if r.unmeasured else ""
    best = "" if r.best_quality is None else f", quality {quality(r.best_quality, scored=scored)}"
    return (
        f"Rejected by {_bound(r.constraint, r.limit)}: {count(r.count)}{unknown}; "
        f"the best was {r.best}{best}{value}"
    )


def _crossover(c: Crossover) -> str:
    text = (
        f"{c.second} overtakes {c.first} on {c.model} between {count(c.measured_from)} and "
        f"{count(c.measured_to)} examples with probability {probability(c.probability)}"
    )
    return text if c.examples is None else f"{text}, at {examples_text(c.examples)}"
