"""HTTP/1.1 to an engine on its UNIX socket: one request a connection, the reply read as it comes.

An HTTP library spends more on each token of a stream than the rest of the gateway together, for pools, proxies and
redirects that there are not. llama-server closes after every reply, so a connection is never used twice. Chunked
transfer coding: RFC 9112, 7.1; without extensions and trailers, which llama-server does not send.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

CONNECT_S = 5.0
READ_BYTES = 64 * 1024
CHUNK_LIMIT = 1024 * 1024
"""Bytes of the longest chunk; llama-server puts one event into each."""
BODY_LIMIT = 1024 * 1024
"""Bytes of a reply that is not streamed: a refusal, or what the engine says of itself."""


class BrokenReplyError(Exception):
    """The engine is not there, has gone, or says what is no HTTP."""


class Reply:
    """A reply whose head has come."""

    def __init__(self, status: int, reader: asyncio.StreamReader) -> None:
        self.status = status
        self._reader = reader

    async def body(self, limit: int = BODY_LIMIT) -> bytes:
        """The body of a reply that is not chunked, or as much of it as is ever looked at."""
        parts = bytearray()
        while len(parts) < limit and (data := await self._reader.read(READ_BYTES)):
            parts += data
        return bytes(parts)

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body of a chunked reply, whole chunks, several at once where they came together.

        Raises:
            BrokenReplyError: it ended before its last chunk.
        """
        held = b""
        while data := await self._reader.read(READ_BYTES):
            whole, held, ended = split_chunks(held + data)
            if whole:
                yield whole
            if ended:
                return
        raise BrokenReplyError


def split_chunks(data: bytes) -> tuple[bytes, bytes, bool]:
    """Take whole chunks off the front.

    Returns:
        What they hold, what is left, and whether the last chunk was among them.

    Raises:
        BrokenReplyError: these are no chunks.
    """
    found: list[bytes] = []
    position = 0
    while (line := data.find(b"\r\n", position)) >= 0:
        size = _chunk_size(data[position:line])
        end = line + 2 + size
        if len(data) < end + 2:
            break
        if data[end : end + 2] != b"\r\n":
            raise BrokenReplyError
        if size == 0:
            return b"".join(found), b"", True
        found.append(data[line + 2 : end])
        position = end + 2
    return b"".join(found), data[position:], False


def _chunk_size(line: bytes) -> int:
    try:
        size = int(line, 16)
    except ValueError:
        raise BrokenReplyError from None
    if not 0 <= size <= CHUNK_LIMIT:
        raise BrokenReplyError
    return size


@asynccontextmanager
async def request(socket: Path, method: str, path: str, body: bytes = b"") -> AsyncIterator[Reply]:
    """Send a request and wait for the head of its reply; leaving closes the connection.

    Raises:
        BrokenReplyError: also out of the block, when what is read there breaks off.
    """
    try:
        async with asyncio.timeout(CONNECT_S):
            reader, writer = await asyncio.open_unix_connection(socket, limit=READ_BYTES)
    except (OSError, TimeoutError):
        raise BrokenReplyError from None
    try:
        head = f"{method} {path} HTTP/1.1\r\nHost: engine\r\nConnection: close\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode("ascii") + body)
        await writer.drain()
        yield Reply(_status(await reader.readuntil(b"\r\n\r\n")), reader)
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        raise BrokenReplyError from None
    finally:
        # Not close(): what the engine still has to say is of no interest.
        writer.transport.abort()


def _status(head: bytes) -> int:
    version, _, rest = head.partition(b" ")
    if version != b"HTTP/1.1" or not rest[:3].isdigit():
        raise BrokenReplyError
    return int(rest[:3])
