"""Scores of a task from answers and truths, with paired bootstrap replicates."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from sweeps.scores.bootstrap import Floats, bits_replicates, resamples, standard_error
from sweeps.scores.json_answers import fits, json_f1, json_values
from sweeps.scores.labels import LabelTally, label_sets, label_tally, macro_f1
from sweeps.scores.number import equal_numbers, final_number
from sweeps.scores.overlap import Overlap, chrf, chrf_of_row, rouge_l, token_f1
from sweeps.scores.score_function import RowValue
from sweeps.scores.text import characters, normalised, parts, tokens
from tracker.abstention import confidence
from tracker.numbers import count
from tracker.task import AVERAGES, Confidence, LabelCounts, TaskScore, TaskSpec


class Answers(NamedTuple):
    """Answers by row of a task; ``nats``, ``tokens`` and ``byte_counts``: of the true answer, summed.

    ``values``: of a user's own score alone, what its function gave.
    """

    given: Sequence[str]
    truth: Sequence[str]
    nats: Floats
    tokens: Floats
    byte_counts: Floats
    values: Sequence[RowValue] | None = None


class UnscoredError(RuntimeError):
    """The user's own function has scored no row: a fault of the trial."""


def score_task(
    task: TaskSpec, answers: Answers, labels: frozenset[str] | None, split: str = "validation"
) -> TaskScore:
    """Score a task; *labels*: its label set (:func:`sweeps.data.encoding.label_set`), ``None`` without one.

    Raises InputError where there are no rows, UnscoredError where the user's own function fails on all.
    """
    task = stripped(task)
    given, truth = [a.strip() for a in answers.given], [t.strip() for t in answers.truth]
    weights = resamples(task.name, len(truth))
    rows = (
        None if task.function is None else _function_rows(task, answers.values or [RowValue(None)])
    )
    score, replicates = _primary(task, given, truth, weights, rows)
    error = task.function is not None and task.function.minimize
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
        score=None if error else score,
        score_se=None if error else standard_error(replicates, len(truth)),
        error=score if error else None,
        error_se=standard_error(replicates, len(truth)) if error else None,
        exact_match=_mean([_same(task, g, t) for g, t in zip(given, truth, strict=True)]),
        precision=precision,
        recall=recall,
        valid_format=_valid_format(task, given, labels),
        over_reach=_over_reach(task, given, truth, labels),
        **_class_shares(task, given, truth, rows),
        labels=label_counts(task, given, truth, labels),
        figures=_figures(task, given, truth),
        unscored=None if rows is None else int(np.isnan(rows).sum()),
        replicates=tuple(round(float(r), 5) for r in replicates),
    )


class Verdict(NamedTuple):
    """Judgement of one answer: its ``score`` in [0, 1], whether its format is valid, whether it over-reaches.

    ``over_reach``: a claim where the truth is negative (a false positive). ``None``: the task has no format,
    or the truth is not negative. Of a user's own function that is minimized ``error`` stands in place of
    the score; where the function failed there is neither, and ``failed`` says how.
    """

    score: float | None
    valid: bool | None
    over_reach: bool | None
    error: float | None = None
    failed: str | None = None


def judge(
    task: TaskSpec,
    given: str,
    truth: str,
    labels: frozenset[str] | None,
    value: RowValue | None = None,
) -> Verdict:
    """Judge one stripped answer by its stripped truth; a label's score is whether it is right.

    *value*: what a user's own function gave.
    """
    task = stripped(task)
    over_reach = claims(task, given, labels) if _is_negative(task, truth) else None
    valid = _well_formed(task, given, labels)
    if task.function is None or value is None:
        return Verdict(row_score(task)(given, truth), valid, over_reach)
    if value.value is None:
        return Verdict(None, valid, over_reach, failed=value.error)
    (found,) = _function_rows(task, [value])
    if task.function.minimize:
        return Verdict(None, valid, over_reach, error=float(found))
    return Verdict(float(found), valid, over_reach)


def stripped(task: TaskSpec) -> TaskSpec:
    """*task* with its negative answer stripped of white space, as answers are compared."""
    if task.negative is None or task.negative == task.negative.strip():
        return task
    return task.model_copy(update={"negative": task.negative.strip()})


