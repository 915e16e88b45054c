"""A recommendation in plain words; wrapping and colour are the caller's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from tracker.constraints import Rejection, SatisfiedConstraint
from tracker.decision.analysis import Analysis
from tracker.decision.posterior import configuration_laws
from tracker.decision.recommendation import (
    Candidate,
    Crossover,
    NextExperiment,
    Recommendation,
    TargetQuality,
)
from tracker.decision.target_quality import weighted_curves
from tracker.metrics import Estimate, Measure, interval
from tracker.numbers import small, work
from tracker.trial import Objective


def interval_text(estimate: Estimate) -> str:
    """``0.84 (80 % 0.82 to 0.86)``."""
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.3g}"
    return f"{estimate.value:.3g} (80 % {estimate.low:.3g} to {estimate.high:.3g})"


def question(
    objective: Objective,
    target_quality: float | None,
    measures: Mapping[str, Measure] = MappingProxyType({}),
) -> str:
    """What was asked, in one line; *measures*: what each task is decided on, its score if not said."""
    tasks = ", ".join(f"{name} {w:g}" for name, w in objective.weights.items() if w > 0)
    bounds = ", ".join(
        f"{name} {'>=' if name.startswith('min.') else '<='} {limit:g}"
        for name, limit in objective.constraints.items()
    )
    scored = [
        measures.get(name, "score") == "score" for name, w in objective.weights.items() if w > 0
    ]
    if any(scored):
        what, best = (
            "score" if all(scored) else "score, minus the loss of a task without",
            "highest",
        )
        enough = f"at least {target_quality:g}" if target_quality is not None else ""
    else:
        what, best = "loss", "lowest"
        enough = f"at most {-target_quality:g}" if target_quality is not None else ""
    asked = f"{best} weighted {what} ({tasks})"
    if enough:
        asked = f"smallest and cheapest with a weighted {what} ({tasks}) of {enough}"
    return f"{asked}, subject to {bounds}" if bounds else asked


def reasons(
    analysis: Analysis,
    index: int,
    best: int,
    level: Sequence[int],
    p_best: float,
    regret: float,
    target_quality: TargetQuality | None,
) -> tuple[str, ...]:
    """Why candidate *index*, in plain sentences without anything a clock measured."""
    choice, top = analysis.candidates[index], analysis.candidates[best]
    lines = [_headline(analysis, index, best, level, target_quality)]
    origin = "its own runs" + " and what similar ones measured" * (
        choice.quality.source != "measured"
    )
    lines.append(f"Predicted quality {interval_text(choice.quality)}, from {origin}.")
    if len(analysis.admitted) > 1:
        lines.append(
            f"It is the best of {len(analysis.admitted)} admitted candidates with probability "
            f"{p_best:.0%}; taking it loses {small(regret)} of quality on average."
        )
    elif target_quality is not None:  # else the headline has said so
        lines.append(f"It is {unrivalled(len(analysis.candidates), analysis.rejected)}.")
    if index != best and (target_quality is None or not target_quality.reached):
        gap = analysis.posterior.gap(best, index)
        nothing = "less than a quarter of the noise floor"
        if analysis.posterior.noise_floor is None:
            nothing = "nothing, as far as one seed tells"
        lines.append(f"{top.label} is ahead by {interval_text(gap)}: {nothing}.")
    compared = len(analysis.admitted) > 1 or any(
        c.method.name != "none" for c in analysis.candidates
    )
    if choice.method.name == "none" and compared:
        lines.append(_untouched(analysis, choice))
    more = _with_more_data(analysis, index)
    return (*lines, *([more] if more else []))


def unrivalled(candidates: int, rejected: Sequence[Rejection]) -> str:
    """What the choice is where no runner-up stands beside it: nothing tells how good that is."""
    if candidates > 1:
        return "the only one that keeps the constraints"
    unscored = any(rejection.limit is None for rejection in rejected)
    return f"the only configuration measured{' on every task' * unscored}"


def _untouched(analysis: Analysis, choice: Candidate) -> str:
    better = [
        r for r in analysis.rejected if r.best_quality and r.best_quality > choice.quality.value
    ]
    if not better:
        return "The untouched base suffices: nothing needs to be trained."
    best = max(better, key=lambda r: r.best_quality or 0.0)
    return (
        "Nothing that was tuned does better and keeps every limit, so the base is left as it is: "
        f"{best.constraint} alone rejects {best.best}, quality {best.best_quality:.3g}."
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
        return (
            f"{choice.label} is the smallest, then cheapest, that reaches {target_quality.quality:g} "
            f"(probability {target_quality.probability:.0%})."
        )
    if target_quality is not None:
        return (
            f"Nothing measured reaches {target_quality.quality:g} with probability 90 %; the closest is "
            f"{choice.label} (probability {target_quality.probability:.0%})."
        )
    if len(analysis.admitted) == 1:
        what = unrivalled(len(analysis.candidates), analysis.rejected)
        return f"{choice.label} is {what}: there is no other to compare it with."
    if index == best:
        others = len(level) - 1
        told = f"; {others} other{'s' * (others > 1)} cannot be told from it" if others else ""
        return f"{choice.label} has the highest predicted quality{told}."
    return f"{choice.label} and {top.label} cannot be separated; the first is the cheaper by counted cost."


def _with_more_data(analysis: Analysis, index: int) -> str | None:
    """What the law says of twice the largest volume, if the choice has laws and that volume."""
    laws = configuration_laws(analysis.scored[index], analysis.weights, analysis.fits)
    volume = analysis.candidates[index].volume
    if not laws or any(law.domain[1] != volume for law in laws.values()):
        return None
    draws = weighted_curves(
        laws, analysis.weights, analysis.weighted_measures, np.array([2.0 * volume])
    )[:, 0]
    low, high = interval(draws)
    return f"With twice the data its curve predicts {np.median(draws):.3g} (80 % {low:.3g} to {high:.3g})."


def lines(recommendation: Recommendation) -> list[str]:
    """The whole answer, one unwrapped line per statement; the clock's values come last."""
    r, choice = recommendation, recommendation.choice
    out = [f"Question: {r.question}", f"Choice: {choice.label}", *r.why]
    for suite, lost in choice.forgetting.items():
        out.append(f"Forgetting on {suite}: {interval_text(lost)}")
    out.append(f"Counted cost: {_cost(recommendation)}")
    for runner in r.runners_up:
        verdict = "separable" if runner.distinguishable else "cannot be separated from the choice"
        if runner.surely_better:
            verdict = "better, but larger or dearer"
        out.append(
            f"Runner-up: {runner.candidate.label}, quality {runner.candidate.quality.value:.3g}, "
            f"gap {interval_text(runner.gap)}, {verdict}"
        )
    out += [f"To settle it: {next_experiment_text(further)}" for further in r.next_experiments]
    out += [_held(kept) for kept in r.satisfied if kept.probability is not None]
    out += [_rejection(rejection) for rejection in r.rejected]
    out += [_crossover(crossover) for crossover in r.crossovers]
    if r.target_quality is not None:
        out += [
            f"Would need: {n.label}: {n.examples.value:,.0f} examples (80 % {n.examples.low:,.0f} to "
            f"{n.examples.high:,.0f}; {n.probability:.0%} of the law's replicates reach it)"
            for n in r.target_quality.needed
        ]
    out += [f"Caveat: {caveat}" for caveat in r.caveats]
    seconds = choice.measured.device_seconds
    if seconds is not None:
        out.append(f"Measured: {seconds:,.1f} s on {choice.measured.device} (not used to choose)")
    return out


