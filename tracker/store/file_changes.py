"""Changes of a begun sweep's file: what was added and removed, and when, as a fact of the sweep."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

#: Fact of a sweep that holds its changes as JSON.
FACT_NAME = "file_changes"
_MOST_CHARACTERS = 4_000  # of a tag; the sweep's folder holds all
_MOST_SHOWN = 5


class FileChange(NamedTuple):
    """A change of a sweep's file at epoch seconds ``time``: ``changes``, a line each."""

    time: float
    changes: tuple[str, ...]

    @property
    def line(self) -> str:
        """It in a line; the time in UTC."""
        at = time.strftime("%Y-%m-%d %H:%M", time.gmtime(self.time))
        return f"file changed {at} UTC: {'; '.join(self.changes)}"


def as_fact(changes: Sequence[FileChange]) -> str:
    """The last of *changes*, as many as a tag holds."""
    kept = [[change.time, list(change.changes)] for change in changes]
    while len(text := json.dumps(kept, ensure_ascii=False)) > _MOST_CHARACTERS and len(kept) > 1:
        del kept[0]
    if len(text) > _MOST_CHARACTERS:
        text = json.dumps([[changes[-1].time, ["many parts"]]])
    return text


def of_facts(facts: Mapping[str, str]) -> list[FileChange]:
    """Changes that the *facts* of a sweep tell of, the earliest first; none where somebody garbled them."""
    try:
        read = json.loads(facts.get(FACT_NAME) or "[]")
        return [FileChange(float(at), tuple(map(str, changes))) for at, changes in read]
    except (ValueError, TypeError):
        return []


def lines(facts: Mapping[str, str]) -> list[str]:
    """A line for each of the last changes."""
    return [change.line for change in of_facts(facts)[-_MOST_SHOWN:]]
