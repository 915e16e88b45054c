"""What would settle the choice: which further runs, at what counted cost, and what they are worth.

The expected value of sample information (Raiffa & Schlaifer, 1961): what the new runs would measure is
drawn for every draw of the belief, the belief's means are updated on it, the highest is taken again,
and the gain in its expected quality is the regret that the runs remove. The update is the linear
regression of the qualities on the outcomes over the draws (Strong, Oakley, Brennan & Breeze, 2015),
exact where both are normal.
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
from tracker.metrics import Z, rounded
from tracker.results import MeasuredCost

#: Further seeds that are considered, and how many times the validation rows.
_SEEDS = (1, 2, 4, 8)
_MORE_ROWS = 4
_RIVALS = 3
#: A candidate that is the best with less than this probability decides nothing.
_HOPELESS = 0.002
#: Runs that remove a smaller share of the expected regret are not worth naming.
_WORTH_NAMING = 0.1
_MOST = 4


class _Plan(NamedTuple):
    cells: tuple[int, ...]
    seeds: int
    more_rows: bool = False


class _Stakes(NamedTuple):
    """The candidates that matter: expected quality (m,), draws (DRAWS, m), and the positions of today's
    choice and its likeliest rival.
    """

    centre: Array
    draws: Array
    choice: int
    rival: int


class _Worth(NamedTuple):
    """As in :class:`NextExperiment`."""

    regret_removed: float
    p_change: float
    p_distinguishes: float


def next_experiments(
    analysis: Analysis, choice: int, rivals: Sequence[int]
) -> tuple[NextExperiment, ...]:
    """The runs worth most per training operation to tell *choice* from *rivals*, at most four.

    *rivals*: the likeliest best first. Where the noise between seeds is unknown, one more run of each
    is the way to learn it.
    """
    if not rivals:
        return ()
    leaders = (choice, *rivals[:_RIVALS])
    trained = [i for i in leaders if not analysis.scored[i].untouched]
    if not any(analysis.posterior.seed_sd[i] > 0 for i in trained):
        return (_described(analysis, _Plan(tuple(trained), 1), None),) if trained else ()
    stakes = _stakes(analysis, leaders)
    best = max(analysis.admitted, key=lambda i: analysis.posterior.mean[i])
    regret = analysis.posterior.expected_regret(best, analysis.admitted)
    found = []
    for plan in _plans(choice, tuple(trained)):
        worth = _worth(analysis, stakes, plan)
        if worth.regret_removed >= max(_WORTH_NAMING * regret, 1e-9):
            found.append(_described(analysis, plan, worth))
    return _best_value(found)


def _plans(choice: int, trained: tuple[int, ...]) -> Iterator[_Plan]:
    """More seeds of one, of the choice and a rival, of all leaders; and all of them on more rows."""
    groups: list[tuple[int, ...]] = [(i,) for i in trained]
    if choice in trained:
        groups += [(choice, i) for i in trained if i != choice]
    if len(trained) > 2:
        groups.append(trained)
    for seeds, group in itertools.product(_SEEDS, groups):
        yield _Plan(group, seeds)
    for seeds in _SEEDS[:2]:
        yield _Plan(trained, seeds, more_rows=True)


def _stakes(analysis: Analysis, leaders: Sequence[int]) -> _Stakes:
    p_best = analysis.posterior.p_best(analysis.admitted)
    kept = [i for i in analysis.admitted if p_best[i] > _HOPELESS or i in leaders]
    return _Stakes(
        centre=analysis.posterior.mean[kept],
        draws=analysis.posterior.draws[:, kept],
        choice=kept.index(leaders[0]),
        rival=kept.index(leaders[1]),
    )


def _worth(analysis: Analysis, stakes: _Stakes, plan: _Plan) -> _Worth:
    outcomes = _outcomes(analysis, plan)
    outcomes = outcomes - outcomes.mean(axis=0)
    apart = stakes.draws - stakes.draws.mean(axis=0)
    # A millionth keeps two outcomes that are one, such as of equal rows, from being singular.
    spread = outcomes.T @ outcomes
    spread += 1e-6 * np.trace(spread) / len(spread) * np.eye(len(spread))
    moved = outcomes @ np.linalg.solve(spread, outcomes.T @ apart)
    then = stakes.centre + moved
    choice, rival = stakes.choice, stakes.rival
    left = (apart - moved)[:, choice] - (apart - moved)[:, rival]
    gap = then[:, choice] - then[:, rival]
    return _Worth(
        regret_removed=rounded(float(then.max(axis=1).mean() - stakes.centre.max())),
        p_change=rounded(float((then.argmax(axis=1) != choice).mean())),
        p_distinguishes=rounded(
            float((np.abs(gap) > Z * left.std() + analysis.posterior.within_noise).mean())
        ),
    )


def _outcomes(analysis: Analysis, plan: _Plan) -> Array:
    """What the plan's runs would measure on average over their seeds, by draw: (DRAWS, cells)."""
    belief = analysis.posterior
    found = []
    for i in plan.cells:
        noise = generator(analysis.scored[i].key, "further").standard_normal(DRAWS)
        seen = belief.draws[:, i] + belief.seed_sd[i] / np.sqrt(plan.seeds) * noise
        if plan.more_rows:
            # Other rows than today's: the same ones for all cells, in another order of the draws.
            order = generator("further rows").permutation(DRAWS)
            seen += belief.other_rows[order, i] / np.sqrt(_MORE_ROWS)
        else:
            seen += belief.rows[:, i]
        found.append(seen)
    return np.stack(found, axis=1)


def _described(analysis: Analysis, plan: _Plan, worth: _Worth | None) -> NextExperiment:
    candidates = [analysis.candidates[i] for i in plan.cells]

    def total(values: Sequence[float | None]) -> float | None:
        there = [value for value in values if value is not None]
        return rounded(plan.seeds * sum(there)) if len(there) == len(values) else None

    labels = tuple(c.label for c in candidates)
    rows = None
    if plan.more_rows:
        evaluated = [
            s.n for t in analysis.weights for s in analysis.scored[plan.cells[0]].scores(t) if s.n
        ]
        rows = _MORE_ROWS * max(evaluated) if evaluated else None
    return NextExperiment(
        label=_label(labels, plan, rows),
        trials=labels,
        seeds=plan.seeds,
        rows=rows,
        flops=total([c.counted.flops for c in candidates]),
        train_tokens=total([c.counted.train_tokens for c in candidates]),
        **({} if worth is None else worth._asdict()),
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


def _best_value(found: Sequence[NextExperiment]) -> tuple[NextExperiment, ...]:
    """Those that no cheaper one matches, the most regret removed per training operation first."""
    by_cost = sorted(found, key=lambda f: (_price(f), -(f.regret_removed or 0.0), f.label))
    kept: list[NextExperiment] = []
    for one in by_cost:
        if not kept or (one.regret_removed or 0.0) > 1.05 * (kept[-1].regret_removed or 0.0):
            kept.append(one)
    kept.sort(key=lambda f: (-(f.regret_removed or 0.0) / _price(f), f.label))
    return tuple(kept[:_MOST])


def _price(plan: NextExperiment) -> float:
    """Training operations; tokens or runs where those are not counted."""
    return max(plan.flops or plan.train_tokens or float(plan.seeds * len(plan.trials)), 1e-9)
