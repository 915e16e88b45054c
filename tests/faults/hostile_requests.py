"""Send the dashboard what no browser would, and check that it refuses or answers and stays up.

``python -m tests.faults.hostile_requests`` prints how many of each kind were tried and held: every callback
with values of other types, malformed bodies, paths, headers, and connections that send nothing or too slowly.
"""

from __future__ import annotations

import json
import logging
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dash import Dash
from flask import Flask
from werkzeug.test import Client, TestResponse

from dashboards import server as server_module
from dashboards.access import Access
from dashboards.app import create_app
from dashboards.callbacks import PATH
from dashboards.server import Server
from tests.dashboards.conftest import NAME, make_workspace
from tracker.store.store import Store

TOKEN = "t" * 43
_NESTED = "[" * 50_000 + "]" * 50_000
#: Values that an input may not have, or may; as JSON text.
VALUES = (
    *("null", "true", "0", "-1", "1.5", "1e999", "NaN", "9" * 500, '""', '"x"', r'"\ud800"'),
    *(r'"\u0000"', '"' + "a" * 5000 + '"', '"?sweep=none"', '"?where=%00:%ff&sort=-&any=::"'),
    *('"?trial=1e9&compare=-1,x"', '"?target_quality=nan&volume=1e400&weight=a"', "[]", "[null]"),
    *("[[1]]", "{}", '{"a": 1}', '{"shape": 1}', '{"startRow": "x", "endRow": {}}', '["x", {}]'),
    *('{"sortModel": [{"colId": 1}], "filterModel": {"a": []}}', '[{"number": "x"}]'),
    *('{"startRow": -5, "endRow": 1e9, "filterModel": {"quality": {"filter": "x"}}}',),
    *('{"filterModel": {"quality": {"conditions": [1]}}}', '{"colId": [], "rowId": 3}'),
)
BODIES = (
    *(b"", b"x", b"null", b"[]", b"1", b'"x"', b"{", b"\xff\xfe", b"{}", b'{"output": 1}'),
    *(b'{"output": "page.children"}', b'{"output": "none.children", "outputs": [], "inputs": []}'),
    b'{"output": "page.children", "outputs": [], "inputs": []}',
    b'{"output": "page.children", "outputs": {"id": "page", "property": "children"}, "inputs": 1}',
    b'{"output": "page.children", "outputs": {"id": "page", "property": "children"}, "inputs": [1]}',
    b'{"output": "page.children", "outputs": {"id": "page", "property": "children"}, "inputs": [{}]}',
    b'{"output": "page.children", "outputs": {"id": "url", "property": "href"}, "inputs": []}',
    b'{"output": "theme.data", "outputs": {"id": "theme", "property": "data"}, "inputs": []}',
    b'{"output": "..version.data..", "outputs": [], "inputs": [], "state": null}',
    *(_NESTED.encode(), b'{"a":' * 20_000, b"9" * 100_000, b" " * 900_000),
)
PATHS = (
    *(
        "/../../etc/passwd",
        "/assets/../app.py",
        "/assets/..%2f..%2fapp.py",
        "/assets/%2e%2e/app.py",
    ),
    *("/export/a/b", "/export/../x", f"/export/{NAME}/../../etc/passwd", f"/export/{NAME}/x.yaml"),
    *("/trials/none.csv", "/trials/%00.csv", f"/trials/{NAME}.csv?where=%00&sort=x&any=a:b:c"),
    *("/_dash-component-suites/os/path.py", "/_dash-component-suites/dash/../../x.js"),
    *("/_dash-component-suites/dash/x.js", "/_dash-component-suites/%00/x", "/_reload-hash"),
    *("/%ff%fe", "/" + "a" * 3000, "/?" + "a=1&" * 900, "/?token=" + "x" * 500, "//elsewhere/"),
    *(
        "/\\elsewhere",
        "/_dash-layout/x",
        "/_favicon.ico",
        "/_dash-update-component",
        "/.git/config",
    ),
)


class Outcome(NamedTuple):
    """Kind of request, what was sent, and what broke; ``None`` where it held."""

    kind: str
    sent: str
    problem: str | None


