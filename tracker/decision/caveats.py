"""Caveats of a recommendation, in sentences.

No sentence has a measured time, so that they are the same for two runs of one sweep.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from functools import partial

from tracker.constraints import MEASURED, keeps
from tracker.decision.analysis import Analysis
from tracker.decision.noise import noise_without_replicates
from tracker.decision.recommendation import ENOUGH_ROWS, Candidate
from tracker.decision.unrun import unrun_rivals
from tracker.laws.curves import CurveKey, configuration_laws
from tracker.laws.points import ASSUMED_NOISE
from tracker.metrics import MEASURE_NAMES, Z
from tracker.numbers import count, number, percent, plural, points, probability, quality
from tracker.trial import MethodSpec, Status

#: A smaller share of well-formed answers is a caveat.
WELL_FORMED = 0.95
_MOST_GLITCHES = 3
_MOST_OUTLIERS = 5
_FEW_REPEATS = 3
_WITHOUT_REPEATS = {
    None: (
        "No configuration ran with several seeds: the noise between seeds is unknown, every "
        "interval is too narrow, and no cheaper candidate was preferred among near equals."
    ),
    "residuals": (
        "No configuration ran with several seeds and the number of scored rows is unknown: the noise is "
        "how far runs lie from their curves, and no cheaper candidate was preferred among near equals."
    ),
    "assumed": (
        "No configuration ran with several seeds, the number of scored rows is unknown and no curve has "
        f"four training-set sizes: a noise of {percent(ASSUMED_NOISE, 0)} of a loss or an error is assumed, "
        "and P(best) and every interval depend on it."
    ),
}


def caveats(analysis: Analysis, index: int) -> tuple[str, ...]:
    """Caveats of choosing candidate *index*, the most important first."""
    choice = analysis.candidates[index]
    return (
        *_rows(analysis, choice),
        *_unrun(analysis, index),
        *_other_bases(analysis, choice),
        *_noise(analysis, choice),
        *_learning_rate(analysis, choice),
        *_format(analysis, choice),
        *_unscored(analysis, choice),
        *_limits(analysis, choice),
        *_units(analysis),
        *_law(analysis, index),
        *_label_swaps(analysis),
        *_outliers(analysis, choice),
        *_glitches(analysis),
        *_coverage(analysis, choice),
        *_lost_trials(analysis),
    )


def _rows(analysis: Analysis, choice: Candidate) -> Iterator[str]:
    if choice.rows is None or choice.rows >= ENOUGH_ROWS:
        return
    worst = points(Z * 0.5 / math.sqrt(choice.rows), 0, signed=False)
    scored = analysis.scores_alone
    error = f" (a score on so few is known to ± {worst} at worst)" if scored else ""
    yield (
        f"It was measured on {plural(choice.rows, 'validation row')}, which limits the answer{error}: give "
        f"every task {ENOUGH_ROWS} or more."
    )


def _units(analysis: Analysis) -> Iterator[str]:
    """That a weighted quality adds scores and errors, each in its own unit."""
    lost = {t: m for t, m in analysis.weighted_measures.items() if m != "score"}
    scored = [task for task in analysis.weights if task not in lost]
    if not lost or not scored:
        return
    weights, first, second = analysis.weights, scored[0], next(iter(lost))
    rate, name = number(weights[second] / weights[first]), MEASURE_NAMES[lost[second]]
    yield (
        f"The quality adds scores and subtracts what is no score, each in its own unit, so the weights are "
        f"an exchange rate: 1 less of {second} ({name}) counts as much as {rate} more "
        f"of {first} (100 points are 1). Where no such rate is meant, bound {second} by max.{second} instead."
    )


def _unrun(analysis: Analysis, index: int) -> Iterator[str]:
    for rival in unrun_rivals(analysis, index).named:
        yield (
            f"{rival.label} was not run at {count(rival.examples)} examples (its best run had "
            f"{count(rival.measured_to)}): by the curves of the sweep it is ahead of the choice there with "
            f"probability {probability(rival.probability)}."
        )


def _other_bases(analysis: Analysis, choice: Candidate) -> Iterator[str]:
    """That methods of one checkpoint were judged on bases whose weights are stored differently."""
    models = {r.result.spec.model.name: r.result.spec.model for r in analysis.records}
    chosen = models.get(choice.model)
    if chosen is None or chosen.digest is None:
        return
    for name, model in sorted(models.items()):
        if model.digest == chosen.digest and model.base != chosen.base:
            yield (
                f"{name} is the checkpoint of {choice.model} with weights in {model.base or 'float32'}, not "
                f"{chosen.base or 'float32'}: methods of the two were not judged on one base."
            )


def _noise(analysis: Analysis, choice: Candidate) -> Iterator[str]:
    if analysis.posterior.noise_floor is None:
        yield _WITHOUT_REPEATS[noise_without_replicates(analysis.scored, analysis.weights).source]
    repeats = sum(len(c.runs) - 1 for c in analysis.scored)
    if 0 < repeats < _FEW_REPEATS:
        runs = f"{repeats} repeated run{'s' * (repeats > 1)}"
        yield f"The noise between seeds is estimated from {runs}: it is a rough figure."
    if len(choice.seeds) == 1 and choice.method.name != "none":
        yield "The choice was measured with one seed."
    if choice.quality.source == "measured" and len(analysis.candidates) > 1:
        yield (
            "Its quality is the mean of its runs, and it was chosen among "
            f"{count(len(analysis.candidates))} candidates: expect slightly less (the winner's curse)."
        )
    if analysis.posterior.unpaired:
        yield (
            f"{count(len(analysis.posterior.unpaired))} candidates have no common bootstrap replicates: "
            "their gaps are not paired, so their intervals are wider than necessary."
        )
    sizes = {(s.task, s.n) for c in analysis.scored for t in analysis.weights for s in c.scores(t)}
    if len(sizes) > len(analysis.weights):
        yield "Candidates were scored on different numbers of rows: their gaps are not paired."


def _same_but_rate(a: MethodSpec, b: MethodSpec) -> bool:
    return a.model_copy(update={"learning_rate": None}) == b.model_copy(
        update={"learning_rate": None}
    )


def _learning_rate(analysis: Analysis, choice: Candidate) -> Iterator[str]:
    """Caveats of the learning rates tried; a diverged trial at a higher rate also closes the range."""
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
        yield f"Only one learning rate ({rate:.3g}) was tried for this model and method."
    elif rate in (rates[0], rates[-1]):
        edge = "lowest" if rate == rates[0] else "highest"
        yield (
            f"Its learning rate {rate:.3g} is the {edge} tried for this model and method "
            f"({rates[0]:.3g} to {rates[-1]:.3g}): the optimum may lie outside."
        )


def _format(analysis: Analysis, choice: Candidate) -> Iterator[str]:
    for task, share in sorted(choice.valid_format.items()):
        if task in analysis.weights and share < WELL_FORMED:
            yield f"On {task} only {percent(share)} of its answers are well-formed."
    base = next(
        (c for c in analysis.candidates if c.method.name == "none" and c.model == choice.model),
        None,
    )
    if base is None:
        yield f"The untouched base of {choice.model} was not measured: there is no baseline to compare with."
        return
    for task, share in sorted(choice.over_reach.items()):
        before = base.over_reach.get(task)
        if before is not None and share > before:
            yield (
                f"On {task} it has false positives on {percent(share)} of the negatives (over-reach); "
                f"the untouched base on {percent(before)}."
            )


def _unscored(analysis: Analysis, choice: Candidate) -> Iterator[str]:
    """Rows on which the user's score function failed, of which the choice has no score."""
    failed: Counter[str] = Counter()
    rows: Counter[str] = Counter()
    for record in analysis.records:
        if record.result.spec.key in choice.keys:
            for score in record.result.tasks:
                failed[score.task] += score.unscored or 0
                rows[score.task] += score.n or 0
    for task, number_failed in sorted(failed.items()):
        if number_failed:
            yield (
                f"On {task} the score function failed on {count(number_failed)} of {count(rows[task])} "
                "answers: its score is of the others; the trial's page shows the answers and the errors."
            )


