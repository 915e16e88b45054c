r"""Readers of data files: JSON Lines, JSON, CSV, TSV and Parquet → rows of plain values, read strictly.

Every problem names its line. Text is UTF-8, or in the encoding that is stated (a byte-order mark is
skipped), and may be compressed by gzip; JSON lines end at ``\n`` alone, so U+2028 inside a text is text;
NaN, infinity and a key given twice are refused. Reading is bounded: in bytes, in rows, in bytes of one row,
and in problems.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import re
import shlex
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow
from pyarrow import parquet

from sweeps.data.conversions import conversion, query
from sweeps.data.source import (
    HEAD,
    MAX_FILE_BYTES,
    MAX_FLAWS,
    MAX_LINE_BYTES,
    MAX_TEXT_BYTES,
    EnoughError,
    Flaw,
    Form,
    Source,
)
from tracker.errors import InputError
from tracker.files import check_file
from tracker.validation import did_you_mean, options

MAX_ROWS = 5_000_000
MAX_DEPTH = 50
MAX_DIGITS = 400
MAX_PROBLEMS_SHOWN = 20
MAX_LINES_SHOWN = 3
#: Rows under one id among which a repeated row is looked for.
MAX_SAME_ID = 100
_PARQUET_ROWS_AT_ONCE = 1_000
#: Keys of one object around an array of rows.
WRAPPERS = ("data", "rows", "examples", "items", "records", "instances", "samples")
DELIMITERS = ",;\t|"
_TOO_DEEP = f"found more than {MAX_DEPTH} levels; allowed: {MAX_DEPTH}"
_SPACE = re.compile(r"[ \t\n\r]*")


class Row(NamedTuple):
    """A row's fields; ``line``: where it starts, from 1 (in Parquet its number, from 1)."""

    line: int
    fields: dict[str, Any]


#: ``csv.QUOTE_MINIMAL`` or ``csv.QUOTE_NONE``.
_Quoting = Literal[0, 3]


class FileRows(NamedTuple):
    """All rows of a file, and how they are written."""

    rows: list[Row]
    form: Form


def read_rows(path: Path, encoding: str | None = None) -> list[Row]:
    """Read all rows of a file. Raises ``InputError`` with every problem found."""
    return read_file(path, encoding).rows


def read_file(path: Path, encoding: str | None = None) -> FileRows:
    """Read all rows of a file, and how they are written; *encoding*: of its text, UTF-8 where none is stated.

    Raises ``InputError`` with every problem found.
    """
    reader = _READERS.get(data_suffix(path))
    if reader is None:
        allowed = f"{options(_READERS)}, and each but Parquet with .gz"
        raise InputError(
            f"{path}: found a file named *{path.suffix}; allowed: {allowed}{conversion(path)}"
        )
    source = Source(path, Form("JSON Lines", (encoding or "utf-8").lower().replace("_", "-")))
    rows: list[Row] = []
    try:
        check_file(path, MAX_FILE_BYTES)
        source.form = source.form._replace(compressed=_is_gzip(path))
        for row in reader(source):
            rows.append(row)
            if len(rows) > MAX_ROWS:
                wording = f"found more than {MAX_ROWS:,} rows; split the file"
                source.flaws.append(Flaw(row.line, wording))
                break
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(
            f"{path}: found gzip that cannot be unpacked ({error}); get the file again, and try it with: "
            f"gzip -t {shlex.quote(path.name)}"
        ) from None
    except OSError as error:
        reason = error.strerror or str(error).splitlines()[0]
        raise InputError(f"{path}: {reason}{_near_file(path)}") from None
    except UnicodeDecodeError as error:  # of UTF-16 and UTF-32, wherever it is in the file
        line = rows[-1].line + 1 if rows else 1
        source.flaws.append(Flaw(line, f"{source.not_text(error)} (in this row or a later one)"))
    except EnoughError:
        pass
    if len(source.flaws) < MAX_FLAWS:
        source.flaws += _repeated_ids(rows)
    raise_flaws(path, source.flaws)
    if not rows:
        raise InputError(f"{path}:1: found no rows; allowed: at least one")
    return FileRows(rows, source.form)


def data_suffix(path: Path) -> str:
    """Suffix of a data file in lower case, without ``.gz``."""
    name = path.name.lower()
    return Path(name.removesuffix(".gz")).suffix


