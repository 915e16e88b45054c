"""Journal of a trial: its durable event log on local disk, JSON Lines, written before study and store.

Events, one object per line, of the kind that ``event`` names:

- ``{"event": "start", ...}``: an attempt begins; further fields are the writer's own
- ``{"event": "step", "step": int, "time_ms": int, "values": {name: float}}``
- ``{"event": "checkpoint", "step": int}`` and ``{"event": "resume", "step": int}``
- ``{"event": "result", "result": {...}}``: a :class:`~tracker.trial.TrialResult`; terminal

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
from tracker.trial import TrialResult

TERMINAL_EVENTS = frozenset({"result"})


class Step(NamedTuple):
    """Training step: its number, the wall clock in epoch milliseconds, and the values measured."""

    step: int
    time_ms: int
    values: dict[str, float]


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
        return [steps[number] for number in sorted(steps)]

    def result(self) -> TrialResult | None:
        """Last result written; ``None`` while the trial has not ended."""
        for event in reversed(self.events()):
            if event["event"] == "result":
                return self._validated(event["result"])
        return None

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
