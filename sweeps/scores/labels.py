"""Labels: macro-F1 of one label a row, F1 of several, as figures and on bootstrap resamples."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from sweeps.scores.bootstrap import Floats
from sweeps.scores.text import parts
from tracker.task import Average, TaskSpec


def macro_f1(given: Sequence[str], truth: Sequence[str], weights: Floats) -> Floats:
    """Macro-averaged F1 (resamples,) on each of the resamples *weights* (resamples, rows).

    The mean is over the labels in the resample's truth; an answer that is no such label lowers recall and
    adds no class (scikit-learn would average it in as a class of F1 0).
    """
    found = label_tally([{label} for label in given], [{label} for label in truth], weights)
    return found.averaged("macro")


def label_sets(task: TaskSpec, answers: Sequence[str]) -> list[frozenset[str]]:
    """Labels of each answer to a task of several labels; the negative answer has none."""
    return [frozenset(labels_of(task, answer)) for answer in answers]


def labels_of(task: TaskSpec, answer: str) -> list[str]:
    """Labels of an answer to a task whose answers are labels: several, or itself; in order, each once."""
    if task.score != "multilabel_f1":
        return [answer.strip()]
    found = dict.fromkeys(parts(answer, task.separators))
    return [label for label in found if label != task.negative]


class LabelTally(NamedTuple):
    """Tally of labels on resamples of rows, each (resamples, labels); ``labels``: those in the truth.

    ``foreign`` (resamples,): labels that were given and are in no row's truth. ``row_f1`` (rows,): F1 of
    each row's labels, 1 where neither has any. ``weights`` (resamples, rows).
    """

    labels: tuple[str, ...]
    hits: Floats
    in_truth: Floats
    given: Floats
    foreign: Floats
    row_f1: Floats
    weights: Floats

    def averaged(self, average: Average) -> Floats:
        """F1 (resamples,): over all labels given, as the mean over labels, or as the mean over rows.

        As scikit-learn's ``f1_score``; *macro* is over the labels in the resample's truth, *samples* has
        ``zero_division=1``. Where no label is due and none given, *micro* and *macro* are 1.
        """
        if average == "samples":
            return np.asarray(self.weights @ self.row_f1 / self.weights.sum(axis=1))
        if average == "micro":
            both = (self.in_truth + self.given).sum(axis=1) + self.foreign
            return np.where(both > 0, 2 * self.hits.sum(axis=1) / np.maximum(both, 1), 1.0)
        f1 = 2 * self.hits / np.maximum(self.in_truth + self.given, 1)
        present = self.in_truth > 0
        due = present.sum(axis=1)
        none_due = (self.given.sum(axis=1) + self.foreign == 0).astype(float)
        means = (f1 * present).sum(axis=1) / np.maximum(due, 1)
        return np.asarray(np.where(due > 0, means, none_due))

    def precision_recall(self) -> tuple[float | None, float | None]:
        """Micro precision and recall on the first resample; ``None`` where nothing was given, or due."""
        hits = float(self.hits[0].sum())
        given, due = float(self.given[0].sum() + self.foreign[0]), float(self.in_truth[0].sum())
        return hits / given if given else None, hits / due if due else None


def label_tally(
    given: Sequence[Collection[str]], truth: Sequence[Collection[str]], weights: Floats
) -> LabelTally:
    """Tally of the labels *given* and in *truth*, by row, on the resamples *weights* (resamples, rows)."""
    labels = sorted({label for row in truth for label in row})
    index = {label: place for place, label in enumerate(labels)}
    true, said = np.zeros((len(truth), len(labels))), np.zeros((len(truth), len(labels)))
    foreign, row_f1 = np.zeros(len(truth)), np.ones(len(truth))
    for row, (a, b) in enumerate(zip(given, truth, strict=True)):
        true[row, [index[label] for label in b]] = 1
        said[row, [index[label] for label in a if label in index]] = 1
        foreign[row] = sum(label not in index for label in a)
        if a or b:
            row_f1[row] = 2 * len(set(a) & set(b)) / (len(a) + len(b))
    hits, of_truth, of_given = (weights @ m for m in (true * said, true, said))
    return LabelTally(tuple(labels), hits, of_truth, of_given, weights @ foreign, row_f1, weights)
