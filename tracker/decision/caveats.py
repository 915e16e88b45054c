"""What a reader of the recommendation must know before trusting it, in plain sentences.

No sentence holds what a clock measured, so that they are the same for two runs of one sweep.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tracker.constraints import MEASURED, keeps
from tracker.decision.analysis import Analysis
from tracker.decision.noise import noise_without_replicates
from tracker.decision.posterior import configuration_laws
from tracker.decision.recommendation import Candidate
from tracker.laws.curves import CurveKey
from tracker.laws.points import ASSUMED_NOISE
from tracker.trial import MethodSpec, Status

#: Below this share of well-formed answers a caveat is due.
WELL_FORMED = 0.95
_MOST_GLITCHES = 3
_MOST_SUSPECTS = 5
_FEW_REPEATS = 3
_UNREPEATED = {
    None: (
        "No configuration ran with several seeds: the noise between seeds is unknown, every "
        "interval is too narrow, and nothing cheaper was preferred among near equals."
    ),
    "residuals": (
        "No configuration ran with several seeds and the rows scored are not stated: the noise is how "
        "far runs lie from their curves, and nothing cheaper was preferred among near equals."
    ),
    "assumed": (
        f"No configuration ran with several seeds, the rows scored are not stated and no curve has "
        f"four volumes: a noise of {ASSUMED_NOISE:.0%} of a loss or an error is assumed, so P(best) and "
        "every interval rest on that."
    ),
}


def caveats(analysis: Analysis, index: int) -> tuple[str, ...]:
    """The caveats of choosing candidate *index*, the weightiest first."""
    choice = analysis.candidates[index]
    return (
        *_noise(analysis, choice),
        *_learning_rate(analysis, choice),
        *_format(analysis, choice),
        *_limits(analysis, choice),
        *_law(analysis, index),
        *_label_swaps(analysis),
        *_suspects(analysis, choice),
        *_glitches(analysis),
        *_coverage(analysis, choice),
        *_lost_trials(analysis),
    )


def _noise(analysis: Analysis, choice: Candidate) -> Iterator[str]:
    if analysis.posterior.noise_floor is None:
        yield _UNREPEATED[noise_without_replicates(analysis.scored, analysis.weights).source]
    repeats = sum(len(c.runs) - 1 for c in analysis.scored)
    if 0 < repeats < _FEW_REPEATS:
        runs = f"{repeats} repeated run{'s' * (repeats > 1)}"
        yield f"The noise between seeds rests on {runs}: it is a rough figure."
    if len(choice.seeds) == 1 and choice.method.name != "none":
        yield "The choice was measured with one seed."
    if choice.quality.source == "measured" and len(analysis.candidates) > 1:
        yield (
            f"Its quality is what its own runs measured, and it was picked among "
            f"{len(analysis.candidates)} candidates: expect slightly less (the winner's curse)."
        )
    if analysis.posterior.unpaired:
        yield (
            f"{len(analysis.posterior.unpaired)} candidates have no common bootstrap replicates: their "
            "gaps are not paired, so they are wider than they need be."
        )
    sizes = {(s.task, s.n) for c in analysis.scored for t in analysis.weights for s in c.scores(t)}
    if len(sizes) > len(analysis.weights):
        yield "Candidates were scored on different numbers of rows: such gaps are not paired."


def _same_but_rate(a: MethodSpec, b: MethodSpec) -> bool:
    return a.model_copy(update={"learning_rate": None}) == b.model_copy(
        update={"learning_rate": None}
    )


def _learning_rate(analysis: Analysis, choice: Candidate) -> Iterator[str]:
    """A diverged trial at a higher rate also closes the range."""
    rate = choice.method.learning_rate
    if rate is None:
        return
    tried = {
        r.result.spec.method.learning_rate
        for r in analysis.records
        if r.result.status in (Status.COMPLETE, Status.DIVERGED)
        and r.result.spec.model.name == choice.model
        and _same_but_rate(r.result.spec.method, choice.method)
    }
    rates = sorted(r for r in tried if r is not None)
    if len(rates) < 2:
        yield f"One learning rate only ({rate:.3g}) was tried for this model and method."
    elif rate in (rates[0], rates[-1]):
        edge = "lowest" if rate == rates[0] else "highest"
        yield (
            f"Its learning rate {rate:.3g} is the {edge} tried for this model and method "
            f"({rates[0]:.3g} to {rates[-1]:.3g}): the optimum may lie outside."
        )


def _format(analysis: Analysis, choice: Candidate) -> Iterator[str]:
    for task, share in sorted(choice.valid_format.items()):
        if task in analysis.weights and share < WELL_FORMED:
            yield f"On {task} only {share:.1%} of its answers are well-formed."
    base = next(
        (c for c in analysis.candidates if c.method.name == "none" and c.model == choice.model),
        None,
    )
    if base is None:
        yield f"The untouched base of {choice.model} was not measured: there is no zero to compare."
        return
    for task, share in sorted(choice.over_reach.items()):
        before = base.over_reach.get(task)
        if before is not None and share > before:
            yield (
                f"On {task} it claims something for {share:.1%} of the rows where nothing is true; "
                f"the untouched base does for {before:.1%}."
            )


def _limits(analysis: Analysis, choice: Candidate) -> Iterator[str]:
    for name, limit in sorted(analysis.objective.constraints.items()):
        if name in MEASURED:
            yield f"The constraint {name} compares what was measured here: another machine may differ."
        kind, _, suite = name.partition(".")
        if kind == "forgetting" and suite in choice.forgetting:
            high = choice.forgetting[suite].high
            if high is not None and not keeps(name, high, limit):
                yield (
                    f"{name} may exceed {limit:g}: measured {choice.forgetting[suite].value:.3g}, "
                    f"the 80 % interval reaches {high:.3g}."
                )


def _law(analysis: Analysis, index: int) -> Iterator[str]:
    choice = analysis.candidates[index]
    laws = configuration_laws(analysis.scored[index], analysis.weights, analysis.fits)
    for task, law in laws.items():
        if law.held_out_error is not None and law.held_out_error > 0.1:
            yield (
                f"The law of its curve on {task}, fitted without the largest volume, missed the error "
                f"there by {law.held_out_error:.0%}: extrapolate with care."
            )
    if laws and all(choice.volume == law.domain[1] for law in laws.values()):
        yield "It uses the largest volume measured: what more data would bring is extrapolation."
    if not laws and choice.method.name != "none":
        for task in analysis.weights:
            key = CurveKey.of(analysis.scored[index].configuration, task)
            reason = analysis.fits.refused.get(
                key, "its hyper-parameters were only tried in tuning"
            )
            yield f"No law of its curve on {task}: {reason}."


def _suspects(analysis: Analysis, choice: Candidate) -> Iterator[str]:
    """Those of the choice first; what they were worth stands in the belief already."""
    outliers = sorted(analysis.posterior.outliers, key=lambda s: s.key not in choice.keys)
    for outlier in outliers[:_MOST_SUSPECTS]:
        yield (
            f"Trial {outlier.key} ({outlier.label}) measured {outlier.quality:.3g} where its "
            f"other seeds and similar configurations say {outlier.expected:.3g}: it counts next to "
            "nothing here, run it again."
        )
    if len(outliers) > _MOST_SUSPECTS:
        others = ", ".join(s.key for s in outliers[_MOST_SUSPECTS:])
        yield f"Run these again too, they fit nothing else either: {others}."


def _label_swaps(analysis: Analysis) -> Iterator[str]:
    for swap in analysis.posterior.label_swaps:
        first, second = (
            [analysis.candidates[i] for i in side] for side in (swap.first, swap.second)
        )
        volumes = f" ({len(first)} volumes)" * (len(first) > 1)
        keys = ", ".join(key for c in (*first, *second) for key in c.keys)
        yield (
            f"The results of {first[-1].label} and of {second[-1].label}{volumes} fit everything else only "
            f"if exchanged, and are read so here (probability {swap.probability:.0%}). "
            f"Check what was booked where, or run again {keys}."
        )


def _glitches(analysis: Analysis) -> Iterator[str]:
    told = {s.key for s in analysis.posterior.outliers}
    found = [
        (key, g)
        for key, law in analysis.fits.laws.items()
        for g in law.glitches
        if g.key not in told
    ]
    found.sort(key=lambda item: (-item[1].deviations, item[0].label, item[1].key))
    for key, glitch in found[:_MOST_GLITCHES]:
        yield (
            f"Trial {glitch.key} ({key.label}, {glitch.examples:,.0f} examples) has an error of "
            f"{glitch.value:.3g} where its curve says {glitch.expected:.3g}: run it again."
        )
    if len(found) > _MOST_GLITCHES:
        yield f"{len(found) - _MOST_GLITCHES} more trials are off their curves."


def _coverage(analysis: Analysis, choice: Candidate) -> Iterator[str]:
    if not choice.forgetting:
        yield "No general suite was measured for it: what it forgot is unknown."
    apart = sum(c.on_frontier is None for c in analysis.candidates)
    if apart:
        yield f"{apart} candidates lack forgetting or counted cost and are not on the Pareto front."


def _lost_trials(analysis: Analysis) -> Iterator[str]:
    lost: Counter[Status] = Counter(
        r.result.status for r in analysis.records if r.result.status is not Status.COMPLETE
    )
    if lost:
        counts = ", ".join(f"{lost[s]} {s.value}" for s in Status if lost[s])
        yield f"Trials that did not complete and could not be chosen: {counts}."
