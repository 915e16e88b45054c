"""Answers that cross a network are sent compressed: the library of the charts alone is 4.8 MB.

On this machine it would cost more time than it saves.
"""

from __future__ import annotations

from flask import Flask, Response, request
from flask_compress import Compress
from flask_compress.flask_compress import DictCache

#: What never changes while the server runs: compressed once. The addresses name their version.
_LIBRARIES = "/_dash-component-suites/"


def compress(server: Flask) -> None:
    """Compress what *server* answers, as far as the browser says that it can read it."""
    server.config["COMPRESS_REGISTER"] = False
    news, libraries = Compress(server), Compress(server)
    libraries.cache = DictCache()
    libraries.cache_key = lambda asked: asked.path

    @server.after_request
    def smaller(response: Response) -> Response:
        response.direct_passthrough = False
        response.make_sequence()  # gzip, which every browser reads, needs the whole of it
        packer = libraries if request.path.startswith(_LIBRARIES) else news
        packed: Response = packer.after_request(response)
        return packed
