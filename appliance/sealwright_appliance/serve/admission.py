"""Admission: how many requests an engine has at once and how many may wait for it.

The queue is here and not in the engine, whose own does not notice clients that leave it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from sealwright_appliance.serve.embedded import Embedded
from sealwright_appliance.serve.engine import Abilities, Engine
from sealwright_appliance.serve.errors import busy
from sealwright_appliance.serve.meter import Tally
from sealwright_appliance.serve.quota import Quota
from sealwright_appliance.serve.text_room import require_room

RETRY_AFTER_S = 5


class Admission:
    """A bounded queue: first come, first served."""

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


class QueuedEngine:
    """An engine behind its queue; what leaves it is within the budgets."""

    def __init__(self, engine: Engine, admission: Admission, quota: Quota) -> None:
        self._engine = engine
        self._admission = admission
        self._quota = quota

    @property
    def model_id(self) -> str:
        """The engine's."""
        return self._engine.model_id

    async def ready(self) -> bool:
        """Whether the engine behind is."""
        return await self._engine.ready()

    async def abilities(self) -> Abilities:
        """The engine's; nobody waits for it in the queue."""
        return await self._engine.abilities()

    async def whole(self, request: dict[str, Any], tally: Tally) -> bytes:
        """A whole reply, when it is this request's turn."""
        await self._require_room(request)
        async with self._admission.slot(), self._quota.spending(request, tally) as allowed:
            with tally:
                return await self._engine.whole(allowed, tally)

    async def embed(self, request: dict[str, Any], tally: Tally) -> Embedded:
        """Vectors, when it is this request's turn."""
        await self._require_room(request)
        async with self._admission.slot(), self._quota.spending(request, tally) as allowed:
            with tally:
                return await self._engine.embed(allowed, tally)

    async def count(self, request: dict[str, Any], tally: Tally) -> int:
        """Tokens, when it is this request's turn; a request of the budgets, which costs no tokens."""
        await self._require_room(request)
        async with self._admission.slot(), self._quota.spending(request | {"max_tokens": 0}, tally):
            with tally:
                return await self._engine.count(request, tally)

    async def stream(self, request: dict[str, Any], tally: Tally) -> AsyncGenerator[bytes, None]:
        """A streamed reply, when it is this request's turn; the place is held until the stream is closed."""
        await self._require_room(request)
        async with (
            self._admission.slot(),
            self._quota.spending(request, tally) as allowed,
            aclosing(self._engine.stream(allowed, tally)) as events,
        ):
            with tally:
                async for chunk in events:
                    yield chunk

    async def _require_room(self, request: dict[str, Any]) -> None:
        require_room(request, await self.abilities())
