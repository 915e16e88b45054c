r"""Readers of data files: JSON Lines, a JSON array, CSV and Parquet → rows of plain values, read strictly.

Every problem names its line. Rows are UTF-8 (a byte-order mark is skipped); JSON lines end at ``\n``
alone, so U+2028 inside a text is text; NaN, infinity and a key given twice are refused. Reading is bounded:
in bytes, in rows, in bytes of one row, and in problems.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow
from pyarrow import parquet

from tracker.errors import InputError
from tracker.files import check_file
from tracker.validation import did_you_mean, options

MAX_FILE_BYTES = 4_000_000_000
#: Of a file that is read as one text: CSV, a JSON array.
MAX_TEXT_BYTES = 1_000_000_000
MAX_ROWS = 5_000_000
MAX_LINE_BYTES = 1_000_000
MAX_DEPTH = 50
MAX_DIGITS = 400
MAX_FLAWS = 10_000
MAX_PROBLEMS_SHOWN = 20
MAX_LINES_SHOWN = 3
#: Rows under one id among which a repeated row is looked for.
MAX_SAME_ID = 100
#: Bytes behind a line that is too long which are read in search of its end.
_MAX_SKIPPED = 64_000_000
_PARQUET_ROWS_AT_ONCE = 1_000
_TOO_DEEP = f"found more than {MAX_DEPTH} levels; allowed: {MAX_DEPTH}"
_SPACE = re.compile(r"[ \t\n\r]*")


class Row(NamedTuple):
    """A row's fields; ``line``: where it starts, from 1 (in Parquet its number, from 1)."""

    line: int
    fields: dict[str, Any]


class Flaw(NamedTuple):
    """A problem of one row."""

    line: int
    wording: str


class _Flaws(list[Flaw]):
    """The problems found so far; raises _EnoughError beyond ``MAX_FLAWS`` of them."""

    def append(self, flaw: Flaw) -> None:
        super().append(flaw)
        if len(self) >= MAX_FLAWS:
            raise _EnoughError


class _EnoughError(Exception):
    """Reading ends: there is more amiss than anyone will read."""


def read_rows(path: Path) -> list[Row]:
    """Read all rows of a file. Raises ``InputError`` with every problem found."""
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        allowed = options(_READERS)
        raise InputError(f"{path}: found a file named *{path.suffix}; allowed: {allowed}")
    flaws = _Flaws()
    rows: list[Row] = []
    try:
        check_file(path, MAX_FILE_BYTES)
        for row in reader(path, flaws):
            rows.append(row)
            if len(rows) > MAX_ROWS:
                flaws.append(Flaw(row.line, f"found more than {MAX_ROWS:,} rows; split the file"))
                break
    except OSError as error:
        reason = error.strerror or str(error).splitlines()[0]
        raise InputError(f"{path}: {reason}{_near_file(path)}") from None
    except _EnoughError:
        pass
    if len(flaws) < MAX_FLAWS:
        flaws += _repeated_ids(rows)
    raise_flaws(path, flaws)
    if not rows:
        raise InputError(f"{path}:1: found no rows; allowed: at least one")
    return rows


def raise_flaws(path: Path | str, flaws: Iterable[Flaw]) -> None:
    """Raise one ``InputError`` with all *flaws*, the same flaw of several lines once; nothing for none."""
    lines: dict[str, list[int]] = {}
    for line, wording in flaws:
        lines.setdefault(wording, []).append(line)
    problems = [f"{path}:{at[0]}: {wording}{_also(at[1:])}" for wording, at in lines.items()]
    hidden = len(problems) - MAX_PROBLEMS_SHOWN
    if hidden > 0:
        problems = [*problems[:MAX_PROBLEMS_SHOWN], f"{path}: and {hidden} more problems"]
    if problems:
        raise InputError(problems)


def _near_file(path: Path) -> str:
    names = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
    return did_you_mean(path.name, names) or "; name a readable data file"


def _also(lines: list[int]) -> str:
    if not lines:
        return ""
    rest = len(lines) - MAX_LINES_SHOWN
    shown = ", ".join(map(str, lines[:MAX_LINES_SHOWN]))
    return f" (also in line {shown}{f' and {rest} more' if rest > 0 else ''})"


def _json(path: Path, flaws: list[Flaw]) -> Iterator[Row]:
    """Rows of JSON Lines, or of a file that holds one array of objects."""
    with path.open("rb") as file:
        start = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    if re.match(rb"\[\s*(\{|$)", start):
        yield from _array(path, flaws)
    else:
        yield from _json_lines(path, flaws)


def _json_lines(path: Path, flaws: list[Flaw]) -> Iterator[Row]:
    decoder = _Decoder()
    with path.open("rb") as file:
        line = 0
        while content := file.readline(MAX_LINE_BYTES + 1):
            line += 1
            if len(content) > MAX_LINE_BYTES:
                flaws.append(Flaw(line, f"found a line above {MAX_LINE_BYTES:,} bytes"))
                end = file.tell() + _MAX_SKIPPED
                while content and not content.endswith(b"\n"):
                    content = file.readline(MAX_LINE_BYTES)
                    if file.tell() > end:
                        return
                continue
            try:
                text = content.decode("utf-8-sig" if line == 1 else "utf-8")
                if text.strip():
                    value = decoder.decode(text)
                    yield from decoder.row(value, line, flaws)
            except UnicodeDecodeError as error:
                flaws.append(Flaw(line, _not_utf8(error)))
                if line == 1 and content[:2] in (b"\xff\xfe", b"\xfe\xff"):
                    return  # UTF-16: every further line would say the same
            except json.JSONDecodeError as error:
                flaws.append(Flaw(line, _broken(text, error)))
                if line == 1 and ("\0" in text or text.strip() in ("{", "[")):
                    return  # UTF-16, or one object over many lines: every further line is broken too
            except RecursionError:
                flaws.append(Flaw(line, _TOO_DEEP))


