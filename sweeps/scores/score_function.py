"""A user's own score: a function (answer, row) -> number, run in a process that can be ended."""

from __future__ import annotations

import contextlib
import json
import math
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sweeps.data.examples import digest
from sweeps.scores import function_process
from tracker.errors import InputError
from tracker.task import ScoreFunction

#: What importing the file may take.
START_SECONDS = 120.0
#: Rows that may run out of time in one evaluation; those after them are not tried.
MOST_LATE = 10


class RowValue(NamedTuple):
    """Value of one row, in the function's own unit, or ``None`` and why: the ``error`` and its ``words``.

    The words may quote the row.
    """

    value: float | None
    error: str = ""
    words: str = ""


class _EndedError(Exception):
    """The process is gone; its argument says why."""


def function_values(
    score: ScoreFunction,
    answers: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    beat: Callable[[], None] = lambda: None,
) -> list[RowValue]:
    """Values of *answers* by the user's function, given each answer and its row of the data file.

    What JSON has no form for (a date of a Parquet file) is text in the row. A row on which the function
    raises, returns no number or one out of range, takes more than ``score.seconds`` or ends its process has
    an error. *beat* is called after each. Raises InputError where the file has changed or does not load.
    """
    path = score.file.path
    found = digest(path)
    if found != score.file.sha256:
        raise InputError(
            f"{path}: changed during the sweep: its SHA-256 is {found[:12]}…, the sweep was planned with "
            f"{score.file.sha256[:12]}…; put the file back or start a new sweep"
        )
    values: list[RowValue] = []
    process: _Process | None = None
    late = 0
    try:
        for answer, row in zip(answers, rows, strict=True):
            if late >= MOST_LATE:
                why = f"{MOST_LATE} rows before it had run out of time"
                values.append(RowValue(None, "NotTried", why))
                continue
            process = process or _Process(score)
            try:
                values.append(_in_range(process.ask(answer, dict(row)), score))
            except _EndedError as ended:
                process.close()
                process = None
                late += ended.args[0] == "TimeoutError"
                values.append(RowValue(None, *ended.args))
            beat()
    finally:
        if process is not None:
            process.close()
    return values


def _in_range(found: RowValue, score: ScoreFunction) -> RowValue:
    high = math.inf if score.high is None else score.high
    if found.value is None or score.low <= found.value <= high:
        return found
    allowed = f"{score.low:g} or more" if score.high is None else f"{score.low:g} to {score.high:g}"
    return RowValue(None, "OutOfRange", f"it returned {found.value:g}; allowed: {allowed}")


class _Process:
    """The process that runs the function; raises InputError where the file does not load."""

    def __init__(self, score: ScoreFunction) -> None:
        self._seconds = score.seconds
        self._unread = b""
        program = str(Path(function_process.__file__).resolve())
        arguments = [score.file.path, score.function, str(score.seconds)]
        self._process = subprocess.Popen(  # noqa: S603 - the user's file, by allow_code
            [sys.executable, "-P", program, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            started = self._reply(START_SECONDS)
        except _EndedError as ended:
            started = {"error": ended.args[0], "place": "", "words": ended.args[1]}
        if "error" in started:
            self.close()
            words = f"{started['place']}{started['error']}: {started['words']}"
            raise InputError(
                f"{score.file.path}: found a file that does not load: {words}; mend it, or check the "
                f"name of its function, {score.function}"
            )

    def ask(self, answer: str, row: Mapping[str, Any]) -> RowValue:
        """Value of *answer* to *row*. Raises _EndedError where the process did, or had to be ended."""
        assert self._process.stdin is not None
        try:
            request = json.dumps([answer, row], default=str) + "\n"
            self._process.stdin.write(request.encode())
            self._process.stdin.flush()
        except OSError:
            raise _EndedError("ProcessEnded", self._code()) from None
        reply = self._reply(self._seconds)
        if "error" in reply:
            return RowValue(None, reply["error"], reply["place"] + reply["words"])
        return RowValue(float(reply["value"]))

    def _reply(self, seconds: float) -> dict[str, Any]:
        """The next line of the process, as what it says."""
        assert self._process.stdout is not None
        until = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._unread:
                if not selector.select(max(0.0, until - time.monotonic())):
                    raise _EndedError("TimeoutError", f"it took more than {seconds:g} seconds")
                read = self._process.stdout.read1(1 << 16)  # type: ignore[attr-defined]
                if not read:
                    raise _EndedError("ProcessEnded", self._code())
                self._unread += read
        line, _, self._unread = self._unread.partition(b"\n")
        return dict(json.loads(line))

    def _code(self) -> str:
        return f"it ended its process (exit code {self._process.wait()})"

    def close(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):  # not written to a process that is gone
                    stream.close()
