"""Scores, against scikit-learn, hand-made cases and textbook standard errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, multilabel_confusion_matrix

from sweeps.scores.bootstrap import (
    REPLICATES,
    bits_replicates,
    forgetting_error,
    resamples,
    standard_error,
)
from sweeps.scores.task_scores import Answers, judge, macro_f1, score_task, token_f1
from sweeps.scores.text import characters
from tracker.errors import InputError
from tracker.task import FileRef, TaskScore, TaskSpec

LABELS = frozenset({"red", "green", "blue", "none"})
NOWHERE = FileRef(path="", sha256="", rows=0)


def scored(
    given: Sequence[str], truth: Sequence[str], labels: frozenset[str] | None = None, **task: Any
) -> TaskScore:
    answers = Answers(given, truth, *(np.ones(len(truth)) for _ in range(3)))
    return score_task(TaskSpec(name="colour", validation=NOWHERE, **task), answers, labels)


@given(
    pairs=st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd")), min_size=1),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_macro_f1_is_scikit_learns_where_no_answer_is_foreign(
    pairs: list[tuple[str, str]], seed: int
) -> None:
    truth = [t for t, _ in pairs]
    answers = [a if a in truth else truth[0] for _, a in pairs]
    counts = np.random.default_rng(seed).multinomial(
        len(truth), np.full(len(truth), 1 / len(truth))
    )
    repeated = [np.repeat(column, counts) for column in (truth, answers)]
    weights = np.stack([np.ones(len(truth)), counts])
    whole, resampled = macro_f1(answers, truth, weights)
    present = sorted(set(repeated[0]))
    assert whole == pytest.approx(
        f1_score(truth, answers, average="macro", labels=sorted(set(truth)))
    )
    assert resampled == pytest.approx(f1_score(*repeated, average="macro", labels=present))


@given(
    pairs=st.lists(st.tuples(st.sampled_from("abcdx"), st.sampled_from("abcd")), min_size=1),
)
@settings(max_examples=40, deadline=None)
def test_counts_by_label_are_scikit_learns(pairs: list[tuple[str, str]]) -> None:
    answers, truth = [a for a, _ in pairs], [t for _, t in pairs]
    counts = scored(answers, truth, frozenset("abcde"), score="macro_f1").labels
    assert counts is not None
    assert set(counts.names) == set("abcde")
    found = multilabel_confusion_matrix(truth, answers, labels=counts.names)
    assert counts.truths == tuple(found[:, 1].sum(axis=1))
    assert counts.answers == tuple(found[:, :, 1].sum(axis=1))
    assert counts.hits == tuple(found[:, 1, 1])
    assert list(counts.truths) == sorted(counts.truths, reverse=True)


def test_an_exact_match_counts_by_label_where_most_answers_recur() -> None:
    few = scored(["红", "绿", "蓝"], ["红", "红", "绿"]).labels
    assert few is None, "one of two labels recurs"
    few = scored(["红", "绿", "蓝", "绿"], ["红", "红", "绿", "绿"]).labels
    assert few is not None
    assert few.names == ("红", "绿")
    assert (few.truths, few.answers, few.hits) == ((2, 2), (1, 2), (1, 1))
    assert scored(list("abcde"), list("aabcd")).labels is None, (
        "slots: most answers are one of a kind"
    )
    assert scored(["a b", "a"], ["a b", "a b"], score="token_f1").labels is None


def test_a_foreign_answer_costs_recall_and_adds_no_class() -> None:
    # red: 1 of 2 found, nothing else called red: F1 = 2/3; green: F1 = 1.
    assert scored(
        ["red", "pink", "green"], ["red", "red", "green"], LABELS, score="macro_f1"
    ).score == (pytest.approx((2 / 3 + 1) / 2))


@pytest.mark.parametrize(
    ("answer", "truth", "expected"),
    [
        ("at seven tonight", "at seven tonight", (1, 1, 1)),
        ("seven", "at seven tonight", (1 / 2, 1, 1 / 3)),
        ("the the the", "the end", (2 / 5, 1 / 3, 1 / 2)),
        ("noon", "at seven", (0, 0, 0)),
        ("", "at seven", (0, 0, 0)),
        ("", "", (1, 1, 1)),
        ("今天北京天气很好", "今天北京天气好", (14 / 15, 7 / 8, 1)),
        ("用 iPhone 手机", "iPhone手机", (6 / 7, 3 / 4, 1)),
    ],
)
def test_token_f1_counts_words_as_multisets(
    answer: str, truth: str, expected: tuple[float, float, float]
) -> None:
    assert token_f1(answer, truth, characters) == pytest.approx(expected)


def test_claims_are_what_precision_and_over_reach_count() -> None:
    truth = ["red", "green", "blue", "none", "none", "none"]
    given_ = [" red ", "blue", "none", "none", "green", "pink"]
    score = scored(given_, truth, LABELS, score="macro_f1", negative="none")
    assert score.precision == pytest.approx(1 / 3), "claims: red, blue, green; red is right"
    assert score.recall == pytest.approx(1 / 3), "due: red, green, blue; red was found"
    assert score.over_reach == pytest.approx(1 / 3), (
        "of three negatives, green is a claim, pink none"
    )
    assert score.valid_format == pytest.approx(5 / 6)
    assert score.exact_match == pytest.approx(2 / 6)


def test_a_pattern_says_what_is_well_formed() -> None:
    task = {"pattern": r"\d+", "negative": "0"}
    score = scored(["12", "x", "7", "0"], ["12", "5", "0", "0"], **task)
    assert score.valid_format == pytest.approx(3 / 4)
    assert score.precision == pytest.approx(1 / 2), "claims: 12, 7"
    assert score.recall == pytest.approx(1 / 2), "due: 12, 5"
    assert score.over_reach == pytest.approx(1 / 2)


def test_soft_precision_and_recall_of_token_f1() -> None:
    score = scored(["a b", "c", ""], ["a b c d", "c", ""], score="token_f1", negative="")
    assert score.precision == pytest.approx(1.0)
    assert score.recall == pytest.approx((1 / 2 + 1) / 2)
    assert score.score == pytest.approx((2 / 3 + 1 + 1) / 3)


def test_a_task_without_tokens_counts_words_alone_as_before() -> None:
    given_, truth = ["今天北京天气很好"], ["今天北京天气好"]
    assert scored(given_, truth, score="token_f1").score == 0
    by_character = scored(given_, truth, score="token_f1", tokens="characters")
    assert by_character.score == pytest.approx(14 / 15)
    assert by_character.precision == pytest.approx(7 / 8)
    assert scored(["Paris."], ["paris"], score="token_f1", tokens="characters").score == 0
    assert scored(["Paris."], ["paris"], score="token_f1", tokens="normalised").score == 1


def test_what_is_undefined_is_none() -> None:
    free = scored(["a"], ["b"])
    assert free.valid_format is None, "no labels and no pattern: no format"
    assert free.over_reach is None, "no negative class"
    assert free.score_se is None
    assert free.bits_per_byte_se is None, "one row says nothing of its error"
    silent = scored(["none", "none"], ["red", "none"], LABELS, score="macro_f1", negative="none")
    assert silent.precision is None, "nothing was claimed"
    assert silent.recall == 0
    bold = scored(["red"] * 2, ["red"] * 2, LABELS, score="macro_f1", negative="none")
    assert bold.over_reach is None, "no negative row to over-reach on"
    idle = scored(["red"] * 2, ["none"] * 2, LABELS, score="macro_f1", negative="none")
    assert idle.recall is None, "nothing was due"
    assert idle.over_reach == 1


def test_losses_are_per_token_and_per_byte() -> None:
    task = TaskSpec(name="colour", validation=NOWHERE)
    nats, tokens, sizes = (np.array(c, dtype=float) for c in ([2, 4], [1, 3], [4, 8]))
    score = score_task(task, Answers(["a", "b"], ["a", "b"], nats, tokens, sizes), None)
    assert score.loss_nats == pytest.approx(6 / 4)
    assert score.bits_per_byte == pytest.approx(6 / math.log(2) / 12)


def test_resamples_are_paired_by_task_and_size() -> None:
    first = resamples("intent", 50)
    assert first.shape == (REPLICATES, 50)
    assert (first.sum(axis=1) == 50).all()
    assert (first == resamples("intent", 50)).all()
    assert (first != resamples("banking", 50)).any()


@pytest.mark.parametrize("share", [0.5, 0.9])
@pytest.mark.parametrize("rows", [100, 2000])
def test_replicates_spread_as_the_binomial_says(share: float, rows: int) -> None:
    right = round(share * rows)
    score = scored(["yes"] * rows, ["yes"] * right + ["no"] * (rows - right))
    assert score.score == share
    assert score.score_se == pytest.approx(math.sqrt(share * (1 - share) / rows), rel=0.2)
    assert len(score.replicates) == REPLICATES
    assert np.mean(score.replicates) == pytest.approx(
        share, abs=3 * score.score_se / math.sqrt(REPLICATES)
    )


def test_pairing_takes_the_common_rows_out_of_a_gap() -> None:
    generator = np.random.default_rng(0)
    truth = ["yes"] * 400
    weak = ["yes" if right else "no" for right in generator.random(400) < 0.6]
    strong = [*weak]
    for index in np.flatnonzero(np.array(weak) == "no")[:8]:
        strong[index] = "yes"
    a, b = (np.array(scored(given_, truth).replicates) for given_ in (weak, strong))
    assert (b - a).mean() == pytest.approx(8 / 400, rel=0.2)
    assert (b - a).std() < 0.4 * a.std(), "unpaired, the gap's spread would be 1.4 times a score's"


def test_standard_error_needs_two_rows() -> None:
    assert standard_error(np.array([0.2, 0.4]), rows=2) == pytest.approx(0.1)
    assert standard_error(np.array([0.2, 0.2]), rows=1) is None


def test_the_error_of_forgetting_is_the_paired_one() -> None:
    """Rows that differ much in how hard they are, each a little worse after: over fresh samples of rows,
    forgetting scatters ten times less than the loss after does.
    """
    rows, draws = 200, 400
    rng = np.random.default_rng(0)
    sizes = np.full(rows, 100.0)
    lost, stated, alone = [], [], []
    for draw in range(draws):
        hard = rng.gamma(8.0, 12.0, size=rows)
        easier, harder = hard, hard * (1.02 + 0.03 * rng.standard_normal(rows))
        weights = resamples(f"rows {draw}", rows)
        before, after = (bits_replicates(bits, sizes, weights) for bits in (easier, harder))
        error = forgetting_error("bits_per_byte", before.tolist(), after.tolist(), rows)
        assert error is not None
        lost.append(harder.sum() / easier.sum() - 1)
        stated.append(error)
        alone.append(float(after.std() / (easier.sum() / sizes.sum())))
    true = float(np.std(lost))
    assert np.mean(stated) == pytest.approx(true, rel=0.15)
    assert np.mean(alone) > 8 * true


def test_the_error_of_a_score_lost_has_the_bases_too() -> None:
    """Rows answered independently before and after: the two errors add up."""
    rows, rng = 400, np.random.default_rng(1)
    weights = resamples("rows", rows)
    before, after = ((weights @ rng.integers(0, 2, size=rows) / rows).tolist() for _ in range(2))
    error = forgetting_error("score", before, after, rows)
    assert error == pytest.approx(math.sqrt(2 * 0.25 / rows), rel=0.2)


def test_rows_of_which_none_changed_are_no_proof() -> None:
    same = resamples("rows", 50)[:, 0].tolist()
    assert forgetting_error("score", same, same, 50) == pytest.approx(1 / 52)
    assert forgetting_error("bits_per_byte", [1.0, 2.0], [1.0, 2.0], 50) == 0


def test_without_the_bases_rows_the_error_is_not_known() -> None:
    assert forgetting_error("score", (), (0.1, 0.2), 50) is None
    assert forgetting_error("score", (0.1, 0.2), (0.1, 0.2), 1) is None


def test_no_rows_are_refused_by_name() -> None:
    with pytest.raises(InputError, match="colour: found no rows to score"):
        scored([], [])


def test_white_space_around_a_negative_answer_counts_for_nothing() -> None:
    """The row's own label and the task's negative one both carry some."""
    task = {"score": "macro_f1", "negative": " none "}
    plain = scored(["red", "none"], ["red", "none"], LABELS, score="macro_f1", negative="none")
    assert scored(["red", "none"], ["red", " none "], LABELS, **task) == plain
    assert plain.over_reach == 0
    spec = TaskSpec(name="colour", validation=NOWHERE, **task)
    assert judge(spec, "none", "none", LABELS).over_reach is False
