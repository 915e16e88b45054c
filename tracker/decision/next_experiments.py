"""Next experiments: runs that help most to settle the choice, with their counted cost and expected value.

The value is the expected value of sample information (Raiffa & Schlaifer, 1961). Outcomes of the new runs are
drawn for every draw of the posterior, the posterior means are updated on them, and the best is taken again:
the gain in its expected quality is the regret that the runs remove. The update is the linear regression of
the qualities on the outcomes over the draws (Strong, Oakley, Brennan & Breeze, 2015), exact where both are
normal.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from tracker.decision.analysis import Analysis
from tracker.decision.noise import DRAWS, generator
from tracker.decision.recommendation import NextExperiment
from tracker.laws.pooling import Array
from tracker.metrics import Z, rounded, share_of_draws
from tracker.results import MeasuredCost

#: Numbers of more seeds that are considered, and the factor on validation rows.
_SEEDS = (1, 2, 4, 8)
_ROWS_FACTOR = 4
_RIVALS = 3
#: Candidates with a smaller probability of being the best are left out.
_LEAST_P_BEST = 0.002
#: Runs that remove a smaller share of the expected regret are not named.
_LEAST_SHARE = 0.1
_MOST = 4


class _Plan(NamedTuple):
    """Runs under consideration: more seeds of *candidates* (indices), on today's rows or on more."""

    candidates: tuple[int, ...]
    seeds: int
    more_rows: bool = False


class _Contenders(NamedTuple):
    """Candidates that may be the best: expected quality (m,) and draws (DRAWS, m).

    ``choice``, ``rival``: positions of today's choice and of its likeliest rival.
    """

    centre: Array
    draws: Array
    choice: int
    rival: int


class _Value(NamedTuple):
    """Expected value of a plan, as in :class:`NextExperiment`."""

    regret_removed: float
    p_change: float
    p_distinguishes: float


def next_experiments(
    analysis: Analysis, choice: int, rivals: Sequence[int]
) -> tuple[NextExperiment, ...]:
    """Most valuable runs per training operation to distinguish *choice* from *rivals*, at most four.

    *rivals*: the likeliest best first. Without a noise floor it is one more run of each, which measures it.
    """
    if not rivals:
        return ()
    compared = (choice, *rivals[:_RIVALS])
    trained = [i for i in compared if not analysis.scored[i].untouched]
    if not any(analysis.posterior.seed_sd[i] > 0 for i in trained):
        return (_experiment(analysis, _Plan(tuple(trained), 1), None),) if trained else ()
    contenders = _contenders(analysis, compared)
    best = max(analysis.admitted, key=lambda i: analysis.posterior.mean[i])
    regret = analysis.posterior.expected_regret(best, analysis.admitted)
    experiments = []
    for plan in _plans(choice, tuple(trained)):
        value = _value_of(analysis, contenders, plan)
        if value.regret_removed >= max(_LEAST_SHARE * regret, 1e-9):
            experiments.append(_experiment(analysis, plan, value))
    return _most_valuable(experiments)


def _plans(choice: int, trained: tuple[int, ...]) -> Iterator[_Plan]:
    """Plans: more seeds of one, of the choice and a rival, of all; and all of them on more rows."""
    groups: list[tuple[int, ...]] = [(i,) for i in trained]
    if choice in trained:
        groups += [(choice, i) for i in trained if i != choice]
    if len(trained) > 2:
        groups.append(trained)
    for seeds, group in itertools.product(_SEEDS, groups):
        yield _Plan(group, seeds)
    for seeds in _SEEDS[:2]:
        yield _Plan(trained, seeds, more_rows=True)


def _contenders(analysis: Analysis, compared: Sequence[int]) -> _Contenders:
    p_best = analysis.posterior.p_best(analysis.admitted)
    kept = [i for i in analysis.admitted if p_best[i] > _LEAST_P_BEST or i in compared]
    return _Contenders(
        centre=analysis.posterior.mean[kept],
        draws=analysis.posterior.draws[:, kept],
        choice=kept.index(compared[0]),
        rival=kept.index(compared[1]),
    )


