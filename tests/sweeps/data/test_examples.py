"""Rows become examples the same way whatever their file, and subsets nest."""

from __future__ import annotations

import csv
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from sweeps.data.examples import (
    Example,
    digest,
    file_ref,
    nested_order,
    normalised,
    part_path,
    parts,
    read_examples,
    read_located,
    read_texts,
)
from sweeps.data.layouts import Turn
from tracker.errors import InputError
from tracker.task import FileRef, PromptTemplate, TaskSpec

PROMPT = PromptTemplate(system="Be brief.", instruction="Name it.", input="{text}")


def task(**changes: Any) -> TaskSpec:
    return TaskSpec(name="t", validation=FileRef(path="", sha256="", rows=0), **changes)


def ref(path: Path) -> FileRef:
    return FileRef(path=str(path), sha256="", rows=0)


def write(path: Path, rows: list[dict[str, Any]]) -> FileRef:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return ref(path)


def examples(answers: list[str]) -> list[Example]:
    return [Example((Turn("user", f"row {i}"),), a, i) for i, a in enumerate(answers)]


def test_templates_fill_chat_turns(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", [{"text": "hi {there}", "label": "x", "n": 1}])
    found = read_examples(task(prompt=PROMPT, answer="{label}/{n} {{}}"), file)
    turns = (Turn("system", "Be brief."), Turn("user", "Name it.\nhi {there}"))
    assert found == [Example(turns, "x/1 {}", 0)]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"people": "two", "date": "May 3"}, "people: two; date: May 3"),
        ({}, "none"),
        (["time", "date"], "time, date"),
        ([], "none"),
        (True, "true"),
        (3, "3"),
        (2.5, "2.5"),
        ({"a": ["b", "c"]}, "a: b, c"),
    ],
)
def test_values_as_text(tmp_path: Path, value: object, text: str) -> None:
    file = write(tmp_path / "a.jsonl", [{"text": "q", "value": value}])
    assert read_examples(task(prompt=PROMPT, answer="{value}"), file)[0].answer == text


@pytest.mark.parametrize(
    ("row", "turns"),
    [
        ({"prompt": "q", "completion": "a"}, [("user", "q")]),
        ({"instruction": "do", "input": "this", "output": "a"}, [("user", "do\nthis")]),
        ({"instruction": "do", "input": "", "output": "a"}, [("user", "do")]),
        ({"instruction": "do", "output": "a"}, [("user", "do")]),
        (
            {
                "messages": [
                    {"role": "system", "content": "s"},
                    {"role": "user", "content": "q"},
                    {"role": "assistant", "content": "b"},
                    {"role": "user", "content": "r"},
                    {"role": "assistant", "content": "a"},
                ]
            },
            [("system", "s"), ("user", "q"), ("assistant", "b"), ("user", "r")],
        ),
        (
            {
                "prompt": [{"role": "user", "content": "q"}],
                "completion": [{"role": "assistant", "content": "a"}],
            },
            [("user", "q")],
        ),
    ],
)
def test_layouts_that_rows_carry(
    tmp_path: Path, row: dict[str, Any], turns: list[tuple[str, str]]
) -> None:
    (found,) = read_examples(task(), write(tmp_path / "a.jsonl", [row]))
    assert found == Example(tuple(Turn(*turn) for turn in turns), "a", 0)


def test_a_row_without_messages_is_named_by_its_line(tmp_path: Path) -> None:
    """The layout is that of the first row."""
    chat = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    with pytest.raises(InputError, match=r"a\.jsonl:2: .*messages"):
        read_examples(task(), write(tmp_path / "a.jsonl", [chat, {"text": "c"}]))


def test_a_row_without_any_layout_lists_what_there_could_be(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", [{"text": "q", "label": "a"}])
    with pytest.raises(
        InputError, match=r"a\.jsonl:1: found fields text, label; allowed: messages"
    ):
        read_examples(task(), file)


@pytest.mark.parametrize(
    ("turns", "wording"),
    [
        ([{"role": "user", "content": "q"}], "found a last turn of 'user'; allowed: assistant"),
        ([{"role": "asistant", "content": "q"}], "did you mean 'assistant'"),
        ([{"role": "user"}], "found a turn without text"),
        ([], "found no turns in 'messages'"),
    ],
)
def test_broken_chats(tmp_path: Path, turns: list[dict[str, str]], wording: str) -> None:
    with pytest.raises(InputError, match=wording):
        read_examples(task(), write(tmp_path / "a.jsonl", [{"messages": turns}]))


def test_one_table_in_three_formats_is_one_list_of_examples(tmp_path: Path) -> None:
    rows = [{"text": 'a, "b"\nc', "label": "x"}, {"text": "ü\u2028y", "label": "z"}]
    write(tmp_path / "a.jsonl", rows)
    with (tmp_path / "a.csv").open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, ["text", "label"])
        writer.writeheader()
        writer.writerows(rows)
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    plain = task(prompt=PROMPT, answer="{label}")
    jsonl, table, columns = (
        read_examples(plain, ref(tmp_path / f"a.{suffix}"))
        for suffix in ("jsonl", "csv", "parquet")
    )
    assert jsonl == table == columns
    assert jsonl[1].messages[-1].content == "Name it.\nü\u2028y"


