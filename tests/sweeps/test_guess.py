"""What is guessed of data files, and what is put to the user, or refused where two readings are possible."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from sweeps.guess import NOTHING_SAID, Guess, Question, Wanted, guess_task
from sweeps.init import draft_sweep, guessed_lines
from sweeps.preflight import read_checked
from tests.layouts import LAYOUTS, Layout, drafted, jsonl, labelled
from tracker.errors import InputError


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: str(layout.name))
def test_the_doctor_accepts_every_draft(layout: Layout, tmp_path: Path, tiny_model: Path) -> None:
    _, sweep = drafted(layout, tmp_path, tiny_model)
    assert not sweep.spec.allow_leakage


def guessed(folder: Path, rows: list[dict[str, Any]], wanted: Wanted = NOTHING_SAID) -> Guess:
    return guess_task(jsonl(folder / "rows.jsonl", rows), (), wanted, None)


def read_as(folder: Path, rows: list[dict[str, Any]], **wanted: str) -> tuple[str, str]:
    """Input and answer templates guessed of *rows*."""
    said = {key: {None: value} for key, value in wanted.items()}
    guess = guessed(folder, rows, NOTHING_SAID._replace(**said))
    assert guess.templates is not None
    return guess.templates.input, guess.templates.answer


def each(count: int = 60, **fields: str) -> list[dict[str, Any]]:
    """Rows of texts that differ by ``{i}``, or by ``{a}``: one of three."""
    return [
        {
            name: text.format(i=i, a="abc"[i % 3], b="xy"[i // 3 % 2])
            for name, text in fields.items()
        }
        for i in range(count)
    ]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"text": "t {i}", "label": "{a}"}, ("{text}", "{label}")),
        ({"userText": "t {i}", "goldIntent": "{a}"}, ("{userText}", "{goldIntent}")),
        ({"标题": "题 {i}", "类别": "{a}"}, ("{标题}", "{类别}")),
        ({"id": "{i}", "Text": "t {i}", "Label": "{a}", "lang": "en"}, ("{Text}", "{Label}")),
        (
            {"premise": "p {i}", "hypothesis": "h {i}", "label": "{a}"},
            ("{premise}\n{hypothesis}", "{label}"),
        ),
        (
            {"context": "a long context {i}", "question": "q {i}", "answer": "it is {i} of them"},
            ("{context}\n{question}", "{answer}"),
        ),
        (
            {
                "instruction": "do {i}",
                "context": "it is {a}",
                "response": "done {i} of it",
                "category": "{a}",
            },
            ("{instruction}\n{context}", "{response}"),
        ),
        ({"doc_id": "{i}", "words": "some words {i}", "k": "{a}"}, ("{words}", "{k}")),
        ({"text": "t {i}", "label": "{a}", "label_text": "name {a}"}, ("{text}", "{label_text}")),
        ({"en": "t {i}", "notes": "a much longer text, of many words {i}"}, ("{notes}", "{en}")),
    ],
    ids=", ".join,
)
def test_fields_are_recognised_by_name_or_by_value(
    tmp_path: Path, fields: dict[str, str], expected: tuple[str, str]
) -> None:
    assert read_as(tmp_path, each(**fields)) == expected


@pytest.mark.parametrize(
    ("fields", "option", "choices"),
    [
        (
            {"text": "t {i}", "intent": "{a}", "sentiment": "{b}"},
            "answer",
            ["intent", "sentiment"],
        ),
        ({"text": "t {i}", "k": "{a}", "m": "{b}"}, "answer", ["k", "m"]),
        ({"english": "good day {i}", "german": "guten Tag {i}"}, "answer", ["english", "german"]),
        (
            {"first": "a text {i}", "second": "a text {i}", "label": "{a}"},
            "input",
            ["first", "second"],
        ),
    ],
    ids=str,
)
def test_two_readings_are_refused_in_a_script_and_put_to_a_user_on_a_terminal(
    tmp_path: Path, fields: dict[str, str], option: str, choices: list[str]
) -> None:
    rows = each(**fields)
    with pytest.raises(InputError) as raised:
        guessed(tmp_path, rows)
    said = str(raised.value)
    assert "\n" not in said
    assert all(f"--{option} {choice}" in said for choice in choices), said
    questions: list[Question] = []

    def last(question: Question) -> str:
        questions.append(question)
        return question.choices[-1]

    guess = guess_task(tmp_path / "rows.jsonl", (), NOTHING_SAID, last)
    assert [sorted(q.choices) for q in questions] == [sorted(choices)]
    assert guess.templates is not None
    read = guess.templates.answer if option == "answer" else guess.templates.input
    assert read == f"{{{questions[0].choices[-1]}}}"
    for choice in choices:
        found = read_as(tmp_path, rows, **{option: choice})
        assert found[option == "answer"] == f"{{{choice}}}"


def test_a_template_may_be_said_and_a_wrong_field_is_refused(tmp_path: Path) -> None:
    rows = each(text="t {i}", title="title {i}", label="{a}")
    said = "{title}: {text}"
    assert read_as(tmp_path, rows, input=said) == (said, "{label}")
    with pytest.raises(InputError, match=r"--answer labell: .*did you mean 'label'"):
        read_as(tmp_path, rows, answer="labell")
    with pytest.raises(InputError, match=r"--format chat: found fields .*; allowed: fields"):
        read_as(tmp_path, rows, format="chat")


def test_a_chat_with_fields_beside_it_is_ambiguous(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]
    rows = [row | {"messages": chat} for row in labelled()]
    with pytest.raises(InputError, match="--format chat or --format fields"):
        guessed(tmp_path, rows)
    assert read_as(tmp_path, rows, format="fields") == ("{text}", "{label}")
    assert guessed(tmp_path, rows, Wanted({}, {}, {None: "chat"})).templates is None


def test_options_for_one_task_of_several(tmp_path: Path) -> None:
    rows = each(text="t {i}", intent="{a}", sentiment="{b}")
    paths = [jsonl(tmp_path / f"{name}.jsonl", rows) for name in ("one", "two")]
    wanted = Wanted({None: "intent", "two": "sentiment"}, {}, {})
    draft = draft_sweep(paths, ["org/model"], tmp_path, wanted)
    assert [guess.templates and guess.templates.answer for guess in draft.guesses] == [
        "{intent}",
        "{sentiment}",
    ]
    with pytest.raises(InputError, match=r"--answer: task .*'to'"):
        draft_sweep(paths, ["org/model"], tmp_path, Wanted(wanted.answer | {"to": "x"}, {}, {}))


def test_the_row_that_was_guessed_from_is_shown(tmp_path: Path) -> None:
    lines = guessed_lines(guessed(tmp_path, labelled()))
    assert 'answer "{label}"' in lines[0]
    assert "score macro_f1" in lines[0]
    assert lines[-1].split() == ["answer", "book_table"]


def test_labels_that_train_never_had_are_no_refused_draft(tmp_path: Path, tiny_model: Path) -> None:
    jsonl(tmp_path / "train.jsonl", labelled())
    jsonl(tmp_path / "dev.jsonl", [*labelled(20, start=900), {"text": "odd", "label": "rare"}])
    guess = guess_task(tmp_path / "train.jsonl", (), NOTHING_SAID, None)
    assert guess.suited.name == "exact_match"
    assert "rare" in guess.notes[0]


def test_several_labels_that_train_never_had_are_no_refused_draft(
    tmp_path: Path, tiny_model: Path
) -> None:
    def rows(start: int, *more: str) -> list[dict[str, Any]]:
        pairs = [("red", "blue"), ("blue",), ("red",), ("green", "red"), ("green",)]
        texts = [*(", ".join(pairs[i % 5]) for i in range(60)), *more]
        return [{"text": f"row {start + i}", "colours": text} for i, text in enumerate(texts)]

    jsonl(tmp_path / "train.jsonl", rows(0))
    jsonl(tmp_path / "dev.jsonl", rows(100))
    assert (
        guess_task(tmp_path / "train.jsonl", (), NOTHING_SAID, None).suited.name == "multilabel_f1"
    )
    jsonl(tmp_path / "dev.jsonl", rows(100, "red, amber"))
    draft = draft_sweep([tmp_path], [str(tiny_model)], tmp_path)
    (tmp_path / "sweep.yaml").write_text(draft.text)
    task = read_checked(tmp_path / "sweep.yaml", tmp_path / "runs").tasks[tmp_path.name]
    assert (task.score, task.unordered) == ("token_f1", True)
    assert "amber" in draft.text


def test_spans_are_refused_with_the_line_that_converts_them(tmp_path: Path) -> None:
    spans = [{"text": ["noon"], "answer_start": [3]}, {"text": [], "answer_start": []}]
    rows = [{"context": f"c {i}", "question": f"q {i}", "answers": spans[i % 2]} for i in range(40)]
    with pytest.raises(InputError, match="spans of text in 'answers'") as raised:
        guessed(tmp_path, rows)
    command = str(raised.value).partition("to convert it: ")[2]
    if shutil.which("jq"):
        subprocess.run(command, shell=True, check=True, cwd=tmp_path)
        guess = guess_task(tmp_path / "plain_rows.jsonl", (), NOTHING_SAID, None)
        assert {item.example.answer for item in guess.splits["train"][1]} == {"noon", "none"}