def _limits(analysis: Analysis, choice: Candidate) -> Iterator[str]:
    for name, limit in sorted(analysis.objective.constraints.items()):
        if name in MEASURED:
            yield f"The constraint {name} compares values measured here: another machine may differ."
        kind, _, suite = name.partition(".")
        if kind == "forgetting" and suite in choice.forgetting:
            high = choice.forgetting[suite].high
            if high is not None and not keeps(name, high, limit):
                yield (
                    f"{name} may exceed {limit:g}: measured {number(choice.forgetting[suite].value)}, "
                    f"the 80 % interval reaches {number(high)}."
                )


def _law(analysis: Analysis, index: int) -> Iterator[str]:
    choice = analysis.candidates[index]
    laws = configuration_laws(analysis.scored[index], analysis.weights, analysis.fits)
    for task, law in laws.items():
        if law.held_out_error is not None and law.held_out_error > 0.1:
            yield (
                f"The law of its curve on {task}, fitted without the largest training-set size, missed the "
                f"error there by {percent(law.held_out_error, 0)}: extrapolate with care."
            )
    if laws and all(choice.volume == law.domain[1] for law in laws.values()):
        yield "It uses the largest training-set size measured: predictions for more data are extrapolations."
    if not laws and choice.method.name != "none":
        for task in analysis.weights:
            key = CurveKey.of(analysis.scored[index].configuration, task)
            reason = analysis.fits.refused.get(
                key, "its hyper-parameters were tried in the tuning stage only"
            )
            yield f"No law of its curve on {task}: {reason}."