# -- one row -----------------------------------------------------------------------------------------


def row_score(task: TaskSpec) -> Callable[[str, str], float]:
    """Score in [0, 1] of a stripped answer and truth; of a label, or by a user's function, an exact match."""
    if task.score == "chrf":
        return chrf_of_row
    return lambda given, truth: _overlap(task, given, truth)[0]


def _overlap(task: TaskSpec, given: str, truth: str) -> Overlap:
    """F1, precision and recall of an answer that is whole or in parts right; 0 or 1 of any other."""
    if given == truth:
        return 1.0, 1.0, 1.0
    if task.function is None and _same(task, given, truth):
        return 1.0, 1.0, 1.0
    if task.score == "multilabel_f1":
        return _shared(*label_sets(task, (given, truth)))
    if task.score == "token_f1" and task.unordered:
        return _shared(_part_set(task, given), _part_set(task, truth))
    if task.score == "token_f1":
        return token_f1(given, truth, _split(task))
    if task.score == "rouge_l":
        return rouge_l(given, truth)
    if task.score == "json":
        return json_f1(given, truth, unordered=task.unordered)
    right = float(task.score == "number" and equal_numbers(given, truth, task.tolerance))
    return right, right, right


def _shared(given: frozenset[str], truth: frozenset[str]) -> Overlap:
    """F1, precision and recall of two sets of parts that are not equal."""
    both = len(given & truth)
    if not both:
        return 0.0, 0.0, 0.0
    return 2 * both / (len(given) + len(truth)), both / len(given), both / len(truth)


def _split(task: TaskSpec) -> Callable[[str], list[str]]:
    """How ``token_f1`` divides an answer; without a setting at white space, as in the first releases."""
    if task.tokens is None:
        return str.split
    return tokens if task.tokens == "normalised" else characters


def _part_set(task: TaskSpec, answer: str) -> frozenset[str]:
    """Parts of an answer that is a set of them, as they are compared."""
    found = parts(answer, task.separators)
    return frozenset(map(normalised, found) if task.tokens == "normalised" else found)


def _same(task: TaskSpec, one: str, other: str) -> bool:
    """Whether two stripped answers are one, as the task's score reads them."""
    return one == other or _content(task, one) == _content(task, other)


def _content(task: TaskSpec, answer: str) -> Hashable:
    """What an answer says: equal for two that differ in what the task's score does not read."""
    if task.score == "multilabel_f1":
        return label_sets(task, (answer,))[0]
    if task.score == "json":
        return answer if (values := json_values(answer, task.unordered)) is None else values
    return _part_set(task, answer) if task.unordered else answer


# -- a user's own function ---------------------------------------------------------------------------


def _function_rows(task: TaskSpec, values: Sequence[RowValue]) -> Floats:
    """Scores (rows,) of a user's own function, NaN where it failed; of an own error its values.

    A score is the share of the declared range. Raises UnscoredError where it failed on all.
    """
    scorer = task.function
    assert scorer is not None, "the task has a function"
    rows = np.array([np.nan if v.value is None else v.value for v in values], dtype=float)
    if not np.isfinite(rows).any():
        first = values[0]
        raise UnscoredError(
            f"{scorer.file.path}:{scorer.function} scored none of {count(len(values))} rows; the first: "
            f"{first.error}: {first.words}"
        )
    if scorer.minimize:
        return rows
    assert scorer.high is not None, "a score has a highest value"
    return np.asarray((rows - scorer.low) / (scorer.high - scorer.low))


# -- all rows ----------------------------------------------------------------------------------------