def is_data_file(path: Path) -> bool:
    """Whether the name of *path* is one that :func:`read_rows` reads."""
    return data_suffix(path) in _READERS


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def raise_flaws(path: Path | str, flaws: Iterable[Flaw]) -> None:
    """Raise one ``InputError`` with all *flaws*, the same flaw of several lines once; nothing for none."""
    lines: dict[str, list[int]] = {}
    for line, wording in flaws:
        lines.setdefault(wording, []).append(line)
    problems = [f"{path}:{at[0]}: {_with_lines(wording, at[1:])}" for wording, at in lines.items()]
    hidden = len(problems) - MAX_PROBLEMS_SHOWN
    if hidden > 0:
        problems = [*problems[:MAX_PROBLEMS_SHOWN], f"{path}: and {hidden} more problems"]
    if problems:
        raise InputError(problems)


def _near_file(path: Path) -> str:
    names = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
    return did_you_mean(path.name, names) or "; name a readable data file"


def _with_lines(wording: str, lines: list[int]) -> str:
    """*wording* with further *lines* of which it is true, before the line that helps."""
    help_at = re.search("; to (convert it|leave such rows out): ", wording)
    end = help_at.start() if help_at else len(wording)
    return wording[:end] + _also(lines) + wording[end:]


def _also(lines: list[int]) -> str:
    if not lines:
        return ""
    rest = len(lines) - MAX_LINES_SHOWN
    shown = ", ".join(map(str, lines[:MAX_LINES_SHOWN]))
    return f" (also in line {shown}{f' and {rest} more' if rest > 0 else ''})"


def _json(source: Source) -> Iterator[Row]:
    """Rows of JSON Lines, of one array of objects, or of an object around such an array."""
    start = source.head().lstrip(" \t\r\n")
    wrapped = _wrapped(start) if start.startswith("{") else None
    if wrapped or re.match(r"\[\s*(\{|$)", start):
        source.form = source.form._replace(kind="JSON array", wrapper=wrapped and wrapped.key)
        yield from _array(source)
    else:
        yield from _json_lines(source)


def _json_lines(source: Source) -> Iterator[Row]:
    decoder, flaws = _Decoder(source), source.flaws
    first: dict[str, Any] | None = None
    line = 0
    for line, text in source.lines():
        if text is None or not text.strip():
            continue
        try:
            for row in decoder.row(decoder.decode(text), line, flaws):
                first = row.fields if first is None else {}
                yield row
        except json.JSONDecodeError as error:
            flaws.append(Flaw(line, _broken(text, error, source)))
            if line == 1 and ("\0" in text or text.strip() in ("{", "[")):
                return  # UTF-16, or one object over many lines: every further line is broken too
        except RecursionError:
            flaws.append(Flaw(line, _TOO_DEEP))
    if first and data_suffix(source.path) == ".json" and (converted := _turned(source, first)):
        flaws.append(Flaw(1, f"found one object of all rows; allowed: an object a row{converted}"))


def _turned(source: Source, value: dict[str, Any]) -> str:
    """The line that converts one object that holds all rows, by column or by key; empty for one row."""
    columns = list(value.values())
    if all(isinstance(column, dict) for column in columns) and len(columns) > 1:
        if all(key.isdigit() for column in columns for key in column):
            return conversion(source.path, columns=True)
        return query(source.path, ".[]") if len({frozenset(c) for c in columns}) == 1 else ""
    if not all(isinstance(c, list) and len(c) > 1 and not isinstance(c[0], dict) for c in columns):
        return ""
    return conversion(source.path, columns=True) if len({len(c) for c in columns}) == 1 else ""


class _Wrapped(NamedTuple):
    """An array of rows within one object: its ``key``, and the ``position`` of its bracket."""

    key: str
    position: int


