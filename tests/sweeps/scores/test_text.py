"""Tokens of answers: words without case, marks and articles, characters of scripts without spaces."""

from __future__ import annotations

import re
import string
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeps.scores.task_scores import token_f1
from sweeps.scores.text import normalised, tokens

SAME = [
    ("Paris.", "paris"),
    ("交通, 美食,", "交通, 美食"),
    ("交通，美食。", "交通、美食"),
    ("The Eiffel Tower", "Eiffel tower"),
    ("Ｐａｒｉｓ！", "paris"),
    ("１，２３４", "1,234"),
    ("don’t", "don't"),
    ("ﾎﾃﾙ", "ホテル"),
    ("U.S.", "us"),
    ("“你好”，世界！", "你好世界"),
]
#: What a person who reads both would not call the same.
OTHER = [("A", ""), ("?", ""), ("A", "the"), ("-3", "3"), ("3.5", "35"), ("1/2", "12"), ("5%", "5")]
#: Each character is a token; counted by hand.
BY_CHARACTER = [
    ("今天北京天气很好", 8),
    ("東京タワー", 5),
    ("สวัสดีครับ", 10),
    ("ສະບາຍດີ", 7),
    ("សួស្តី", 6),
    ("မင်္ဂလာပါ", 9),
    ("น้ำ", 3),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_case_marks_widths_and_articles_are_no_difference(one: str, other: str) -> None:
    assert token_f1(one, other, tokens) == (1, 1, 1)


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_what_means_something_is_a_difference(one: str, other: str) -> None:
    assert token_f1(one, other, tokens)[0] < 1


@pytest.mark.parametrize(("text", "count"), BY_CHARACTER)
def test_scripts_without_spaces_are_counted_by_character(text: str, count: int) -> None:
    assert len(tokens(text)) == count


def test_half_of_a_thai_answer_scores_by_its_characters() -> None:
    f1, precision, recall = token_f1("ครับ", "สวัสดีครับ", tokens)
    assert (precision, recall) == (1, 4 / 10)
    assert f1 == pytest.approx(2 * 0.4 / 1.4)


def squad(text: str) -> list[str]:
    """SQuAD's own normalisation (evaluate-v1.1.py), in English."""
    text = "".join(c for c in text.lower() if c not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", text).split()


WORDS = st.lists(st.sampled_from("The a an Cat dog. (big) it's U.S. 'quoted' end! 42".split()))


@given(one=WORDS, other=WORDS)
@settings(max_examples=100, deadline=None)
def test_english_scores_as_squad_does(one: list[str], other: list[str]) -> None:
    a, b = " ".join(one), " ".join(other)
    if not squad(a) or not squad(b):
        return  # nothing but articles: SQuAD calls it empty
    shared = sum((Counter(squad(a)) & Counter(squad(b))).values())
    expected = 2 * shared / (len(squad(a)) + len(squad(b)))
    assert token_f1(a, b, tokens)[0] == pytest.approx(expected)


@given(st.text(max_size=40))
@settings(max_examples=200, deadline=None)
def test_a_text_is_empty_only_if_it_was(text: str) -> None:
    assert bool(normalised(text).strip()) == bool(text.strip())
