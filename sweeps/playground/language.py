"""The playground's language and world, a pure function of a seed.

Content words are invented from syllables; function words and the names of trades are English, so
that a reader can follow. The world holds people, each with a home, a trade and an animal.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from sweeps.playground.templates import RELATIONS, TAXONOMY, TRADES, Relation, english_vocabulary

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
    """The language of a seed: equal seeds give equal languages, on any machine."""
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