def _primary(
    task: TaskSpec,
    given: Sequence[str],
    truth: Sequence[str],
    weights: Floats,
    rows: Floats | None = None,
) -> tuple[float, Floats]:
    """The task's score and its values (resamples,) on the resamples *weights* (resamples, rows).

    *rows* (rows,): of a user's own function.
    """
    whole = np.ones((1, len(truth)))
    if task.score == "macro_f1":
        return float(macro_f1(given, truth, whole)[0]), macro_f1(given, truth, weights)
    if task.score == "chrf":
        return float(chrf(given, truth, whole)[0]), chrf(given, truth, weights)
    if task.score == "multilabel_f1":
        average = task.average or "micro"
        first, all_ = _tally(task, given, truth, whole), _tally(task, given, truth, weights)
        return float(first.averaged(average)[0]), all_.averaged(average)
    if rows is None:
        score = row_score(task)
        rows = np.array([score(g, t) for g, t in zip(given, truth, strict=True)])
        return float(rows.mean()), weights @ rows / weights.sum(axis=1)
    scored = np.isfinite(rows)
    mean, sampled = float(rows[scored].mean()), weights[:, scored].sum(axis=1)
    sums = weights[:, scored] @ rows[scored]
    return mean, np.where(sampled > 0, sums / np.maximum(sampled, 1), mean)


def _tally(
    task: TaskSpec, given: Sequence[str], truth: Sequence[str], weights: Floats
) -> LabelTally:
    return label_tally(label_sets(task, given), label_sets(task, truth), weights)


def _figures(task: TaskSpec, given: Sequence[str], truth: Sequence[str]) -> dict[str, float]:
    """Further figures of the score (:class:`TaskScore`)."""
    if task.score == "multilabel_f1":
        tally = _tally(task, given, truth, np.ones((1, len(truth))))
        return {average: float(tally.averaged(average)[0]) for average in AVERAGES}
    if task.score != "json":
        return {}
    found = {"valid_json": _mean([_is_json(task, answer) for answer in given])}
    if task.json_schema is not None:
        found["valid_schema"] = _mean([bool(_well_formed(task, a, None)) for a in given])
    return found


def _is_json(task: TaskSpec, answer: str) -> bool:
    return answer == task.negative or json_values(answer) is not None


def _mean(values: Sequence[bool]) -> float:
    return float(np.mean(values))


def _well_formed(task: TaskSpec, answer: str, labels: frozenset[str] | None) -> bool | None:
    """Whether an answer has the task's format; ``None`` for a task without one."""
    if task.score == "multilabel_f1" and labels is not None:
        said = label_sets(task, (answer,))[0]
        return said <= labels if said else _is_negative(task, answer) and answer != ""
    if labels is not None:
        return answer in labels
    if task.pattern:
        return bool(re.fullmatch(task.pattern, answer))
    if task.score == "json":
        if answer == task.negative or task.json_schema is None:
            return _is_json(task, answer)
        return fits(answer, task.json_schema)
    if task.score == "number":
        return answer == task.negative or final_number(answer) is not None
    return None


def _valid_format(
    task: TaskSpec, given: Sequence[str], labels: frozenset[str] | None
) -> float | None:
    checks = [_well_formed(task, answer, labels) for answer in given]
    return None if None in checks else _mean([bool(c) for c in checks])


def _is_negative(task: TaskSpec, answer: str) -> bool:
    """Whether an answer claims nothing: it is the negative one, or of several labels it has none."""
    if task.score == "multilabel_f1":
        return not label_sets(task, (answer,))[0]
    if task.negative is None:
        return False
    if task.tokens == "normalised" and normalised(answer) == normalised(task.negative):
        return True
    return _same(task, answer, task.negative)


def _over_reach(
    task: TaskSpec, given: Sequence[str], truth: Sequence[str], labels: frozenset[str] | None
) -> float | None:
    """False-positive rate on negatives (over-reach): their share with another well-formed answer."""
    negatives = [g for g, t in zip(given, truth, strict=True) if _is_negative(task, t)]
    return _mean([claims(task, g, labels) for g in negatives]) if negatives else None


def _class_shares(
    task: TaskSpec, given: Sequence[str], truth: Sequence[str], rows: Floats | None
) -> dict[str, Any]:
    """How much of the score the most frequent answer and the negative class hold (:class:`TaskScore`).

    Of a user's own function there is no score of an answer that no model gave.
    """
    contents = Counter(_content(task, answer) for answer in truth)
    content, most = contents.most_common(1)[0]
    label = next(answer for answer in truth if _content(task, answer) == content)
    positive = [i for i, answer in enumerate(truth) if not _is_negative(task, answer)]
    known = task.negative is not None or len(positive) < len(truth)
    without = None
    if 0 < len(positive) < len(truth) and not (task.function and task.function.minimize):
        some = None if rows is None else rows[positive]
        if some is None or np.isfinite(some).any():
            kept = [given[i] for i in positive], [truth[i] for i in positive]
            without = _primary(task, *kept, np.ones((1, len(positive))), some)[0]
    constant = [label] * len(truth), truth, np.ones((1, len(truth)))
    return {
        "majority": most / len(truth),
        "majority_score": _primary(task, *constant)[0] if rows is None else None,
        "negatives": 1 - len(positive) / len(truth) if known else None,
        "score_without_negatives": without,
    }


