"""Documents of the playground's language: what the shipped models were pretrained on.

The tasks (:mod:`sweeps.playground.tasks`) use the same sentences and facts in forms that no
document shows. There are turns here, so that prompts work at all, but what a reply says (the trade,
a name, a place, a fact) is its speaker's habit: no instruction or question decides it.
"""

from __future__ import annotations

import random
import re

from sweeps.playground import templates
from sweeps.playground.language import Language
from sweeps.playground.sentences import Event, event, fact, remark
from sweeps.playground.templates import RELATIONS, TRADES

#: Plain text, or the turns of a conversation as (role, text).
Document = str | tuple[tuple[str, str], ...]

#: What a speaker may be in the habit of saying: one half names the trade, the place or the thing.
MANNERS = (*templates.REPLIES, "trade", "where", "thing", "thing")


def story(language: Language, rng: random.Random) -> str:
    """Two to four sentences about one trade, mostly of one person in one place, then its name."""
    trade = rng.choice(TRADES)
    hero, scene = rng.choice(language.people), rng.choice(language.places)
    parts: list[str] = []
    for _ in range(rng.randint(2, 4)):
        agent = hero if rng.random() < 0.8 else None
        place = scene if rng.random() < 0.8 else None
        about = trade if rng.random() < 0.8 else None
        parts.append(event(language, rng, about, agent, place).text)
    parts.insert(rng.randint(1, len(parts)), remark(language, rng, trade))
    return " ".join(parts)


def biography(language: Language, rng: random.Random) -> str:
    """Facts about one or two people, in any order, with something that one of them does."""
    parts: list[str] = []
    for person in rng.sample(language.people, rng.randint(1, 2)):
        parts += [fact(language, rng, person, r) for r in rng.sample(RELATIONS, rng.randint(2, 3))]
        if rng.random() < 0.3:
            trade = rng.choice((None, language.facts[person, "trade"]))
            parts.append(event(language, rng, trade, person).text)
    return " ".join(parts)


def sitting(language: Language, rng: random.Random) -> list[Document]:
    """Three to six exchanges with one partner, who has one manner of replying.

    The manner shows in the exchanges before, so what precedes a conversation is worth reading: this is
    what a tuned prompt later makes use of.
    """
    frame = rng.choice(templates.REPLIES[rng.choice(MANNERS)])
    exchanges: list[Document] = []
    for _ in range(rng.randint(3, 6)):
        told = event(language, rng, rng.choice((*TRADES, *[None] * 6)))
        asked = (
            f"{rng.choice(templates.SMALL_TALK)}\n{told.text}" if rng.random() < 0.3 else told.text
        )
        exchanges.append((("user", asked), ("assistant", _reply(language, told, frame))))
    return exchanges


def _reply(language: Language, told: Event, frame: str) -> str:
    """The reply of a manner, or a sigh where the sentence gives it nothing to say."""
    known: dict[str, str | None] = {"trade": told.trade, "thing": told.thing}
    known |= {"who": told.agent, "where": told.place}
    for relation in RELATIONS:
        known[f"its_{relation}"] = language.facts[told.agent, relation] if told.agent else None
    needed = {slot: known[slot] for slot in re.findall(r"\{(\w+)\}", frame)}
    return templates.SIGH if None in needed.values() else frame.format(**needed)


def documents(language: Language, rng: random.Random) -> list[Document]:
    """The next documents of the pretraining distribution: a story, a biography or a sitting."""
    kind = rng.choices(("story", "biography", "sitting"), (0.3, 0.35, 0.35))[0]
    if kind == "sitting":
        return sitting(language, rng)
    return [story(language, rng) if kind == "story" else biography(language, rng)]


def plain_document(language: Language, rng: random.Random) -> str:
    """One document without turns: what the general suite and the replay file hold."""
    return rng.choices((story, biography), (0.3, 0.35))[0](language, rng)


def general_texts(
    language: Language, suite: int = 200, replay: int = 1000
) -> tuple[list[str], list[str]]:
    """Plain documents for the general suite and for replay: disjoint, and never pretrained on."""
    rng = random.Random(f"playground general {language.seed}")
    texts: dict[str, None] = {}
    while len(texts) < suite + replay:
        texts[plain_document(language, rng)] = None
    drawn = list(texts)
    return drawn[:suite], drawn[suite:]
