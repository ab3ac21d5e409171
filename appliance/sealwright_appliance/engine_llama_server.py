"""Engine over llama.cpp's ``llama-server`` on a UNIX socket.

Each server has a user of its own and no network (sealwright-engine@.service); this adapter is all that reaches it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

from sealwright_appliance.serve.engine_http import BrokenReplyError
from sealwright_appliance.serve.engine_http import request as http_request
from sealwright_appliance.serve.errors import ApiError, engine_unavailable
from sealwright_appliance.serve.whole_reply import WholeReply

OK = 200
EVENT_END = b"\n\n"
ERROR = b'data: {"error"'
"""Begins an engine's error event; within text JSON escapes the quotes."""
DONE = b"data: [DONE]\n\n"
CHAT_PATH = "/v1/chat/completions"


class LlamaServer:
    """One llama-server, one model."""

    def __init__(self, model_id: str, socket: Path) -> None:
        self._model_id = model_id
        self._socket = socket

    @property
    def model_id(self) -> str:
        """The payload id, which is also llama-server's alias."""
        return self._model_id

    async def ready(self) -> bool:
        """Whether ``/health`` says that the model is loaded."""
        try:
            async with http_request(self._socket, "GET", "/health") as reply:
                return reply.status == OK
        except BrokenReplyError:
            return False

    async def chat(self, request: dict[str, Any]) -> bytes:
        """A whole reply, put together from a streamed one (:mod:`.serve.whole_reply`)."""
        reply = WholeReply()
        async with aclosing(
            self.stream_chat(request | {"stream": True, "stream_options": {"include_usage": True}})
        ) as blocks:
            async for events in blocks:
                reply.add(events)
        return reply.document()

    async def stream_chat(self, request: dict[str, Any]) -> AsyncGenerator[bytes, None]:
        """The engine's events as they come; leaving the loop closes the connection, which stops the generation."""
        last = b""
        body = json.dumps(request, ensure_ascii=False).encode()
        try:
            async with http_request(self._socket, "POST", CHAT_PATH, body) as reply:
                if reply.status != OK:
                    raise _translated(reply.status, await reply.body())
                async with aclosing(reply.chunks()) as chunks, aclosing(_whole_events(chunks)) as blocks:
                    async for last in blocks:
                        if ERROR in last:
                            raise engine_unavailable()
                        yield last
        except BrokenReplyError:
            raise engine_unavailable() from None
        if not last.endswith(DONE):
            raise engine_unavailable()


async def _whole_events(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The same bytes, cut between events: whoever looks for an error in a block finds it, or part of none."""
    held = b""
    async for chunk in chunks:
        whole, end, held = (held + chunk).rpartition(EVENT_END)
        if end:
            yield whole + end


def _translated(status: int, body: bytes) -> ApiError:
    """Our own text for the engine's refusals; its own text stays inside."""
    try:
        error = json.loads(body)["error"]
        kind = error.get("type", "")
    except (ValueError, KeyError, TypeError, AttributeError):
        return engine_unavailable()
    if kind == "exceed_context_size_error":
        asked, window = error.get("n_prompt_tokens"), error.get("n_ctx")
        return ApiError(
            400,
            "context_length_exceeded",
            f"The conversation has {asked} tokens, the model's context holds {window}.",
            param="messages",
        )
    if 400 <= status < 500:
        return ApiError(400, "invalid_request", "The model cannot take this request.")
    return engine_unavailable()
