"""Single-flight cache: a missing value is computed once, while others wait or in the background.

Bounded by count: one value more than the limit drops the least recently used.
"""

from __future__ import annotations

import copy
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, TypeVar

from cachetools import LRUCache

Made = TypeVar("Made")


class Latest(NamedTuple):
    """Newest value known; ``None`` before the first. ``fresh``: whether it is of the requested version."""

    value: Any
    fresh: bool


class _Flight:
    """Computation of a value under way. ``made`` holds the value, and stays empty where that failed."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.made: tuple[Any, ...] = ()


class SingleFlightCache:
    """Values by key, thread-safe; at most *limit* of them. A key is read in one of two ways.

    :meth:`get` computes a missing value in the caller's thread. :meth:`get_in_background` does so in a
    worker thread, one value at a time, so that a page never takes every core: a value belongs to a *version*
    of its source, the older is returned while a newer is computed, and of several versions that wait only
    the newest is computed.
    """

    def __init__(self, limit: float = math.inf) -> None:
        self._changed = threading.Condition()  # the lock of everything below
        self._known: LRUCache[Hashable, tuple[str, Any]] = LRUCache(limit)
        self._flights: dict[Hashable, _Flight] = {}
        self._wanted: OrderedDict[Hashable, tuple[str, Callable[[], Any]]] = OrderedDict()
        self._doing: tuple[Hashable, str] | None = None
        self._has_worker = False

    def __len__(self) -> int:
        with self._changed:
            return len(self._known)

    def get(self, key: Hashable, build: Callable[[], Made]) -> Made:
        """Value that *build* made for *key*, which must name all that it depends on; errors are not kept.

        Other callers of *key* wait meanwhile; callers of another key do not. *build* may read other keys,
        not *key*.
        """
        while True:
            with self._changed:
                if key in self._known:
                    known: Made = self._known[key][1]
                    return known
                flight = self._flights.get(key)
                is_mine = flight is None
                if flight is None:
                    flight = self._flights[key] = _Flight()
            if is_mine:
                return self._make(key, flight, build)
            flight.done.wait()
            if flight.made:
                shared: Made = flight.made[0]
                return shared

    def peek(self, key: Hashable) -> Any:
        """Value of *key* as far as it is known; ``None`` where there is none, or an error."""
        with self._changed:
            _, value = self._known.get(key, ("", None))
        return None if isinstance(value, Exception) else value

    def get_in_background(
        self, key: Hashable, version: str, build: Callable[[], Any], wait: float = 0.0
    ) -> Latest:
        """Newest value of *key*; *build* is begun where that is not of *version*. Raises what it raised.

        *wait*: seconds to wait for it, so that a quick one is not first seen with the next update.
        """
        with self._changed:
            if not self._is_known(key, version):
                self._want(key, version, build)
                if wait:
                    self._changed.wait_for(lambda: self._is_known(key, version), wait)
            known = self._known.get(key)
        if known is None:
            return Latest(None, False)
        if isinstance(known[1], Exception):
            raise copy.copy(known[1])  # what is raised remembers everything that it passes
        return Latest(known[1], known[0] == version)

    def ready(self, key: Hashable, version: str) -> bool:
        """Whether the value of *version* is known."""
        with self._changed:
            return self._is_known(key, version)

    def _make(self, key: Hashable, flight: _Flight, build: Callable[[], Made]) -> Made:
        try:
            made = build()
            flight.made = (made,)
            return made
        finally:
            with self._changed:
                if flight.made:
                    self._known[key] = "", flight.made[0]
                del self._flights[key]
            flight.done.set()

    def _is_known(self, key: Hashable, version: str) -> bool:
        known = self._known.get(key)
        return known is not None and known[0] == version

    def _want(self, key: Hashable, version: str, build: Callable[[], Any]) -> None:
        if self._doing != (key, version):
            self._wanted[key] = version, build
            self._wanted.move_to_end(key)  # what is looked at now comes first
        if not self._has_worker:
            self._has_worker = True
            threading.Thread(target=self._work, daemon=True, name="background cache").start()

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._wanted:
                    self._has_worker = False
                    return
                key, (version, build) = self._wanted.popitem()
                self._doing = key, version
            try:
                value = build()
            except Exception as error:  # raised in the caller, as if it had been raised there
                error.__cause__ = error.__context__ = None
                value = error.with_traceback(None)
            with self._changed:
                self._doing = None
                self._known[key] = version, value
                self._changed.notify_all()
            del build, value  # an idle worker holds on to nothing
