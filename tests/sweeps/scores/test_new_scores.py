"""Scores of several labels, numbers, JSON and prose, against references and hand-made cases."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score
from sklearn.preprocessing import MultiLabelBinarizer

from sweeps.data.examples import digest
from sweeps.scores.bootstrap import REPLICATES, resamples
from sweeps.scores.json_answers import json_f1, load_schema
from sweeps.scores.labels import label_tally
from sweeps.scores.number import equal_numbers, final_number
from sweeps.scores.overlap import chrf, rouge_l
from sweeps.scores.task_scores import judge
from sweeps.scores.text import found_separators, parts
from tests.sweeps.scores.test_scores import NOWHERE, scored
from tracker.errors import InputError
from tracker.task import AVERAGES, SourceFile, TaskSpec, Tolerance

# -- several labels --------------------------------------------------------------------------------

SETS = st.lists(
    st.tuples(st.sets(st.sampled_from("abcd")), st.sets(st.sampled_from("abcd"))),
    min_size=1,
    max_size=12,
)


@given(rows=SETS, seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_f1_of_several_labels_is_scikit_learns(
    rows: list[tuple[set[str], set[str]]], seed: int
) -> None:
    said, true = [a for a, _ in rows], [b for _, b in rows]
    counts = np.random.default_rng(seed).multinomial(len(rows), [1 / len(rows)] * len(rows))
    weights = np.stack([np.ones(len(rows)), counts])
    tally = label_tally(said, true, weights)
    coded = MultiLabelBinarizer(classes=list("abcd")).fit(true)
    for resample, repeats in enumerate((np.ones(len(rows), int), counts)):
        a, b = (np.repeat(coded.transform(side), repeats, axis=0) for side in (said, true))
        present = np.flatnonzero(b.any(axis=0))
        for average in AVERAGES:
            labels = present if average == "macro" and len(present) else None
            expected = f1_score(b, a, average=average, labels=labels, zero_division=1.0)
            if average == "macro" and not len(present):
                expected = float(not a.any())  # nothing was due: right where nothing was given
            assert tally.averaged(average)[resample] == pytest.approx(expected), average
    a, b = coded.transform(said), coded.transform(true)
    precision, recall = tally.precision_recall()
    assert (precision is None) == (not a.any())
    assert (recall is None) == (not b.any())
    if precision is not None and recall is not None:
        assert precision == pytest.approx(precision_score(b, a, average="micro", zero_division=0))
        assert recall == pytest.approx(recall_score(b, a, average="micro", zero_division=0))


TOPICS = frozenset({"交通", "美食", "住宿", "价格", "无"})


def test_a_chinese_task_of_several_labels_counted_by_hand() -> None:
    truth = ["交通，美食", "住宿", "无", "价格、交通"]
    given_ = ["美食, 交通", "住宿；价格", "无", "价格"]
    task = {"score": "multilabel_f1", "negative": "无"}
    score = scored(given_, truth, TOPICS, **task)
    # Hits 2 + 1 + 0 + 1 of 5 given and 5 due.
    assert score.score == pytest.approx(2 * 4 / 10)
    # Transport 2/3, food 1, lodging 1, price 1 of 2 given, 1 due: 2/3.
    assert score.figures["macro"] == pytest.approx((2 / 3 + 1 + 1 + 2 / 3) / 4)
    assert score.figures["samples"] == pytest.approx((1 + 2 / 3 + 1 + 2 / 3) / 4)
    assert score.figures["micro"] == score.score
    assert (score.precision, score.recall) == (4 / 5, 4 / 5)
    assert score.exact_match == accuracy_score([1, 1, 1, 1], [1, 0, 1, 0]), "sets, in any order"
    assert score.over_reach == 0
    assert score.negatives == 1 / 4
    assert score.valid_format == 1
    assert score.labels is not None
    by_label = {name: row for name, *row in zip(*score.labels.model_dump().values(), strict=True)}
    assert by_label == {"交通": [2, 1, 1], "价格": [1, 2, 1], "住宿": [1, 1, 1], "美食": [1, 1, 1]}
    assert scored(given_, truth, TOPICS, **task, average="macro").score == score.figures["macro"]


def test_an_answer_of_several_labels_may_be_wrong_in_form() -> None:
    spec = TaskSpec(name="t", validation=NOWHERE, score="multilabel_f1", negative="无")
    assert judge(spec, "交通，地铁", "交通", TOPICS).valid is False
    assert judge(spec, "交通，地铁", "交通", TOPICS).score == pytest.approx(2 / 3)
    assert judge(spec, "", "交通", TOPICS).valid is False
    assert judge(spec, "无", "无", TOPICS) == (1.0, True, False, None, None)
    assert judge(spec, "交通", "无", TOPICS).over_reach is True
    assert judge(spec, '["美食", "交通"]', "交通，美食", TOPICS).score == 1
    assert judge(spec, "[]", "无", TOPICS).score == 1


@pytest.mark.parametrize(
    ("answers", "found"),
    [
        (["交通，美食", "交通"], (",", "，", "、")),
        (["a; b, c", "a"], (";", "；")),
        (["toxic insult", "toxic", "insult"], (" ",)),
        (["credit card", "debit card"], None),
        (["politics/sports", "politics", "sports"], ("/", "／")),
        (["TCP/IP", "HTTP"], None),
        (['["a", "b"]', "[]"], None),
        (["a\nb"], ("\n",)),
    ],
)
def test_separators_are_found_in_the_data(
    answers: list[str], found: tuple[str, ...] | None
) -> None:
    assert found_separators(answers) == found


def test_parts_of_a_json_array_keep_what_stands_in_them() -> None:
    assert parts('["food, drink", 3, {"b": 1}]') == ["food, drink", "3", '{"b": 1}']
    assert parts("food, drink; sport", (";",)) == ["food, drink", "sport"]


# -- slots -----------------------------------------------------------------------------------------


def test_slots_are_a_set() -> None:
    slots = {"score": "token_f1", "tokens": "normalised", "unordered": True, "negative": "none"}
    truth = ["city: Paris; day: Monday", "none"]
    score = scored(["day: monday; city: Paris.", "None."], truth, **slots)
    assert score.score == score.exact_match == 1
    assert score.over_reach == 0
    half = scored(["city: Paris; day: Sunday", "city: Rome"], truth, **slots)
    assert half.score == pytest.approx((1 / 2 + 0) / 2)
    assert half.over_reach == 1
    assert half.score_without_negatives == pytest.approx(1 / 2)
    assert scored(["b, a"], ["a, b"], unordered=True).score == 1
    assert scored(["b, a"], ["a, b"]).score == 0


# -- numbers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("He has 3 + 4 = 7 apples.\n#### 42", "42"),
        ("#### 1,234.5 in all, of 9", "9"),
        ("The answer is 1,234.5.", "1234.5"),
        ("-3", "-3"),
        ("x = −7.", "-7"),
        ("5-3", "3"),
        ("答案是４２個", "42"),
        ("１，２３４円", "1234"),
        ("합계 ３．５", "3.5"),
        ("約50％", "50"),
        ("٣٤", "34"),
        ("3/4", "0.75"),
        ("1e-5", "0.00001"),
        (".5", "0.5"),
        ("$1,000,000", "1000000"),
        ("1, 2, 3", "3"),
        ("none", None),
        ("7/0", None),
        ("9e99999999999999999999", None),
    ],
)
def test_the_final_number_of_an_answer(text: str, value: str | None) -> None:
    found = final_number(text)
    assert (None if found is None else float(found.value)) == (value and float(value))


def test_numbers_are_equal_within_the_tolerance() -> None:
    assert equal_numbers("about 1,000", "#### 1000.0", None)
    assert not equal_numbers("1001", "1000", None)
    assert equal_numbers("1001", "1000", Tolerance(absolute=1))
    assert equal_numbers("1010", "1000", Tolerance(relative=0.01))
    assert not equal_numbers("1011", "1000", Tolerance(relative=0.01))
    assert equal_numbers("0.3", "0.1 and 0.3", Tolerance(absolute=0))
    assert equal_numbers("50%", "0.5", None)
    assert equal_numbers("50 %", "50", None)
    assert not equal_numbers("50%", "5%", None)
    assert not equal_numbers("no number", "none", None)


def test_a_task_of_numbers() -> None:
    score = scored(
        ["6", "so 7\n#### 7", "?", "n/a"], ["6", "7", "8", "n/a"], score="number", negative="n/a"
    )
    assert score.score == pytest.approx(3 / 4)
    assert score.valid_format == pytest.approx(3 / 4)
    assert (score.precision, score.recall) == (1, 2 / 3)
    assert score.over_reach == 0


# -- JSON ------------------------------------------------------------------------------------------


def test_values_of_json_count_with_their_paths() -> None:
    truth = '{"name": "王伟", "n": 2, "tags": ["a", "b"], "ok": true}'
    assert json_f1('{"ok": true, "tags": ["a", "b"], "n": 2.0, "name": "王伟"}', truth)[0] == 1
    # name, n and the first tag of 5 values each
    assert json_f1('{"name":"王伟","n":2,"tags":["a","c"],"ok":1}', truth) == pytest.approx(
        [3 / 5] * 3
    )
    assert json_f1('{"name": "王伟"}', truth) == pytest.approx((2 / 6, 1, 1 / 5))
    assert json_f1('["b", "a"]', '["a", "b"]')[0] == 0
    assert json_f1('["b", "a"]', '["a", "b"]', unordered=True)[0] == 1
    for wrong in ("", "{", "NaN", "[" * 100_000, '{"a": 1} {"a": 1}'):
        assert json_f1(wrong, truth) == (0, 0, 0)
    assert json_f1("{}", "[]")[0] == 0


def test_rates_of_valid_json_and_of_the_schema(tmp_path: Path) -> None:
    file = tmp_path / "schema.json"
    file.write_text(
        json.dumps({"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}})
    )
    schema = SourceFile(path=str(file), sha256=digest(str(file)))
    given_, truth = ['{"n": 1}', '{"n": "1"}', "{n: 1}"], ['{"n": 1}'] * 3
    score = scored(given_, truth, score="json", json_schema=schema)
    assert score.figures == pytest.approx({"valid_json": 2 / 3, "valid_schema": 1 / 3})
    assert score.valid_format == pytest.approx(1 / 3)
    assert score.score == pytest.approx(1 / 3)
    assert scored(given_, truth, score="json").figures == pytest.approx({"valid_json": 2 / 3})
    file.write_text("{}")
    with pytest.raises(InputError, match="changed during the sweep"):
        load_schema(str(file), "0" * 64)


@pytest.mark.parametrize(
    "text", ["{", '{"type": "thing"}', '{"$ref": "https://example.com/s.json"}', "[" * 100_000]
)
def test_what_is_no_schema_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(InputError, match=r"s.json: found no JSON Schema"):
        load_schema(str(tmp_path / "s.json"))


# -- prose -----------------------------------------------------------------------------------------

PROSE = [
    ("the cat sat on the mat", "the cat is on the mat"),
    ("今天北京天气很好", "今天北京天气好"),
    ("東京タワーは高い", "東京タワーがとても高い"),
    ("", "nothing was said"),
    ("same", "same"),
]


def test_chrf_is_sacrebleus() -> None:
    said, true = [a for a, _ in PROSE], [b for _, b in PROSE]
    weights = resamples("prose", len(PROSE))[:3]
    picked = [np.repeat(np.arange(len(PROSE)), row.astype(int)) for row in weights]
    expected = [
        sacrebleu.corpus_chrf([said[i] for i in rows], [[true[i] for i in rows]]).score / 100
        for rows in picked
    ]
    assert chrf(said, true, weights) == pytest.approx(expected)
    score = scored(said, true, score="chrf")
    assert score.score == pytest.approx(sacrebleu.corpus_chrf(said, [true]).score / 100)
    assert len(score.replicates) == REPLICATES
    assert score.precision is None
    spec = TaskSpec(name="t", validation=NOWHERE, score="chrf")
    for one, other in PROSE:
        row = sacrebleu.sentence_chrf(one, [other]).score / 100
        assert judge(spec, one, other, None).score == pytest.approx(row)


def longest(a: Sequence[str], b: Sequence[str]) -> int:
    """Longest common subsequence as in the textbook."""
    rows = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            same, before = rows[i][j] + 1, max(rows[i][j + 1], rows[i + 1][j])
            rows[i + 1][j + 1] = same if x == y else before
    return rows[-1][-1]


@given(*[st.lists(st.sampled_from("abc"), min_size=1, max_size=80)] * 2)
@settings(max_examples=30, deadline=None)
def test_rouge_l_is_the_longest_common_subsequence(a: list[str], b: list[str]) -> None:
    f1, precision, recall = rouge_l(" ".join(a), " ".join(b))
    common = longest(a, b)
    assert (precision, recall) == (common / len(a), common / len(b))
    assert f1 == pytest.approx(2 * common / (len(a) + len(b)))


@pytest.mark.parametrize(
    ("answer", "truth", "expected"),
    [
        # rouge-score 0.1.2: RougeScorer(["rougeL"]).score(truth, answer)
        ("The police killed the gunman!", "police kill the gunman", (2 / 3, 3 / 5, 3 / 4)),
        ("U.S. don't", "u s don t", (1, 1, 1)),
        # 今天北京天气好 in both
        ("今天北京天气很好。", "今天北京天气好", (14 / 15, 7 / 8, 1)),
        ("สวัสดี", "สวัสดีครับ", (12 / 16, 1, 6 / 10)),
    ],
)
def test_rouge_l_in_any_script(
    answer: str, truth: str, expected: tuple[float, float, float]
) -> None:
    assert rouge_l(answer, truth) == pytest.approx(expected)


@pytest.mark.parametrize(
    "task",
    [{"score": "multilabel_f1", "average": average} for average in AVERAGES]
    + [{"score": score} for score in ("number", "json", "chrf", "rouge_l")],
)
def test_every_score_has_replicates_around_it(task: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    truth = [str(i % 5) for i in range(200)]
    given_ = [t if right else "7" for t, right in zip(truth, rng.random(200) < 0.7, strict=True)]
    score = scored(given_, truth, frozenset("01234") if "average" in task else None, **task)
    assert score.score is not None
    assert score.score_se is not None
    assert np.mean(score.replicates) == pytest.approx(score.score, abs=0.01)
    assert 0.02 < score.score_se < 0.05
    assert score.majority_score is not None
