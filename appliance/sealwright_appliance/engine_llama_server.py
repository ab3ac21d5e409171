"""Engine over llama.cpp's ``llama-server`` on a UNIX socket.

Each server has a user of its own and no network (sealwright-engine@.service); this adapter is all that reaches it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

from sealwright_appliance.serve.chat_events import ChatEvents
from sealwright_appliance.serve.engine import Abilities
from sealwright_appliance.serve.engine_http import BrokenReplyError
from sealwright_appliance.serve.engine_http import request as http_request
from sealwright_appliance.serve.errors import ApiError, engine_unavailable
from sealwright_appliance.serve.meter import Tally
from sealwright_appliance.serve.text_events import TextEvents
from sealwright_appliance.serve.usage_events import EVENT_END
from sealwright_appliance.serve.whole_reply import WholeReply

OK = 200
ERROR = b'data: {"error"'
"""Begins an engine's error event; within text JSON escapes the quotes."""
DONE = b"data: [DONE]\n\n"
CHAT_PATH, TEXT_PATH = "/v1/chat/completions", "/v1/completions"
COUNTED = {"stream_options": {"include_usage": True}, "return_progress": True}
"""Asked for with every request: a request that ends early has no usage, only how far its prompt was."""


class LlamaServer:
    """One llama-server, one model."""

    def __init__(self, model_id: str, socket: Path) -> None:
        self._model_id = model_id
        self._socket = socket
        self._abilities: Abilities | None = None

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

    async def abilities(self) -> Abilities:
        """What ``/props`` says; asked once, since a restarted engine loads the same file."""
        if self._abilities is None:
            try:
                async with http_request(self._socket, "GET", "/props") as reply:
                    self._abilities = _abilities(reply.status, await reply.body())
            except BrokenReplyError:
                raise engine_unavailable() from None
        return self._abilities

    async def whole(self, request: dict[str, Any], tally: Tally) -> bytes:
        """A whole reply, put together from a streamed one (:mod:`.serve.whole_reply`)."""
        prompts = request.get("prompt")
        reply = WholeReply(1 if prompts is None else len(prompts))
        async with aclosing(
            self.stream(request | {"stream": True, "stream_options": {"include_usage": True}}, tally)
        ) as blocks:
            async for events in blocks:
                reply.add(events)
        return reply.document() if prompts is None else reply.text_document()

    async def stream(self, request: dict[str, Any], tally: Tally) -> AsyncGenerator[bytes, None]:
        """The engine's events as they come; leaving the loop closes the connection, which stops the generation."""
        last = b""
        path, kind = (TEXT_PATH, TextEvents) if "prompt" in request else (CHAT_PATH, ChatEvents)
        reader = kind(request, tally)
        body = json.dumps(request | COUNTED | reader.asked, ensure_ascii=False).encode()
        try:
            async with http_request(self._socket, "POST", path, body) as reply:
                if reply.status != OK:
                    raise _translated(reply.status, await reply.body(), "prompt" if path == TEXT_PATH else "messages")
                async with aclosing(reply.chunks()) as chunks, aclosing(_whole_events(chunks)) as blocks:
                    async for last in blocks:
                        if ERROR in last:
                            raise engine_unavailable()
                        if shown := reader.shown(last):
                            yield shown
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


def _abilities(status: int, body: bytes) -> Abilities:
    try:
        said = json.loads(body)["chat_template_caps"] if status == OK else {}
        return Abilities(tools=bool(said["supports_tools"] and said["supports_tool_calls"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise engine_unavailable() from None


def _translated(status: int, body: bytes, param: str) -> ApiError:
    """Our own text for the engine's refusals; its own text stays inside."""
    try:
        error = json.loads(body)["error"]
        kind = error.get("type", "")
    except (ValueError, KeyError, TypeError, AttributeError):
        return engine_unavailable()
    if kind == "exceed_context_size_error":
        asked, window = error.get("n_prompt_tokens"), error.get("n_ctx")
        if not isinstance(asked, int) or not isinstance(window, int):
            return engine_unavailable()
        return ApiError(
            400,
            "context_length_exceeded",
            f"The request has {asked} tokens, the model's context holds {window}.",
            param=param,
        )
    if 400 <= status < 500:
        return ApiError(400, "invalid_request", "The model cannot take this request.")
    return engine_unavailable()
