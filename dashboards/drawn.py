"""Pages as they were last drawn: a second visitor of the same view does not wait for it to be drawn again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

#: Views kept; a further one drops that unused for longest.
MAX_VIEWS = 24


class Drawn:
    """The last views of one page, thread-safe. Two who ask for the same one at once share the drawing."""

    def __init__(self, limit: int = MAX_VIEWS) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._known: OrderedDict[Hashable, Any] = OrderedDict()
        self._drawing: dict[Hashable, threading.Lock] = {}

    def get(self, view: Hashable, draw: Callable[[], Any]) -> Any:
        """What *draw* makes of *view*, which must name everything it depends on; its errors are not kept."""
        with self._lock:
            mine = self._drawing.setdefault(view, threading.Lock())
        with mine:
            with self._lock:
                if view in self._known:
                    self._known.move_to_end(view)
                    self._drawing.pop(view, None)
                    return self._known[view]
            try:
                made = draw()
                with self._lock:
                    self._known[view] = made
                    while len(self._known) > self._limit:
                        self._known.popitem(last=False)
            finally:
                with self._lock:
                    self._drawing.pop(view, None)
            return made