def _value_of(analysis: Analysis, contenders: _Contenders, plan: _Plan) -> _Value:
    outcomes = _outcomes(analysis, plan)
    outcomes = outcomes - outcomes.mean(axis=0)
    qualities = contenders.draws - contenders.draws.mean(axis=0)
    # A millionth keeps two equal outcomes, such as of equal rows, from being singular.
    spread = outcomes.T @ outcomes
    spread += 1e-6 * np.trace(spread) / len(spread) * np.eye(len(spread))
    update = outcomes @ np.linalg.solve(spread, outcomes.T @ qualities)
    updated = contenders.centre + update
    choice, rival = contenders.choice, contenders.rival
    remaining = (qualities - update)[:, choice] - (qualities - update)[:, rival]
    gap = updated[:, choice] - updated[:, rival]
    return _Value(
        regret_removed=rounded(float(updated.max(axis=1).mean() - contenders.centre.max())),
        p_change=share_of_draws(float((updated.argmax(axis=1) != choice).mean())),
        p_distinguishes=share_of_draws(
            float((np.abs(gap) > Z * remaining.std() + analysis.posterior.within_noise).mean())
        ),
    )


def _outcomes(analysis: Analysis, plan: _Plan) -> Array:
    """Outcomes (DRAWS, candidates) of the plan's runs, averaged over their seeds, by draw."""
    posterior = analysis.posterior
    outcomes = []
    for i in plan.candidates:
        noise = generator(analysis.scored[i].key, "further").standard_normal(DRAWS)
        outcome = posterior.draws[:, i] + posterior.seed_sd[i] / np.sqrt(plan.seeds) * noise
        if plan.more_rows:
            # Other rows than today's: the same ones for all candidates, in another order of the draws.
            order = generator("further rows").permutation(DRAWS)
            outcome += posterior.other_rows[order, i] / np.sqrt(_ROWS_FACTOR)
        else:
            outcome += posterior.rows[:, i]
        outcomes.append(outcome)
    return np.stack(outcomes, axis=1)


def _experiment(analysis: Analysis, plan: _Plan, value: _Value | None) -> NextExperiment:
    candidates = [analysis.candidates[i] for i in plan.candidates]

    def total(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return rounded(plan.seeds * sum(known)) if len(known) == len(values) else None

    labels = tuple(c.label for c in candidates)
    rows = None
    if plan.more_rows:
        evaluated = [
            s.n
            for t in analysis.weights
            for s in analysis.scored[plan.candidates[0]].scores(t)
            if s.n
        ]
        rows = _ROWS_FACTOR * max(evaluated) if evaluated else None
    return NextExperiment(
        label=_label(labels, plan, rows),
        trials=labels,
        seeds=plan.seeds,
        rows=rows,
        flops=total([c.counted.flops for c in candidates]),
        train_tokens=total([c.counted.train_tokens for c in candidates]),
        **({} if value is None else value._asdict()),
        measured=MeasuredCost(
            device=", ".join(sorted({c.measured.device for c in candidates})),
            device_seconds=total([c.measured.device_seconds for c in candidates]),
        ),
    )


def _label(labels: Sequence[str], plan: _Plan, rows: int | None) -> str:
    seeds = f"{plan.seeds} more seed{'s' * (plan.seeds > 1)} of {' and of '.join(labels)}"
    if not plan.more_rows:
        return seeds
    return f"{seeds}, on {f'{rows:,}' if rows else 'more'} validation rows"


def _most_valuable(experiments: Sequence[NextExperiment]) -> tuple[NextExperiment, ...]:
    """Experiments that no cheaper one matches, by regret removed per training operation."""
    by_cost = sorted(experiments, key=lambda f: (_cost(f), -(f.regret_removed or 0.0), f.label))
    kept: list[NextExperiment] = []
    for experiment in by_cost:
        if not kept or (experiment.regret_removed or 0.0) > 1.05 * (kept[-1].regret_removed or 0.0):
            kept.append(experiment)
    kept.sort(key=lambda f: (-(f.regret_removed or 0.0) / _cost(f), f.label))
    return tuple(kept[:_MOST])


def _cost(plan: NextExperiment) -> float:
    """Cost in training operations; in tokens or runs where those are not counted."""
    return max(plan.flops or plan.train_tokens or float(plan.seeds * len(plan.trials)), 1e-9)
