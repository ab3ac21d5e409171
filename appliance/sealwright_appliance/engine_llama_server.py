"""Engine over llama.cpp's ``llama-server`` on a UNIX socket.

Each server has a user of its own and no network (sealwright-engine@.service); this adapter is all that reaches it.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

from sealwright_appliance.serve.chat_events import ChatEvents
from sealwright_appliance.serve.embedded import Embedded, charge, unpacked
from sealwright_appliance.serve.engine import ADAPTER, Abilities
from sealwright_appliance.serve.engine_http import BODY_LIMIT, BrokenReplyError
from sealwright_appliance.serve.engine_http import request as http_request
from sealwright_appliance.serve.engine_replies import OK, as_object, body_of, is_healthy, too_long, whole_events
from sealwright_appliance.serve.errors import ApiError, engine_unavailable
from sealwright_appliance.serve.meter import Tally
from sealwright_appliance.serve.text_events import TextEvents
from sealwright_appliance.serve.whole_reply import WholeReply

ERROR = b'data: {"error"'
"""Begins an engine's error event; within text JSON escapes the quotes."""
DONE = b"data: [DONE]\n\n"
BPE = 2
"""LLAMA_VOCAB_TYPE_BPE of llama.cpp's llama.h."""
CHAT_PATH, TEXT_PATH, EMBEDDING_PATH = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
TOKENIZE_PATH, COUNT_PATH = "/tokenize", "/v1/chat/completions/input_tokens"
ADAPTERS_PATH = "/lora-adapters"
VECTORS_LIMIT = 32 * 1024 * 1024
"""Bytes of a reply with numbers: 256 vectors of 16 384, or a token for each byte of a text."""
TOO_LARGE = re.compile(rb"input \((\d{1,9}) tokens\) is too large to process.{0,60}current batch size: (\d{1,9})\)")
"""The one refusal with numbers that llama-server has in words only: a text does not fit into an embedding's batch."""
COUNTED = {"stream_options": {"include_usage": True}, "return_progress": True}
"""Asked for with every request: a request that ends early has no usage, only how far its prompt was."""


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
        """By ``/health``."""
        return await is_healthy(self._socket)

    async def abilities(self) -> Abilities:
        """By what it says of itself."""
        return _abilities(await self._document("GET", "/props"), await self._document("GET", "/v1/models"))

    async def adapters(self) -> frozenset[str]:
        """Those that it was started with."""
        return frozenset(await self._adapter_numbers())

    async def _adapter_numbers(self) -> dict[str, int]:
        """Its own numbers of adapters, by their ids, which are the names of their files."""
        try:
            listed = json.loads(await self._reply("GET", ADAPTERS_PATH))
            return {Path(one["path"]).stem: int(one["id"]) for one in listed}
        except (ValueError, KeyError, TypeError, RecursionError):
            raise engine_unavailable() from None

    async def embed(self, request: dict[str, Any], tally: Tally) -> Embedded:
        """Vectors; as base64 on their way, which is shorter and sooner read."""
        if ADAPTER in request:
            raise ApiError(400, "unsupported_model", "An adapter gives nothing of the kind.", param="model")
        asked = {"input": request["input"], "encoding_format": "base64"}
        said = await self._document("POST", EMBEDDING_PATH, asked, param="input", limit=VECTORS_LIMIT)
        try:
            ordered = sorted(said["data"], key=lambda one: int(one["index"]))
            vectors = [unpacked(one["embedding"]) for one in ordered]
            tokens = int(said["usage"]["prompt_tokens"])
        except (ValueError, KeyError, TypeError):
            raise engine_unavailable() from None
        if len(vectors) != len(request["input"]) or not all(isfinite(one) for vector in vectors for one in vector):
            raise engine_unavailable()
        tally.embedded = sum(charge(len(vector)) for vector in vectors)
        tally.used(tokens, 0)
        return Embedded(vectors, tokens)

    async def count(self, request: dict[str, Any], tally: Tally) -> int:
        """By the engine's tokenizer, a conversation through its template."""
        is_text = "content" in request
        path, param = (TOKENIZE_PATH, "prompt") if is_text else (COUNT_PATH, "messages")
        asked = {name: value for name, value in request.items() if name != ADAPTER}  # a text is as long with any
        said = await self._document("POST", path, asked, param=param, limit=VECTORS_LIMIT)
        try:
            tokens = len(said["tokens"]) if is_text else int(said["input_tokens"])
        except (ValueError, KeyError, TypeError):
            raise engine_unavailable() from None
        tally.used(tokens, 0)
        return tokens

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
        asked = await self._adapted(request) | COUNTED | reader.asked
        body = json.dumps(asked, ensure_ascii=False).encode()
        try:
            async with http_request(self._socket, "POST", path, body) as reply:
                if reply.status != OK:
                    param = "prompt" if path == TEXT_PATH else "messages"
                    raise _translated(param, reply.status, await reply.body())
                async with aclosing(reply.chunks()) as chunks, aclosing(whole_events(chunks)) as blocks:
                    async for last in blocks:
                        if ERROR in last:
                            raise engine_unavailable()
                        if shown := reader.shown(last):
                            yield shown
        except BrokenReplyError:
            raise engine_unavailable() from None
        if not last.endswith(DONE):
            raise engine_unavailable()

    async def _adapted(self, request: dict[str, Any]) -> dict[str, Any]:
        """A request with its adapter as the engine names it; the others stay at zero, as the engine has begun."""
        if (adapter := request.get(ADAPTER)) is None:
            return request
        if (number := (await self._adapter_numbers()).get(adapter)) is None:
            raise engine_unavailable()
        asked = {name: value for name, value in request.items() if name != ADAPTER}
        return asked | {"lora": [{"id": number, "scale": 1.0}]}

    async def _document(
        self, method: str, path: str, asked: dict[str, Any] | None = None, *, param: str = "", limit: int = BODY_LIMIT
    ) -> dict[str, Any]:
        """A whole reply, a JSON object.

        Raises:
            ApiError: it is a refusal, or none.
        """
        return as_object(await self._reply(method, path, asked, param=param, limit=limit))

    async def _reply(
        self, method: str, path: str, asked: dict[str, Any] | None = None, *, param: str = "", limit: int = BODY_LIMIT
    ) -> bytes:
        return await body_of(self._socket, method, path, asked, refused=partial(_translated, param), limit=limit)


