"""Faults in data files, each reported in one line."""

from __future__ import annotations

import datetime
import os
import time
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from sweeps.data.examples import read_examples, read_texts
from sweeps.data.readers import MAX_FLAWS, MAX_LINE_BYTES, read_rows
from tracker.errors import InputError
from tracker.task import FileRef, PromptTemplate, TaskSpec

TASK = TaskSpec(
    name="intent",
    validation=FileRef(path="", sha256="", rows=0),
    prompt=PromptTemplate(input="{text}"),
    answer="{label}",
)
GOOD = b'{"text": "a", "label": "x"}\n'
BAD_DATA = {
    "empty file": (b"", 1, "found no rows; allowed: at least one"),
    "broken JSON": (GOOD + b'{"text": \n', 2, "found broken JSON"),
    "not an object": (GOOD + b"[1]\n", 2, "found a JSON list; allowed: one object per line"),
    "NaN": (GOOD * 2 + b'{"text": NaN, "label": "x"}\n', 3, "found NaN, which is not JSON"),
    "infinite number": (b'{"text": 1e999, "label": "x"}\n', 1, "found Infinity"),
    "wrong encoding": (
        GOOD + '{"text": "ü", "label": "x"}\n'.encode("latin-1"),
        2,
        "byte 0xfc, not UTF-8",
    ),
    "UTF-16": (GOOD.decode().encode("utf-16"), 1, "byte 0xff, not UTF-8; save the file as UTF-8"),
    "missing field": (
        GOOD + b'{"txt": "a", "label": "x"}\n',
        2,
        "no field 'text': found 'text'; allowed: txt, label; did you mean 'txt'",
    ),
    "null field": (GOOD + b'{"text": null, "label": "x"}\n', 2, "found null in field 'text'"),
    "empty answer": (GOOD + b'{"text": "a", "label": " "}\n', 2, "found an empty answer"),
    "empty prompt": (GOOD + b'{"text": "", "label": "x"}\n', 2, "found an empty prompt"),
    "repeated row": (
        b'{"id": 1, "text": "a", "label": "x"}\n{"id": 1, "text": "a", "label": "x"}\n',
        2,
        "found the row of id 1 again, first in line 1",
    ),
    "key given twice": (
        GOOD + b'{"text": "a", "label": "x", "label": "y"}\n',
        2,
        "found key 'label' 2 times in one object; allowed: once",
    ),
    "nested key given twice": (
        b'{"text": {"a": 1, "b": {"c": 1, "c": 1}}, "label": "x"}\n',
        1,
        "found key 'c' 2 times",
    ),
    "digits": (b'{"text": ' + b"9" * 5000 + b', "label": "x"}\n', 1, "number of 5,000 digits"),
    "one pretty object": (b'{\n "text": "a",\n "label": "x"\n}\n', 1, "one object per line"),
    "mark within": (GOOD + b"\xef\xbb\xbf" + GOOD, 2, "byte-order mark within the file"),
    "UTF-16 without a mark": (GOOD.decode().encode("utf-16-le"), 1, "NUL bytes, as UTF-16"),
    "old Mac line ends": (GOOD.replace(b"\n", b"\r") * 2, 1, "lines that end in CR alone"),
    "broken array": (b'[\n{"text": "a", "label": "x"},\n{"text"}]', 3, "found broken JSON"),
    "array of others": (b'[{"text": "a", "label": "x"},\n3]', 2, "found a JSON int"),
    "array without end": (
        b'[{"text": "a", "label": "x"},\n{"text": "b", "label": "x"}',
        2,
        "no end",
    ),
    "array with a tail": (b'[{"text": "a", "label": "x"}]\n[]', 1, "found no end of the array"),
    "nested too deep": (b'{"text": ' + b"[" * 60 + b"]" * 60 + b', "label": "x"}', 1, "50 levels"),
    "enormous line": (
        GOOD + b'{"text": "' + b"a" * MAX_LINE_BYTES + b'", "label": "x"}\n' + GOOD,
        2,
        "found a line above 1,000,000 bytes",
    ),
    "half a surrogate": (rb'{"text": "\ud800", "label": "x"}', 1, "half of a surrogate pair"),
    "deep nesting": (b'{"text": ' + b"[" * 200_000, 1, "more than 50 levels"),
}


def data_problems(path: Path) -> list[str]:
    with pytest.raises(InputError) as caught:
        read_examples(TASK, FileRef(path=str(path), sha256="", rows=0))
    return [problem.removeprefix(f"{path.parent}/") for problem in caught.value.problems]


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_json_lines(tmp_path: Path, case: str) -> None:
    content, line, wording = BAD_DATA[case]
    path = tmp_path / "data.jsonl"
    path.write_bytes(content)
    problems = data_problems(path)
    assert problems[0].startswith(f"data.jsonl:{line}: ")
    assert wording in problems[0]
    assert len(problems) == 1


@pytest.mark.parametrize(
    ("content", "line", "wording"),
    [
        (b"text,label\na,x\nb\n", 3, "found 1 values; allowed: 2"),
        (b"text,text\na,b\n", 1, "found columns text, text; allowed: each name once"),
        (b'text,label\n"a\nb",x\n"c" d,x\n', 4, "found broken CSV"),
        (b"txt,label\na,x\n", 2, "did you mean 'txt'"),
        (b"text,label\n\xfc,x\n", 2, "byte 0xfc, not UTF-8"),
        (b"text,label\n", 1, "found no rows"),
        ("text,label\na,x\n".encode("utf-16-le"), 1, "NUL bytes, as UTF-16"),
        (b"text,label\na,x\n\xef\xbb\xbfb,x\n", 3, "byte-order mark within the file"),
        (b"text,label\n" + b"a" * 1_000_001, 2, "found a line above 1,000,000 bytes"),
    ],
)
def test_bad_csv(tmp_path: Path, content: bytes, line: int, wording: str) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes(content)
    (problem,) = data_problems(path)
    assert problem.startswith(f"data.csv:{line}: ")
    assert wording in problem


