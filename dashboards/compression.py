"""Answers that cross a network are sent compressed: the library of the charts alone is 4.8 MB.

On this machine it would cost more time than it saves.
"""

from __future__ import annotations

import threading

from cachetools import LRUCache
from flask import Flask, Response, request
from flask_compress import Compress

#: What never changes while the server runs: compressed once. The addresses name their version.
_LIBRARIES = "/_dash-component-suites/"
_KEPT = (
    64  # files; a page needs about thirty, and a visitor could ask for ever more names of the same
)


class _Packed:
    """Files as they were packed, thread-safe; one more than are kept drops that unused for longest."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: LRUCache[str, bytes] = LRUCache(_KEPT)

    def get(self, key: str) -> bytes | None:
        with self._lock:
            found: bytes | None = self._known.get(key)
            return found

    def set(self, key: str, value: bytes) -> None:
        with self._lock:
            self._known[key] = value


def compress(server: Flask) -> None:
    """Compress what *server* answers, as far as the browser says that it can read it."""
    server.config["COMPRESS_REGISTER"] = False
    news, libraries = Compress(server), Compress(server)
    libraries.cache = _Packed()
    libraries.cache_key = lambda asked: asked.path

    @server.after_request
    def smaller(response: Response) -> Response:
        response.direct_passthrough = False
        response.make_sequence()  # gzip, which every browser reads, needs the whole of it
        packer = libraries if request.path.startswith(_LIBRARIES) else news
        packed: Response = packer.after_request(response)
        return packed