def _wrapped(text: str) -> _Wrapped | None:
    """The array of rows where *text* begins an object around one; ``None`` for rows or anything else."""
    line_end = text.find("\n")
    if line_end >= 0 and _SPACE.fullmatch(text, line_end) is None and _is_json(text[:line_end]):
        return None  # JSON Lines
    plain, position = json.JSONDecoder(), _after_space(text, _after_space(text, 0) + 1)
    try:
        while True:
            key, end = plain.raw_decode(text, position)
            position = _after_space(text, _after_space(text, end) + 1)
            if key in WRAPPERS and re.compile(r"\[\s*\{").match(text, position):
                return _Wrapped(key, position)
            _, end = plain.raw_decode(text, position)
            position = _after_space(text, _after_space(text, end) + 1)
    except (ValueError, RecursionError):
        return None


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _array(source: Source) -> Iterator[Row]:
    """Objects of one JSON array, each with the line on which it starts."""
    text, flaws = source.text(), source.flaws
    if text is None:
        return
    wrapped = _wrapped(text) if source.form.wrapper else None
    decoder, line, counted = _Decoder(source, ".[] | "), 1, 0
    position, mark = wrapped.position if wrapped else _after_space(text, 0), "["
    while mark in ("[", ","):
        position = _after_space(text, position + 1)
        line, counted = line + text.count("\n", counted, position), position
        if mark == "[" and text[position : position + 1] == "]":
            mark = "]"
            break
        try:
            value, end = decoder.raw_decode(text, position)
        except json.JSONDecodeError as error:
            flaws.append(Flaw(error.lineno, _broken(text, error, source)))
            return
        except RecursionError:
            flaws.append(Flaw(line, _TOO_DEEP))
            return
        if end - position > MAX_LINE_BYTES:
            flaws.append(Flaw(line, f"found a row above {MAX_LINE_BYTES:,} characters"))
        else:
            yield from decoder.row(value, line, flaws)
        position = _after_space(text, end)
        mark = text[position : position + 1]
    rest = _after_space(text, position + 1)
    line = text.count("\n", 0, position) + 1
    if wrapped and mark == "]":
        _check_wrapper(text, wrapped, position, source)
    elif mark != "]" or rest < len(text):
        flaws.append(
            Flaw(line, "found no end of the array where one belongs; allowed: , or a last ]")
        )


def _check_wrapper(text: str, wrapped: _Wrapped, end: int, source: Source) -> None:
    """Note what is amiss around the array of rows that *end* closes: no end, or rows under other keys."""
    try:
        around = json.loads(f"{text[: wrapped.position]}[]{text[end + 1 :]}")
    except (ValueError, RecursionError):
        line = text.count("\n", 0, end) + 1
        source.flaws.append(Flaw(line, f"found no end of the object around {wrapped.key!r}"))
        return
    if also := rows_under(around):
        wording = f"found rows under {wrapped.key!r} and under {options(also)}; allowed: one array"
        source.flaws.append(Flaw(1, f"{wording}{conversion(source.path, key=wrapped.key)}"))


def rows_under(value: dict[str, Any]) -> list[str]:
    """Keys of *value* that hold rows: lists of objects."""
    return [
        key
        for key, rows in value.items()
        if isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows)
    ]


def _after_space(text: str, position: int) -> int:
    """The first *position* from there on that is not JSON's white space."""
    found = _SPACE.match(text, position)
    return found.end() if found else position