def test_bad_parquet(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    path.write_bytes(b"not parquet at all")
    assert data_problems(path)[0].startswith("data.parquet:1: found no Parquet: ")
    table = pyarrow.table({"text": ["a", "b"], "label": [1.0, float("nan")]})
    parquet.write_table(table, path)
    assert data_problems(path)[0].startswith("data.parquet:2: found nan in 'label'")


def test_bad_values_of_parquet(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    parquet.write_table(pyarrow.table({"text": [b"a", b"\xff"], "label": ["x", "y"]}), path)
    assert data_problems(path)[0].startswith("data.parquet:2: found byte 0xff in 'text', not UTF-8")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert data_problems(path)[0].startswith("data.parquet:1: found no Parquet: ")


@pytest.mark.parametrize(
    "content",
    [
        b'[{"text": "a", "label": "x"},\n\n{"text": "b", "label": "y"}]',
        b'\xef\xbb\xbf[\n  {"text": "a", "label": "x"},\n  {"text": "b",\n "label": "y"}\n]\n',
    ],
)
def test_one_array_is_read_row_by_row(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "data.json"
    path.write_bytes(content)
    (one, other) = read_rows(path)
    assert (one.fields["text"], other.fields["text"], other.line) == ("a", "b", 3)


def test_a_long_value_is_read(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text(f"text,label\n{'a ' * 200_000},x\r\nb,y\n")
    assert [(len(row.fields["text"]), row.line) for row in read_rows(path)] == [
        (400_000, 2),
        (1, 3),
    ]


def test_values_of_parquet_are_plain(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    nested = [{"role": b"user", "on": datetime.date(2024, 1, 2)}]
    parquet.write_table(pyarrow.table({"text": [b"gr\xc3\xbcn"], "messages": [nested]}), path)
    (row,) = read_rows(path)
    assert row.fields == {"text": "grün", "messages": [{"role": "user", "on": "2024-01-02"}]}


def test_rows_that_differ_may_share_an_id(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text('{"id": 1, "text": "a"}\n{"id": 1, "text": "b"}\n')
    assert len(read_rows(path)) == 2


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "parquet"])
def test_only_files_are_read(tmp_path: Path, suffix: str) -> None:
    pipe, folder = tmp_path / f"pipe.{suffix}", tmp_path / f"folder.{suffix}"
    os.mkfifo(pipe)
    folder.mkdir()
    device = tmp_path / f"zero.{suffix}"
    device.symlink_to("/dev/zero")
    for path, kind in ((pipe, "pipe"), (folder, "folder"), (device, "device")):
        with pytest.raises(InputError, match=f"found a {kind}; allowed: a file"):
            read_rows(path)


def test_reading_ends_where_all_is_amiss(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text("nope\n" * 3 * MAX_FLAWS)
    (problem,) = data_problems(path)
    assert problem.endswith(f"(also in line 2, 3, 4 and {MAX_FLAWS - 4} more)")
    with path.open("wb") as file:  # one line of 3 GB that holds nothing
        file.truncate(3_000_000_000)
    started = time.monotonic()
    (problem,) = data_problems(path)
    assert problem == "data.jsonl:1: found a line above 1,000,000 bytes"
    assert time.monotonic() - started < 2


def test_the_same_flaw_of_many_rows_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(GOOD + b'{"text": "a"}\n' * 10)
    (problem,) = data_problems(path)
    assert problem.startswith("data.jsonl:2: no field 'label'")
    assert problem.endswith("(also in line 3, 4, 5 and 6 more)")


def test_different_flaws_are_all_reported(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(GOOD + b"[]\nnope\n" + GOOD + b'{"id": NaN}\n')
    assert [problem.split(":")[1] for problem in data_problems(path)] == ["2", "3", "5"]


def test_unknown_kind_of_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\*\.xlsx; allowed: \.jsonl"):
        read_rows(tmp_path / "data.xlsx")


def test_missing_file_names_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_bytes(GOOD)
    with pytest.raises(
        InputError, match=r"trian\.jsonl: No such file.*did you mean 'train\.jsonl'"
    ):
        read_rows(tmp_path / "trian.jsonl")


def test_text_files_need_a_text_field(tmp_path: Path) -> None:
    path = tmp_path / "general.jsonl"
    path.write_text('{"txt": "a"}\n{"text": ""}\n')
    with pytest.raises(InputError) as caught:
        read_texts(FileRef(path=str(path), sha256="", rows=0))
    assert "general.jsonl:1: no field 'text'" in caught.value.problems[0]
    assert "did you mean 'txt'" in caught.value.problems[0]
    assert "general.jsonl:2: found an empty text" in caught.value.problems[1]


@pytest.mark.parametrize("template", ["{text", "{text!r}", "{text:>9}", "{}"])
def test_templates_hold_plain_placeholders(tmp_path: Path, template: str) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(GOOD)
    task = TASK.model_copy(update={"prompt": PromptTemplate(input=template)})
    with pytest.raises(InputError, match=r"task intent: input: found"):
        read_examples(task, FileRef(path=str(path), sha256="", rows=0))
