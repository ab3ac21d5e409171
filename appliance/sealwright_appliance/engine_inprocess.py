"""Engine in this process, by llama-cpp-python: for parity checks against llama-server, not for serving.

It answers one request at a time and keeps the weights in the asking process; a box never starts it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

from llama_cpp import Llama

from sealwright_appliance.serve.embedded import Embedded
from sealwright_appliance.serve.engine import Abilities
from sealwright_appliance.serve.errors import ApiError
from sealwright_appliance.serve.meter import Tally

DONE = b"data: [DONE]\n\n"


class InProcessEngine:
    """One model file, loaded into this process without mmap."""

    def __init__(self, model_id: str, model_file: Path, *, context_tokens: int, threads: int) -> None:
        self._model_id = model_id
        self._llama = Llama(
            str(model_file), n_ctx=context_tokens, n_threads=threads, use_mmap=False, verbose=False, seed=0
        )
        self._turn = asyncio.Lock()

    @property
    def model_id(self) -> str:
        """The name given at construction."""
        return self._model_id

    async def ready(self) -> bool:
        """True: the constructor returns only when the model is loaded."""
        return True

    async def abilities(self) -> Abilities:
        """Chats, and nothing else."""
        return Abilities(tools=False, width=self._llama.n_embd(), context=self._llama.n_ctx(), bpe=False)

    async def adapters(self) -> frozenset[str]:
        """None."""
        return frozenset()

    async def embed(self, _: dict[str, Any], __: Tally) -> Embedded:
        """None."""
        raise ApiError(400, "unsupported_model", "This model gives nothing of the kind.", param="model")

    async def count(self, request: dict[str, Any], _: Tally) -> int:
        """Of a text alone."""
        return len(self._llama.tokenize(request["content"].encode()))

    async def whole(self, request: dict[str, Any], _: Tally) -> bytes:
        """A whole reply."""
        async with self._turn:
            reply = await asyncio.to_thread(self._complete, request)
        return json.dumps(reply, ensure_ascii=False).encode()

    async def stream(self, request: dict[str, Any], _: Tally) -> AsyncGenerator[bytes, None]:
        """One event per token; leaving the loop stops after the token in hand."""
        async with self._turn:
            chunks: Iterator[Any] = await asyncio.to_thread(self._complete, request)
            while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
                yield b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n"
        yield DONE

    def _complete(self, request: dict[str, Any]) -> Any:
        asked = {name: value for name, value in request.items() if name not in ("model", "n", "stream_options")}
        try:
            return self._llama.create_chat_completion(**asked)
        except ValueError:
            raise ApiError(400, "context_length_exceeded", "The conversation does not fit the model.") from None
