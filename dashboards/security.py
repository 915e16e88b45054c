"""What the server refuses, and the headers it sends.

Three doors are shut here: a page elsewhere that makes the browser talk to us under another name (Host)
or from another site (Origin), a visitor from another machine without the token
(:mod:`dashboards.access`), and data that would run as script (Content-Security-Policy).
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from flask import Flask, Response, abort, request

from dashboards.access import Access, require_token

MAX_BODY_BYTES = 1 << 20


def content_policy(script_hashes: Sequence[str]) -> str:
    """The Content-Security-Policy: own files only, and the inline scripts whose hashes are given.

    Styles may be inline because plotly and AG Grid set them from script; ``blob:`` images are
    plotly's own export of a chart.
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
    """Check Host, Origin, body size and token of every request; set the headers of every answer."""
    server.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    policy = content_policy(script_hashes)

    @server.before_request
    def refuse() -> None:
        origin = request.headers.get("Origin")
        if not access.serves(request.host):
            abort(403, "unknown Host")
        if origin is not None and _place(origin) != request.host:
            abort(403, "foreign Origin")
        if (request.content_length or 0) > MAX_BODY_BYTES:
            abort(413)

    require_token(server, access)

    @server.after_request
    def add_headers(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = policy
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["X-Frame-Options"] = "DENY"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
        return response


def _place(origin: str) -> str | None:
    """Name and port in *origin*; ``None`` where it is no address at all."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None
