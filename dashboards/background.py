"""Answers that take longer than a click: worked out in the background, the last one shown meanwhile."""

from __future__ import annotations

import copy
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

from cachetools import LRUCache

#: Questions whose answers are kept; a further one drops that unused for longest.
MAX_ANSWERS = 64
_LOOK = 0.01  # seconds between two looks while waiting


class Answer(NamedTuple):
    """``value``: ``None`` before the first is known. ``fresh``: it belongs to the version asked for."""

    value: Any
    fresh: bool


class BackgroundJobs:
    """A worker for slow answers, thread-safe; one at a time, so that a page never takes every core.

    A question has the answer of one *version* of what it is about. While a newer one is worked out the
    older is given; of several versions that wait, only the newest is worked out.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: LRUCache[Hashable, tuple[str, Any]] = LRUCache(MAX_ANSWERS)
        self._wanted: OrderedDict[Hashable, tuple[str, Callable[[], Any]]] = OrderedDict()
        self._busy = False
        self._doing: tuple[Hashable, str] | None = None

    def get(
        self, question: Hashable, version: str, build: Callable[[], Any], wait: float = 0.0
    ) -> Answer:
        """The answer so far; *build* is begun where that is not *version*'s. Raises what it raised.

        *wait*: seconds to wait for it, so that a quick one does not come with the next news only.
        """
        if not self._start(question, version, build) and wait:
            until = time.monotonic() + wait
            while not self.ready(question, version) and time.monotonic() < until:
                time.sleep(_LOOK)
        with self._lock:
            known = self._known.get(question)
        if known is None:
            return Answer(None, False)
        if isinstance(known[1], Exception):
            raise copy.copy(known[1])  # what is raised remembers everything that it passes
        return Answer(known[1], known[0] == version)

    def ready(self, question: Hashable, version: str) -> bool:
        """Whether the answer of *version* is known."""
        with self._lock:
            known = self._known.get(question)
        return known is not None and known[0] == version

    def _start(self, question: Hashable, version: str, build: Callable[[], Any]) -> bool:
        """Whether the answer is there already; it is begun where not."""
        with self._lock:
            known = self._known.get(question)
            if known is not None and known[0] == version:
                return True
            if self._doing != (question, version):
                self._wanted[question] = (version, build)
                self._wanted.move_to_end(question)  # what is looked at now comes first
            if not self._busy:
                self._busy = True
                threading.Thread(target=self._work, daemon=True, name="later").start()
            return False

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._wanted:
                    self._busy, self._doing = False, None
                    return
                question, (version, build) = self._wanted.popitem()
                self._doing = (question, version)
            try:
                value = build()
            except Exception as error:  # given to whoever asks, as if it had been raised there
                error.__cause__ = error.__context__ = None
                value = error.with_traceback(None)
            with self._lock:
                self._doing = None
                self._known[question] = (version, value)
