"""What the server refuses, and the headers it sends.

The dashboard listens on this machine alone. Two further doors are shut here: a page elsewhere that
makes the browser talk to us under another name (Host) or from another site (Origin), and data that
would run as script (Content-Security-Policy).
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from flask import Flask, Response, abort, request

from tracker.errors import InputError

#: The names under which this machine reaches itself.
LOOPBACK = ("127.0.0.1", "localhost", "::1")
MAX_BODY_BYTES = 1 << 20


def check_host(host: str) -> str:
    """*host*, if it is this machine alone; :class:`InputError` otherwise."""
    if host not in LOOPBACK:
        raise InputError(
            f"--host {host}: the dashboard has no login and listens on {', '.join(LOOPBACK)} only. "
            "To see it from another machine, forward the port: ssh -L 8050:127.0.0.1:8050 THIS_HOST"
        )
    return host


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


def harden(server: Flask, script_hashes: Sequence[str]) -> None:
    """Check Host, Origin and body size of every request; set the headers of every answer."""
    server.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    policy = content_policy(script_hashes)

    @server.before_request
    def refuse() -> None:
        origin = request.headers.get("Origin")
        if not _is_loopback(f"//{request.host}"):
            abort(403, "unknown Host")
        if origin is not None and urlsplit(origin).netloc != request.host:
            abort(403, "foreign Origin")
        if (request.content_length or 0) > MAX_BODY_BYTES:
            abort(413)

    @server.after_request
    def add_headers(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = policy
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["X-Frame-Options"] = "DENY"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
        return response


def _is_loopback(url: str) -> bool:
    try:
        return urlsplit(url).hostname in LOOPBACK
    except ValueError:
        return False