def next_experiment_text(further: NextExperiment) -> str:
    """One plan in a sentence, without anything a clock measured."""
    parts = [] if further.flops is None else [work(further.flops)]
    if further.regret_removed is not None:
        parts.append(f"removes {small(further.regret_removed)} of the expected regret")
    if further.p_distinguishes is not None and further.p_change is not None:
        parts.append(
            f"tells the choice from its rival with probability {further.p_distinguishes:.0%}"
        )
        parts.append(f"puts another ahead with probability {further.p_change:.0%}")
    if further.regret_removed is None:
        parts.append("shows how much seeds differ, which is not known yet")
    return f"{further.label} ({', '.join(parts)})"


def _cost(recommendation: Recommendation) -> str:
    cost = recommendation.choice.counted
    size = cost.parameters
    parts = ["an unknown number of parameters" if size is None else f"{size:,} parameters"]
    if cost.flops is not None:
        parts.append(work(cost.flops))
    if cost.train_tokens is not None:
        parts.append(f"{cost.train_tokens:,.0f} training tokens")
    return ", ".join(parts)


def _held(h: SatisfiedConstraint) -> str:
    sign = ">=" if h.constraint.startswith("min.") else "<="
    return f"Keeps {h.constraint} {sign} {h.limit:g} with probability {h.probability:.0%}"


def _rejection(r: Rejection) -> str:
    if r.limit is None:
        return f"Rejected: {r.count} without {r.constraint}"
    sign = ">=" if r.constraint.startswith("min.") else "<="
    value = "" if r.best_value is None else f" at {r.best_value:.3g}"
    unknown = f", {r.unmeasured} of them not measured" if r.unmeasured else ""
    quality = "" if r.best_quality is None else f", quality {r.best_quality:.3g}"
    return (
        f"Rejected by {r.constraint} {sign} {r.limit:g}: {r.count}{unknown}; "
        f"the best was {r.best}{quality}{value}"
    )


def _crossover(c: Crossover) -> str:
    text = (
        f"{c.second} overtakes {c.first} on {c.model} between {c.measured_from:,.0f} and "
        f"{c.measured_to:,.0f} examples with probability {c.probability:.0%}"
    )
    if c.examples is None:
        return text
    at = c.examples
    return f"{text}, at {at.value:,.0f} (80 % {at.low:,.0f} to {at.high:,.0f})"
