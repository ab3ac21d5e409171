"""The sequencer as a task beside the requests of a service that runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from sealwright_licensing.logs import logger
from sealwright_licensing.sequencer import INTERVAL_S, Sequencer


@asynccontextmanager
async def sequencing(sequencer: Sequencer, *, interval_s: float = INTERVAL_S) -> AsyncIterator[None]:
    """Append what waits, again and again, and once more at the end."""

    def append() -> None:
        try:
            sequencer.run()
        except Exception as error:  # the task's edge: entries wait, nothing is lost, and the next try comes soon
            logger.error("the log is not extended", exc_info=error)

    async def repeat() -> None:
        while True:
            await asyncio.to_thread(append)
            await asyncio.sleep(interval_s)

    task = asyncio.create_task(repeat())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await asyncio.to_thread(append)
