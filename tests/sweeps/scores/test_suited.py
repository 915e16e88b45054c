"""The score that suits a task follows from its answers, in any script."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from sweeps.scores.suited import suited_score

DRAW = random.Random(0)


def some(*labels: str, most: int = 3) -> list[str]:
    return DRAW.sample(labels, DRAW.randint(1, most))


def each(made: Callable[[int], Any], count: int = 120) -> list[Any]:
    return [made(i) for i in range(count)]


WORDS = ("red", "green", "blue", "amber", "violet", "grey", "white", "black")


@pytest.mark.parametrize(
    ("answers", "name", "keys", "negative"),
    [
        (each(lambda i: "abcd"[i % 4]), "macro_f1", {}, None),
        (each(lambda i: ["好评", "差评", "其他"][i % 3]), "macro_f1", {}, "其他"),
        (each(lambda i: ["Science, Technology", "Sports", "oos"][i % 3]), "macro_f1", {}, "oos"),
        (each(lambda i: str(i % 5 + 1)), "macro_f1", {}, None),
        (
            each(lambda i: "，".join(some("交通", "美食", "教育", "天气")) if i % 5 else "无"),
            "multilabel_f1",
            {"separator": "，"},
            "无",
        ),
        (
            each(lambda i: json.dumps(some("交通", "美食", "教育") if i % 4 else ["无"])),
            "multilabel_f1",
            {},
            json.dumps(["无"]),
        ),
        (each(lambda i: "; ".join(some(*WORDS[:6]))), "multilabel_f1", {"separator": ";"}, None),
        (
            each(lambda i: "|".join(some("a b", "c", "d", "e"))),
            "multilabel_f1",
            {"separator": "|"},
            None,
        ),
        (each(lambda i: str(i * 7 - 200)), "number", {}, None),
        (each(lambda i: f"{i},250.5"), "number", {}, None),
        (each(lambda i: f"We add {i} and 1.\n#### {i + 1}"), "number", {}, None),
        (each(lambda i: json.dumps({"name": f"n{i}", "age": i})), "json", {}, None),
        (
            each(lambda i: json.dumps({"time": f"{i}:00"}) if i % 3 == 0 else "{}"),
            "json",
            {},
            "{}",
        ),
        (
            each(lambda i: f"time: {i}:00; people: {i % 4}" if i % 3 == 0 else "none"),
            "token_f1",
            {"unordered": True, "separator": ";"},
            "none",
        ),
        (each(lambda i: f"it is thing {i} of the many"), "token_f1", {}, None),
        (each(lambda i: f"第{i}号线今天停运"), "token_f1", {}, None),
        (each(lambda i: f"รถไฟขบวนที่ {i} มาช้า"), "token_f1", {}, None),
        (
            each(lambda i: json.dumps({"rows of it": i, "x": 1}) if i else "oops"),
            "token_f1",
            {},
            None,
        ),
        (each(lambda i: f"w{i}"), "exact_match", {}, None),
        (each(lambda i: f"say {i}: " + " ".join(DRAW.choices(WORDS, k=40))), "chrf", {}, None),
        (
            each(lambda i: f"Paris, {i} nights, with {' '.join(DRAW.sample(WORDS, 3))}"),
            "token_f1",
            {},
            None,
        ),
    ],
)
def test_a_score_suits_the_answers(
    answers: list[str], name: str, keys: dict[str, Any], negative: str | None
) -> None:
    found = suited_score(answers)
    assert (found.name, dict(found.keys), found.negative) == (name, keys, negative)


def test_a_field_may_say_what_its_texts_are() -> None:
    answers = each(lambda i: f"the town opens bridge number {i}")
    assert suited_score(answers, "highlights").name == "rouge_l"
    assert suited_score(answers, "translation_de").name == "chrf"
    assert suited_score(answers, "reply").name == "token_f1"


def test_arrays_are_several_labels_and_objects_are_json() -> None:
    found = suited_score(each(lambda i: json.dumps(sorted(some("a", "b", "c")) if i % 4 else [])))
    assert (found.name, dict(found.keys)) == ("multilabel_f1", {})
    slots = each(lambda i: {"time": str(i)} if i % 3 else {})
    found = suited_score([json.dumps(slot) for slot in slots])
    assert (found.name, found.negative) == ("json", "{}")
