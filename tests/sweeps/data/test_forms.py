"""Forms of files: compressed, wrapped, delimited and encoded; what is not read has its conversion."""

from __future__ import annotations

import gzip
import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas
import pyarrow
import pytest
from pyarrow import parquet

from sweeps.data.readers import is_data_file, read_file, read_rows
from tracker.errors import InputError

ROWS = [{"text": "旅 游, a", "label": "x; y"}, {"text": 'grün "b"\nc', "label": "交通"}]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
WRAPPED = json.dumps({"version": "1.1", "info": {"n": [1]}, "data": ROWS}, ensure_ascii=False)
TABLE = '"旅 游, a"{0}"x; y"\r\n"grün ""b""\nc"{0}交通\r\n'
FORMS: dict[str, tuple[str, bytes, str]] = {
    "gzip": ("a.jsonl.gz", gzip.compress(LINES.encode()), "JSON Lines, gzip"),
    "gzip under another name": ("a.jsonl", gzip.compress(LINES.encode()), "JSON Lines, gzip"),
    "gzip of an array": ("a.json.gz", gzip.compress(json.dumps(ROWS).encode()), "JSON array, gzip"),
    "wrapper": ("a.json", WRAPPED.encode(), "JSON array in 'data'"),
    "pretty wrapper": (
        "a.json",
        b"\xef\xbb\xbf" + json.dumps({"rows": ROWS, "n": 2}, indent=1).encode(),
        "JSON array in 'rows'",
    ),
    "semicolons": (
        "a.csv",
        b"\xef\xbb\xbf" + ("text;label\r\n" + TABLE.format(";")).encode(),
        "CSV with semicolons",
    ),
    "tabs": ("a.tsv", ("text\tlabel\n" + TABLE.format("\t")).encode(), "CSV with tabs"),
    "tabs in csv": ("a.csv", ("text\tlabel\n" + TABLE.format("\t")).encode(), "CSV with tabs"),
    "bars": ("a.csv.gz", gzip.compress(("text|label\n" + TABLE.format("|")).encode()), "CSV with bars, gzip"),
    "as Excel saves": ("a.csv", ("sep=;\ntext;label\n" + TABLE.format(";")).encode(), "CSV with semicolons"),
    "commas": ("a.csv", ("text,label\n" + TABLE.format(",")).encode(), "CSV"),
}  # fmt: skip
ENCODED = [
    ("gb18030", LINES, "a.jsonl"),
    ("utf-16", LINES, "a.jsonl"),
    ("UTF_16_LE", LINES, "a.jsonl"),
]
ENCODED += [("gb18030", "text,label\n" + TABLE.format(","), "a.csv"), ("utf-16", WRAPPED, "a.json")]


@pytest.mark.parametrize("case", FORMS)
def test_forms_hold_the_same_rows(tmp_path: Path, case: str) -> None:
    name, content, words = FORMS[case]
    (tmp_path / name).write_bytes(content)
    found = read_file(tmp_path / name)
    assert [row.fields for row in found.rows] == ROWS
    assert found.form.words == words
    assert is_data_file(tmp_path / name)


@pytest.mark.parametrize(("encoding", "text", "name"), ENCODED)
def test_a_stated_encoding(tmp_path: Path, encoding: str, text: str, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    assert [row.fields for row in read_rows(path, encoding)] == ROWS
    with pytest.raises(InputError, match="UTF-8"):
        read_rows(path)
    path.write_bytes(gzip.compress(text.encode(encoding)))
    assert [row.fields for row in read_rows(path, encoding)] == ROWS


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("旅游攻略和北京三日游", "gb18030"),
        ("臺灣旅遊資訊與風景", "big5"),
        ("東京へ行きたいです", "shift_jis"),
        ("grün ist schön", "cp1252"),
    ],
)
def test_another_encoding_is_named_with_the_line_that_states_or_converts_it(
    tmp_path: Path, text: str, encoding: str
) -> None:
    path = tmp_path / "my rows.jsonl"
    row = {"text": text, "label": "x"}
    path.write_bytes(json.dumps(row, ensure_ascii=False).encode(encoding))
    with pytest.raises(InputError) as caught:
        read_rows(path)
    (said,) = caught.value.problems
    assert f"`encoding: {encoding}`" in said
    _convert(said, tmp_path)
    assert read_rows(tmp_path / "utf8_my rows.jsonl")[0].fields == row


