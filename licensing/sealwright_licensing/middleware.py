"""What stands before every endpoint: rate limit, body limits, and one log line a request. Plain ASGI."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sealwright_licensing import problems
from sealwright_licensing.limits import AddressBuckets
from sealwright_licensing.logs import begin_request, logger
from sealwright_licensing.metrics import OTHER, REQUESTS, RUNNING
from sealwright_policies.errors import RejectionCode


def client_address(scope: Scope) -> str:
    """The address of the connection; no header is believed."""
    client = scope.get("client")
    return client[0] if client else ""


class RequestLog:
    """Gives each request an id, logs method, path, status and duration, and counts it by its route."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and log at the end."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = time.monotonic(), 0
        request_id = begin_request()

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode("ascii"))]
            await send(message)

        try:
            with RUNNING.track_inprogress():
                await self._app(scope, receive, watch)
        finally:
            took = time.monotonic() - begun
            REQUESTS.labels(*_known(scope), str(status)).observe(took)
            logger.info(
                "request",
                extra={
                    "method": scope["method"],
                    "path": scope["path"][:128],
                    "status": status,
                    "address": client_address(scope),
                    "duration_ms": round(took * 1000, 1),
                },
            )


def _known(scope: Scope) -> tuple[str, str]:
    """Method and route of a request as they were declared: a client's own words would be labels without end."""
    route, method = scope.get("route"), scope["method"]
    return (method if method in _METHODS else OTHER, OTHER if route is None else route.path)


_METHODS = frozenset({"GET", "HEAD", "POST", "PATCH", "DELETE"})


class RateLimit:
    """Answers 429 to an address that asks too often."""

    def __init__(self, app: ASGIApp, buckets: AddressBuckets, clock: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._buckets = buckets
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or refuse."""
        if scope["type"] == "http" and not self._buckets.take(client_address(scope), now=self._clock()):
            shown = problems.problem(429, RejectionCode.RATE_LIMITED.value, "Too many requests from this address.")
            await problems.response(shown, close=True)(scope, receive, send)
            return
        await self._app(scope, receive, send)


DISCARDED = 2
"""Times the limit: how much of a body is read at most."""


class BodyTooLargeError(Exception):
    """The body went over the limit."""


class BodyLimit:
    """Bounds the body's size while it streams in, and the time that it takes."""

    def __init__(self, app: ASGIApp, *, limit: int, timeout_s: float) -> None:
        self._app = app
        self._limit = limit
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a body that is read as a whole first, or refuse."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._timeout_s):
                body = await self._read(receive)
        except BodyTooLargeError:
            shown = problems.problem(413, problems.TOO_LARGE, f"The body has more than {self._limit} bytes.")
            await problems.response(shown, close=True)(scope, receive, send)
            return
        except TimeoutError:
            shown = problems.problem(408, problems.TOO_SLOW, f"The body took over {self._timeout_s:g} seconds.")
            await problems.response(shown, close=True)(scope, receive, send)
            return
        sent = False

        async def replay() -> Message:
            nonlocal sent
            if sent:
                return await receive()
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replay, send)

    async def _read(self, receive: Receive) -> bytes:
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return b""
            part = message.get("body", b"")
            size += len(part)
            if size <= self._limit:
                parts.append(part)
            ended = not message.get("more_body", False)
            # A little too much is read to its end and thrown away: a client that is cut off sees no answer.
            if size > self._limit and (ended or size > DISCARDED * self._limit):
                raise BodyTooLargeError
            if ended:
                return b"".join(parts)
