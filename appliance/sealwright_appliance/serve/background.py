"""Work that goes on beside the requests and has a last word when the gateway stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, None], at_end: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
    """Let ``work``, which does not end by itself, run until the block ends; then do ``at_end``."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await at_end()
