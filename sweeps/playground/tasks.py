"""The playground's tasks: rows for training, validation and test, all pure functions of a seed.

    topic     which trade a sentence is about, or ``other``     reads the sentence, as roles does
    roles     who acts and where, or ``none``                   copies from the sentence
    facts     where someone lives, their trade, their animal    answers from memory instead
    reverse   a phrase, its words in reverse order              pretraining prepares nothing
    kindred   which trade three words belong to                 never trained on: transfer

Pretraining showed the sentences and the facts, never these forms.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle
from typing import NamedTuple

from sweeps.playground.language import Language, event
from sweeps.playground.templates import (
    COLOURS,
    DOMAIN_OF,
    IDLE,
    RELATIONS,
    TAXONOMY,
    TRADES,
    Relation,
    english_words,
)

NEGATIVE_TOPIC, NEGATIVE_ROLES = "other", "none"
ROLES_PATTERN = r"none|agent [a-z]+ [a-z]+|place [a-z]+|agent [a-z]+ [a-z]+; place [a-z]+"

QUESTIONS: dict[Relation, tuple[str, ...]] = {
    "home": ("where is home?", "where does {person} live?"),
    "trade": ("which trade?", "what is the work of {person}?"),
    "animal": ("which animal?", "what does {person} feed?"),
}

Row = dict[str, str]


class Splits(NamedTuple):
    """Rows of a task by split; no normalised text occurs twice, within a split or across."""

    train: list[Row]
    validation: list[Row]
    test: list[Row]


@dataclass(frozen=True)
class Task:
    """A task's instruction and score; ``row(language, rng, split)`` makes one example."""

    name: str
    instruction: str
    score: str
    row: Callable[[Language, random.Random, str], Row]
    negative: str | None = None
    pattern: str | None = None


def topic_row(language: Language, rng: random.Random, split: str) -> Row:
    """A sentence and its trade; one in five has none, though it may name a thing of some trade."""
    del split
    sentence = event(language, rng, rng.choice(TRADES) if rng.random() < 0.8 else None)
    return {"text": sentence.text, "label": sentence.trade or NEGATIVE_TOPIC}


def roles_row(language: Language, rng: random.Random, split: str) -> Row:
    """A sentence, its agent and its place; it may name other people and their homes as distractors."""
    del split
    claims = rng.random() < 0.85
    while True:
        sentence = event(language, rng, rng.choice(TRADES) if rng.random() < 0.7 else None)
        if claims == bool(sentence.agent or sentence.place):
            break
    roles = [f"agent {sentence.agent}"] if sentence.agent else []
    roles += [f"place {sentence.place}"] if sentence.place else []
    return {"text": sentence.text, "label": "; ".join(roles) or NEGATIVE_ROLES}


def facts_row(language: Language, rng: random.Random, split: str) -> Row:
    """A sentence about a person and a question on them; the place that it names is not the answer.

    A fact is in one split only: a right answer in validation was learned in pretraining.
    """
    person, relation = rng.choice(facts_by_split(language)[split])
    trade = rng.choice((None, rng.choice(TRADES)))
    sentence = event(language, rng, trade, person)
    while sentence.agent is None:
        sentence = event(language, rng, trade, person)
    question = rng.choice(QUESTIONS[relation]).format(person=person)
    return {"text": f"{sentence.text} {question}", "label": language.facts[person, relation]}


def facts_by_split(language: Language) -> dict[str, list[tuple[str, Relation]]]:
    """Facts (person, relation) by split, about half of them in training.

    They are assigned value by value, training first, so that training has every answer.
    """
    pairs = [(person, relation) for person in language.people for relation in RELATIONS]
    random.Random(f"playground facts {language.seed}").shuffle(pairs)
    splits: dict[str, list[tuple[str, Relation]]] = {"train": [], "validation": [], "test": []}
    turns: dict[str, Iterator[str]] = {}
    for pair in pairs:
        order = turns.setdefault(
            language.facts[pair], cycle(("train", "validation", "train", "test"))
        )
        splits[next(order)].append(pair)
    return splits


def reverse_row(language: Language, rng: random.Random, split: str) -> Row:
    """Three to five words and the same words backwards."""
    del split
    trade = rng.choice(TRADES)
    words = [
        *rng.choice(language.people).split(),
        rng.choice(language.verbs[trade]),
        rng.choice(COLOURS),
        rng.choice(language.things[trade]),
    ]
    words = words[: rng.randint(3, 5)]
    return {"text": " ".join(words), "label": " ".join(reversed(words))}


def kindred_row(language: Language, rng: random.Random, split: str) -> Row:
    """Three words of one trade, one of them perhaps its domain's; or of three trades: ``other``."""
    del split
    if rng.random() < 0.15:
        domains = rng.sample(list(TAXONOMY), 3)
        words = [rng.choice(language.things[rng.choice(TAXONOMY[d])]) for d in domains]
        return {"text": ", ".join(words), "label": NEGATIVE_TOPIC}
    trade = rng.choice(TRADES)
    words = rng.sample(language.things[trade] + language.verbs[trade], 2)
    words.append(rng.choice(language.things[DOMAIN_OF[trade]]))
    rng.shuffle(words)
    return {"text": ", ".join(words), "label": trade}


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("topic", "name the trade.", "macro_f1", topic_row, negative=NEGATIVE_TOPIC),
        Task(
            "roles",
            "find the agent and the place.",
            "token_f1",
            roles_row,
            negative=NEGATIVE_ROLES,
            pattern=ROLES_PATTERN,
        ),
        Task("facts", "answer the question.", "exact_match", facts_row),
        Task("reverse", "turn the words around.", "exact_match", reverse_row),
    )
}
HELD_OUT = Task("kindred", "which trade do the words name?", "exact_match", kindred_row)


def task_words() -> set[str]:
    """English words of the tasks' instructions, questions and answers."""
    questions = (question for of_one in QUESTIONS.values() for question in of_one)
    instructions = (t.instruction for t in (*TASKS.values(), HELD_OUT))
    answers = (NEGATIVE_TOPIC, NEGATIVE_ROLES, "agent", "place", *TRADES, *COLOURS, *IDLE)
    return english_words(*questions, *instructions, *answers)


def make_splits(
    task: Task, language: Language, sizes: tuple[int, int, int] = (2000, 200, 200)
) -> Splits:
    """Make disjoint rows for train, validation and test; test and validation first."""
    seen: set[str] = set()
    rows: dict[str, list[Row]] = {}
    for split, n in zip(("test", "validation", "train"), reversed(sizes), strict=True):
        rng = random.Random(f"playground {task.name} {split} {language.seed}")
        rows[split] = []
        while len(rows[split]) < n:
            row = task.row(language, rng, split)
            if row["text"] not in seen:
                seen.add(row["text"])
                rows[split].append(row)
    return Splits(rows["train"], rows["validation"], rows["test"])
