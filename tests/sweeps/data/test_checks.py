"""Checks across a task's rows: near leaks, repeated rows, conflicting answers, control tokens in text."""

from __future__ import annotations

import pytest

from sweeps.data.checks import (
    control_token_warnings,
    label_bound_problems,
    leaks,
    repetition_warnings,
    shared_texts,
)
from sweeps.data.examples import Example, LocatedExample
from sweeps.data.layouts import Turn
from tests.factories import task_spec


def rows(*pairs: tuple[str, str]) -> list[LocatedExample]:
    return [
        LocatedExample(Example((Turn("user", prompt),), answer, number), number + 1)
        for number, (prompt, answer) in enumerate(pairs)
    ]


def wide(text: str) -> str:
    return "".join(chr(ord(letter) + 0xFEE0) if letter.isalnum() else letter for letter in text)


@pytest.mark.parametrize(
    ("train", "validation", "kind"),
    [
        ("is it on", "is it on", "1 exact"),
        ("is it on", " Is  it ON", "1 but for case and spaces"),
        ("is it on", "Is it on?!", "1 but for punctuation and width"),
        ("is it on", wide("is it on"), "1 but for punctuation and width"),
        ("say (well-known)", "say 'well known'", "1 but for punctuation and width"),
        ("\u4f60\u597d\u3002", "\u4f60\u597d", "1 but for punctuation and width"),
        ("3.5 + 1", "35 + 1", None),
        ("2 - 1", "2 1", None),
        ("6*2", "6/2", None),
        ("!!!", "???", None),
        ("a < b", "a > b", None),
    ],
)
def test_leaks_that_differ_in_form(train: str, validation: str, kind: str | None) -> None:
    splits = {
        "train": ("train.jsonl", rows((train, "a"))),
        "validation": ("validation.jsonl", rows(("else", "a"), (validation, "a"))),
    }
    found = list(leaks(splits))
    assert [kind in leak.wording for leak in found] == ([] if kind is None else [True])
    for leak in found:
        assert leak.wording.startswith("validation.jsonl:2: found 1 prompts of train in validation")
        assert leak.loose == ("punctuation" in str(kind))
    shared = shared_texts("replay.jsonl", [train], "suite.jsonl", [validation])
    assert (shared is None) == (kind is None)


def test_one_prompt_with_two_labels_is_warned_of() -> None:
    pairs = [("same text", "weather"), ("Same  text", "pay bill")] * 32
    repeated, conflict = repetition_warnings({"train": ("train.jsonl", rows(*pairs))})
    assert repeated == (
        "train.jsonl:3: 62 rows that repeat an earlier row: "
        "train.jsonl:3 = :1, train.jsonl:4 = :2, train.jsonl:5 = :1"
    )
    assert conflict == (
        "train.jsonl:1: 1 prompt has different answers, in 64 rows: "
        "line 1 'weather' (32 times), line 2 'pay bill' (32 times)"
    )
    (_, secret) = repetition_warnings({"train": ("t", rows(*pairs))}, "none")
    assert "weather" not in secret


def test_rows_that_differ_are_sound() -> None:
    splits = {"train": ("train.jsonl", rows(("a", "x"), ("b", "x"), ("c", "y")))}
    assert list(repetition_warnings(splits)) == []


def test_control_tokens_written_in_rows_are_counted() -> None:
    split = rows(("a<|im_end|>\n<|im_start|>b", "ok"), ("b", "no<|im_end|>"), ("c", "d"))
    found = control_token_warnings(
        {"train": ("t.jsonl", split)}, ["<|im_end|>", "<|im_start|>"], "m"
    )
    assert [line.partition(" in the text")[0] for line in found] == [
        "t.jsonl:1: 2 rows with '<|im_end|>'",
        "t.jsonl:1: 1 row with '<|im_start|>'",
    ]
    labels = rows(("a", "<|yes|>"), ("b", "<|no|>"))
    assert not list(control_token_warnings({"t": ("t.jsonl", labels)}, ["<|yes|>", "<|no|>"], "m"))
    assert not list(control_token_warnings({"t": ("t.jsonl", split)}, [], "m"))


def test_a_bound_on_a_label_is_checked_against_the_rows() -> None:
    splits = {
        "train": ("train.jsonl", rows(("a", "退款"), ("b", "天气.明天"))),
        "validation": ("validation.jsonl", rows(("c", "退款"))),
    }
    bounds = {
        "recall.t.b.退款": 0.5,
        "precision.t.b.天气.明天": 0.5,
        "recall.t.b.天气.明天": 0.5,
        "precision.t.b.天气明天": 0.5,
        "recall.t.b": 0.5,
        "recall.t.x": 0.5,
        "min.t.b": 0.5,
    }
    found = dict(label_bound_problems(task_spec("t.b"), splits, bounds, ["t", "t.b"]))
    assert list(found) == ["recall.t.b.天气.明天", "precision.t.b.天气明天"]
    assert "which no validation row has" in found["recall.t.b.天气.明天"]
    assert found["precision.t.b.天气明天"].endswith("; did you mean '天气.明天'?")


def test_a_bound_may_name_each_of_several_labels() -> None:
    several = task_spec("t", score="multilabel_f1", negative="无")
    splits = {"validation": ("v.jsonl", rows(("a", "交通, 美食"), ("b", "无")))}
    bounds = {"recall.t.美食": 0.5, "recall.t.交通, 美食": 0.5}
    (problem,) = label_bound_problems(several, splits, bounds, ["t"])
    assert problem[0] == "recall.t.交通, 美食"
