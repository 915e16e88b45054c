"""The playground's language: its lexicon, its world of people and facts, and its sentences.

A pure function of a seed. Content words are invented from syllables; function words and the names of trades
are English, so that a reader can follow. The world has people, each with a home, a trade and an animal.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from sweeps.playground import templates
from sweeps.playground.templates import (
    DOMAIN_OF,
    RELATIONS,
    TAXONOMY,
    TRADES,
    Relation,
    english_vocabulary,
)

CONSONANTS, VOWELS = "bdfgklmnprstvz", "aeiou"


@dataclass(frozen=True)
class Language:
    """Lexicon and world. ``verbs`` and ``things`` are keyed by trade and by domain."""

    seed: int
    given: tuple[str, ...]
    family: tuple[str, ...]
    places: tuple[str, ...]
    animals: tuple[str, ...]
    verbs: dict[str, tuple[str, ...]]
    things: dict[str, tuple[str, ...]]
    people: tuple[str, ...]
    facts: dict[tuple[str, Relation], str]

    @property
    def invented(self) -> tuple[str, ...]:
        """Every invented word, in the order of its making."""
        groups = (self.given, self.family, self.places, self.animals)
        keyed = (*self.verbs.values(), *self.things.values())
        return tuple(word for group in (*groups, *keyed) for word in group)


def make_language(seed: int = 0) -> Language:
    """Make the language of a seed: equal seeds give equal languages on any machine."""
    rng = random.Random(f"playground language {seed}")
    words = _invent(rng, taken=english_vocabulary())

    def take(n: int) -> tuple[str, ...]:
        return tuple(next(words) for _ in range(n))

    given, family, places, animals = take(20), take(12), take(24), take(12)
    verbs = {**{t: take(2) for t in TRADES}, **{d: take(2) for d in TAXONOMY}}
    things = {**{t: take(4) for t in TRADES}, **{d: take(4) for d in TAXONOMY}}
    people = tuple(rng.sample([f"{g} {f}" for g in given for f in family], 96))
    choices: dict[Relation, tuple[str, ...]] = {"home": places, "trade": TRADES, "animal": animals}
    facts = {(p, r): rng.choice(choices[r]) for p in people for r in RELATIONS}
    return Language(seed, given, family, places, animals, verbs, things, people, facts)


def _invent(rng: random.Random, taken: set[str]) -> Iterator[str]:
    """New words of two or three syllables, never one already taken."""
    used = set(taken)
    while True:
        syllables = rng.choice((2, 2, 2, 3))
        word = "".join(rng.choice(CONSONANTS) + rng.choice(VOWELS) for _ in range(syllables))
        word += rng.choice(("", "", "n", "r", "s", "l"))
        if word not in used:
            used.add(word)
            yield word


# -- sentences -------------------------------------------------------------------------------------


class Event(NamedTuple):
    """A sentence and its content by slot, ``None`` where it has none."""

    text: str
    trade: str | None = None
    agent: str | None = None
    place: str | None = None
    thing: str | None = None


def event(
    language: Language,
    rng: random.Random,
    trade: str | None,
    agent: str | None = None,
    place: str | None = None,
) -> Event:
    """Make a sentence of a trade, or of none (idleness, weather) where ``trade`` is ``None``.

    The trade shows in the verb, in the thing, or in both; a word that a whole domain shares never
    stands alone. Idle sentences may hold a thing of some trade without being about it.
    """
    if trade is None:
        frame = rng.choice(templates.STILL + templates.CLIMATE)
        verb, thing = "", rng.choice(language.things[rng.choice(TRADES)])
    else:
        frame = rng.choice(templates.WORK)
        shared = rng.choice(("", "", "verb", "thing"))
        verb = rng.choice(language.verbs[DOMAIN_OF[trade] if shared == "verb" else trade])
        thing = rng.choice(language.things[DOMAIN_OF[trade] if shared == "thing" else trade])
    agent = agent or rng.choice(language.people)
    place = place or rng.choice((*language.places, None, None, None, None, None, None, None, None))
    slots = {"agent": agent, "verb": verb, "thing": thing, "at": f"in {place}" if place else ""}
    text = _fill(frame, {**slots, "tail": _tail(language, rng)}, rng)
    return Event(
        text=text,
        trade=trade,
        agent=agent if "{agent}" in frame else None,
        place=place if "{at}" in frame else None,
        thing=thing if "{thing}" in frame else None,
    )


def _tail(language: Language, rng: random.Random) -> str:
    """A closing phrase that names someone else; half of the sentences have none."""
    if rng.random() < 0.5:
        return ""
    other = rng.choice(language.people)
    return _fill(
        rng.choice(templates.TAILS),
        {"other": other, "home": language.facts[other, "home"]},
        rng,
        end="",
    )


def _fill(frame: str, slots: dict[str, str], rng: random.Random, end: str = ".") -> str:
    """Fill a frame's slots one by one, so that a repeated slot may take two values."""
    optional = {"time": templates.TIMES, "colour": templates.COLOURS}
    always = {"idle": templates.IDLE, "sky": templates.SKY, "skyverb": templates.SKY_VERBS}

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name in slots:
            return slots[name]
        if name in optional and rng.random() < 0.4 and f"is {{{name}}}" not in frame:
            return ""
        return rng.choice((optional | always)[name])

    return " ".join(re.sub(r"\{(\w+)\}", value, frame).split()) + end


def fact(language: Language, rng: random.Random, person: str, relation: Relation) -> str:
    """Make a true sentence about a person."""
    value = language.facts[person, relation]
    return rng.choice(templates.FACTS[relation]).format(person=person, value=value)


def remark(language: Language, rng: random.Random, trade: str) -> str:
    """Make a sentence that names a trade."""
    thing, other = rng.sample(language.things[trade], 2)
    frame = rng.choice(templates.REMARKS)
    return frame.format(trade=trade, domain=DOMAIN_OF[trade], thing=thing, other=other)
