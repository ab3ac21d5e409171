"""One request to a service of the box over its UNIX socket (:mod:`sealwright_appliance.local_messages`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

from sealwright_appliance.local_messages import framed


async def request_reply(
    socket: Path, document: bytes, pieces: AsyncIterator[bytes] | None = None, *, limit: int, timeout_s: float
) -> bytes:
    """Send a document and what follows it, and read the reply, or as much of it as its reader ever looks at.

    Args:
        limit: bytes of the reply; one that is longer is cut behind it.

    Raises:
        OSError: the service is not there or has gone; TimeoutError among them.
    """
    async with asyncio.timeout(timeout_s):
        reader, writer = await asyncio.open_unix_connection(str(socket))
        try:
            writer.write(framed(document))
            if pieces is not None:
                async for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
            await writer.drain()
            reply = b""
            while len(reply) <= limit and (piece := await reader.read(limit)):
                reply += piece
            return reply
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