class _Decoder:
    """JSON decoder that notes what is no JSON, or no use, within a row, and goes on."""

    def __init__(self, source: Source, each: str = "") -> None:
        self._found: dict[str, None] = {}
        self._path, self._each = source.path, each
        json_decoder = json.JSONDecoder(
            object_pairs_hook=self._pairs,
            parse_constant=self._constant,
            parse_float=self._float,
            parse_int=self._int,
        )
        self.decode, self.raw_decode = json_decoder.decode, json_decoder.raw_decode

    def row(self, value: Any, line: int, flaws: list[Flaw]) -> Iterator[Row]:
        """The row of the last decoded *value*, or its flaws."""
        found, self._found = list(self._found), {}
        if not isinstance(value, dict):
            found.insert(0, self._no_object(value))
        elif len(found) == 0 and _depth(value) > MAX_DEPTH:
            found.append(_TOO_DEEP)
        for wording in found:
            flaws.append(Flaw(line, wording))
        if not found:
            yield Row(line, value)

    def _no_object(self, value: Any) -> str:
        """What is wrong with a row that is no object, and the line that makes objects of such rows."""
        wording, each = (
            f"found a JSON {_KINDS[type(value)]}; allowed: one object per line",
            self._each,
        )
        if isinstance(value, list) and value and isinstance(value[0], list):
            value, each = value[0], ".[] | "  # one array of all rows
        if isinstance(value, list) and len(value) == 2:
            return wording + query(self._path, each + "{text: .[0], label: .[1]}")
        if isinstance(value, str):
            return wording + query(self._path, each + "{text: .}")
        return wording

    def _pairs(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        fields = dict(pairs)
        if len(fields) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            times = names.count(twice)
            self._found[f"found key {twice!r} {times} times in one object; allowed: once"] = None
        return fields

    def _constant(self, name: str) -> None:
        self._found[f"found {name}, which is not JSON; allowed: numbers, or null"] = None

    def _float(self, digits: str) -> float:
        number = float(digits)
        if math.isinf(number):
            shown = digits if len(digits) < 20 else f"{digits[:20]}…"
            self._found[f"found Infinity, written as {shown}; allowed: up to 1.8e308"] = None
        return number

    def _int(self, digits: str) -> int:
        if len(digits) > MAX_DIGITS:
            self._found[f"found a number of {len(digits):,} digits; allowed: {MAX_DIGITS}"] = None
            return 0
        return int(digits)


#: As Python's own names for them are, and were in messages.
_KINDS = {
    list: "list",
    str: "str",
    int: "int",
    float: "float",
    bool: "bool",
    type(None): "null",
}


def _depth(value: Any) -> int:
    """Levels of a nested value; it stops counting above ``MAX_DEPTH``."""
    depth, level = 0, [value]
    while level and depth <= MAX_DEPTH:
        nested = [v for v in level if isinstance(v, dict | list)]
        level = [c for v in nested for c in (v.values() if isinstance(v, dict) else v)]
        depth += 1
    return depth


def _broken(text: str, error: json.JSONDecodeError, source: Source) -> str:
    """What is wrong with a text that is not JSON, as its writer would say it."""
    stripped = text.strip()
    if "\0" in text:
        return "found NUL bytes, as UTF-16 has them; save the file as UTF-8"
    if stripped.startswith("\ufeff"):
        return "found a byte-order mark within the file; take it out"
    if stripped in ("{", "["):
        return (
            "found an object over several lines; allowed: one object per line, or one array of objects"
            f"{_object_conversion(source)}"
        )
    if stripped.startswith("{'"):
        return f"found a mapping as Python writes it; allowed: JSON{conversion(source.path, literals=True)}"
    if "\r" in stripped and "\n" not in stripped:
        return "found lines that end in CR alone; save the file with LF or CRLF"
    return f"found broken JSON: {error.msg} at column {error.colno}"


def _object_conversion(source: Source) -> str:
    """The line that converts a file of one object, or of objects over several lines."""
    text = source.text() or ""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict):
        if keys := rows_under(value):
            return conversion(source.path, key=keys[0])
        if converted := _turned(source, value):
            return converted
    return conversion(source.path, objects=True)


def _csv(source: Source) -> Iterator[Row]:
    """Rows of a table with a header, whatever its delimiter."""
    if not source.form.compressed:
        check_file(source.path, MAX_TEXT_BYTES)
    csv.field_size_limit(MAX_LINE_BYTES)  # of the process; the default refuses long documents
    delimiter, quoted = sniffed(source.head(), tabs=data_suffix(source.path) == ".tsv")
    source.form = source.form._replace(kind="CSV", delimiter=delimiter, quoted=quoted)
    quoting: _Quoting = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    records = csv.reader(_csv_lines(source), strict=True, delimiter=delimiter, quoting=quoting)
    try:
        header = next(records, [])
        if header == ["sep=", ""]:  # as Excel reads and writes it
            header = next(records, [])
        if len(set(header)) < len(header):
            wording = f"found columns {options(header)}; allowed: each name once"
            source.flaws.append(Flaw(1, wording))
            return
        line = records.line_num + 1
        for values in records:
            if len(values) == len(header):
                yield Row(line, dict(zip(header, values, strict=True)))
            elif values:
                wording = f"found {len(values)} values; allowed: {len(header)}"
                source.flaws.append(Flaw(line, wording))
            line = records.line_num + 1
    except csv.Error as error:
        source.flaws.append(Flaw(records.line_num, f"found broken CSV: {error}"))


def sniffed(head: str, *, tabs: bool = False) -> tuple[str, bool]:
    """Delimiter of a table that begins with *head*, and whether its cells may be quoted.

    The first of ``DELIMITERS`` (*tabs*: the tab) by which header and rows have the same number of values, two
    or more; else the first that is in the header at all.
    """
    stated = re.match(r"sep=(.)\r?\n", head)
    if stated:
        return stated[1], True
    header = head.partition("\n")[0]
    order = sorted(DELIMITERS, key=lambda mark: mark != "\t") if tabs else DELIMITERS
    present = [mark for mark in order if mark in header]
    ways = [
        (mark, quoted) for mark in present for quoted in (True, False)[: 2 if mark == "\t" else 1]
    ]
    even = (way for way in ways if _is_even(head, *way))
    return next(even, (present[0] if present else order[0], True))


