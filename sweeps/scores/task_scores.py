"""Scores of a task from answers and truths, with paired bootstrap replicates."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from sweeps.scores.bootstrap import Floats, bits_replicates, resamples, standard_error
from sweeps.scores.text import characters, tokens
from tracker.abstention import confidence
from tracker.task import Confidence, LabelCounts, ScoreName, TaskScore, TaskSpec


class Answers(NamedTuple):
    """Answers by row of a task; ``nats``, ``tokens`` and ``byte_counts``: of the true answer, summed."""

    given: Sequence[str]
    truth: Sequence[str]
    nats: Floats
    tokens: Floats
    byte_counts: Floats


def score_task(
    task: TaskSpec, answers: Answers, labels: frozenset[str] | None, split: str = "validation"
) -> TaskScore:
    """Score a task; *labels*: its label set (:func:`sweeps.data.encoding.label_set`), ``None`` without one.

    Raises InputError where there are no rows.
    """
    task = stripped(task)
    given, truth = [a.strip() for a in answers.given], [t.strip() for t in answers.truth]
    weights = resamples(task.name, len(truth))
    score, replicates = _primary(task, given, truth, weights)
    bits = answers.nats / math.log(2)
    replicated_bpb = bits_replicates(bits, answers.byte_counts, weights)
    precision, recall = _precision_recall(task, given, truth, labels)
    return TaskScore(
        task=task.name,
        split="test" if split == "test" else "validation",
        n=len(truth),
        loss_nats=float(answers.nats.sum() / answers.tokens.sum()),
        bits_per_byte=float(bits.sum() / answers.byte_counts.sum()),
        bits_per_byte_se=standard_error(replicated_bpb, len(truth)),
        score_name=task.score,
        score=score,
        score_se=standard_error(replicates, len(truth)),
        exact_match=float(np.mean([g == t for g, t in zip(given, truth, strict=True)])),
        precision=precision,
        recall=recall,
        valid_format=_valid_format(task, given, labels),
        over_reach=_over_reach(task, given, truth, labels),
        **_class_shares(task, given, truth),
        labels=label_counts(task, given, truth, labels),
        replicates=tuple(round(float(r), 5) for r in replicates),
    )


class Verdict(NamedTuple):
    """Judgement of one answer: its ``score`` in [0, 1], whether its format is valid, whether it over-reaches.

    ``over_reach``: a claim where the truth is negative (a false positive). ``None``: the task has no format,
    or the truth is not negative.
    """

    score: float
    valid: bool | None
    over_reach: bool | None


def judge(task: TaskSpec, given: str, truth: str, labels: frozenset[str] | None) -> Verdict:
    """Judge one stripped answer by its stripped truth; a label's score is whether it is right."""
    task = stripped(task)
    score = (row_score(task) or exact_match)(given, truth)
    negative = task.negative is not None and truth == task.negative
    over_reach = claims(task, given, labels) if negative else None
    return Verdict(score, _well_formed(task, given, labels), over_reach)


def stripped(task: TaskSpec) -> TaskSpec:
    """*task* with its negative answer stripped of white space, as answers are compared."""
    if task.negative is None or task.negative == task.negative.strip():
        return task
    return task.model_copy(update={"negative": task.negative.strip()})


def exact_match(given: str, truth: str) -> float:
    """1 for an answer that equals its truth, else 0."""
    return float(given == truth)


def token_f1(
    given: str, truth: str, split: Callable[[str], list[str]]
) -> tuple[float, float, float]:
    """F1, precision and recall over tokens as multisets (Rajpurkar et al. 2016, SQuAD)."""
    a, b = Counter(split(given)), Counter(split(truth))
    shared = sum((a & b).values())
    if not shared:
        equal = float(not a and not b)
        return equal, equal, equal
    precision, recall = shared / sum(a.values()), shared / sum(b.values())
    return 2 * precision * recall / (precision + recall), precision, recall


#: Scores that are the mean of a score of each row, in [0, 1], of stripped answer and truth.
ROW_SCORES: dict[ScoreName, Callable[[str, str], float]] = {
    "exact_match": exact_match,
}


def _split(task: TaskSpec) -> Callable[[str], list[str]]:
    """How ``token_f1`` divides an answer; without a setting at white space, as in the first releases."""
    if task.tokens is None:
        return str.split
    return tokens if task.tokens == "normalised" else characters


def row_score(task: TaskSpec) -> Callable[[str, str], float] | None:
    """Score in [0, 1] of a stripped answer and truth whose mean is the task's; ``None`` for a macro-F1."""
    if task.score == "token_f1":
        split = _split(task)
        return lambda given, truth: token_f1(given, truth, split)[0]
    return ROW_SCORES.get(task.score)


def macro_f1(given: Sequence[str], truth: Sequence[str], weights: Floats) -> Floats:
    """Macro-averaged F1 (resamples,) on each of the resamples *weights* (resamples, rows).

    The mean is over the labels in the resample's truth; an answer that is no such label lowers recall and
    adds no class (scikit-learn would average it in as a class of F1 0).
    """
    labels = sorted(set(truth))
    index = {label: i for i, label in enumerate(labels)}
    one_hot = np.eye(len(labels) + 1)
    true = one_hot[[index[t] for t in truth]][:, :-1]
    predicted = one_hot[[index.get(g, len(labels)) for g in given]][:, :-1]
    hits, of_truth, of_given = (weights @ m for m in (true * predicted, true, predicted))
    f1 = 2 * hits / np.maximum(of_truth + of_given, 1)
    present = of_truth > 0
    return np.asarray((f1 * present).sum(axis=1) / present.sum(axis=1))


