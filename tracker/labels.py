"""Precision and recall of each label of a task, with Jeffreys intervals, and which labels are the worst."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from scipy import special

from tracker.metrics import LEVEL, Estimate
from tracker.task import LabelCounts


class LabelResult(NamedTuple):
    """What was measured of one label.

    ``truths``, ``answers``, ``hits``: rows, as in :class:`tracker.task.LabelCounts`; means over the runs
    where there are several. ``precision`` is ``None`` where the label was never answered, ``recall`` where no
    row has it.
    """

    name: str
    truths: float
    answers: float
    hits: float

    @property
    def precision(self) -> Estimate | None:
        """Share of the rows answered with the label that have it."""
        return share(self.hits, self.answers)

    @property
    def recall(self) -> Estimate | None:
        """Share of the rows that have the label which are answered with it."""
        return share(self.hits, self.truths)

    @property
    def f1(self) -> float | None:
        """F1; ``None`` where the label is neither answered nor any row's."""
        rows = self.truths + self.answers
        return 2 * self.hits / rows if rows else None

    @property
    def badness(self) -> float:
        """One minus F1 with half a row on either side: a label of one row is not the worst by that alone."""
        return 1 - (2 * self.hits + 1) / (self.truths + self.answers + 2)


def label_results(runs: Sequence[LabelCounts]) -> tuple[LabelResult, ...]:
    """Results by label of *runs* of one configuration on the same rows, in the order of the first.

    Counts are means over the runs: another seed gives no more rows. Labels that a run does not have
    are left out.
    """
    if not runs:
        return ()
    tables = [
        {n: each for n, *each in zip(r.names, r.truths, r.answers, r.hits, strict=True)}
        for r in runs
    ]
    shared = [name for name in runs[0].names if all(name in table for table in tables)]
    means = (
        (name, [sum(column) / len(runs) for column in zip(*(t[name] for t in tables), strict=True)])
        for name in shared
    )
    return tuple(LabelResult(name, *mean) for name, mean in means)


def worst_first(results: Iterable[LabelResult]) -> list[LabelResult]:
    """*results* of the labels that any row has or was answered with, the worst first (by ``badness``)."""
    seen = [each for each in results if each.truths or each.answers]
    return sorted(seen, key=lambda each: (-each.badness, -each.truths, each.name))


def share(hits: float, rows: float, level: float = LEVEL) -> Estimate | None:
    """Share *hits* of *rows* with its Jeffreys interval; ``None`` of no rows.

    The interval reaches the limit where all rows came out alike (Brown, Cai and DasGupta 2001).
    """
    if rows <= 0:
        return None
    tail = (1 - level) / 2
    low, high = special.betaincinv(hits + 0.5, rows - hits + 0.5, [tail, 1 - tail])
    return Estimate(
        value=hits / rows,
        low=0.0 if hits <= 0 else float(low),
        high=1.0 if hits >= rows else float(high),
    )