def _abilities(props: dict[str, Any], models: dict[str, Any]) -> Abilities:
    """Out of ``/props`` and ``/v1/models``."""
    try:
        caps, meta = props["chat_template_caps"], models["data"][0]["meta"]
        return Abilities(
            tools=bool(caps["supports_tools"] and caps["supports_tool_calls"]),
            width=int(meta["n_embd"]),
            context=int(props["default_generation_settings"]["n_ctx"]),
            bpe=int(meta["vocab_type"]) == BPE,
        )
    except (ValueError, KeyError, TypeError, IndexError):
        raise engine_unavailable() from None


def _translated(param: str, status: int, body: bytes) -> ApiError:
    """Our own text for the engine's refusals; its own text stays inside."""
    try:
        error = json.loads(body)["error"]
        kind = error.get("type", "")
    except (ValueError, KeyError, TypeError, AttributeError):
        return engine_unavailable()
    if kind == "exceed_context_size_error":
        return too_long(error.get("n_prompt_tokens"), error.get("n_ctx"), param)
    if kind == "not_supported_error":
        return ApiError(400, "unsupported_model", "This model gives nothing of the kind.", param="model")
    if found := TOO_LARGE.search(body):
        return too_long(int(found[1]), int(found[2]), param)
    if 400 <= status < 500:
        return ApiError(400, "invalid_request", "The model cannot take this request.")
    return engine_unavailable()