def _primary(
    task: TaskSpec, given: Sequence[str], truth: Sequence[str], weights: Floats
) -> tuple[float, Floats]:
    score = row_score(task)
    if score is None:
        whole = macro_f1(given, truth, np.ones((1, len(truth))))
        return float(whole[0]), macro_f1(given, truth, weights)
    rows = np.array([score(g, t) for g, t in zip(given, truth, strict=True)])
    return float(rows.mean()), weights @ rows / weights.sum(axis=1)


def _well_formed(task: TaskSpec, answer: str, labels: frozenset[str] | None) -> bool | None:
    if labels is not None:
        return answer in labels
    return bool(re.fullmatch(task.pattern, answer)) if task.pattern else None


def _valid_format(
    task: TaskSpec, given: Sequence[str], labels: frozenset[str] | None
) -> float | None:
    checks = [_well_formed(task, answer, labels) for answer in given]
    return None if None in checks else float(np.mean([bool(c) for c in checks]))


def _over_reach(
    task: TaskSpec, given: Sequence[str], truth: Sequence[str], labels: frozenset[str] | None
) -> float | None:
    """False-positive rate on negatives (over-reach): their share with another well-formed answer."""
    if task.negative is None:
        return None
    negatives = [g for g, t in zip(given, truth, strict=True) if t == task.negative]
    if not negatives:
        return None
    return float(np.mean([claims(task, g, labels) for g in negatives]))


def _class_shares(
    task: TaskSpec, given: Sequence[str], truth: Sequence[str]
) -> dict[str, float | None]:
    """How much of the score the most frequent answer and the negative class hold (:class:`TaskScore`)."""
    label, most = Counter(truth).most_common(1)[0]
    positive = [(g, t) for g, t in zip(given, truth, strict=True) if t != task.negative]
    negatives = without = None
    if task.negative is not None:
        negatives = 1 - len(positive) / len(truth)
    if negatives and positive:
        without = _score(task, *zip(*positive, strict=True))
    return {
        "majority": most / len(truth),
        "majority_score": _score(task, [label] * len(truth), truth),
        "negatives": negatives,
        "score_without_negatives": without,
    }


def _score(task: TaskSpec, given: Sequence[str], truth: Sequence[str]) -> float:
    return _primary(task, given, truth, np.ones((1, len(truth))))[0]


#: An exact match counts by label where its true answers are no more than so many, and most of them recur.
MAX_LABELS = 200


def label_counts(
    task: TaskSpec, given: Sequence[str], truth: Sequence[str], labels: frozenset[str] | None
) -> LabelCounts | None:
    """Counts by label of stripped answers and truths; ``None`` for a task whose answers are no labels.

    *labels*: the label set, of which all are counted; ``None`` of a task that has none. An answer that is
    none of the labels counts for none.
    """
    truths = Counter(truth)
    if labels is None:
        recurring = sum(rows > 1 for rows in truths.values())
        few = len(truths) <= MAX_LABELS and 2 * recurring > len(truths)
        if task.score != "exact_match" or not few:
            return None
    answers, hits = Counter(given), Counter(g for g, t in zip(given, truth, strict=True) if g == t)
    names = sorted(truths.keys() | (labels or set()), key=lambda name: (-truths[name], name))
    return LabelCounts(
        names=tuple(names),
        truths=tuple(truths[name] for name in names),
        answers=tuple(answers[name] for name in names),
        hits=tuple(hits[name] for name in names),
    )


def confidence_of(
    task: TaskSpec,
    given: Sequence[str],
    nats: Floats,
    truth: Sequence[str],
    labels: frozenset[str] | None,
) -> Confidence | None:
    """How right the likeliest answers are, of *nats* each; ``None`` where none of them claims anything."""
    task = stripped(task)
    said, true = [a.strip() for a in given], [t.strip() for t in truth]
    claimed = [row for row, answer in enumerate(said) if claims(task, answer, labels)]
    right = [judge(task, said[row], true[row], labels).score for row in claimed]
    due = sum(t != task.negative for t in true)
    return confidence(np.round(nats[claimed], 5), right, due)


def claims(task: TaskSpec, answer: str, labels: frozenset[str] | None) -> bool:
    """Whether a stripped *answer* claims something: well-formed as far as known, and not the negative one."""
    return answer != task.negative and _well_formed(task, answer, labels) is not False


def _precision_recall(
    task: TaskSpec, given: Sequence[str], truth: Sequence[str], labels: frozenset[str] | None
) -> tuple[float | None, float | None]:
    """Micro precision and recall of claims, of tokens for ``token_f1``; ``None`` where there are none."""
    soft, split = task.score == "token_f1", _split(task)
    pairs = list(zip(given, truth, strict=True))
    claimed = [(g, t) for g, t in pairs if claims(task, g, labels)]
    due = [(g, t) for g, t in pairs if t != task.negative]
    precision = [token_f1(g, t, split)[1] if soft else float(g == t) for g, t in claimed]
    recall = [token_f1(g, t, split)[2] if soft else float(g == t) for g, t in due]
    return (
        float(np.mean(precision)) if precision else None,
        float(np.mean(recall)) if recall else None,
    )
