"""Journal of a trial: its durable event log on local disk, JSON Lines, written before study and store.

Events, one object per line, of the kind that ``event`` names:

- ``{"event": "start", "time", "pid", "host"}``: a worker begins an attempt
- ``{"event": "step", "step": int, "time_ms": int, "values": {name: float}}``
- ``{"event": "checkpoint", "step": int}`` and ``{"event": "resume", "step": int}``
- ``{"event": "death", "why": str, "counts": bool}``: the worker died; whether that may be the trial's doing
- ``{"event": "stop"}``: the driver ended the worker in good order, to go on later
- ``{"event": "result", "result": {...}}``: a :class:`~tracker.trial.TrialResult`; terminal. One that was
  taken over from another trial has ``"taken_over": {...}`` too, a :class:`~tracker.trial.TakenOver`
- ``{"event": "retry"}``: the trial, which failed, is run again from its beginning

One writer at a time; any number of readers. A line reaches the file in a single write, so a killed
writer leaves at most one torn line at the end: readers drop it, the next writer cuts it off.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple, Self

from pydantic import ValidationError

from tracker.errors import StoreError
from tracker.files import sync_folder
from tracker.trial import TakenOver, TrialResult

TERMINAL_EVENTS = frozenset({"result"})
#: So many deaths without progress fail a trial, and so many attempts with those of which no end is known.
_DEATHS, _DEATHS_AND_LOST = 3, 6


class Step(NamedTuple):
    """Training step: its number, the wall clock in epoch milliseconds, and the values measured."""

    step: int
    time_ms: int
    values: dict[str, float]


class Attempts(NamedTuple):
    """Attempts at a trial since it last got further than ever before.

    ``deaths``: those that ended with the death of their worker and may be the trial's doing; ``lost``: those
    whose end nobody wrote down, as driver and worker went together.
    """

    deaths: int = 0
    lost: int = 0

    @property
    def are_enough(self) -> bool:
        """Whether the trial has failed. A driver is killed for many reasons: that weighs less."""
        return self.deaths >= _DEATHS or self.deaths + self.lost >= _DEATHS_AND_LOST


class Journal:
    """Event log at *path*; the file and its folder are made with the first event."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def append(self, event: dict[str, Any], *, sync: bool = False) -> None:
        """Append *event* as one line; on disk for certain when *sync*, or when it is terminal.

        Raises ValueError for a value JSON cannot hold (NaN included: divergence is a status, not a
        number) and StoreError when the disk refuses; the file then holds what it held before.
        """
        line = json.dumps(event, separators=(",", ":"), allow_nan=False).encode() + b"\n"
        try:
            self._write(line, sync or event.get("event") in TERMINAL_EVENTS)
        except OSError as error:
            reason = error.strerror or error
            raise StoreError(
                f"{self.path}: cannot write the trial's journal ({reason}); "
                "free the disk or fix its permissions, then run the same command again"
            ) from error

    def events(self) -> list[dict[str, Any]]:
        """All events in order, less a torn last line; StoreError names a line broken elsewhere."""
        return self._read()[0]

    def steps(self) -> list[Step]:
        """Every step once, in order; those of a resumed attempt replace the same ones of an earlier."""
        steps: dict[int, Step] = {}
        for event in self.events():
            if event["event"] == "step":
                steps[event["step"]] = Step(event["step"], event["time_ms"], event["values"])
            elif event["event"] == "resume":
                steps = {n: step for n, step in steps.items() if n <= event["step"]}
            elif event["event"] == "retry":
                steps = {}
        return [steps[number] for number in sorted(steps)]

    def result(self) -> TrialResult | None:
        """Last result written; ``None`` while the trial has not ended, and again while it is retried."""
        for event in reversed(self.events()):
            if event["event"] == "retry":
                return None
            if event["event"] == "result":
                return self._validated(event["result"])
        return None

    def taken_over(self) -> TakenOver | None:
        """Where the last result is from; ``None`` for a trial that was run, or has not ended."""
        try:
            if b'"taken_over":' not in self.path.read_bytes():  # most: nothing is parsed
                return None
        except FileNotFoundError:
            return None
        for event in reversed(self.events()):
            if event["event"] in ("retry", "result"):
                found = event.get("taken_over")
                return None if found is None else TakenOver.model_validate(found)
        return None

    def first_result(self) -> TrialResult | None:
        """First result written, which a retry does not change; ``None`` where the trial never ended."""
        for event in self.events():
            if event["event"] == "result":
                return self._validated(event["result"])
        return None

    def attempts(self) -> Attempts:
        """Attempts without progress, of a trial that is not under way at present."""
        deaths = lost = 0
        is_open, furthest = False, -1
        for event in self.events():
            kind = event["event"]
            if kind == "start":
                lost += is_open
                is_open = "host" in event  # an earlier release wrote down no deaths
            elif kind in ("step", "checkpoint") and event["step"] > furthest:
                furthest, deaths, lost = event["step"], 0, 0
            elif kind == "death":
                is_open = False
                deaths += event["counts"]
            elif kind in ("stop", "result"):
                is_open = False
            elif kind == "retry":
                is_open, furthest, deaths, lost = False, -1, 0, 0
        return Attempts(deaths, lost + is_open)

    def close(self) -> None:
        """Release the file; a later append opens it again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, line: bytes, sync: bool) -> None:
        if self._descriptor is None:
            self._descriptor = self._open()
        before = os.fstat(self._descriptor).st_size
        try:
            written = os.write(self._descriptor, line)
            if written < len(line):
                raise OSError(f"only {written} of {len(line)} bytes fitted")
        except OSError:
            os.ftruncate(self._descriptor, before)
            raise
        if sync:
            os.fsync(self._descriptor)

    def _open(self) -> int:
        """A descriptor at the end of the last whole line: a dead writer's torn one is cut off."""
        whole = self._read()[1]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(self.path, flags, 0o644)
        os.ftruncate(descriptor, whole)
        # The new name must outlive a power cut too, or a synced result could vanish with it.
        sync_folder(self.path.parent)
        return descriptor

    def _read(self) -> tuple[list[dict[str, Any]], int]:
        """The events and how many bytes their lines take."""
        try:
            lines = self.path.read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return [], 0
        events: list[dict[str, Any]] = []
        whole = 0
        for number, line in enumerate(lines, start=1):
            event = _parsed(line)
            if event is None:
                if number == len(lines):
                    break
                raise StoreError(
                    f"{self.path}:{number}: not a journal event; the file was changed or damaged, "
                    "move it away and the trial runs again"
                )
            events.append(event)
            whole += len(line)
        return events, whole

    def _validated(self, result: Any) -> TrialResult:
        try:
            return TrialResult.model_validate(result)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise StoreError(
                f"{self.path}: its result does not fit this version ({place}: {first['msg']}); "
                "read it with the version that wrote it, or move it away and the trial runs again"
            ) from error


def _parsed(line: bytes) -> dict[str, Any] | None:
    """The event on *line*; None where the line is torn or is no event."""
    if not line.endswith(b"\n"):
        return None
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None