def test_quotes_in_tabs_are_text_where_they_do_not_pair(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text('text\tlabel\n"Yes" he said\tx\n"no\ty\n')
    assert [row.fields["text"] for row in read_rows(path)] == ['"Yes" he said', '"no']


def test_a_comma_stays_the_delimiter_where_it_is_one(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\na;b,x\nc;d,y\n")
    assert [row.fields["text"] for row in read_rows(path)] == ["a;b", "c;d"]
    path.write_text("id;text, or more;label\n1;a, b, c;x\n2;d;y\n")
    assert read_rows(path)[0].fields == {"id": "1", "text, or more": "a, b, c", "label": "x"}


def test_json_lines_with_a_field_named_data(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"data": [{"a": 1}], "label": "x"}\n{"data": [{"a": 2}], "label": "y"}\n')
    assert [row.fields["label"] for row in read_rows(path)] == ["x", "y"]


def test_dictionary_and_binary_columns_are_text(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    labels = pyarrow.array(["x", "交通"]).dictionary_encode()
    slots = pyarrow.array([{"a": "1", "b": None}, {"a": None, "b": "2"}])
    table = pyarrow.table({"text": [b"a", b"\xe4\xba\xa4"], "label": labels, "slots": slots})
    parquet.write_table(table, path)
    assert [row.fields for row in read_rows(path)] == [
        {"text": "a", "label": "x", "slots": {"a": "1"}},
        {"text": "交", "label": "交通", "slots": {"b": "2"}},
    ]


def test_broken_gzip_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(LINES.encode() * 50)[:-12])
    with pytest.raises(InputError, match=r"gzip that cannot be unpacked.*gzip -t a\.jsonl\.gz"):
        read_rows(path)


def _arrow(path: Path) -> None:
    table = pyarrow.Table.from_pylist(ROWS)
    with pyarrow.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table)


def _text(text: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(text, encoding="utf-8")


UNREAD: dict[str, Callable[[Path], object]] = {
    "a.feather": lambda path: pandas.DataFrame(ROWS).to_feather(path),
    "a.pkl": lambda path: path.write_bytes(pickle.dumps(pandas.DataFrame(ROWS))),
    "a.arrow": _arrow,
    "a.yaml": _text(json.dumps(ROWS)),
    "a.bz2": lambda path: None,
    "splits.json": _text(json.dumps({"train": ROWS, "n": 1}, indent=1)),
    "columns.json": _text(json.dumps({k: [row[k] for row in ROWS] for k in ROWS[0]}, indent=1)),
    "one line of columns.json": _text(json.dumps({k: [row[k] for row in ROWS] for k in ROWS[0]})),
    "by place.json": _text(pandas.DataFrame(ROWS).to_json()),
    "by key.json": _text(json.dumps({"a": ROWS[0], "b": ROWS[1]})),
    "lists.json": _text(json.dumps([list(row.values()) for row in ROWS])),
    "lists.jsonl": _text("".join(json.dumps(list(row.values())) + "\n" for row in ROWS)),
    "python.jsonl": _text("".join(f"{row!r}\n" for row in ROWS)),
    "objects.json": _text("\n".join(json.dumps(row, indent=2) for row in ROWS)),
}


@pytest.mark.parametrize("name", UNREAD)
def test_what_is_not_read_has_a_conversion_that_works(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "a.bz2":
        path = tmp_path / "a.jsonl.bz2"
        if not shutil.which("bunzip2"):
            pytest.skip("no bunzip2 here")
        import bz2

        path.write_bytes(bz2.compress(LINES.encode()))
    else:
        UNREAD[name](path)
    with pytest.raises(InputError) as caught:
        read_rows(path)
    (said,) = caught.value.problems
    before = set(tmp_path.iterdir())
    _convert(said, tmp_path)
    (new,) = set(tmp_path.iterdir()) - before
    assert [row.fields for row in read_rows(new)] == ROWS


def _convert(said: str, folder: Path) -> None:
    """Run the line after ``to convert it:``."""
    line = said.split("to convert it: ")[1].replace("python -c", f"{sys.executable} -c")
    if line.startswith(("jq", "iconv")) and not shutil.which(line.split()[0]):
        pytest.skip(f"no {line.split()[0]} here")
    subprocess.run(line, shell=True, cwd=folder, check=True)
