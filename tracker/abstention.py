"""Abstention by answer likelihood: how right the likeliest answers are, the threshold for a wanted precision.

An answer's likelihood is that of all its tokens together, the end token included: exp(-nats), which a
caller can compare with a threshold whatever the length of answers. Kept in order of likelihood, the answers
give precision and recall at any threshold; the risk-coverage curve is one minus precision against the
share kept (El-Yaniv and Wiener 2010). An answer that claims nothing (the negative one, or one out of the
task's format) is no part of it: there is nothing to withhold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tracker.frozen import Frozen
from tracker.labels import share
from tracker.metrics import Estimate
from tracker.replicates import Replicates
from tracker.task import Confidence

#: Points of a curve: so many shares of the answers, evenly.
POINTS = 20
#: What a threshold is looked for where nothing else is asked.
PRECISIONS = (0.9, 0.95, 0.99)


class Point(NamedTuple):
    """Answers that are kept at one threshold: those of at most ``nats``.

    ``coverage``: their share of all claims. ``precision``: the share of them that is right, ``recall``: of
    the rows with something to claim, the share answered right; each with its 80 % interval.
    """

    nats: float
    kept: int
    coverage: float
    precision: Estimate
    recall: Estimate | None


class Threshold(Frozen):
    """Threshold on validation for a wanted ``precision`` of the answers that are kept.

    ``nats``: an answer of more is withheld. ``coverage``: share of the claims kept; ``kept``: how many rows
    that were; ``found`` and ``recall``: precision and recall of them. ``None`` where the precision is not
    reached surely enough.
    """

    task: str
    precision: float
    nats: float | None = None
    coverage: float | None = None
    kept: int | None = None
    found: Estimate | None = None
    recall: Estimate | None = None


def confidence(nats: ArrayLike, right: ArrayLike, due: int) -> Confidence | None:
    """Confidence of the claims with *nats* (claims,) and scores *right* (claims,); *due*: rows to be claimed.

    ``None`` where nothing was claimed. Answers that are as likely are kept or withheld together.
    """
    likelihoods, scores = np.asarray(nats, dtype=float), np.asarray(right, dtype=float)
    count = len(likelihoods)
    if not count:
        return None
    order = np.argsort(likelihoods, kind="stable")
    ordered, sums = likelihoods[order], np.cumsum(scores[order])
    ends = {
        int(np.searchsorted(ordered, ordered[-(-count * i // POINTS) - 1], side="right"))
        for i in range(1, POINTS + 1)
    }
    kept = sorted(ends)
    return Confidence(
        due=due,
        nats=Replicates([ordered[end - 1] for end in kept]),
        kept=tuple(kept),
        right=Replicates([round(float(sums[end - 1]), 4) for end in kept]),
    )


def curve(confidence: Confidence) -> tuple[Point, ...]:
    """Points of the risk-coverage curve, the likeliest answers first; the last keeps every claim."""
    claims = confidence.kept[-1]
    found = []
    for nats, kept, right in zip(confidence.nats, confidence.kept, confidence.right, strict=True):
        precision = share(right, kept)
        assert precision is not None, "a point keeps an answer"
        recall = share(min(right, confidence.due), confidence.due)  # part of a claim may be right
        found.append(Point(nats, kept, kept / claims, precision, recall))
    return tuple(found)


def threshold(task: str, confidence: Confidence, precision: float) -> Threshold:
    """Threshold that keeps the most answers among those that are surely of this *precision*.

    Surely: the lower end of its 80 % interval is not below it. Chosen on the rows that it is measured on,
    though among :data:`POINTS` alone: in one of about ten sweeps the precision of other rows is below.
    """
    points = curve(confidence)
    best = next((p for p in reversed(points) if (p.precision.low or 0.0) >= precision), None)
    if best is None:
        return Threshold(task=task, precision=precision)
    return Threshold(
        task=task,
        precision=precision,
        nats=best.nats,
        coverage=best.coverage,
        kept=best.kept,
        found=best.precision,
        recall=best.recall,
    )


def at_recall(points: Sequence[Point], recall: float) -> Point | None:
    """The point of the fewest answers whose recall is at least *recall*; ``None`` where none reaches it."""
    return next((p for p in points if p.recall and p.recall.value >= recall), None)
