"""Everything a choice rests on, computed once: cells, laws, beliefs, candidates, verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tracker.configurations import (
    Cell,
    counted,
    forgetting,
    measured,
    rounded,
    score_of,
    task_weights,
)
from tracker.constraints import check_names, judge, split_scored
from tracker.decision.pareto import pareto_front
from tracker.decision.posterior import Posterior
from tracker.decision.recommendation import Candidate, Estimate, Rejection
from tracker.decision.shared import Shared
from tracker.errors import NotEnoughDataError
from tracker.laws.curves import CurveFits
from tracker.metrics import Measure
from tracker.trial import Objective, TrialRecord


@dataclass(frozen=True)
class Study:
    """``cells``, ``candidates`` and ``belief`` share their order, smallest model first.

    ``admitted``: indices of those that keep every constraint. ``records``: every trial, also those
    that did not complete. ``all_cells`` are the complete ones before a missing score took any out.
    ``measures``: what each weighted task is decided on. ``fits``: the laws, fitted when first asked
    for; the belief does without them. ``shared``: what it has in common with other questions.
    """

    records: tuple[TrialRecord, ...]
    objective: Objective
    weights: dict[str, float]
    measures: dict[str, Measure]
    all_cells: tuple[Cell, ...]
    cells: tuple[Cell, ...]
    belief: Posterior
    candidates: tuple[Candidate, ...]
    admitted: tuple[int, ...]
    rejected: tuple[Rejection, ...]
    shared: Shared

    @cached_property
    def fits(self) -> CurveFits:
        return self.shared.fits(self.measures)

    def cost_order(self, index: int) -> tuple[float, ...]:
        """Counted cost: smallest model, then fewest training operations, tokens, examples.

        What is not known comes last.
        """
        candidate = self.candidates[index]
        cost = candidate.counted
        counts = (cost.parameters, cost.flops, cost.train_tokens)
        known = (np.inf if count is None else count for count in counts)
        return (*known, candidate.volume, index)


def study(
    records: Sequence[TrialRecord], objective: Objective, shared: Shared | None = None
) -> Study:
    """Judge every configuration of *records*; raises InputError and NotEnoughDataError.

    *shared*: of the same records, where they are asked several questions.
    """
    shared = shared or Shared(records)
    everything = shared.cells
    weights = task_weights(objective, everything)
    check_names(objective.constraints, everything)
    cells, lacking = split_scored(everything, weights)
    if not cells:
        raise NotEnoughDataError(
            f"none of {len(everything)} configurations has a score for every weighted task "
            f"({', '.join(weights)}): evaluate those tasks, or give them no weight"
        )
    measures = {task: everything[0].measures.get(task, "score") for task in weights}
    belief = shared.belief(cells, weights)
    admitted, broken = judge(cells, belief.centre, objective.constraints)
    return Study(
        records=shared.records,
        objective=objective,
        weights=weights,
        measures=measures,
        all_cells=everything,
        cells=tuple(cells),
        belief=belief,
        candidates=_candidates(cells, belief),
        admitted=admitted,
        rejected=(*lacking, *broken),
        shared=shared,
    )


def _candidates(cells: Sequence[Cell], belief: Posterior) -> tuple[Candidate, ...]:
    lost = forgetting(cells)
    found = [_candidate(cell, belief, i, lost[i]) for i, cell in enumerate(cells)]
    front = pareto_front(_losses(found))
    return tuple(
        c.model_copy(update={"on_frontier": bool(member) if compared else None})
        for c, member, compared in zip(found, front.member, front.compared, strict=True)
    )


def _candidate(cell: Cell, belief: Posterior, index: int, lost: dict[str, Estimate]) -> Candidate:
    spec = cell.spec
    tasks = cell.tasks

    def means(quantity: str) -> dict[str, float]:
        values = {
            t: cell.mean(lambda run, t=t: getattr(score_of(run, t), quantity, None))  # type: ignore[misc]
            for t in tasks
        }
        return {t: rounded(value) for t, value in values.items() if value is not None}

    return Candidate(
        label=cell.label,
        keys=tuple(run.spec.key for run in cell.runs),
        seeds=tuple(run.spec.seed for run in cell.runs),
        model=spec.model.name,
        method=spec.method,
        mix=spec.mix.name if spec.mix else "",
        volume=spec.volume,
        examples=spec.examples,
        scores=means("score"),
        quality=belief.quality(index),
        measured_quality=rounded(float(belief.measured[index])),
        forgetting=lost,
        valid_format=means("valid_format"),
        over_reach=means("over_reach"),
        counted=counted(cell),
        measured=measured(cell),
    )


def _losses(candidates: Sequence[Candidate]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """-quality, the worst forgetting over suites, training operations; NaN where not measured.

    Where no candidate measured any forgetting the dimension is left out for all.
    """
    suites = sorted({suite for c in candidates for suite in c.forgetting})
    rows = []
    for c in candidates:
        worst = [c.forgetting[s].value if s in c.forgetting else np.nan for s in suites]
        flops = np.nan if c.counted.flops is None else c.counted.flops
        rows.append([-c.quality.value, *([float(np.max(worst))] if suites else []), flops])
    return np.array(rows, dtype=float)