def _outliers(analysis: Analysis, choice: Candidate) -> Iterator[str]:
    """Outliers, those of the choice first; the posterior already down-weights them."""
    outliers = sorted(analysis.posterior.outliers, key=lambda s: s.key not in choice.keys)
    write = partial(quality, scored=analysis.scores_alone)
    for outlier in outliers[:_MOST_OUTLIERS]:
        yield (
            f"Trial {outlier.key} ({outlier.label}) measured {write(outlier.quality)}; its other seeds and "
            f"similar configurations predict {write(outlier.expected)}: it is down-weighted, run it again."
        )
    if len(outliers) > _MOST_OUTLIERS:
        others = ", ".join(s.key for s in outliers[_MOST_OUTLIERS:])
        yield f"These trials are outliers too, run them again: {others}."


def _label_swaps(analysis: Analysis) -> Iterator[str]:
    for swap in analysis.posterior.label_swaps:
        first, second = (
            [analysis.candidates[i] for i in side] for side in (swap.first, swap.second)
        )
        sizes = f" ({len(first)} training-set sizes)" * (len(first) > 1)
        keys = ", ".join(key for c in (*first, *second) for key in c.keys)
        yield (
            f"The results of {first[-1].label} and of {second[-1].label}{sizes} look swapped (probability "
            f"{probability(swap.probability)}), and are read so here. Check their labels, or run again "
            f"{keys}."
        )


def _glitches(analysis: Analysis) -> Iterator[str]:
    outliers = {s.key for s in analysis.posterior.outliers}
    glitches = [
        (key, g)
        for key, law in analysis.fits.laws.items()
        for g in law.glitches
        if g.key not in outliers
    ]
    glitches.sort(key=lambda item: (-item[1].deviations, item[0].label, item[1].key))
    for key, glitch in glitches[:_MOST_GLITCHES]:
        yield (
            f"Trial {glitch.key} ({key.label}, {count(glitch.examples)} examples) has an error of "
            f"{number(glitch.value)}; its curve predicts {number(glitch.expected)}: run it again."
        )
    if len(glitches) > _MOST_GLITCHES:
        yield f"{plural(len(glitches) - _MOST_GLITCHES, 'more trial')} off the curve."


def _coverage(analysis: Analysis, choice: Candidate) -> Iterator[str]:
    if not choice.forgetting:
        yield "No general suite was measured for it: its forgetting is unknown."
    uncompared = sum(c.on_frontier is None for c in analysis.candidates)
    if uncompared:
        lacking = plural(uncompared, "candidate")
        yield f"{lacking} without forgetting or counted cost: not on the Pareto front."


def _lost_trials(analysis: Analysis) -> Iterator[str]:
    lost: Counter[Status] = Counter(
        r.result.status for r in analysis.records if r.result.status is not Status.COMPLETE
    )
    if lost:
        counts = ", ".join(f"{lost[s]} {s.value}" for s in Status if lost[s])
        yield f"Trials that did not complete, so they were no candidates: {counts}."