#: An exact match counts by label where its true answers are no more than so many, and most of them recur.
MAX_LABELS = 200


def label_counts(
    task: TaskSpec, given: Sequence[str], truth: Sequence[str], labels: frozenset[str] | None
) -> LabelCounts | None:
    """Counts by label of stripped answers and truths; ``None`` for a task whose answers are no labels.

    *labels*: the label set, of which all are counted; ``None`` of a task that has none. An answer that is
    none of the labels counts for none.
    """
    if task.score == "multilabel_f1":
        return _counts_of_several(task, given, truth, labels or frozenset())
    truths = Counter(truth)
    if labels is None:
        recurring = sum(rows > 1 for rows in truths.values())
        few = len(truths) <= MAX_LABELS and 2 * recurring > len(truths)
        if task.score != "exact_match" or task.unordered or not few:
            return None
    answers, hits = Counter(given), Counter(g for g, t in zip(given, truth, strict=True) if g == t)
    return _counted(truths.keys() | (labels or set()), truths, answers, hits)


def _counts_of_several(
    task: TaskSpec, given: Sequence[str], truth: Sequence[str], labels: frozenset[str]
) -> LabelCounts:
    """Counts by label where a row has several; the negative answer is none of them."""
    said, true = label_sets(task, given), label_sets(task, truth)
    truths = Counter(label for row in true for label in row)
    answers = Counter(label for row in said for label in row)
    hits = Counter(label for a, b in zip(said, true, strict=True) for label in a & b)
    return _counted(truths.keys() | (labels - {task.negative}), truths, answers, hits)


def _counted(
    known: Iterable[str], truths: Counter[str], answers: Counter[str], hits: Counter[str]
) -> LabelCounts:
    """Counts of the *known* labels, the most frequent first."""
    names = sorted(known, key=lambda name: (-truths[name], name))
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
    """How right the likeliest answers are, of *nats* each; ``None`` where none of them claims anything.

    Of a user's own function it is not known.
    """
    if task.function is not None:
        return None
    task = stripped(task)
    said, true = [a.strip() for a in given], [t.strip() for t in truth]
    claimed = [row for row, answer in enumerate(said) if claims(task, answer, labels)]
    score = row_score(task)
    right = [score(said[row], true[row]) for row in claimed]
    due = sum(not _is_negative(task, t) for t in true)
    return confidence(np.round(nats[claimed], 5), right, due)


def claims(task: TaskSpec, answer: str, labels: frozenset[str] | None) -> bool:
    """Whether a stripped *answer* claims something: well-formed as far as known, and not the negative one."""
    return not _is_negative(task, answer) and _well_formed(task, answer, labels) is not False


def _precision_recall(
    task: TaskSpec, given: Sequence[str], truth: Sequence[str], labels: frozenset[str] | None
) -> tuple[float | None, float | None]:
    """Micro precision and recall of claims; ``None`` where there are none.

    Of tokens, of values by path or of parts for a score of those, of labels for several labels. A score
    that does not say whether an answer is right (``chrf``, a user's own) has neither.
    """
    if task.score == "chrf" or task.function is not None:
        return None, None
    if task.score == "multilabel_f1":
        return _tally(task, given, truth, np.ones((1, len(truth)))).precision_recall()
    pairs = list(zip(given, truth, strict=True))
    precision = [_overlap(task, g, t)[1] for g, t in pairs if claims(task, g, labels)]
    recall = [_overlap(task, g, t)[2] for g, t in pairs if not _is_negative(task, t)]
    return (
        float(np.mean(precision)) if precision else None,
        float(np.mean(recall)) if recall else None,
    )