class _Log(logging.Handler):
    """Records that bring a traceback, and whatever spans lines."""

    def __init__(self) -> None:
        super().__init__()
        self.bad: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info or "\n" in record.getMessage():
            self.bad.append(record.getMessage())


def make_app(workspace: Path, *, token: str | None = None) -> Dash:
    """A dashboard with control over the store of *workspace*, whose sweep it has read."""
    access = Access(token=token) if token else Access()
    app = create_app(Store.open(workspace), control=True, access=access)
    app.server.config["PROPAGATE_EXCEPTIONS"] = False
    client = app.server.test_client()
    headers = {"Host": "localhost", "Authorization": f"Bearer {token}"}
    for _ in range(200):
        if client.get(f"/trials/{NAME}.csv", headers=headers).status_code == 200:
            return app
        time.sleep(0.1)
    raise AssertionError("the dashboard does not read its store")


def callback_bodies(app: Dash) -> Iterator[tuple[str, str]]:
    """Each callback of the server with each of its values replaced: what was sent, and the body."""
    listed = app.server.test_client().get("/_dash-dependencies", headers={"Host": "localhost"})
    for callback in listed.get_json():
        if callback["clientside_function"]:
            continue
        parts = [(part, i) for part in ("inputs", "state") for i in range(len(callback[part]))]
        for part, place in parts:
            for value in VALUES:
                yield (
                    f"{callback['output'][:40]} {part} {place} {value[:60]}",
                    _body(callback, part, place, value),
                )


def _body(callback: Mapping[str, Any], changed: str, place: int, value: str) -> str:
    output: str = callback["output"]
    listed = output.startswith("..")
    names = output.strip(".").split("...") if listed else [output]
    outputs = [dict(zip(("id", "property"), name.split(".", 1), strict=True)) for name in names]
    lists = {part: [_item(item) for item in callback[part]] for part in ("inputs", "state")}
    target = lists[changed][place]
    (target[0] if isinstance(target, list) else target)["value"] = "@here@"
    given = [i for item in lists["inputs"] for i in (item if isinstance(item, list) else [item])]
    body = {"output": output, "outputs": outputs if listed else outputs[0], **lists}
    body["changedPropIds"] = [f"{_id(item['id'])}.{item['property']}" for item in given]
    return json.dumps(body).replace('"@here@"', value)


def _item(declared: Mapping[str, str]) -> Any:
    identity = declared["id"]
    if identity.startswith("{"):
        wildcards = {key: "x" if v == ["ALL"] else v for key, v in json.loads(identity).items()}
        return [{"id": wildcards, "property": declared["property"], "value": None}]
    values = {"search": f"?sweep={NAME}", "pathname": "/", "n_clicks": 1, "n_intervals": 1}
    property_ = declared["property"]
    return {"id": identity, "property": property_, "value": values.get(property_)}


def _id(identity: Any) -> str:
    if isinstance(identity, str):
        return identity
    return json.dumps(identity, sort_keys=True, separators=(",", ":"))


def in_process(app: Dash, log: _Log) -> Iterator[Outcome]:
    """Callbacks, bodies, paths and headers, without a socket."""
    client = app.server.test_client()

    def tried(kind: str, sent: str, request: Callable[[], TestResponse], allowed: str) -> Outcome:
        log.bad.clear()
        begun = time.monotonic()
        answer = request()
        seconds = time.monotonic() - begun
        text = answer.get_data(as_text=True) if answer.mimetype == "text/plain" else ""
        problem = None
        if not allowed <= str(answer.status_code) < "500":
            problem = f"status {answer.status_code}"
        elif log.bad:
            problem = f"logged {log.bad[0][:200]}"
        elif seconds > 20:
            problem = f"took {seconds:.0f} s"
        elif "root:" in text or text.count("\n") > 3:
            problem = f"answered {text[:200]}"
        return Outcome(kind, sent, problem)

    here = {"Host": "localhost"}

    def post(body: str | bytes, **headers: str) -> TestResponse:
        kind = headers.pop("content_type", "application/json")
        return client.post(PATH, data=body, content_type=kind, headers=here | headers)

    for sent, body in callback_bodies(app):
        yield tried("callback", sent, lambda body=body: post(body), "200")
    for raw in BODIES:
        yield tried("body", repr(raw[:60]), lambda raw=raw: post(raw), "400")
    for kind in (
        "text/plain",
        "multipart/form-data; boundary=x",
        "application/x-www-form-urlencoded",
        "",
    ):
        yield tried("body", kind, lambda kind=kind: post(b"{}", content_type=kind), "400")
    for path in PATHS:
        yield tried("path", path[:60], lambda path=path: client.get(path, headers=here), "200")
    for sent, method, path, headers in hostile_headers():
        yield tried(
            "header",
            sent,
            lambda m=method, p=path, h=headers: client.open(p, method=m, headers=here | h),
            "400",
        )