def test_parquet_mappings_hold_only_what_the_row_has(tmp_path: Path) -> None:
    rows = [{"text": "a", "slots": {"date": "May", "time": None}}]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    found = read_examples(task(prompt=PROMPT, answer="{slots}"), ref(tmp_path / "a.parquet"))
    assert found[0].answer == "date: May"


def test_raw_line_separators_do_not_end_a_json_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a\u2028b\u0085c"}\r\n\n{"text": "d"}', encoding="utf-8")
    assert read_texts(ref(path)) == ["a\u2028b\u0085c", "d"]


def test_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes('{"text": "ü"}\n'.encode("utf-8-sig"))
    assert read_texts(ref(path)) == ["ü"]


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('text,label\n"two\nlines",x\nnext,y\n')
    found = read_located(task(prompt=PROMPT, answer="{label}"), str(path))
    assert [(item.line, item.example.row) for item in found] == [(2, 0), (4, 1)]


def test_file_ref_names_content_not_place(tmp_path: Path) -> None:
    one, two = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    for path in (one, two):
        path.write_text('{"text": "a"}\n{"text": "b"}\n')
    assert file_ref(one).sha256 == file_ref(two).sha256
    assert file_ref(one).rows == 2
    two.write_text('{"text": "a"}\n')
    assert file_ref(one).sha256 != file_ref(two).sha256


@given(
    counts=st.lists(st.integers(2, 40), min_size=1, max_size=6),
    seed=st.integers(0, 1000),
    cut=st.integers(1, 240),
)
def test_every_prefix_is_stratified(counts: list[int], seed: int, cut: int) -> None:
    """Each answer's part of a prefix is within 1 of its share, plus 1 per fractional place."""
    answers = [f"label {i}" for i, count in enumerate(counts) for _ in range(count)]
    rows = examples(answers)
    order = nested_order(rows, seed)
    assert sorted(order) == list(range(len(rows)))
    cut = min(cut, len(rows))
    in_prefix = Counter(rows[i].answer for i in order[:cut])
    slack = 1 + len(counts) / 2
    for i, count in enumerate(counts):
        assert abs(in_prefix[f"label {i}"] - count * cut / len(rows)) <= slack


def test_order_is_seeded_and_leaves_the_global_generator_alone() -> None:
    rows = examples([str(i % 7) for i in range(200)])
    random.seed(5)
    state = random.getstate()
    one, same, other = nested_order(rows, 1), nested_order(rows, 1), nested_order(rows, 2)
    assert one == same != other
    assert random.getstate() == state
    assert nested_order(rows, 1)[:50] == one[:50]


def test_unique_answers_are_shuffled_evenly() -> None:
    rows = examples([str(i) for i in range(400)])
    firsts = Counter(i // 100 for seed in range(40) for i in nested_order(rows, seed)[:40])
    assert all(300 < firsts[quarter] < 500 for quarter in range(4))


def test_parts_split_a_file_without_overlap(tmp_path: Path) -> None:
    rows = [{"text": f"row {i}", "label": "ab"[i % 2]} for i in range(100)]
    path = tmp_path / "train.jsonl"
    write(path, [*rows, {"text": "ROW  3", "label": "b"}])
    plain = task(prompt=PROMPT, answer="{label}", score="macro_f1")
    train = read_examples(plain, ref(Path(part_path(str(path), "train", 0.2))))
    by_part = read_examples(plain, ref(Path(part_path(str(path), "validation", 0.2))))
    assert len(by_part) == 20
    assert Counter(example.answer for example in by_part) == {"a": 10, "b": 10}
    assert not {normalised(e) for e in train} & {normalised(e) for e in by_part}
    digests = {digest(part_path(str(path), part, 0.2)) for part in ("train", "validation")}
    assert len(digests | {digest(str(path))}) == 3


def test_a_label_seen_once_stays_in_train() -> None:
    rows = examples(["a"] * 10 + ["b"] * 10 + ["rare"])
    for share in (0.1, 0.5, 0.9):
        assert 20 in parts(rows, share, keep_single=True)["train"]


@pytest.mark.parametrize("share", ["1.2.3", "0", "1", "", "a tenth", "nan", "-0.1"])
def test_a_share_that_is_none_is_refused(share: str, tmp_path: Path) -> None:
    path = f"{tmp_path / 'rows.jsonl'}#train={share}"
    said = rf"found a share of '{share}'; allowed: a number between 0 and 1, such as #train=0\.1"
    for read in (digest, lambda path: read_located(task(), path)):
        with pytest.raises(InputError, match=said):
            read(path)
