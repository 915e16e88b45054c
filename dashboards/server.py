"""HTTP server of the dashboard: waitress, with limits per client and for slow requests.

Waitress stops accepting at its connection limit, so a client that opens connections and sends nothing would
keep everyone else out. Here a client's newest connection takes the place of the oldest one that waits for a
request, and a request must arrive within seconds.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from flask import Flask
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer

from dashboards.security import MAX_BODY_BYTES

#: Open connections of one client address; a browser opens six, a proxy some for each visitor.
MAX_PER_CLIENT = 64
#: Open connections of all clients.
MAX_CONNECTIONS = 384
#: A request must have arrived so long after its first byte, and that so long after the connection opened.
REQUEST_SECONDS = 15
#: An answer must be read, and a connection used again, within so many seconds.
_IDLE_SECONDS = 60
_CHECK_SECONDS = 5
_MAX_HEADER_BYTES = 32 << 10


class _Channel(HTTPChannel):  # type: ignore[misc]
    """A connection that knows when its request began."""

    #: When the first byte of its last request came; ``None`` before.
    begun: float | None = None

    def received(self, data: bytes) -> bool:
        """Take bytes of a request."""
        if self.request is None:
            self.begun = time.time()
        taken: bool = super().received(data)
        return taken

    def is_late(self, now: float) -> bool:
        """Whether its request, or its first one, should have arrived by *now*."""
        if self.requests or self.total_outbufs_len:
            return False
        if self.begun is None:
            return bool(now - self.creation_time > REQUEST_SECONDS)
        return self.request is not None and now - self.begun > REQUEST_SECONDS


class Server(TcpWSGIServer):  # type: ignore[misc]
    """Server of *application* on *host* and *port* (0: any free one). OSError where it cannot listen."""

    channel_class = _Channel

    def __init__(self, application: Flask, host: str, port: int) -> None:
        super().__init__(
            application,
            host=host,
            port=port,
            threads=8,
            max_request_body_size=MAX_BODY_BYTES,
            max_request_header_size=_MAX_HEADER_BYTES,
            channel_timeout=_IDLE_SECONDS,
            cleanup_interval=_CHECK_SECONDS,
            connection_limit=2 * MAX_CONNECTIONS,  # never reached: there are fewer by then
            asyncore_use_poll=True,  # select() ends at descriptor 1024
            ident="",
        )

    def handle_accept(self) -> None:
        """Accept a connection, and close the oldest that wait where there are too many."""
        super().handle_accept()
        channels: list[_Channel] = list(self.active_channels.values())
        newest = max(channels, key=lambda channel: channel.creation_time, default=None)
        if newest is None:
            return
        client = [channel for channel in channels if channel.addr[0] == newest.addr[0]]
        _close_oldest(client, len(client) - MAX_PER_CLIENT)
        _close_oldest(channels, len(channels) - MAX_CONNECTIONS)

    def maintenance(self, now: float) -> None:
        """Close connections that are idle, and those whose request does not arrive."""
        super().maintenance(now)
        for channel in self.active_channels.values():
            if channel.is_late(now):
                channel.will_close = True


def _close_oldest(channels: Iterable[_Channel], number: int) -> None:
    """Close *number* of *channels*, the oldest of those without a request at work."""
    waiting = (channel for channel in channels if not channel.requests and channel.connected)
    for channel in sorted(waiting, key=lambda c: float(c.creation_time))[: max(0, number)]:
        channel.handle_close()
