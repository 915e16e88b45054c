"""Readers of an outside results table: a CSV file, or the finished runs of an MLflow experiment."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tracker.errors import InputError, printable
from tracker.files import read_bounded
from tracker.importing.metric_names import metric_of
from tracker.importing.rows import OPTIONAL, REQUIRED, SHARE, Problems, Row
from tracker.store.runs import FinishedRun
from tracker.validation import did_you_mean, nearest, options

MAX_BYTES = 200_000_000
_GZIP = b"\x1f\x8b"


class Source(NamedTuple):
    """A table as text.

    ``digest``: SHA-256 of its content, in hex; ``unknown``: its columns that are not ours.
    """

    name: str
    digest: str
    rows: tuple[Row, ...]
    unknown: tuple[str, ...]

    @property
    def origin(self) -> str:
        """What :attr:`tracker.trial.TrialSpec.origin` says of a trial taken from here."""
        return f"{self.name} {self.digest[:12]}"


def read_csv(path: Path, columns: Mapping[str, str]) -> Source:
    """The table in *path* (CSV with a header, UTF-8, also gzipped), *columns*: its names by ours.

    Raises InputError for a file that cannot be read or lacks a column, with every problem in it.
    """
    text, digest = _text(path)
    name = path.name.removesuffix(".gz")
    # strict: an unclosed quote is an error, not a cell that swallows the rest of the file
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    problems = Problems()
    rows: list[Row] = []
    try:
        header = [cell.strip() for cell in next(reader, [])]
        if not any(header):
            raise InputError(f"{path}: empty; a results table starts with a line of column names")
        ours = column_names(header, columns, f"{name}:1", problems)
        problems.raise_any()
        unknown = tuple(column for column in header if column not in ours)
        for cells in reader:
            place = f"{name}:{reader.line_num}"
            if any(cell.strip() for cell in cells):
                if len(cells) != len(header):
                    text = f"found {len(cells)} cells; the header has {len(header)}"
                    problems.add("width", place, text)
                    continue
                by_column = dict(zip(header, cells, strict=True))
                others = tuple(by_column[column] for column in unknown)
                named = named_cells(by_column, ours)
                for our in (our for our, text in named.items() if not printable(text)):
                    problems.add("control", place, f"{our}: found a control character; take it out")
                rows.append(Row(place, named, others))
    except csv.Error as error:
        raise InputError(f"{name}:{reader.line_num}: not CSV ({error})") from error
    problems.raise_any()
    if not rows:
        raise InputError(f"{path}: no rows under its header; there is nothing to import")
    return Source(name, digest, tuple(rows), unknown)


def read_runs(
    runs: Sequence[FinishedRun], experiment: str, columns: Mapping[str, str], metric: str | None
) -> Source:
    """The finished *runs* of another MLflow experiment as a table: one row per run and metric.

    The other columns are the run's parameters; *columns* gives the names of parameters, or of metrics
    that state a cost, by ours. The metrics are the one called *metric*, or all whose names are known.
    Without a parameter for the task it is the experiment's name. Raises InputError where a column is
    missing, or nothing is measured.
    """
    tables = [cells for run in runs for cells in _run_cells(run, experiment, metric)]
    if not tables:
        names = sorted({name for run in runs for name in run.metrics})
        raise InputError(
            f"--mlflow {experiment}: none of {len(runs)} finished runs has a metric that is known; "
            f"found: {options(names)}; name one with --metric"
        )
    header = list(dict.fromkeys(column for _, cells in tables for column in cells))
    problems = Problems()
    ours = column_names(header, columns, f"experiment {experiment}", problems)
    problems.raise_any()
    parameters = dict.fromkeys(name for run in runs for name in run.parameters)
    unknown = tuple(name for name in parameters if name not in ours)
    rows = tuple(
        Row(place, named_cells(cells, ours), tuple(cells.get(name, "") for name in unknown))
        for place, cells in tables
    )
    content = json.dumps([cells for _, cells in tables], sort_keys=True)
    return Source(experiment, hashlib.sha256(content.encode()).hexdigest(), rows, unknown)


def _run_cells(
    run: FinishedRun, experiment: str, metric: str | None
) -> Iterator[tuple[str, dict[str, str]]]:
    """Where the run is found, and its cells, once per metric that counts."""
    metrics = {name: repr(value) for name, value in run.metrics.items()}
    for name, value in metrics.items():
        wanted = name == metric if metric else metric_of(name, None) is not None
        if wanted:
            result = {"metric": name, "value": value, "run": run.run_id}
            cells = {"task": experiment, **metrics, **run.parameters, **result}
            yield f"run {run.name or run.run_id}", cells


def named_cells(cells: Mapping[str, str], ours: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """The *cells* that hold text, by our names of their columns."""
    return {
        our: text
        for column, cell in cells.items()
        if (text := cell.strip())
        for our in ours.get(column, ())
    }


def column_names(
    header: list[str], columns: Mapping[str, str], place: str, problems: Problems
) -> dict[str, tuple[str, ...]]:
    """Our names of each column in the *header*: as *columns* map them, else its own name."""
    for name in sorted({name for name in header if header.count(name) > 1}):
        problems.add("twice", place, f"column {name!r} stands there {header.count(name)} times")
    named = dict.fromkeys(name for name in (*header, *columns) if _is_share(name))
    known = (*REQUIRED, *OPTIONAL, *named)
    for our, theirs in columns.items():
        if our not in known:
            hint = did_you_mean(our, known)
            allowed = options((*REQUIRED, *OPTIONAL, f"{SHARE}TASK"))
            text = f"--map {our}={theirs}: no such column of ours; allowed: {allowed}{hint}"
            problems.add("map", place, text)
        if theirs not in header:
            found = f"found: {options(header)}{did_you_mean(theirs, header)}"
            problems.add("map", place, f"--map {our}={theirs}: no column {theirs!r}; {found}")
    feeds = {our: columns.get(our, our) for our in known}
    for our in REQUIRED:
        if our not in columns and our not in header:
            problems.add("missing", place, _missing(our, header))
    theirs_all = dict.fromkeys(header)
    ours = {t: tuple(o for o, fed_by in feeds.items() if fed_by == t) for t in theirs_all}
    return {theirs: names for theirs, names in ours.items() if names}


def _is_share(name: str) -> bool:
    return name.startswith(SHARE) and len(name) > len(SHARE)


def _missing(our: str, header: list[str]) -> str:
    if len(header) == 1 and any(mark in header[0] for mark in ";\t"):
        return f"no column {our!r}: cells are separated by commas, not semicolons or tabs"
    free = [name for name in header if name not in (*REQUIRED, *OPTIONAL)]
    guess = nearest(our, free) or next((name for name in free if our in name.casefold()), None)
    hint = f"; did you mean {guess!r}? Then --map {our}={guess}" if guess else ""
    return (
        f"no column {our!r}; found: {options(header)}{hint or f'; name it with --map {our}=THEIRS'}"
    )


def _text(path: Path) -> tuple[str, str]:
    """The file's text and its digest; a gzipped table is the same table."""
    try:
        content = read_bounded(path, MAX_BYTES)
        if content.startswith(_GZIP):
            with gzip.GzipFile(fileobj=io.BytesIO(content)) as packed:
                content = packed.read(MAX_BYTES + 1)
            if len(content) > MAX_BYTES:
                raise InputError(
                    f"{path}: found more than {MAX_BYTES:,} bytes in it; split the table"
                )
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read ({reason})") from error
    try:
        return content.decode("utf-8-sig"), hashlib.sha256(content).hexdigest()
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(f"{path}:{line}: not UTF-8 text; save the table as UTF-8") from error
