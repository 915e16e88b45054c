"""Pages as they were last drawn: a second visitor of the same view does not wait for it to be drawn again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any

from cachetools import LRUCache

#: Views kept; a further one drops that unused for longest.
MAX_VIEWS = 16


class Drawn:
    """The last views of one page, thread-safe. Two who ask for the same one at once share the drawing."""

    def __init__(self, limit: int = MAX_VIEWS) -> None:
        self._lock = threading.Lock()
        self._known: LRUCache[Hashable, Any] = LRUCache(limit)
        self._drawing: dict[Hashable, threading.Lock] = {}

    def get(self, view: Hashable, draw: Callable[[], Any]) -> Any:
        """What *draw* makes of *view*, which must name everything it depends on; its errors are not kept."""
        with self._lock:
            mine = self._drawing.setdefault(view, threading.Lock())
        with mine:
            with self._lock:
                if view in self._known:
                    self._drawing.pop(view, None)
                    return self._known[view]
            try:
                made = draw()
                with self._lock:
                    self._known[view] = made
            finally:
                with self._lock:
                    self._drawing.pop(view, None)
            return made
