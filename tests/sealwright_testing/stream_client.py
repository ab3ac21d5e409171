"""Clients of a serving box that cost little themselves: they read streams to the end, and parse nothing in them."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

CLIENTS = 8
_DONE, _END = b"data: [DONE]", b"\r\n0\r\n\r\n"
_LENGTH = re.compile(rb'"finish_reason": ?"length"')


class BrokenReplyError(Exception):
    """A reply that is not whole."""


@dataclass(frozen=True, slots=True)
class Side:
    """One server of a model on this machine."""

    address: int | Path
    """A port, or a UNIX socket."""
    model: str
    trust: ssl.SSLContext | None = None
    """None: without TLS."""
    key: str = ""

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A new connection."""
        if isinstance(self.address, Path):
            reader, writer = await asyncio.open_unix_connection(self.address)
        else:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.address, ssl=self.trust)
        try:
            yield reader, writer
        finally:
            writer.close()

    async def ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tokens: int) -> float:
        """One streamed reply, read to its end; seconds to its first event.

        Raises:
            BrokenReplyError: it is not whole.
            asyncio.IncompleteReadError: there is none.
        """
        body = json.dumps(
            {
                "model": self.model,
                "messages": [{"role": "user", "content": "hello"}],
                "temperature": 0,
                "max_tokens": tokens,
                "stream": True,
            }
        )
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: box\r\nAuthorization: Bearer {self.key}\r\n"
        begin = time.perf_counter()
        writer.write(f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        await reader.readuntil(b"data: ")
        first = time.perf_counter() - begin
        rest = bytearray()
        while not rest.endswith(_END):
            rest += await reader.read(65536)
        if not _LENGTH.search(rest) or _DONE not in rest:
            raise BrokenReplyError("a reply ended before its length")
        return first

    def throughput(self, tokens: int) -> float:
        """Tokens a second of all clients together."""

        async def client() -> None:
            async with self.connection() as (reader, writer):
                await self.ask(reader, writer, tokens)

        async def run() -> float:
            begin = time.perf_counter()
            await asyncio.gather(*(client() for _ in range(CLIENTS)))
            return CLIENTS * tokens / (time.perf_counter() - begin)

        return asyncio.run(run())

    def first_token_ms(self) -> float:
        """Milliseconds to the first event: on an open connection, as clients keep them; llama-server keeps none."""

        async def run() -> float:
            async with self.connection() as (reader, writer):
                if self.trust is not None:
                    await self.ask(reader, writer, 1)
                return 1000 * await self.ask(reader, writer, 1)

        return asyncio.run(run())
