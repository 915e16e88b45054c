"""Rows: split without leaks, every label learnable, every answer in its task's form."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from sweeps.playground.language import Language, make_language
from sweeps.playground.tasks import (
    HELD_OUT,
    NEGATIVE_ROLES,
    NEGATIVE_TOPIC,
    TASKS,
    Splits,
    facts_by_split,
    make_splits,
)
from sweeps.playground.templates import TRADES


@pytest.fixture(scope="module")
def language() -> Language:
    return make_language(0)


@pytest.fixture(scope="module")
def splits(language: Language) -> dict[str, Splits]:
    return {name: make_splits(task, language) for name, task in TASKS.items()}


@pytest.mark.parametrize("name", TASKS)
def test_no_text_occurs_twice_within_or_across_splits(splits: dict[str, Splits], name: str) -> None:
    rows = [row for split in splits[name] for row in split]
    normalised = [" ".join(row["text"].lower().split()) for row in rows]
    assert len(set(normalised)) == len(rows) == 2400


def test_train_holds_every_label_of_validation_and_test(splits: dict[str, Splits]) -> None:
    topic = splits["topic"]
    assert {r["label"] for r in topic.train} == {*TRADES, NEGATIVE_TOPIC}
    assert min(Counter(r["label"] for r in topic.train).values()) >= 20
    facts = splits["facts"]
    known = {r["label"] for r in facts.train}
    assert {r["label"] for r in (*facts.validation, *facts.test)} <= known


def test_answers_of_roles_match_its_pattern_and_claim_words_of_the_text(
    splits: dict[str, Splits],
) -> None:
    pattern = TASKS["roles"].pattern
    assert pattern is not None
    for row in splits["roles"].train:
        assert re.fullmatch(pattern, row["label"])
        if row["label"] != NEGATIVE_ROLES:
            claimed = set(re.findall(r"[a-z]+", row["label"])) - {"agent", "place"}
            assert claimed <= set(re.findall(r"[a-z]+", row["text"]))
    share = Counter(r["label"] for r in splits["roles"].validation)[NEGATIVE_ROLES] / 200
    assert 0.08 < share < 0.25


def test_a_fact_is_in_one_split_only_and_never_stated_in_the_question(
    language: Language, splits: dict[str, Splits]
) -> None:
    owned = facts_by_split(language)
    assert not set(owned["train"]) & {*owned["validation"], *owned["test"]}
    assert not set(owned["validation"]) & set(owned["test"])
    stated = [r for r in splits["facts"].validation if r["label"] in r["text"].split()]
    assert len(stated) < 10  # only where chance put someone at home


def test_reversing_the_answer_gives_the_text(splits: dict[str, Splits]) -> None:
    for row in splits["reverse"].test:
        assert row["label"].split()[::-1] == row["text"].split()


def test_the_held_out_task_asks_for_labels_that_topic_trains(language: Language) -> None:
    rows = make_splits(HELD_OUT, language, (0, 200, 0)).validation
    assert {row["label"] for row in rows} <= {*TRADES, NEGATIVE_TOPIC}
    assert all(HELD_OUT.instruction != task.instruction for task in TASKS.values())
