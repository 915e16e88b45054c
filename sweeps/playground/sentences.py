"""Single sentences of the playground's language, and what each of them says."""

from __future__ import annotations

import random
import re
from typing import NamedTuple

from sweeps.playground import templates
from sweeps.playground.language import Language
from sweeps.playground.templates import DOMAIN_OF, TRADES, Relation


class Event(NamedTuple):
    """One sentence and what it says; ``None`` where it says nothing of the kind."""

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
    """One sentence: of a trade, or of none (idleness, weather) where ``trade`` is ``None``.

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
    """One true sentence about a person."""
    value = language.facts[person, relation]
    return rng.choice(templates.FACTS[relation]).format(person=person, value=value)


def remark(language: Language, rng: random.Random, trade: str) -> str:
    """One sentence that names a trade."""
    thing, other = rng.sample(language.things[trade], 2)
    frame = rng.choice(templates.REMARKS)
    return frame.format(trade=trade, domain=DOMAIN_OF[trade], thing=thing, other=other)
