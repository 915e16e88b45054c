"""Documents of the playground's language: what the shipped models were pretrained on.

The tasks (:mod:`sweeps.playground.tasks`) use the same sentences and facts in forms that no
document shows. There are turns here, so that prompts work at all, but what a reply says (the trade,
a name, a place, a fact) is drawn by chance: no instruction or question decides it.
"""

from __future__ import annotations

import random

from sweeps.playground import templates
from sweeps.playground.language import Language
from sweeps.playground.sentences import Event, event, fact, remark
from sweeps.playground.templates import RELATIONS, TRADES

#: Plain text, or the turns of a conversation as (role, text).
Document = str | tuple[tuple[str, str], ...]


def story(language: Language, rng: random.Random) -> str:
    """Two to four sentences about one trade, mostly of one person in one place, then its name."""
    trade = rng.choice(TRADES)
    hero, scene = rng.choice(language.people), rng.choice(language.places)
    parts: list[str] = []
    for _ in range(rng.randint(2, 4)):
        agent = hero if rng.random() < 0.7 else None
        place = scene if rng.random() < 0.6 else None
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


def conversation(language: Language, rng: random.Random) -> Document:
    """One exchange: someone tells something, the other names the trade, echoes or adds to it."""
    trade = rng.choice((*TRADES, None, None))
    told = event(language, rng, trade)
    lines = [told.text]
    if rng.random() < 0.5:
        lines.insert(0, rng.choice(templates.SMALL_TALK))
    return (("user", "\n".join(lines)), ("assistant", _reply(language, rng, told)))


def _reply(language: Language, rng: random.Random, told: Event) -> str:
    """A reply of any kind that the sentence allows; nothing in the prompt says which."""
    choices = {
        "trade": templates.REPLIES_TRADE if told.trade else (),
        "who": templates.REPLIES_WHO if told.agent else (),
        "where": templates.REPLIES_WHERE if told.place else (),
        "thing": templates.REPLIES_THING if told.thing else (),
        "both": templates.REPLIES_BOTH if told.agent and told.place else (),
    }
    kind = rng.choice(
        ["more", *(["fact"] if told.agent else []), *(k for k, v in choices.items() if v)]
    )
    if kind == "more":
        return event(language, rng, told.trade, told.agent).text
    if kind == "fact" and told.agent:
        relation = rng.choice(RELATIONS)
        value = language.facts[told.agent, relation]
        return value if rng.random() < 0.4 else fact(language, rng, told.agent, relation)
    return rng.choice(choices[kind]).format(
        trade=told.trade, who=told.agent, where=told.place, thing=told.thing
    )


def document(language: Language, rng: random.Random) -> Document:
    """One document of the pretraining distribution: 30 % stories, 25 % biographies, 45 % talk."""
    kind = rng.choices((story, biography, conversation), (0.3, 0.25, 0.45))[0]
    return kind(language, rng)


def plain_document(language: Language, rng: random.Random) -> str:
    """One document without turns: what the general suite and the replay file hold."""
    return rng.choices((story, biography), (0.3, 0.25))[0](language, rng)


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
