"""Access to the dashboard: free from this machine, by a token from any other.

The token is made once per workspace; only the workspace's owner can read it. It comes with the address that
the terminal prints. From then on a cookie carries it, which scripts cannot read and other sites cannot send.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import socket
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

from flask import Flask, Response, redirect, request

from tracker.errors import InputError
from tracker.files import write_atomically

#: Names under which this machine reaches itself.
LOOPBACK = ("127.0.0.1", "localhost", "::1")
#: The file of the token in a workspace.
TOKEN_FILE = "dashboard-token"  # noqa: S105 - a file name
_WEEK = 7 * 24 * 3600
_REFUSED = (
    "This dashboard needs a token: open the address that its terminal printed, or add ?token=... with the "
    f"text of the file {TOKEN_FILE} in its workspace.\n"
)


class Access(NamedTuple):
    """Access rules. ``names``: Host names that are served. ``token``: of visitors, ``None`` for no token."""

    names: frozenset[str] = frozenset(LOOPBACK)
    token: str | None = None

    def serves(self, host: str) -> bool:
        """Whether requests with the Host *host* (``name[:port]``) are served.

        A foreign name means that another site made the browser come here (DNS rebinding). An IP address
        cannot be misused that way, and beyond loopback the token guards it.
        """
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        return name is not None and (name in self.names or (bool(self.token) and _is_ip(name)))

    @property
    def cookie(self) -> str:
        """Name of the cookie with the token; cookies ignore ports, so each dashboard has its own."""
        return f"sft-select-{hashlib.sha256((self.token or '').encode()).hexdigest()[:8]}"

    def admits(self, given: str | None) -> bool:
        """Whether *given* is the token, or none is needed."""
        if self.token is None:
            return True
        return given is not None and hmac.compare_digest(given.encode(), self.token.encode())


def access_for(host: str, workspace: Path, names: Sequence[str] = ()) -> Access:
    """Access rules of a server on *host*; beyond loopback visitors need the workspace's token.

    *names*: other host names of this machine. Raises InputError where *host* is no address.
    """
    if host in LOOPBACK and not names:
        return Access()
    if host not in LOOPBACK and not _is_ip(host):
        raise InputError(
            f"--host {host!r}: not an address; allowed: {', '.join(LOOPBACK)}, or an IP address of this "
            "machine (0.0.0.0 for all); give its host names with --allow-name"
        )
    served = {*LOOPBACK, socket.gethostname().lower(), *(name.lower() for name in names)}
    return Access(frozenset(served), workspace_token(workspace))


def address_of(host: str, port: int, token: str | None) -> str:
    """The address to open in a browser; by this machine's name where the server listens on all addresses."""
    everywhere = _is_ip(host) and ip_address(host).is_unspecified
    name = socket.gethostname() if everywhere else host
    name = f"[{name}]" if ":" in name else name
    return f"http://{name}:{port}/" + (f"?token={token}" if token else "")


def workspace_token(workspace: Path) -> str:
    """The workspace's token, made on first use; only its owner can read the file.

    Raises InputError where it cannot be read or written, or others can read it.
    """
    path = workspace / TOKEN_FILE
    try:
        workspace.mkdir(parents=True, exist_ok=True)
        return _read_or_make(path)
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror}; the token of this workspace must be readable and writable there"
        ) from error


def _read_or_make(path: Path) -> str:
    token = secrets.token_urlsafe(32)
    if not path.exists():
        with suppress(FileExistsError):  # another process was faster
            write_atomically(path, token + "\n", private=True, exclusive=True)
            return token
    if path.stat().st_mode & 0o077:
        raise InputError(
            f"{path}: others may read this token; delete the file, and the next start makes another"
        )
    token = path.read_text(encoding="ascii", errors="replace").strip()
    if not token.isascii() or not token.isprintable() or not token:
        found = "is empty" if not token else "holds no token"
        raise InputError(f"{path}: {found}; delete the file, and the next start makes another")
    return token


def require_token(server: Flask, access: Access) -> None:
    """Refuse every request without the token; one that brings it in its address gets the cookie."""
    if access.token is None:
        return

    @server.before_request
    def refuse() -> Response | None:
        given = request.args.get("token")
        if given is not None and request.method == "GET" and access.admits(given):
            return _welcome(access)
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if access.admits(request.cookies.get(access.cookie)) or access.admits(bearer):
            return None
        return Response(_REFUSED, status=401, mimetype="text/plain")


def _welcome(access: Access) -> Response:
    """Redirect to the address without the token, which must not stay in the browser's history."""
    rest = [(k, v) for k, v in request.args.items(multi=True) if k != "token"]
    path = "/" + request.path.lstrip("/\\")  # never //elsewhere
    answer = redirect(f"{path}?{urlencode(rest)}" if rest else path)
    answer.set_cookie(
        access.cookie, access.token or "", max_age=_WEEK, httponly=True, samesite="Strict"
    )
    return answer  # type: ignore[return-value]


def _is_ip(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
