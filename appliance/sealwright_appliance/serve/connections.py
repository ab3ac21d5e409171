"""The gateway's connections: how many there may be, and how long one may take to say what it wants.

uvicorn bounds the time between two requests and no other: a client that sends a byte now and then would keep its place,
its memory and its file descriptor for ever. So connections are accepted here, counted from the first packet, and given
a deadline for the TLS handshake, for the head of each request and for its body. What comes after, the reply, has its
own bound: the longest time of a request.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from sealwright_policies.wire.client_network import client_network

ACCEPT_AGAIN_S = 1.0
"""Pause after an accept that failed: file descriptors or memory are short."""
SHUTDOWN_S = 5.0
"""For the goodbye of TLS, of a peer that may not answer."""
BACKLOG = 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection, one peer and all together may take."""

    handshake_s: float = 10.0
    head_s: float = 20.0
    """From the first byte of a request, or the beginning of the connection, to the end of the headers."""
    body_s: float = 60.0
    """From there to the end of the body, of at most a megabyte."""
    connections_of_peer: int = 256
    """A reverse proxy is one peer."""
    connections: int = 1024
    """Each costs about 300 KiB."""


LIMITS = Limits()


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; an empty host means every address, IPv4 and IPv6."""
    if not host and socket.has_dualstack_ipv6():
        listener = socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG)
    else:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    listener.setblocking(False)
    # Connections inherit it. asyncio sets it for sockets that name their protocol alone, which create_server's do not;
    # without it, the first token waits 40 ms for the peer's acknowledgement of the headers.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


class GuardedServer(uvicorn.Server):
    """A uvicorn server that accepts its connections itself."""

    def __init__(self, config: uvicorn.Config, listener: socket.socket, limits: Limits) -> None:
        super().__init__(config)
        self._listener = listener
        self._limits = limits
        self._connections: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    async def startup(self, sockets: Sequence[socket.socket] | None = None) -> None:
        """Start without uvicorn's own listeners, then accept."""
        await super().startup(sockets=[])
        self._accepting = self._spawn(self._accept())

    async def shutdown(self, sockets: Sequence[socket.socket] | None = None) -> None:
        """Accept no more; running replies are finished."""
        self._accepting.cancel()
        await asyncio.wait([self._accepting])
        self._listener.close()
        await super().shutdown(sockets=[])

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                plain, address = await loop.sock_accept(self._listener)
            except OSError:
                await asyncio.sleep(ACCEPT_AGAIN_S)
                continue
            peer = client_network(address[0])
            limits = self._limits
            if self._connections.total() >= limits.connections or self._connections[peer] >= limits.connections_of_peer:
                plain.close()
            else:
                self._connections[peer] += 1
                self._spawn(self._keep(plain, peer))

    async def _keep(self, plain: socket.socket, peer: str) -> None:
        """One connection, until it is gone."""
        loop = asyncio.get_running_loop()
        gone = asyncio.Event()

        def protocol() -> GuardedProtocol:
            state = {"config": self.config, "server_state": self.server_state, "app_state": self.lifespan.state}
            return GuardedProtocol(self._limits, gone, **state, _loop=loop)

        try:
            await loop.connect_accepted_socket(
                protocol,
                plain,
                ssl=self.config.ssl,
                ssl_handshake_timeout=self._limits.handshake_s,
                ssl_shutdown_timeout=SHUTDOWN_S,
            )
            await gone.wait()
        except OSError:  # no TLS, or not in time
            plain.close()
        finally:
            self._connections[peer] -= 1
            self._connections += Counter()  # forgets who has none left

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


class Awaited(Enum):
    """What a client owes us."""

    HEAD = "head"
    BODY = "body"


class GuardedProtocol(H11Protocol):
    """HTTP/1.1 with deadlines for what the client sends."""

    def __init__(self, limits: Limits, gone: asyncio.Event, **options: Any) -> None:
        super().__init__(**options)
        self._limits = limits
        self._gone = gone
        self._awaited: Awaited | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The TLS handshake is done."""
        super().connection_made(transport)
        self._await(Awaited.HEAD)

    def data_received(self, data: bytes) -> None:
        """Only what goes on has a deadline of its own: bytes do not prolong it."""
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._await(Awaited.HEAD)
        elif self.conn.their_state is h11.SEND_BODY:
            self._await(Awaited.BODY)
        else:
            self._await(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """However it ended."""
        super().connection_lost(exc)
        self._await(None)
        self._gone.set()

    def _await(self, awaited: Awaited | None) -> None:
        if awaited is self._awaited:
            return
        self._awaited = awaited
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if awaited is not None:
            seconds = self._limits.head_s if awaited is Awaited.HEAD else self._limits.body_s
            self._deadline = self.loop.call_later(seconds, self.transport.abort)
