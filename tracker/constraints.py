"""Bounds on measured quantities: which candidates keep them, and what each bound costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tracker.configurations import (
    Cell,
    Z,
    counted,
    forgetting_of,
    measured,
    near,
    rounded,
    score_of,
)
from tracker.decision.recommendation import Estimate, Held, Rejection
from tracker.errors import InputError
from tracker.laws.curves import pooled_sd
from tracker.laws.pooling import Array
from tracker.metrics import quality_of, se_of

COUNTED = ("parameters", "flops", "adapter_bytes", "examples")
#: What clock and device say differs between machines and runs of one machine.
MEASURED = ("device_seconds", "gpu_hours", "peak_bytes", "seconds_per_1k_tokens")

#: What grows in proportion to the examples.
GROWING = ("flops", "device_seconds", "gpu_hours")


class Verdict(NamedTuple):
    """``admitted``: indices of the cells that keep every constraint; ``rejected``: by constraint."""

    admitted: tuple[int, ...]
    rejected: tuple[Rejection, ...]


def check_names(constraints: Mapping[str, float], cells: Sequence[Cell]) -> None:
    """Raise InputError for every constraint that no trial of these could be held against."""
    suites = sorted({s.suite for cell in cells for run in cell.runs for s in run.general})
    tasks = sorted({task for cell in cells for task in cell.tasks})
    allowed = [f"forgetting.{suite}" for suite in suites]
    allowed += [f"{kind}.{task}" for kind in ("min", "over_reach") for task in tasks]
    allowed += [f"examples.{task}" for task in tasks]
    allowed += [*COUNTED, *MEASURED]
    problems = [
        f"constraint {name!r}: {near(name, allowed)}" for name in constraints if name not in allowed
    ]
    if problems:
        raise InputError(problems)


def value_of(cell: Cell, name: str) -> float | None:
    """The quantity a constraint is about, mean over seeds; None where it was not measured."""
    kind, _, of = name.partition(".")
    if kind == "forgetting":
        return cell.mean(lambda run: forgetting_of(run, of))
    if kind == "min":
        measure = cell.measures.get(of, "score")
        return cell.mean(lambda run: quality_of(s, measure) if (s := score_of(run, of)) else None)
    if kind == "over_reach":
        return cell.mean(lambda run: s.over_reach if (s := score_of(run, of)) else None)
    if kind == "examples":
        return float(cell.spec.examples.get(of, 0) if of else cell.spec.volume)
    if name == "gpu_hours":
        seconds = measured(cell).device_seconds
        return None if seconds is None else seconds / 3600
    source = counted(cell) if name in COUNTED else measured(cell)
    value: float | None = getattr(source, name)
    return value


def keeps(name: str, value: float, limit: float) -> bool:
    """Whether *value* keeps the bound; 0.1 that a division left at 0.1 + 1e-16 does."""
    slack = 1e-9 * abs(limit)
    return value >= limit - slack if name.startswith("min.") else value <= limit + slack


def could_keep(cell: Cell, constraints: Mapping[str, float], times: float) -> bool:
    """Whether *cell* trained on *times* its examples would keep every bound, by what is known of it.

    What is counted or clocked of training grows with the examples. What is lost or over-reached is taken
    as it was measured, size and memory too; a task's minimum is not held, for more data raises scores.
    """
    for name, limit in constraints.items():
        if name.startswith("min."):
            continue
        value = value_of(cell, name)
        if value is None:
            return False
        grows = name in GROWING or name.startswith("examples")
        if not keeps(name, times * value if grows else value, limit):
            return False
    return True


def held(
    cells: Sequence[Cell],
    index: int,
    lost: Mapping[str, Estimate],
    constraints: Mapping[str, float],
) -> tuple[Held, ...]:
    """How surely cell *index*, which forgot *lost* by suite, keeps each of *constraints*."""
    found = []
    for name, limit in sorted(constraints.items()):
        value, sd = value_of(cells[index], name), _deviation(cells, index, lost, name)
        probability = None
        if value is not None and sd == 0.0:  # the untouched base loses nothing against itself
            probability = float(keeps(name, value, limit))
        elif value is not None and sd:
            room = value - limit if name.startswith("min.") else limit - value
            probability = rounded(0.5 * (1 + math.erf(room / sd / math.sqrt(2))))
        shown = None if value is None or name in MEASURED else rounded(value)
        found.append(Held(constraint=name, limit=limit, value=shown, probability=probability))
    return tuple(found)


def _deviation(
    cells: Sequence[Cell], index: int, lost: Mapping[str, Estimate], name: str
) -> float | None:
    """Standard deviation of what a constraint is about; None where it is exact, or not known."""
    kind, _, of = name.partition(".")
    if kind == "forgetting" and of in lost and lost[of].high is not None:
        return (lost[of].high - lost[of].value) / Z  # type: ignore[operator]
    if kind != "min":
        return None
    measure = cells[index].measures.get(of, "score")
    errors = [e for s in cells[index].scores(of) if (e := se_of(s, measure)) is not None]
    if not errors:
        return None
    runs = [[quality_of(s, measure) for s in c.scores(of)] for c in cells if not c.untouched]
    between = pooled_sd([v for v in values if v is not None] for values in runs) or 0.0
    return float(np.hypot(max(errors), between / np.sqrt(len(errors))))


def judge(cells: Sequence[Cell], quality: Array, constraints: Mapping[str, float]) -> Verdict:
    """Hold every cell against every constraint; an unmeasured quantity keeps none.

    *quality* (C,) tells which of the rejected ones was the best.
    """
    admitted = np.ones(len(cells), dtype=bool)
    rejected = []
    for name, limit in sorted(constraints.items()):
        values = [value_of(cell, name) for cell in cells]
        broken = [i for i, v in enumerate(values) if v is None or not keeps(name, v, limit)]
        if not broken:
            continue
        admitted[broken] = False
        best = max(broken, key=lambda i: (quality[i], -i))
        value = None if name in MEASURED else values[best]
        rejected.append(
            Rejection(
                constraint=name,
                limit=limit,
                count=len(broken),
                unmeasured=sum(values[i] is None for i in broken),
                best=cells[best].label,
                best_quality=rounded(float(quality[best])),
                best_value=None if value is None else rounded(value),
            )
        )
    return Verdict(tuple(np.flatnonzero(admitted).tolist()), tuple(rejected))


def split_scored(
    cells: Sequence[Cell], weights: Mapping[str, float]
) -> tuple[list[Cell], list[Rejection]]:
    """The cells with a score for every weighted task, and per task what the others lack."""
    rejected = []
    for task in weights:
        lacking = [cell for cell in cells if not cell.scores(task)]
        if lacking:
            rejected.append(
                Rejection(constraint=f"score.{task}", count=len(lacking), unmeasured=len(lacking))
            )
    return [c for c in cells if all(c.scores(task) for task in weights)], rejected
