"""Limits on connections: how many one address has, and how long TLS, a request's headers and a reader may take.

What they protect is the place of the boxes: uvicorn counts connections of all addresses together, and its own timers
end with the first byte that a client sends. What is not here: the time that a body takes (middleware.py).
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from sealwright_licensing.config import Limits
from sealwright_licensing.limits import AddressBuckets
from sealwright_licensing.logs import logger
from sealwright_policies.wire.client_network import client_network


class Listener(socket.socket):
    """A listening socket that lets each address have so many connections; those beyond are closed unheard.

    They are counted here because a connection takes a file descriptor long before anything is said on it.
    """

    def __init__(
        self, per_address: int, family: socket.AddressFamily = socket.AF_INET, *, descriptor: int | None = None
    ) -> None:
        """A new socket of a family, or the one of a file descriptor."""
        if descriptor is None:
            super().__init__(family, socket.SOCK_STREAM)
        else:
            super().__init__(fileno=descriptor)
        # Connections inherit it. asyncio sets it for sockets that name their protocol alone, which these do not.
        self.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._per_address = per_address
        self._open: list[tuple[str, socket.socket]] = []
        self._log_lines = AddressBuckets(tokens=1, period_s=60)

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection. asyncio takes ConnectionAbortedError for one that has gone again, and goes on."""
        connection, peer = super().accept()
        network = client_network(peer[0])
        self._forget_closed()
        if sum(one[0] == network for one in self._open) >= self._per_address:
            connection.close()
            if self._log_lines.take(peer[0], now=time.monotonic()):
                logger.warning("too many connections", extra={"address": peer[0]})
            raise ConnectionAbortedError
        self._open.append((network, connection))
        return connection, peer

    def has_connections(self) -> bool:
        """Whether any connection that was accepted is still open."""
        self._forget_closed()
        return bool(self._open)

    def _forget_closed(self) -> None:
        self._open = [one for one in self._open if one[1].fileno() != -1]


class TlsLoop(asyncio.SelectorEventLoop):
    """asyncio's loop with a time limit for opening and closing TLS, for which uvicorn has no setting."""

    def __init__(self, tls_s: float) -> None:
        super().__init__()
        self._tls_s = tls_s

    async def create_server(self, *args: Any, **kwargs: Any) -> asyncio.Server:
        """As asyncio's."""
        kwargs |= {"ssl_handshake_timeout": self._tls_s, "ssl_shutdown_timeout": self._tls_s}
        return await super().create_server(*args, **kwargs)


class Deadline:
    """A timer that is set and put off."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float, then: Callable[[], None]) -> None:
        self._set = partial(loop.call_later, seconds, then)
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Set it, unless it is."""
        self._timer = self._timer or self._set()

    def end(self) -> None:
        """Nothing happens any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None


def deadline_protocol(limits: Limits) -> type[H11Protocol]:
    """uvicorn's HTTP/1.1 with these limits."""

    class DeadlineProtocol(H11Protocol):
        """A connection that is closed if a request's headers do not come in time, or its answer is not read."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._headers_deadline = Deadline(self.loop, limits.headers_s, transport.close)
            self._reader_deadline = Deadline(self.loop, limits.body_s, transport.abort)
            self._headers_deadline.begin()
            self._is_last_request = False

        def shutdown(self) -> None:
            """As uvicorn's, but one that has not asked anything yet is answered once."""
            if self.cycle is None:
                self._is_last_request = True
            else:
                super().shutdown()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self._is_last_request and self.cycle is not None:
                self.cycle.keep_alive = False
            if self.conn.their_state is h11.IDLE:  # from each request's first byte on, which ends uvicorn's keep-alive
                self._headers_deadline.begin()
            else:
                self._headers_deadline.end()
            if self.conn.their_state is h11.DONE and self.conn.trailing_data[0]:
                self.transport.close()  # a request before the last one's answer; uvicorn would store any number of them

        def pause_writing(self) -> None:
            super().pause_writing()
            self._reader_deadline.begin()

        def resume_writing(self) -> None:
            super().resume_writing()
            self._reader_deadline.end()

        def connection_lost(self, exc: Exception | None) -> None:
            self._headers_deadline.end()
            self._reader_deadline.end()
            super().connection_lost(exc)

    return DeadlineProtocol
