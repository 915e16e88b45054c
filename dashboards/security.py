"""Security of the server: refused requests, headers, and compression for visitors over a network.

It refuses a foreign Host (a page elsewhere that reaches us under another name), a foreign Origin and whatever
a browser says another site sent, but for a link that opens a page, and a visitor from another machine
without the token (:mod:`dashboards.access`). A Content-Security-Policy keeps data from running as script.

The library of the charts alone is 4.8 MB, so answers over a network are compressed. On this machine that
would cost more time than it saves.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from urllib.parse import urlsplit

from dash.exceptions import DependencyException, InvalidResourceError
from flask import Flask, Response, abort, request
from flask_compress import Compress
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from dashboards.access import Access, require_token
from tracker.cache import SingleFlightCache

MAX_BODY_BYTES = 1 << 20
#: Files that never change while the server runs: compressed once. The addresses name their version.
_LIBRARIES = "/_dash-component-suites/"
_METHODS = ("GET", "HEAD", "POST")
#: Paths of what a page fetches, which no link opens.
_FETCHED = ("/_", "/assets/", "/export/")
#: Compressed files in the cache; a page needs about thirty, and a visitor could invent ever more addresses.
_MAX_FILES = 64

_LOG = logging.getLogger("sft-select.dashboard")


def content_policy(script_hashes: Sequence[str]) -> str:
    """The Content-Security-Policy: own files only, and the inline scripts whose hashes are given.

    Styles may be inline because plotly and AG Grid set them from script; ``blob:`` images are plotly's export
    of a chart.
    """
    scripts = " ".join(["'self'", *script_hashes])
    return "; ".join(
        [
            "default-src 'self'",
            f"script-src {scripts}",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "font-src 'self' data:",
            "connect-src 'self'",
            "object-src 'none'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )


def harden(server: Flask, script_hashes: Sequence[str], access: Access = Access()) -> None:  # noqa: B008 - frozen
    """Check every request, its Host, sender, size and token; set the headers of every answer.

    A refusal is one line of plain text, and one line in the log.
    """
    server.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    policy = content_policy(script_hashes)

    @server.before_request
    def refuse() -> None:
        origin = request.headers.get("Origin")
        if not access.serves(request.host):
            abort(403, "unknown Host")
        if origin is not None and _netloc(origin) != request.host:
            abort(403, "foreign Origin")
        if _is_of_another_site():
            abort(403, "request of another site")
        if (request.content_length or 0) > MAX_BODY_BYTES:
            abort(413)

    require_token(server, access)

    @server.before_request
    def refuse_other_protocols() -> None:
        if request.method not in _METHODS:
            raise MethodNotAllowed(_METHODS)
        if "Upgrade" in request.headers:
            abort(400, "no other protocol is spoken here")

    @server.errorhandler(HTTPException)
    def explain(error: HTTPException) -> Response | HTTPException:
        if error.code is None or error.code < 400:
            return error
        reason = (error.description or error.name).splitlines()[0]
        if error.code != 404:  # a browser looks for icons and the like
            _LOG.warning(
                "refused %s %a from %s: %d %a",
                *(request.method[:20], request.path[:100], request.remote_addr),
                *(error.code, reason),
            )
        return Response(f"{reason}\n", status=error.code, mimetype="text/plain")

    @server.errorhandler(DependencyException)
    @server.errorhandler(InvalidResourceError)
    def no_such_file(_error: Exception) -> Response:
        return Response("no such file\n", status=404, mimetype="text/plain")

    @server.after_request
    def add_headers(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = policy
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["X-Frame-Options"] = "DENY"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
        return response


def _is_of_another_site() -> bool:
    """Whether the browser says that another site sent the request; a link that opens a page is none."""
    site = request.headers.get("Sec-Fetch-Site", "none")
    if site in ("none", "same-origin"):
        return False
    opens_page = (
        request.method in ("GET", "HEAD")
        and request.headers.get("Sec-Fetch-Mode") == "navigate"
        and request.headers.get("Sec-Fetch-Dest") == "document"
    )
    return not opens_page or request.path.startswith(_FETCHED) or request.path.endswith(".csv")


def _netloc(origin: str) -> str | None:
    """Name and port in *origin*; ``None`` where it is no address."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


class _CompressedFiles:
    """Cache of compressed files, with the methods that flask-compress calls."""

    def __init__(self) -> None:
        self._files = SingleFlightCache(_MAX_FILES)

    def get(self, key: str) -> bytes | None:
        content: bytes | None = self._files.peek(key)
        return content

    def set(self, key: str, value: bytes) -> None:
        self._files.get(key, lambda: value)


def compress(server: Flask) -> None:
    """Compress the answers of *server* for browsers that accept it."""
    server.config["COMPRESS_REGISTER"] = False
    answers, libraries = Compress(server), Compress(server)
    libraries.cache = _CompressedFiles()
    libraries.cache_key = lambda request: request.path

    @server.after_request
    def compressed(response: Response) -> Response:
        response.direct_passthrough = False
        response.make_sequence()  # gzip, which every browser reads, needs the whole of it
        compressor = libraries if request.path.startswith(_LIBRARIES) else answers
        smaller: Response = compressor.after_request(response)
        return smaller
