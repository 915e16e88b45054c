"""What a page on mixes shows: the matrix of tasks, one model for all or one each, replay, the weakest task.

Everything is of one model and method, at one learning rate (:mod:`tracker.decision.mix_points`); intervals
are 80 %. A cell takes the pair of mixes at the volume asked for, or at the nearest that tells it; of
several, that with the narrowest interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from tracker.decision.mix_effects import Effect, Kind, Swap, Verdict, verdict, why_not
from tracker.decision.mix_points import MixPoints
from tracker.metrics import Estimate

Compared = Literal["added", "shifted"]
#: The column of all other tasks together.
OTHERS = "all others together"


class Cell(NamedTuple):
    """What the data of ``data`` does to ``task``; ``why`` says why nothing is known where it is so."""

    task: str
    data: str
    effect: Effect | None
    why: str = ""


class Matrix(NamedTuple):
    """``tasks``: rows, those trained first. ``columns``: tasks with data, then :data:`OTHERS`."""

    compared: Compared
    tasks: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[Cell, ...]

    def at(self, task: str, data: str) -> Cell:
        """The cell of row *task* and column *data*."""
        return next(c for c in self.cells if (c.task, c.data) == (task, data))

    @property
    def told(self) -> tuple[Cell, ...]:
        """Cells whose interval has one sign, the strongest first."""
        found = [c for c in self.cells if c.effect and c.effect.verdict != "cannot be told"]
        return tuple(sorted(found, key=lambda c: -abs(c.effect.gap.value) if c.effect else 0.0))

    @property
    def known(self) -> int:
        """How many cells hold a number."""
        return sum(cell.effect is not None for cell in self.cells)


def measured(found: Matrix) -> Matrix:
    """*found* without the rows and columns in which nothing is known."""
    known = [cell for cell in found.cells if cell.effect is not None]
    tasks = tuple(task for task in found.tasks if any(cell.task == task for cell in known))
    columns = tuple(data for data in found.columns if any(cell.data == data for cell in known))
    cells = tuple(cell for cell in found.cells if cell.task in tasks and cell.data in columns)
    return Matrix(found.compared, tasks, columns, cells)


class Row(NamedTuple):
    """A line of a forest: an estimate with its 80 % interval and what it is of. ``detail`` is for whoever
    points at it; ``scored``: in shares of a score.
    """

    label: str
    estimate: Estimate
    detail: str
    scored: bool

    @property
    def verdict(self) -> Verdict:
        """What the interval says of the sign."""
        return verdict(self.estimate)


class ReplayLine(NamedTuple):
    """What was forgotten of ``suite`` with one share of replay, by volume."""

    suite: str
    mix: str
    replay: float
    volumes: tuple[int, ...]
    values: tuple[Estimate, ...]


def volumes(effects: Sequence[Effect], points: MixPoints) -> tuple[int, ...]:
    """Every volume at which something is compared; where nothing is, those measured."""
    found = {int(effect.after.volume) for effect in effects}
    return tuple(sorted(found or {v for (_, v), _ in points.points if v}))


def default_volume(effects: Sequence[Effect], known: Sequence[int]) -> int:
    """That at which most pairs differ, the largest of several."""
    counts = {v: sum(int(e.after.volume) == v for e in effects) for v in known}
    return max(known, key=lambda v: (counts[v], v))


def trained_tasks(points: MixPoints) -> tuple[str, ...]:
    """Tasks that some mix trains, in the order they are measured."""
    trained = {task for mix in points.mixes.values() for task in mix.weights}
    return tuple(task for task in points.tasks if task in trained)


def matrix(points: MixPoints, effects: Sequence[Effect], compared: Compared, volume: int) -> Matrix:
    """The matrix at *volume*; *effects* are those of *points*."""
    trained = trained_tasks(points)
    rows = (*trained, *(task for task in points.tasks if task not in trained))
    cells = [
        _cell(points, effects, task, data, compared, volume) for task in rows for data in trained
    ]
    cells += [_cell(points, effects, task, None, "others", volume) for task in rows]
    return Matrix(compared, rows, (*trained, OTHERS), tuple(cells))


def _cell(
    points: MixPoints,
    effects: Sequence[Effect],
    task: str,
    data: str | None,
    kind: Kind,
    volume: int,
) -> Cell:
    found = [e for e in effects if (e.task, e.data, e.kind) == (task, data, kind)]
    best = _nearest(found, volume)
    why = "" if best else _why(points, task, data, kind)
    return Cell(task, OTHERS if data is None else data, best, why)


def _why(points: MixPoints, task: str, data: str | None, kind: Kind) -> str:
    if data is None and task not in trained_tasks(points):
        return f"no mix trains {task}: it has no number of its own to keep"
    return why_not(points, data, kind)


def _nearest(effects: Sequence[Effect], volume: int) -> Effect | None:
    def order(effect: Effect) -> tuple[float, float]:
        width = (effect.gap.high or 0.0) - (effect.gap.low or 0.0)
        return round(abs(float(np.log(effect.after.volume / volume))), 6), width

    return min(effects, key=order, default=None)


def one_for_all(points: MixPoints, effects: Sequence[Effect], volume: int) -> tuple[Row, ...]:
    """Each task in a shared model minus in one of its own, at the same number of its examples."""
    rows = []
    for task in points.tasks:
        own = [e for e in effects if e.task == task and e.alone]
        for mix in dict.fromkeys(effect.after.mix for effect in own):
            best = _nearest([e for e in own if e.after.mix == mix], volume)
            if best is not None:
                rows.append(
                    Row(
                        f"{task}, {best.after.own:,.0f} of its examples: {mix} against {best.before.mix}",
                        best.gap,
                        f"{best.after.data:,.0f} examples of other tasks beside them",
                        points.measures[task] == "score",
                    )
                )
    return tuple(rows)


def swap_rows(points: MixPoints, swaps: Sequence[Swap], volume: int) -> tuple[Row, ...]:
    """What replay, or further passes, did to each task, at the volume nearest to *volume*."""
    rows = []
    for pair in dict.fromkeys((s.before.name, s.after.name, s.boosted) for s in swaps):
        for task in points.tasks:
            own = [s for s in swaps if (s.before.name, s.after.name, s.boosted) == pair]
            own = [s for s in own if s.quantity == task]
            if own:
                best = min(own, key=lambda s: abs(np.log(s.volume / volume)))
                what = f"{pair[1]} against {pair[0]}"
                detail = f"{best.volume:,} examples"
                rows.append(
                    Row(f"{task}: {what}", best.gap, detail, points.measures[task] == "score")
                )
    return tuple(rows)


def replay_lines(points: MixPoints, swaps: Sequence[Swap]) -> tuple[ReplayLine, ...]:
    """Forgetting by volume for every mix that *swaps* compare by replay, suite by suite."""
    mixes = {m.name: m for s in swaps if not s.boosted for m in (s.before, s.after)}
    found = []
    for suite in points.suites:
        for mix in sorted(mixes.values(), key=lambda m: (m.replay, m.name)):
            at = points.volumes(mix.name, suite)
            values = tuple(points.value(suite, ((1.0, (mix.name, v)),)) for v in at)
            if at:
                found.append(ReplayLine(suite, mix.name, mix.replay, tuple(at), values))
    return tuple(found)