def hostile_headers() -> Iterator[tuple[str, str, str, dict[str, str]]]:
    """What is sent, method, path and headers of requests that must be refused."""
    for host in (
        "example.com",
        "127.0.0.1.evil.org",
        "10.0.0.1:8050",
        "[::1",
        "localhost.evil",
        "a b",
    ):
        yield f"Host {host}", "GET", "/", {"Host": host}
    for origin in (
        "http://example.com",
        "null",
        "http://[",
        "https://localhost",
        "http://localhost:1",
    ):
        yield f"Origin {origin}", "POST", PATH, {"Origin": origin}
    for site in ("cross-site", "same-site", "x"):
        for path in (
            "/",
            PATH,
            "/_dash-layout",
            f"/export/{NAME}/recommended.yaml",
            "/assets/style.css",
        ):
            yield f"Sec-Fetch-Site {site} {path}", "GET", path, {"Sec-Fetch-Site": site}
        away = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}
        yield f"Sec-Fetch-Site {site} in a frame", "GET", "/", away
        form = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
        yield f"Sec-Fetch-Site {site} form", "POST", PATH, form
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "FOO", "GET\x01"):
        yield f"method {method!r}", method, "/", {}
    for path in ("/", PATH, "/_dash-ws-callback"):
        upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
        yield f"websocket {path}", "GET", path, upgrade | {"Sec-WebSocket-Key": "x"}
        yield f"upgrade h2c {path}", "GET", path, {"Upgrade": "h2c", "Connection": "Upgrade"}
    yield "POST /", "POST", "/", {}


def tokens(app: Dash) -> Iterator[Outcome]:
    """Visitors from another machine with no token, a wrong one, or parts of the right one."""
    client = Client(app.server)
    wrong = ["", "x", TOKEN[:-1], TOKEN + "t", TOKEN.upper(), "\u0442" * 43, "%00", "t" * 5000]
    for text in wrong:
        for path in (
            "/",
            "/_dash-layout",
            f"/trials/{NAME}.csv",
            f"/export/{NAME}/recommended.yaml",
        ):
            sent = {
                "Host": "localhost",
                "Authorization": f"Bearer {text}".encode().decode("latin-1"),
            }
            for address, headers in (
                (path, sent),
                (f"{path}?token={text}", {"Host": "localhost"}),
                (path, {"Host": "localhost", "Cookie": f"sft-select={text[:99]!a}"}),
            ):
                status = client.get(address, headers=headers).status_code
                problem = None if status == 401 else f"status {status}"
                yield Outcome("token", f"{path} {text[:20]!a}", problem)


def listening(application: Flask) -> Server:
    """A server of *application* on a free port, in a thread of its own."""
    server = Server(application, "127.0.0.1", 0)
    threading.Thread(target=server.run, daemon=True).start()
    return server


