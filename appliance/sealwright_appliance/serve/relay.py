"""Replies on their way to a client: stopped when the client has gone, when it stops reading, or when time is up.

Whatever ends a reply ends its generation in the engine, so that nobody's absence keeps a place.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing, suppress
from typing import Any, TypeVar

from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from sealwright_appliance.serve.errors import ApiError, client_gone, request_too_long
from sealwright_appliance.serve.padding import padded_events

STALLED_S = 60.0
"""Seconds for which a client may read nothing of a stream; then it loses the connection."""

T = TypeVar("T")


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T], *, until: float) -> T:
    """Do ``work`` as long as the client is there; it is over, not only cancelled, when this returns.

    Args:
        receive: of the request, whose body must have been read: what it still says is that the client has gone.
        until: latest end, by the clock of the event loop.

    Raises:
        ApiError: 499, the client has gone; 504, it takes too long; or what ``work`` raises.
    """
    working, leaving = asyncio.create_task(work), asyncio.create_task(_disconnected(receive))
    try:
        async with asyncio.timeout_at(until):
            await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise client_gone()
        return working.result()
    except TimeoutError:
        raise request_too_long() from None
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class EventStream(Response):
    """Server-sent events, passed on as they come.

    A stream that breaks off ends with an error event and without ``[DONE]``: OpenAI's clients raise it, so that nobody
    takes a broken reply for a short one.

    Args:
        first: the first events; they are known before the status is sent.
        rest: the others; closed at the end, whatever ends it.
        until: latest end, by the clock of the event loop.
        padding: bytes to a multiple of which each event is filled up (:mod:`.padding`).
    """

    media_type = "text/event-stream"

    def __init__(self, first: bytes, rest: AsyncGenerator[bytes, None], *, until: float, padding: int) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers()
        self._first = first
        self._rest = rest
        self._until = until
        self._padding = padding

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream. Returning without its end makes the server close the connection."""
        with suppress(_StalledError):
            try:
                async with aclosing(self._rest):
                    await while_connected(receive, self._pass_on(send), until=self._until)
            except ApiError as error:
                event = b"data: " + json.dumps(error.body()).encode() + b"\n\n"
                await self._send_events(send, event)
            await _send(send, {"type": "http.response.body", "body": b"", "more_body": False})

    async def _pass_on(self, send: Send) -> None:
        await _send(send, {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await self._send_events(send, self._first)
        async for events in self._rest:
            await self._send_events(send, events)

    async def _send_events(self, send: Send, events: bytes) -> None:
        body = padded_events(events, self._padding)
        await _send(send, {"type": "http.response.body", "body": body, "more_body": True})


class _StalledError(Exception):
    """The client reads nothing."""


async def _send(send: Send, message: dict[str, Any]) -> None:
    try:
        async with asyncio.timeout(STALLED_S):
            await send(message)
    except TimeoutError:
        raise _StalledError from None
