"""Majority of a task's rows: what a score owes to the most frequent answer and to the negative class.

Where most rows share one answer, giving that answer to every row scores high already. A score is then read
beside two numbers: that baseline, and the score on the rows that claim something.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from tracker.frozen import Frozen
from tracker.metrics import Measure, rounded, score_of
from tracker.numbers import count, percent, score
from tracker.results import ConfigurationResults
from tracker.task import TaskScore
from tracker.trial import TrialResult

#: A larger share of one answer is named beside the score.
MOST = 0.5


class Majority(Frozen):
    """Majority of one task's validation rows, beside the score of one configuration (means over seeds).

    ``share``: of the rows, with the most frequent answer; ``negative``: that answer is the negative class.
    ``baseline``: the score of giving it to every row. ``negatives``: share of rows of the negative class;
    ``without_negatives``: the score on the others; both ``None`` where not measured or not there. ``score``
    counts all rows and is what the objective weighs; ``weighed`` is false for a task of weight 0 and one that
    is decided on a loss. All scores and shares are in [0, 1].
    """

    task: str
    rows: int | None
    share: float
    negative: bool
    baseline: float | None
    score: float | None
    negatives: float | None = None
    without_negatives: float | None = None
    weighed: bool = True

    @property
    def beats_baseline(self) -> bool | None:
        """Whether the score lies above the baseline; ``None`` where one of them was not measured."""
        if self.score is None or self.baseline is None:
            return None
        return self.score > self.baseline


def majorities(
    runs: Sequence[TrialResult],
    weights: Collection[str],
    measures: Mapping[str, Measure],
) -> tuple[Majority, ...]:
    """Tasks of *runs*, the seeds of one configuration, most of whose validation rows share one answer.

    *weights*: the tasks that the objective weighs; *measures*: what each is decided on.
    """
    tasks = dict.fromkeys(s.task for run in runs for s in run.tasks if s.split == "validation")
    found = (_majority(runs, task, task in weights, measures) for task in tasks)
    return tuple(majority for majority in found if majority is not None)


def majorities_of(results: ConfigurationResults, weights: Collection[str]) -> tuple[Majority, ...]:
    """As :func:`majorities`, of the runs of one configuration."""
    return majorities(results.runs, weights, results.measures)


def majority_text(found: Majority) -> str:
    """The majority in sentences: the baseline, the score without negatives, what the objective weighs."""
    rows = "the" if found.rows is None else f"the {count(found.rows)}"
    whose = "are negatives" if found.negative else "have one and the same answer"
    text = f"{found.task}: {percent(found.share, 0)} of {rows} validation rows {whose}"
    if found.baseline is not None:
        text += f", and answering so every time scores {score(found.baseline)}"
    if found.score is not None:
        text += f"; it scores {score(found.score)}"
    if found.without_negatives is not None:
        text += f", and {score(found.without_negatives)} on the rows that are not negatives"
    if found.score is None:
        return f"{text}."
    if not found.weighed:
        return f"{text}. The objective does not weigh this score."
    return f"{text}. The objective weighs the score on all rows."


def _majority(
    runs: Sequence[TrialResult], task: str, weighed: bool, measures: Mapping[str, Measure]
) -> Majority | None:
    scores = [found for run in runs if (found := score_of(run, task)) is not None]
    share = _mean(s.majority for s in scores)
    negatives = _mean(s.negatives for s in scores)
    if share is None or max(share, negatives or 0.0) <= MOST:
        return None
    return Majority(
        task=task,
        rows=_rows(scores),
        share=share,
        negative=negatives is not None and negatives >= share,
        baseline=_mean(s.majority_score for s in scores),
        score=_mean(s.score for s in scores),
        negatives=negatives,
        without_negatives=_mean(s.score_without_negatives for s in scores),
        weighed=weighed and measures.get(task, "score") == "score",
    )


def _rows(scores: Sequence[TaskScore]) -> int | None:
    return min((s.n for s in scores if s.n is not None), default=None)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return rounded(sum(known) / len(known)) if known else None
