"""Clock of a trial: wall time by phase; phases nest, and time counts for the innermost alone."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

#: Phases that are the work itself; what a worker spends elsewhere, idling included, is overhead.
WORK = frozenset({"forward_backward", "optimizer", "score", "generate"})


class Clock:
    """Seconds per phase, without those of nested phases; ``start`` and ``stop`` serve callbacks."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._stack: list[tuple[str, float]] = []

    def start(self, phase: str) -> None:
        """Enter *phase*; the phase around it pauses."""
        now = time.perf_counter()
        if self._stack:
            outer, since = self._stack[-1]
            self.seconds[outer] += now - since
        self._stack.append((phase, now))

    def stop(self) -> None:
        """Leave the innermost phase; the one around it goes on."""
        now = time.perf_counter()
        phase, since = self._stack.pop()
        self.seconds[phase] += now - since
        if self._stack:
            self._stack[-1] = (self._stack[-1][0], now)

    def add(self, seconds: Mapping[str, float]) -> None:
        """Add the seconds of an earlier attempt, by phase."""
        for phase, taken in seconds.items():
            self.seconds[phase] += taken

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a block as phase *name*, also when it raises."""
        self.start(name)
        try:
            yield
        finally:
            self.stop()

    @property
    def work_seconds(self) -> float:
        """Seconds in forward, backward, optimizer and generation."""
        return sum(s for phase, s in self.seconds.items() if phase in WORK)