def _is_even(head: str, delimiter: str, quoted: bool) -> bool:
    """Whether all whole rows of *head* have as many values as its header, two or more."""
    whole = head if len(head.encode()) < HEAD else head[: head.rfind("\n") + 1]
    quoting: _Quoting = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    lines = io.StringIO(whole, newline="")
    records = csv.reader(lines, strict=True, delimiter=delimiter, quoting=quoting)
    widths: set[int] = set()
    try:
        widths |= {len(values) for values in records if values}
    except csv.Error as error:
        if whole == head or "unexpected end" not in str(error):
            return False
    return len(widths) == 1 and min(widths) > 1


def _csv_lines(source: Source) -> Iterator[str]:
    """Lines of a table with their ends; the first that is no text is the last."""
    for line, text in source.lines():
        if text is None:
            return
        if "\0" in text:
            wording = "found NUL bytes, as UTF-16 has them; save the file as UTF-8"
            source.flaws.append(Flaw(line, wording))
            return
        if text.startswith("\ufeff"):
            wording = "found a byte-order mark within the file; take it out"
            source.flaws.append(Flaw(line, wording))
        # lone CRs end lines too: the csv module wants each line on its own
        yield from text.splitlines(keepends=True) if "\r" in text[:-2] else (text,)


def _parquet(source: Source) -> Iterator[Row]:
    line, flaws = 0, source.flaws
    source.form = source.form._replace(kind="Parquet")
    try:
        with parquet.ParquetFile(source.path) as file:
            names = file.schema_arrow.names
            if len(set(names)) < len(names):
                flaws.append(Flaw(1, f"found columns {options(names)}; allowed: each name once"))
                return
            read_bytes = 0
            for batch in file.iter_batches(batch_size=_PARQUET_ROWS_AT_ONCE):
                read_bytes += batch.nbytes
                if read_bytes > MAX_FILE_BYTES:
                    flaws.append(Flaw(line, f"found more than {MAX_FILE_BYTES:,} bytes of values"))
                    return
                for fields in batch.to_pylist():
                    line += 1
                    yield from _parquet_row(fields, line, flaws)
    except UnicodeDecodeError as error:
        byte = f"found byte 0x{error.object[error.start]:02x}, not UTF-8"
        flaws.append(Flaw(line + 1, f"{byte}; save texts as UTF-8 (in this row or a later one)"))
    except (pyarrow.ArrowException, ValueError, OverflowError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        where = f"found no value after row {line}" if line else "found no Parquet"
        flaws.append(Flaw(line + 1, f"{where}: {reason}"))


def _parquet_row(fields: dict[str, Any], line: int, flaws: list[Flaw]) -> Iterator[Row]:
    bad = [k for k, v in fields.items() if isinstance(v, float) and not math.isfinite(v)]
    if bad:
        flaws.append(Flaw(line, f"found {fields[bad[0]]} in {bad[0]!r}; allowed: numbers"))
    for name, value in fields.items():
        try:
            fields[name] = _plain(value)
        except UnicodeDecodeError as error:
            wording = f"found byte 0x{error.object[error.start]:02x} in {name!r}, not UTF-8 text"
            flaws.append(Flaw(line, f"{wording}; allowed: text"))
    yield Row(line, fields)


def _plain(value: Any) -> Any:
    """A value of Parquet as JSON has it: bytes as the UTF-8 text they hold, dates and the like as text.

    Parquet gives every row every key of a mapping, null where the row has none: those are left out.
    """
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value)


def _repeated_ids(rows: list[Row]) -> Iterator[Flaw]:
    """Rows that are in the file twice under one id; rows that differ may share one (a conversation's)."""
    first: dict[str, list[Row]] = {}
    for row in rows:
        if row.fields.get("id") is None:
            continue
        earlier = first.setdefault(str(row.fields["id"]), [])
        same = next((other for other in earlier if other.fields == row.fields), None)
        if same is not None:
            shown = repr(row.fields["id"])
            yield Flaw(row.line, f"found the row of id {shown} again, first in line {same.line}")
        elif len(earlier) < MAX_SAME_ID:
            earlier.append(row)


_READERS = {
    ".jsonl": _json,
    ".ndjson": _json,
    ".json": _json,
    ".csv": _csv,
    ".tsv": _csv,
    ".parquet": _parquet,
}
