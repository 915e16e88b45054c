"""Answers of the choice: its worst labels, and the likelihood below which to withhold an answer.

Recall may be fine where precision is not. By label a reader sees where, and a threshold on the likelihood of
answers trades some of them for precision. Both are of validation rows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from tracker.abstention import PRECISIONS, Threshold, threshold
from tracker.frozen import Frozen
from tracker.labels import LabelResult, label_results, worst_first
from tracker.metrics import Estimate
from tracker.numbers import interval, likelihood, mean_count, percent, score
from tracker.results import ConfigurationResults

#: Labels of each task that are named.
WORST = 3
#: Scores of which an answer is right or wrong. Of any other a precision would be a mean score.
RIGHT_OR_WRONG = frozenset({"exact_match", "macro_f1", "number"})


class WorstLabel(Frozen):
    """A label of a task and what the choice measured of it, means over seeds.

    ``rows``: validation rows that have it. ``precision`` is ``None`` where it was never answered, ``recall``
    where no row has it; each with its 80 % interval.
    """

    task: str
    label: str
    rows: float
    precision: Estimate | None = None
    recall: Estimate | None = None


def worst_labels(results: ConfigurationResults, tasks: Collection[str]) -> tuple[WorstLabel, ...]:
    """The labels of *tasks* that *results* is worst on, the worst first, none that is always right."""
    found = []
    for task in tasks:
        counts = [s.labels for s in results.scores(task) if s.labels is not None]
        wrong = [each for each in worst_first(label_results(counts)) if (each.f1 or 0.0) < 1]
        found += [_worst(task, each) for each in wrong[:WORST]]
    return tuple(found)


def abstention(
    results: ConfigurationResults, tasks: Collection[str], constraints: Mapping[str, float]
) -> tuple[Threshold, ...]:
    """Thresholds of the run that is trained again, by task and wanted precision; of right or wrong answers.

    Wanted is what a constraint ``precision.<task>`` asks for, else :data:`tracker.abstention.PRECISIONS`. A
    precision that every answer together has needs none and is left out.
    """
    found = []
    for task in tasks:
        bound = constraints.get(f"precision.{task}")
        scores = [s for s in results.runs[0].tasks if (s.task, s.split) == (task, "validation")]
        known = [s.confidence for s in scores if s.score_name in RIGHT_OR_WRONG]
        for kept in (each for each in known if each is not None):
            wanted = PRECISIONS if bound is None else (bound,)
            of_task = [threshold(task, kept, precision) for precision in wanted]
            found += [each for each in of_task if each.coverage is None or each.coverage < 1]
    return tuple(found)


def worst_labels_text(found: Sequence[WorstLabel]) -> str:
    """The worst labels in a line, by task."""
    by_task: dict[str, list[str]] = {}
    for each in found:
        by_task.setdefault(each.task, []).append(
            f"{each.label} (precision {_share(each.precision, 'never answered')}, recall "
            f"{_share(each.recall, 'no row has it')}, {_rows(each.rows)})"
        )
    return "; ".join(f"{task}: {', '.join(labels)}" for task, labels in by_task.items())


def abstention_text(found: Threshold) -> str:
    """A threshold in a sentence, or that there is none."""
    wanted = percent(found.precision, 0)
    if found.nats is None or found.found is None or found.coverage is None:
        return f"{found.task}: no likelihood from which {wanted} of the answers are surely right"
    spread = ""
    if found.found.low is not None and found.found.high is not None:
        spread = f" ({interval(found.found.low, found.found.high)})"
    return (
        f"{found.task}: with answers of a likelihood below {likelihood(found.nats)} withheld, "
        f"{percent(found.found.value)} are right{spread}, and {percent(found.coverage, 0)} are given"
    )


def summary_lines(worst: Sequence[WorstLabel], thresholds: Sequence[Threshold]) -> list[str]:
    """The worst labels, and the first threshold of each task that there is, in two lines at most."""
    text = [f"Worst labels of {worst_labels_text(worst)}"] if worst else []
    reached: dict[str, Threshold] = {}
    for each in thresholds:
        if each.nats is not None:
            reached.setdefault(each.task, each)
    if reached:
        text.append(f"Precision: {'; '.join(map(abstention_text, reached.values()))}")
    return text


def _worst(task: str, found: LabelResult) -> WorstLabel:
    return WorstLabel(
        task=task,
        label=found.name,
        rows=found.truths,
        precision=found.precision,
        recall=found.recall,
    )


def _rows(rows: float) -> str:
    return "1 row" if rows == 1 else f"{mean_count(rows)} rows"


def _share(value: Estimate | None, absent: str) -> str:
    return absent if value is None else score(value.value)
