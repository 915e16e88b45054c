r"""Readers of data files: JSON Lines, CSV and Parquet → rows of plain values, read strictly.

Every problem names its line. Rows are UTF-8 (a byte-order mark is skipped); JSON lines end at ``\n``
alone, so U+2028 inside a text is text; NaN and infinity are refused.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import pyarrow
from pyarrow import parquet

from tracker.errors import InputError
from tracker.validation import did_you_mean, options

MAX_LINE_BYTES = 1_000_000
MAX_PROBLEMS_SHOWN = 20
MAX_LINES_SHOWN = 3


class Row(NamedTuple):
    """A row's fields; ``line``: where it starts, from 1 (in Parquet its number, from 1)."""

    line: int
    fields: dict[str, Any]


class Flaw(NamedTuple):
    """A problem of one row."""

    line: int
    wording: str


def read_rows(path: Path) -> list[Row]:
    """Read all rows of a file. Raises ``InputError`` with every problem found."""
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        allowed = options(_READERS)
        raise InputError(f"{path}: found a file named *{path.suffix}; allowed: {allowed}")
    flaws: list[Flaw] = []
    try:
        rows = list(reader(path, flaws))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}{_near_file(path)}") from None
    flaws += _duplicate_ids(rows)
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


def _jsonl(path: Path, flaws: list[Flaw]) -> Iterator[Row]:
    with path.open("rb") as file:
        line = 0
        while content := file.readline(MAX_LINE_BYTES + 1):
            line += 1
            if len(content) > MAX_LINE_BYTES:
                flaws.append(Flaw(line, f"found a line above {MAX_LINE_BYTES:,} bytes"))
                while content and not content.endswith(b"\n"):
                    content = file.readline(MAX_LINE_BYTES)
                continue
            try:
                text = content.decode("utf-8-sig" if line == 1 else "utf-8")
                if text.strip():
                    yield Row(line, _json_object(text))
            except UnicodeDecodeError as error:
                flaws.append(Flaw(line, _not_utf8(error)))
                if line == 1 and content[:2] in (b"\xff\xfe", b"\xfe\xff"):
                    return  # UTF-16: every further line would say the same
            except json.JSONDecodeError as error:
                flaws.append(Flaw(line, f"found broken JSON: {error.msg} at column {error.colno}"))
            except (ValueError, RecursionError) as error:
                flaws.append(Flaw(line, str(error)))


def _json_object(text: str) -> dict[str, Any]:
    value = json.loads(text, parse_constant=_refuse_constant)
    if not isinstance(value, dict):
        raise ValueError(f"found a JSON {type(value).__name__}; allowed: one object per line")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"found {name}, which is not JSON; allowed: numbers, or null")


def _csv(path: Path, flaws: list[Flaw]) -> Iterator[Row]:
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        flaws.append(Flaw(line, _not_utf8(error)))
        return
    records = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(records, [])
        if len(set(header)) < len(header):
            flaws.append(Flaw(1, f"found columns {', '.join(header)}; allowed: each name once"))
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


def _parquet(path: Path, flaws: list[Flaw]) -> Iterator[Row]:
    try:
        table = parquet.read_table(path)
    except pyarrow.ArrowException as error:
        flaws.append(Flaw(1, f"found no Parquet: {str(error).splitlines()[0]}"))
        return
    for line, fields in enumerate(table.to_pylist(), start=1):
        bad = [k for k, v in fields.items() if isinstance(v, float) and not math.isfinite(v)]
        if bad:
            flaws.append(Flaw(line, f"found {fields[bad[0]]} in {bad[0]!r}; allowed: numbers"))
        yield Row(line, fields)


def _duplicate_ids(rows: list[Row]) -> Iterator[Flaw]:
    first: dict[str, int] = {}
    for line, fields in rows:
        if fields.get("id") is not None:
            earlier = first.setdefault(str(fields["id"]), line)
            if earlier != line:
                wording = f"found id {fields['id']!r} again, first in line {earlier}; allowed: once"
                yield Flaw(line, wording)


def _not_utf8(error: UnicodeDecodeError) -> str:
    return f"found byte 0x{error.object[error.start]:02x}, not UTF-8; save the file as UTF-8"


_READERS = {
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".json": _jsonl,
    ".csv": _csv,
    ".parquet": _parquet,
}
