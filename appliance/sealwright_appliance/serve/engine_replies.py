"""What every engine's replies have in common: whole events, whole documents, the refusal of what is too long."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from typing import Any

from sealwright_appliance.serve.engine_http import BODY_LIMIT, BrokenReplyError
from sealwright_appliance.serve.engine_http import request as http_request
from sealwright_appliance.serve.errors import ApiError, engine_unavailable
from sealwright_appliance.serve.usage_events import EVENT_END

OK = 200


async def is_healthy(socket: Path) -> bool:
    """Whether ``/health`` says that the model is loaded."""
    try:
        async with http_request(socket, "GET", "/health") as reply:
            return reply.status == OK
    except BrokenReplyError:
        return False


async def body_of(
    socket: Path,
    method: str,
    path: str,
    asked: dict[str, Any] | None = None,
    *,
    refused: Callable[[int, bytes], ApiError],
    limit: int = BODY_LIMIT,
) -> bytes:
    """The body of a whole reply.

    Args:
        refused: our words for a status and a body that are a refusal.
        limit: bytes of the longest body.

    Raises:
        ApiError: it is a refusal, or none.
    """
    body = b"" if asked is None else json.dumps(asked, ensure_ascii=False).encode()
    try:
        async with http_request(socket, method, path, body) as reply:
            said = await reply.body(limit)
    except BrokenReplyError:
        raise engine_unavailable() from None
    if reply.status != OK:
        raise refused(reply.status, said)
    return said


def as_object(said: bytes) -> dict[str, Any]:
    """A body that is a JSON object.

    Raises:
        ApiError: it is none.
    """
    try:
        found = json.loads(said)
    except (ValueError, RecursionError):
        raise engine_unavailable() from None
    if not isinstance(found, dict):
        raise engine_unavailable()
    return found


async def whole_events(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The same bytes, cut between events: whoever looks for an error in a block finds it, or part of none."""
    held = b""
    async for chunk in chunks:
        whole, end, held = (held + chunk).rpartition(EVENT_END)
        if end:
            yield whole + end


def too_long(asked: object, window: object, param: str) -> ApiError:
    """A request with more tokens than the context holds."""
    if not isinstance(asked, int) or not isinstance(window, int):
        return engine_unavailable()
    message = f"The request has {asked} tokens, the model's context holds {window}."
    return ApiError(400, "context_length_exceeded", message, param=param)
