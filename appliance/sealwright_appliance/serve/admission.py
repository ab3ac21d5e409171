"""Admission: how many requests run at once and how many may wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sealwright_appliance.serve.errors import busy

RETRY_AFTER_S = 5


class Admission:
    """A bounded queue in front of the engines: first come, first served."""

    def __init__(self, *, active: int, waiting: int) -> None:
        self._slots = asyncio.Semaphore(active)
        self._room = active + waiting
        self._inside = 0

    @property
    def inside(self) -> int:
        """Requests running or waiting."""
        return self._inside

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold one of the active places.

        Raises:
            ApiError: 429, the queue is full.
        """
        if self._inside >= self._room:
            raise busy(RETRY_AFTER_S)
        self._inside += 1
        try:
            async with self._slots:
                yield
        finally:
            self._inside -= 1
