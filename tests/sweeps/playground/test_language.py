"""The language is a pure function of its seed, and its sentences say what they claim to say."""

from __future__ import annotations

import random

import pytest

from sweeps.playground.documents import documents, general_texts
from sweeps.playground.language import event, fact, make_language
from sweeps.playground.templates import DOMAIN_OF, RELATIONS, TRADES, english_vocabulary


def test_equal_seeds_give_equal_languages() -> None:
    assert make_language(3) == make_language(3)
    assert make_language(3).invented != make_language(4).invented


def test_invented_words_are_distinct_and_never_english() -> None:
    invented = make_language(0).invented
    assert len(set(invented)) == len(invented)
    assert not set(invented) & english_vocabulary()


def test_every_person_has_every_fact() -> None:
    language = make_language(0)
    assert set(language.facts) == {(p, r) for p in language.people for r in RELATIONS}


def test_documents_repeat_with_the_generator_state() -> None:
    language = make_language(0)
    first = [documents(language, random.Random(5)) for _ in range(3)]
    assert first == [documents(language, random.Random(5)) for _ in range(3)]


@pytest.mark.parametrize("trade", TRADES)
def test_a_sentence_of_a_trade_holds_a_word_that_only_this_trade_has(trade: str) -> None:
    language, rng = make_language(0), random.Random(trade)
    only_here = {*language.verbs[trade], *language.things[trade]}
    siblings = {t for t in TRADES if DOMAIN_OF[t] == DOMAIN_OF[trade]} - {trade}
    foreign = {w for t in siblings for w in (*language.verbs[t], *language.things[t])}
    for _ in range(50):
        words = set(event(language, rng, trade).text.rstrip(".").split())
        assert words & only_here
        assert not words & foreign


def test_agent_and_place_are_in_the_text_exactly_when_claimed() -> None:
    language, rng = make_language(0), random.Random(0)
    said = [event(language, rng, rng.choice((*TRADES, None))) for _ in range(500)]
    assert all(e.agent in e.text for e in said if e.agent)
    assert all(f"in {e.place}" in e.text for e in said if e.place)
    assert not [e for e in said if not e.place and f" in {language.places}" in e.text]
    assert {bool(e.agent) for e in said} == {bool(e.place) for e in said} == {True, False}


def test_a_fact_names_its_person_and_value() -> None:
    language = make_language(0)
    for (person, relation), value in language.facts.items():
        said = fact(language, random.Random(0), person, relation)
        assert person in said
        assert value in said


def test_the_general_files_are_disjoint_and_stable() -> None:
    suite, replay = general_texts(make_language(0), 50, 100)
    assert (len(set(suite)), len(set(replay))) == (50, 100)
    assert not set(suite) & set(replay)
    assert (suite, replay) == general_texts(make_language(0), 50, 100)
