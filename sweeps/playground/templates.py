"""The fixed part of the playground's language: its taxonomy, function words and sentence frames.

    trade      a leaf of the taxonomy (24), such as ``fishing``
    domain     four trades each (6), such as ``water``

A frame's slots are filled by :mod:`sweeps.playground.language`; empty slots are left out.
"""

from __future__ import annotations

import re
from typing import Literal

Relation = Literal["home", "trade", "animal"]
RELATIONS: tuple[Relation, ...] = ("home", "trade", "animal")

TAXONOMY: dict[str, tuple[str, ...]] = {
    "water": ("fishing", "sailing", "diving", "rowing"),
    "field": ("sowing", "mowing", "herding", "pruning"),
    "fire": ("baking", "smithing", "brewing", "glazing"),
    "cloth": ("weaving", "dyeing", "sewing", "knitting"),
    "wood": ("carving", "milling", "roofing", "binding"),
    "road": ("trading", "guiding", "hauling", "mapping"),
}
DOMAIN_OF = {trade: domain for domain, trades in TAXONOMY.items() for trade in trades}
TRADES = tuple(DOMAIN_OF)

COLOURS = ("red", "green", "white", "black", "old", "new", "small", "heavy", "bright", "rough")
TIMES = ("today", "yesterday", "at dawn", "at night", "in spring", "in winter")
IDLE = ("sleeps", "rests", "waits", "sings", "laughs", "walks", "dreams", "listens")
SKY = ("rain", "snow", "wind", "fog")
SKY_VERBS = ("falls", "rises", "moves", "stays")

# Sentences of a trade, of idleness and of weather: the agent acts, the place is where it happens.

WORK = (
    "{time} {agent} {verb} the {colour} {thing} {at} {tail}",
    "{at} {agent} {verb} the {thing} {time} {tail}",
    "{agent} {verb} a {colour} {thing} {tail} {at}",
    "{time} the {colour} {thing} is {verb} by {agent} {at}",
    "the {thing} is {verb} {time} {at} {tail}",
)
STILL = (
    "{time} {agent} {idle} beside the {colour} {thing} {at}",
    "{agent} {idle} and {idle} {time} {at}",
    "{at} {agent} {idle} {tail}",
    "the {colour} {thing} is {colour} {time} {tail}",
)
CLIMATE = (
    "{time} the {colour} {sky} {skyverb} {at}",
    "{sky} {skyverb} and {sky} {skyverb} {time}",
    "{at} the {sky} is {colour} {time}",
)
TAILS = (
    "for {other}",
    "with {other}",
    "for {other} of {home}",
    "while {other} {idle}",
    "after the {sky}",
)

# Facts about people, remarks that name a trade.

FACTS: dict[Relation, tuple[str, ...]] = {
    "home": (
        "{person} lives in {value}.",
        "{value} is home to {person}.",
        "the home of {person} is in {value}.",
        "{person} came back home to {value}.",
    ),
    "trade": (
        "{person} learned {value}.",
        "{value} is the trade of {person}.",
        "the people know {person} for {value}.",
        "{person} earns bread by {value}.",
    ),
    "animal": (
        "{person} keeps a {value}.",
        "a {value} follows {person}.",
        "the animal of {person} is a {value}.",
        "{person} feeds the {value}.",
    ),
}
REMARKS = (
    "that is {trade}.",
    "such is {trade}, a trade of {domain}.",
    "this was about {trade}.",
    "the words of {trade} are {thing} and {other}.",
    "it is {trade} again.",
)

# What is said in conversations.

REPLIES: dict[str, tuple[str, ...]] = {
    "trade": ("{trade}", "so it is {trade}."),
    "who": ("{who}", "{who}, you say."),
    "where": ("{where}", "in {where}, you say."),
    "thing": ("{thing}", "the {thing}, yes."),
    "both": ("{where}; {who}", "{who} in {where}, well."),
    "home": ("home is {its_home}.", "{who} lives in {its_home}."),
    "animal": ("{its_animal}", "{who} keeps a {its_animal}."),
    "work": ("{who} learned {its_trade}.",),
}
SIGH = "well"
SMALL_TALK = (
    "tell me the news.",
    "read this and name a friend.",
    "which road do you take.",
    "i write the words in order.",
    "find the place where the people are.",
    "turn the text around and answer.",
    "no one knows what the question is.",
    "who is the agent of this place, or is it none.",
    "some other day we go back.",
)


def english_words(*templates: str) -> set[str]:
    """Literal words of templates, without slots such as ``{person}``."""
    return {w for t in templates for w in re.findall(r"[a-z]+", re.sub(r"\{\w+\}", " ", t))}


def english_vocabulary() -> set[str]:
    """English words of the language."""
    fixed = (*TAXONOMY, *TRADES, *COLOURS, *TIMES, *IDLE, *SKY, *SKY_VERBS)
    facts = (template for templates in FACTS.values() for template in templates)
    replies = (template for templates in REPLIES.values() for template in templates)
    frames = (*WORK, *STILL, *CLIMATE, *TAILS, *REMARKS, *SMALL_TALK, SIGH)
    return english_words(*fixed, *facts, *replies, *frames)