#: Per connection: the bytes that it sends at once, and those that it then sends one at a time.
STREAMS: dict[str, tuple[bytes, bytes]] = {
    "nothing": (b"", b""),
    "half a request line": (b"GET / HT", b""),
    "half the headers": (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ", b""),
    "a byte a second": (b"GET / HTTP/1.1\r\nX-Slow: ", b"a" * 600),
    "half a body": (
        b"POST /_dash-update-component HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999\r\n\r\n{", b"",
    ),
    "a body of a byte a second": (
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999\r\n\r\n", b" " * 600,
    ),
    "half a chunk": (
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nx", b"",
    ),
}  # fmt: skip
#: Whole requests that are no HTTP, or too much of it; each must be refused or closed.
WIRES: dict[str, bytes] = {
    "binary": bytes(range(256)) * 4,
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500,
    "a header of 100 kB": b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    "10,000 headers": b"GET / HTTP/1.1\r\n" + b"X: 1\r\n" * 10_000 + b"\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 9\r\n\r\nx",
    "length and chunks": b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "negative length": b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    "length of 10^30": b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1"
    + b"0" * 30
    + b"\r\n\r\n",
    "two megabytes announced": b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000000\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.org\r\n\r\n",
    "an absolute address": b"GET http://evil.org/ HTTP/1.1\r\nHost: evil.org\r\n\r\n",
    "a bare line feed": b"GET / HTTP/1.1\nHost: evil.org\n\n",
    "a space before the colon": b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n",
    "a folded header": b"GET / HTTP/1.1\r\nHost: localhost\r\n evil: 1\r\n\r\n",
    "a websocket": b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n\r\n",
    "preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


def over_sockets(port: int, connections: int) -> Iterator[Outcome]:
    """Floods of *connections* that wait, each kind with a visitor beside it; and bad wires."""
    for name, (first, _) in STREAMS.items():
        flood = [_connect(port, first) for _ in range(connections)]
        status, seconds = _visit(port)
        problem = (
            None if status == 200 and seconds < 5 else f"status {status} after {seconds:.1f} s"
        )
        yield Outcome("flood", f"{connections} connections that send {name}", problem)
        for one in flood:
            one.close()
    for name, wire in WIRES.items():
        answer = _answer_to(port, wire)
        refused = not answer or (answer.split(b" ")[1:2] >= [b"400"] and b"Traceback" not in answer)
        yield Outcome("wire", name, None if refused else f"answered {answer[:80]!r}")
    status, _ = _visit(port)
    yield Outcome("wire", "a visitor afterwards", None if status == 200 else f"status {status}")


def slow_streams(port: int, limit: float) -> Iterator[Outcome]:
    """Connections that never finish their request are closed within *limit* seconds."""
    open_ = {name: (_connect(port, first), drip) for name, (first, drip) in STREAMS.items()}
    begun, left = time.monotonic(), dict(open_)
    while left and time.monotonic() - begun < limit:
        for name, (connection, drip) in list(left.items()):
            if _is_closed(connection, drip[:1]):
                del left[name]
        time.sleep(min(1.0, limit / 20))
    for name in open_:
        problem = f"open after {limit:.0f} s" if name in left else None
        yield Outcome("slow", name, problem)


def _connect(port: int, first: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.sendall(first)
    return connection


def _is_closed(connection: socket.socket, drip: bytes) -> bool:
    connection.settimeout(0.01)
    try:
        if drip:
            connection.sendall(drip)
        while True:
            if not connection.recv(65536):
                return True
    except TimeoutError:
        return False
    except OSError:
        return True


def _visit(port: int) -> tuple[int, float]:
    """Status of a genuine request, and its seconds."""
    begun = time.monotonic()
    answer = _answer_to(port, b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    status = int(answer.split(b" ")[1]) if answer.startswith(b"HTTP/1.") else 0
    return status, time.monotonic() - begun


def _answer_to(port: int, wire: bytes) -> bytes:
    parts = []
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(wire)
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65536):
                parts.append(part)
    except OSError:
        pass
    return b"".join(parts)


def main() -> int:
    """Try all kinds and print the counts; 1 where something did not hold."""
    log = _Log()
    logging.getLogger().addHandler(log)
    logging.getLogger("sft-select.dashboard").propagate = False
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as folder:
        workspace = make_workspace(Path(folder))
        app = make_app(workspace)
        outcomes += in_process(app, log)
        outcomes += tokens(make_app(workspace, token=TOKEN))
        server = listening(app.server)
        outcomes += over_sockets(server.effective_port, 500)
        outcomes += slow_streams(
            server.effective_port, server_module.REQUEST_SECONDS + 2 * server.adj.cleanup_interval
        )
    tried = Counter(outcome.kind for outcome in outcomes)
    broken = [outcome for outcome in outcomes if outcome.problem]
    lost = Counter(outcome.kind for outcome in broken)
    for kind, number in tried.items():
        print(f"{kind:10} {number:6} tried {number - lost[kind]:6} held")
    for outcome in broken[:50]:
        print(f"NOT HELD {outcome.kind}: {outcome.sent}: {outcome.problem}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
