"""Pretraining documents of the playground: stories, biographies and conversations.

The tasks (:mod:`sweeps.playground.tasks`) use the same sentences and facts in forms that no document has.
Conversations have turns, so that prompts work at all, but the content of a reply (the trade, a name, a
place, a fact) is the speaker's habit: it depends on no instruction or question.
"""

from __future__ import annotations

import random
import re

from sweeps.playground import templates
from sweeps.playground.language import Event, Language, event, fact, remark
from sweeps.playground.templates import RELATIONS, TRADES

#: Plain text, or the turns of a conversation as (role, text).
Document = str | tuple[tuple[str, str], ...]

#: Kinds of replies that a speaker may have as a habit: one half names the trade, the place or the thing.
MANNERS = (*templates.REPLIES, "trade", "where", "thing", "thing")


def story(language: Language, rng: random.Random) -> str:
    """A story: two to four sentences about one trade, mostly of one person in one place, and its name."""
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
    """A biography: facts about one or two people, in any order, with something that one of them does."""
    parts: list[str] = []
    for person in rng.sample(language.people, rng.randint(1, 2)):
        parts += [fact(language, rng, person, r) for r in rng.sample(RELATIONS, rng.randint(2, 3))]
        if rng.random() < 0.3:
            trade = rng.choice((None, language.facts[person, "trade"]))
            parts.append(event(language, rng, trade, person).text)
    return " ".join(parts)


def conversations(language: Language, rng: random.Random) -> list[Document]:
    """Three to six conversations with one speaker, who has one kind of reply.

    The kind shows in the conversations before, so that a model learns to read what precedes a prompt: a
    tuned prompt depends on that.
    """
    frame = rng.choice(templates.REPLIES[rng.choice(MANNERS)])
    dialogues: list[Document] = []
    for _ in range(rng.randint(3, 6)):
        said = event(language, rng, rng.choice((*TRADES, *[None] * 6)))
        prompt = (
            f"{rng.choice(templates.SMALL_TALK)}\n{said.text}" if rng.random() < 0.3 else said.text
        )
        dialogues.append((("user", prompt), ("assistant", _reply(language, said, frame))))
    return dialogues


def _reply(language: Language, said: Event, frame: str) -> str:
    """The reply to a sentence, or a sigh where the sentence does not fill the frame's slots."""
    values: dict[str, str | None] = {"trade": said.trade, "thing": said.thing}
    values |= {"who": said.agent, "where": said.place}
    for relation in RELATIONS:
        values[f"its_{relation}"] = language.facts[said.agent, relation] if said.agent else None
    needed = {slot: values[slot] for slot in re.findall(r"\{(\w+)\}", frame)}
    return templates.SIGH if None in needed.values() else frame.format(**needed)


def documents(language: Language, rng: random.Random) -> list[Document]:
    """Next documents of the pretraining distribution: a story, a biography or conversations."""
    kind = rng.choices(("story", "biography", "conversations"), (0.3, 0.35, 0.35))[0]
    if kind == "conversations":
        return conversations(language, rng)
    return [story(language, rng) if kind == "story" else biography(language, rng)]


def plain_document(language: Language, rng: random.Random) -> str:
    """A document without turns, for the general suite and the replay file."""
    return rng.choices((story, biography), (0.3, 0.35))[0](language, rng)


def general_texts(
    language: Language, suite: int = 200, replay: int = 1000
) -> tuple[list[str], list[str]]:
    """Plain documents for the general suite and for replay: disjoint, and never pretrained on."""
    rng = random.Random(f"playground general {language.seed}")
    texts: dict[str, None] = {}
    while len(texts) < suite + replay:
        texts[plain_document(language, rng)] = None
    sampled = list(texts)
    return sampled[:suite], sampled[suite:]
