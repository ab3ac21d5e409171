"""Engine over vLLM's OpenAI server on a UNIX socket, for machines with GPUs (docs/gpu.md).

Requests are those that llama-server gets; what vLLM takes otherwise is said otherwise here. What it cannot do,
functions, embeddings and adapters, is refused as of a model that cannot.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any

from sealwright_appliance.serve.embedded import Embedded
from sealwright_appliance.serve.engine import Abilities
from sealwright_appliance.serve.engine_http import BrokenReplyError
from sealwright_appliance.serve.engine_http import request as http_request
from sealwright_appliance.serve.engine_replies import OK, as_object, body_of, is_healthy, too_long, whole_events
from sealwright_appliance.serve.errors import ApiError, engine_unavailable
from sealwright_appliance.serve.meter import Tally
from sealwright_appliance.serve.vllm_events import DONE, VllmEvents
from sealwright_appliance.serve.whole_reply import WholeReply

CHAT_PATH, TEXT_PATH, TOKENIZE_PATH = "/v1/chat/completions", "/v1/completions", "/tokenize"
TOKENS_LIMIT = 32 * 1024 * 1024
"""Bytes of a reply with a number for each byte of a text."""
COUNTED = {"include_usage": True, "continuous_usage_stats": True}
"""How far it is stands in each event, since a request that ends early has no usage, and an event several tokens."""
SCHEMA_NAME = "reply"
"""vLLM wants one, and does nothing with it."""


class Vllm:
    """One vLLM, one model."""

    def __init__(self, model_id: str, socket: Path) -> None:
        self._model_id = model_id
        self._socket = socket
        self._window: int | None = None

    @property
    def model_id(self) -> str:
        """The payload id, under which vLLM serves it, too."""
        return self._model_id

    async def ready(self) -> bool:
        """By ``/health``; vLLM listens no earlier than its model is loaded."""
        return await is_healthy(self._socket)

    async def abilities(self) -> Abilities:
        """By what it says of itself; its tokenizers cut a long text in linear time, whatever their kind."""
        return Abilities(tools=False, width=0, context=await self._context(), bpe=True)

    async def adapters(self) -> frozenset[str]:
        """None: it is started without."""
        return frozenset()

    async def embed(self, _: dict[str, Any], __: Tally) -> Embedded:
        """None: a vLLM that generates has no other use."""
        raise ApiError(400, "unsupported_model", "This model gives nothing of the kind.", param="model")

    async def count(self, request: dict[str, Any], tally: Tally) -> int:
        """By the model's tokenizer, a conversation through its template."""
        if "content" in request:
            tokens = await self._tokens({"prompt": request["content"]}, "prompt")
        else:
            tokens = await self._tokens({"messages": request["messages"]}, "messages")
        tally.used(tokens, 0)
        return tokens

    async def whole(self, request: dict[str, Any], tally: Tally) -> bytes:
        """A whole reply, put together from a streamed one (:mod:`.serve.whole_reply`)."""
        reply = WholeReply()
        asked = request | {"stream": True, "stream_options": {"include_usage": True}}
        async with aclosing(self.stream(asked, tally)) as blocks:
            async for events in blocks:
                reply.add(events)
        return reply.text_document() if "prompt" in request else reply.document()

    async def stream(self, request: dict[str, Any], tally: Tally) -> AsyncGenerator[bytes, None]:
        """vLLM's events in our form; leaving the loop closes the connection, which stops the generation."""
        path, param = (TEXT_PATH, "prompt") if "prompt" in request else (CHAT_PATH, "messages")
        room = await self._room(request, param)
        events = VllmEvents(request, tally)
        body = json.dumps(self._asked(request, tally, room), ensure_ascii=False).encode()
        last = b""
        try:
            async with http_request(self._socket, "POST", path, body) as reply:
                if reply.status != OK:
                    raise _translated(param, reply.status, await reply.body())
                async with aclosing(reply.chunks()) as chunks, aclosing(whole_events(chunks)) as blocks:
                    async for last in blocks:
                        if shown := events.shown(last):
                            yield shown
        except BrokenReplyError:
            raise engine_unavailable() from None
        if not last.endswith(DONE):
            raise engine_unavailable()

    def _asked(self, request: dict[str, Any], tally: Tally, room: int) -> dict[str, Any]:
        """The request as vLLM takes it; what it keeps of past prompts is kept by the key that sent them."""
        asked = request | {
            "model": self._model_id,
            "stream": True,
            "stream_options": COUNTED,
            "max_tokens": min(request["max_tokens"], room) if "max_tokens" in request else room,
            "cache_salt": tally.key,
        }
        shape = asked.get("response_format")
        if shape is not None and "json_schema" in shape:
            named = {"name": SCHEMA_NAME, "schema": shape["json_schema"]["schema"]}
            asked["response_format"] = shape | {"json_schema": named}
        return asked

    async def _room(self, request: dict[str, Any], param: str) -> int:
        """Tokens that the context leaves for a reply: vLLM refuses a longer one, where llama-server ends it there."""
        texts = request.get("prompt")
        if texts is None:
            longest = await self._tokens({"messages": request["messages"]}, param)
        else:
            longest = max([await self._tokens({"prompt": text}, param) for text in texts])
        window = await self._context()
        if longest >= window:
            raise too_long(longest, window, param)
        return window - longest

    async def _tokens(self, asked: dict[str, Any], param: str) -> int:
        said = await self._document("POST", TOKENIZE_PATH, asked | {"model": self._model_id}, param)
        if not isinstance(said.get("count"), int):
            raise engine_unavailable()
        return int(said["count"])

    async def _context(self) -> int:
        if self._window is None:
            said = await self._document("GET", "/v1/models")
            try:
                self._window = int(said["data"][0]["max_model_len"])
            except (ValueError, KeyError, TypeError, IndexError):
                raise engine_unavailable() from None
        return self._window

    async def _document(
        self, method: str, path: str, asked: dict[str, Any] | None = None, param: str = ""
    ) -> dict[str, Any]:
        refused = partial(_translated, param)
        return as_object(await body_of(self._socket, method, path, asked, refused=refused, limit=TOKENS_LIMIT))


def _translated(param: str, status: int, _: bytes) -> ApiError:
    """Our own text for vLLM's refusals; its own text stays inside."""
    if 400 <= status < 500:
        return ApiError(400, "invalid_request", "The model cannot take this request.", param=param or None)
    return engine_unavailable()