def _array(path: Path, flaws: list[Flaw]) -> Iterator[Row]:
    """Objects of one JSON array, each with the line on which it starts."""
    check_file(path, MAX_TEXT_BYTES)
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        flaws.append(Flaw(content.count(b"\n", 0, error.start) + 1, _not_utf8(error)))
        return
    decoder, line, counted = _Decoder(), 1, 0
    position, mark = _after_space(text, 0), "["
    while mark in ("[", ","):
        position = _after_space(text, position + 1)
        line, counted = line + text.count("\n", counted, position), position
        if mark == "[" and text[position : position + 1] == "]":
            mark = "]"
            break
        try:
            value, end = decoder.raw_decode(text, position)
        except json.JSONDecodeError as error:
            flaws.append(Flaw(error.lineno, _broken(text, error)))
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
    if mark != "]" or _after_space(text, position + 1) < len(text):
        line = text.count("\n", 0, position) + 1
        flaws.append(
            Flaw(line, "found no end of the array where one belongs; allowed: , or a last ]")
        )


def _after_space(text: str, position: int) -> int:
    """The first *position* from there on that is not JSON's white space."""
    found = _SPACE.match(text, position)
    return found.end() if found else position


class _Decoder:
    """JSON decoder that notes what is no JSON, or no use, within a row, and goes on."""

    def __init__(self) -> None:
        self._found: dict[str, None] = {}
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
            found.insert(0, f"found a JSON {_KINDS[type(value)]}; allowed: one object per line")
        elif len(found) == 0 and _depth(value) > MAX_DEPTH:
            found.append(_TOO_DEEP)
        for wording in found:
            flaws.append(Flaw(line, wording))
        if not found:
            yield Row(line, value)

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


def _broken(text: str, error: json.JSONDecodeError) -> str:
    """What is wrong with a text that is not JSON, as its writer would say it."""
    stripped = text.strip()
    if "\0" in text:
        return "found NUL bytes, as UTF-16 has them; save the file as UTF-8"
    if stripped.startswith("\ufeff"):
        return "found a byte-order mark within the file; take it out"
    if stripped in ("{", "["):
        return (
            "found an object over several lines; allowed: one object per line, or one array of objects; "
            "to convert it: jq -c . FILE"
        )
    if "\r" in stripped and "\n" not in stripped:
        return "found lines that end in CR alone; save the file with LF or CRLF"
    return f"found broken JSON: {error.msg} at column {error.colno}"


def _csv(path: Path, flaws: list[Flaw]) -> Iterator[Row]:
    check_file(path, MAX_TEXT_BYTES)
    records = csv.reader(_csv_lines(path, flaws), strict=True)
    csv.field_size_limit(MAX_LINE_BYTES)  # of the process; the default refuses long documents
    try:
        header = next(records, [])
        if len(set(header)) < len(header):
            flaws.append(Flaw(1, f"found columns {options(header)}; allowed: each name once"))
            return
        line = records.line_num + 1
        for values in records:
            if len(values) == len(header):
                yield Row(line, dict(zip(header, values, strict=True)))
            elif values:
                flaws.append(Flaw(line, f"found {len(values)} values; allowed: {len(header)}"))
            line = records.line_num + 1
    except csv.Error as error:
        flaws.append(Flaw(records.line_num, f"found broken CSV: {error}"))


def _csv_lines(path: Path, flaws: list[Flaw]) -> Iterator[str]:
    """Lines of a CSV file with their ends; the first that is no text is the last."""
    with path.open("rb") as file:
        line = 0
        while content := file.readline(MAX_LINE_BYTES + 1):
            line += 1
            if len(content) > MAX_LINE_BYTES:
                flaws.append(Flaw(line, f"found a line above {MAX_LINE_BYTES:,} bytes"))
                return
            try:
                text = content.decode("utf-8-sig" if line == 1 else "utf-8")
            except UnicodeDecodeError as error:
                flaws.append(Flaw(line, _not_utf8(error)))
                return
            if "\0" in text:
                wording = "found NUL bytes, as UTF-16 has them; save the file as UTF-8"
                flaws.append(Flaw(line, wording))
                return
            if text.startswith("\ufeff"):
                flaws.append(Flaw(line, "found a byte-order mark within the file; take it out"))
            # lone CRs end lines too: the csv module wants each line on its own
            yield from text.splitlines(keepends=True) if "\r" in text[:-2] else (text,)


def _parquet(path: Path, flaws: list[Flaw]) -> Iterator[Row]:
    line = 0
    try:
        with parquet.ParquetFile(path) as file:
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
        flaws.append(Flaw(line + 1, f"{_not_utf8(error)} (in this row or a later one)"))
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
    """A value of Parquet as JSON has it: bytes as the UTF-8 text they hold, dates and the like as text."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
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


def _not_utf8(error: UnicodeDecodeError) -> str:
    return f"found byte 0x{error.object[error.start]:02x}, not UTF-8; save the file as UTF-8"


_READERS = {
    ".jsonl": _json,
    ".ndjson": _json,
    ".json": _json,
    ".csv": _csv,
    ".parquet": _parquet,
}
