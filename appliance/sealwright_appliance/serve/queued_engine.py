"""An engine behind its queue and within the budgets: what the gateway talks to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from sealwright_appliance.serve.admission import Admission
from sealwright_appliance.serve.embedded import Embedded
from sealwright_appliance.serve.engine import Abilities, Engine
from sealwright_appliance.serve.meter import Tally
from sealwright_appliance.serve.quota import Quota, choices
from sealwright_appliance.serve.text_room import require_room

READY_S = 3.0
"""Longest wait for an engine's word that it is ready."""


@dataclass(frozen=True, slots=True)
class Load:
    """What an engine and its queue do now."""

    ready: bool
    running: int
    """Places of the engine that are taken."""
    places: int
    waiting: int
    """Requests in the queue."""


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

    async def load(self) -> Load:
        """What it does now; one that hangs is not ready, and does not hide the others."""
        try:
            async with asyncio.timeout(READY_S):
                ready = await self._engine.ready()
        except TimeoutError:
            ready = False
        return Load(ready, self._admission.running, self._admission.places, self._admission.waiting)

    async def abilities(self) -> Abilities:
        """The engine's; nobody waits for it in the queue."""
        return await self._engine.abilities()

    async def whole(self, request: dict[str, Any], tally: Tally) -> bytes:
        """A whole reply, when it is this request's turn."""
        async with self._turn(request, request, tally) as allowed:
            return await self._engine.whole(allowed, tally)

    async def embed(self, request: dict[str, Any], tally: Tally) -> Embedded:
        """Vectors, when it is this request's turn."""
        async with self._turn(request, request, tally) as allowed:
            return await self._engine.embed(allowed, tally)

    async def count(self, request: dict[str, Any], tally: Tally) -> int:
        """Tokens, when it is this request's turn; a request of the budgets, which costs no tokens."""
        async with self._turn(request, request | {"max_tokens": 0}, tally):
            return await self._engine.count(request, tally)

    async def measure(self, request: dict[str, Any], tally: Tally) -> int:
        """Tokens of a request that is still being made: nobody waits for it in the queue, and it costs nothing.

        Args:
            tally: of nothing else; it is thrown away.
        """
        require_room(request, await self.abilities())
        return await self._engine.count(request, tally)

    async def stream(self, request: dict[str, Any], tally: Tally) -> AsyncGenerator[bytes, None]:
        """A streamed reply, when it is this request's turn; the place is held until the stream is closed."""
        async with (
            self._turn(request, request, tally) as allowed,
            aclosing(self._engine.stream(allowed, tally)) as events,
        ):
            async for chunk in events:
                yield chunk

    @asynccontextmanager
    async def _turn(
        self, request: dict[str, Any], spent: dict[str, Any], tally: Tally
    ) -> AsyncIterator[dict[str, Any]]:
        """Places of the engine, and what the budgets leave of what is to be spent."""
        require_room(request, await self.abilities())
        async with self._admission.slot(tally.key, choices(request)), self._quota.spending(spent, tally) as allowed:
            with tally:
                yield allowed
