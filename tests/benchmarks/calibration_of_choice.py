"""Calibration of the choice: stated and true P(best) and regret, on synthetic sweeps of known optimum.

Prints, over all candidates of all sweeps, how often a candidate stated to be the best with probability p
is the best (deciles, Brier score, expected calibration error); the regret stated and the regret realised;
how far the stated intervals of the leading gaps cover; and what is said of leaders that are, or are not,
apart by more than the noise.

``python -m tests.benchmarks.calibration_of_choice [--sweeps 200] [--first 0] [--seeds 2]``
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

import numpy as np

from tests.benchmarks.synthetic import SyntheticSweep, configuration, synthetic_sweep
from tracker.decision.analysis import Analysis
from tracker.decision.recommend import choose
from tracker.laws.pooling import Array

_BINS = 10
_COMPARED = 10
#: Candidates below this stated probability are counted together: they are thousands.
_NEVER = 0.005


class Judged(NamedTuple):
    """One sweep: stated P(best) of every candidate and whether it is (n,); regret stated and realised of
    the choice, of the highest expected quality (which the rule leaves for a cheaper one within noise), and
    realised of the highest plain mean; deviations of the true leading gaps from the
    stated ones (k,), in stated deviations, and whether the 80 % interval holds them; whether the choice is
    called distinguishable; its true lead over the best other, and the noise of one run.
    """

    stated: Array
    is_best: Array
    regret_stated: float
    regret: float
    best_stated: float
    best_regret: float
    regret_of_means: float
    deviations: Array
    covered: Array
    distinguishable: bool
    lead: float
    noise: float


def judge(sweep: SyntheticSweep) -> Judged:
    """Compare the recommendation for *sweep* with its truth."""
    analysis = Analysis(sweep.records, sweep.objective)
    truth = np.array(
        [sweep.truth[configuration(c.spec)][c.spec.volume] for c in analysis.scored], dtype=float
    )
    posterior, (choice, best, *_) = analysis.posterior, choose(analysis)
    p_best = posterior.p_best(analysis.admitted)
    compared = np.argsort(-posterior.mean, kind="stable")[: _COMPARED + 1]
    compared = compared[compared != choice][:_COMPARED]
    gaps = posterior.draws[:, [choice]] - posterior.draws[:, compared]
    low, high = np.quantile(gaps, [0.1, 0.9], axis=0)
    true_gaps = truth[choice] - truth[compared]
    return Judged(
        stated=np.array([p_best[i] for i in analysis.admitted]),
        is_best=(truth >= truth.max() - 1e-12).astype(float),
        regret_stated=posterior.expected_regret(choice, analysis.admitted),
        regret=float(truth.max() - truth[choice]),
        best_stated=posterior.expected_regret(best, analysis.admitted),
        best_regret=float(truth.max() - truth[best]),
        regret_of_means=float(truth.max() - truth[posterior.measured.argmax()]),
        deviations=(true_gaps - gaps.mean(axis=0)) / gaps.std(axis=0),
        covered=((low <= true_gaps) & (true_gaps <= high)).astype(float),
        distinguishable=_distinguishable(analysis, choice, compared),
        lead=float(truth[choice] - np.delete(truth, choice).max()),
        noise=posterior.noise_floor or 0.0,
    )


def _distinguishable(analysis: Analysis, choice: int, compared: Array) -> bool:
    """Whether each of the three runners-up is distinguishable from the choice, as in the recommendation."""
    return all(analysis.posterior.distinguishable(choice, int(i)) for i in compared[:3])


def deciles(judged: list[Judged]) -> list[tuple[int, float, float]]:
    """Per tenth of stated probability: how many candidates, what was stated, how often it was so."""
    stated = np.concatenate([j.stated for j in judged])
    best = np.concatenate([j.is_best for j in judged])
    bins = np.minimum((stated * _BINS).astype(int), _BINS - 1)
    table = []
    for b in range(_BINS):
        inside = (bins == b) & (stated >= _NEVER)
        if inside.any():
            table.append((int(inside.sum()), stated[inside].mean(), best[inside].mean()))
    return table


def calibration_error(table: list[tuple[int, float, float]]) -> float:
    """Mean distance of stated and seen over the deciles, weighted by their counts."""
    total = sum(n for n, _, _ in table)
    return sum(n * abs(stated - seen) for n, stated, seen in table) / total


def report(judged: list[Judged]) -> None:
    table = deciles(judged)
    print("P(best)   candidates   stated    seen")
    for n, observed, seen in table:
        print(f"{'':10}{n:10d}{observed:9.3f}{seen:8.3f}")
    stated = np.concatenate([j.stated for j in judged])
    best = np.concatenate([j.is_best for j in judged])
    never = stated < _NEVER
    print(f"below {_NEVER}: {never.sum():,} candidates, {int(best[never].sum())} of them the best")
    brier = ((stated - best) ** 2).sum() / len(judged)
    print(
        f"Brier score {brier:.3f} per sweep, expected calibration error {calibration_error(table):.3f}"
    )
    _regrets(judged)
    deviations = np.concatenate([j.deviations for j in judged])
    covered = np.concatenate([j.covered for j in judged])
    print(
        f"leading gaps: 80 % intervals hold {covered.mean():.1%}; deviations have mean "
        f"{deviations.mean():.2f}, standard deviation {deviations.std():.2f}"
    )
    _distinctions(judged)


def _regrets(judged: list[Judged]) -> None:
    kinds = {
        "of the choice": ("regret_stated", "regret"),
        "of the highest expected quality": ("best_stated", "best_regret"),
    }
    for words, fields in kinds.items():
        stated, realised = (np.array([getattr(j, f) for j in judged]) for f in fields)
        error = (stated - realised).std() / len(judged) ** 0.5
        print(
            f"regret {words}: stated {stated.mean():.5f}, realised {realised.mean():.5f} "
            f"(ratio {stated.mean() / realised.mean():.2f}; the difference's standard error {error:.5f})"
        )
    print(f"of the highest measured mean: {np.mean([j.regret_of_means for j in judged]):.5f}")


def _distinctions(judged: list[Judged]) -> None:
    """Within noise: the true lead is below half the noise of one run, either way."""
    tied = [j for j in judged if abs(j.lead) < j.noise / 2]
    distinct = [j for j in judged if j.lead >= 2 * j.noise]
    called = [j for j in judged if j.distinguishable]
    if tied:
        share = np.mean([not j.distinguishable for j in tied])
        print(f"best candidates within noise: {len(tied)}, called tied {share:.1%}")
    if distinct:
        share = np.mean([j.distinguishable for j in distinct])
        print(
            f"best apart by two deviations of a run: {len(distinct)}, called distinguishable {share:.1%}"
        )
    if called:
        share = np.mean([j.lead > 0 for j in called])
        print(f"called distinguishable: {len(called)}, of those the choice is the best {share:.1%}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sweeps", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=2)
    arguments = parser.parse_args()
    span = range(arguments.first, arguments.first + arguments.sweeps)
    report([judge(synthetic_sweep(seed, seeds=arguments.seeds)) for seed in span])


if __name__ == "__main__":
    main()
