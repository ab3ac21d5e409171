"""What a test that is an engine itself answers when the gateway asks what it can do."""

from __future__ import annotations

import asyncio
import json

_SAID = {
    b"GET /props ": {
        "chat_template_caps": {"supports_tools": False, "supports_tool_calls": False},
        "default_generation_settings": {"n_ctx": 4096},
    },
    b"GET /v1/models ": {"data": [{"meta": {"n_embd": 8, "vocab_type": 2}}]},
}
"""llama-server's members that the gateway reads, by the beginning of the request."""


async def is_asked_to_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Read a request's head; False where it was a question about the engine, which has its answer now."""
    head = await reader.readuntil(b"\r\n\r\n")
    for beginning, document in _SAID.items():
        if head.startswith(beginning):
            body = json.dumps(document).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            await writer.drain()
            writer.close()
            return False
    return True
