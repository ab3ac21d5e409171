"""An engine behind its queue, in memory when it is asked and within the budgets: what the gateway talks to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from sealwright_appliance.serve.admission import Admission
from sealwright_appliance.serve.embedded import Embedded
from sealwright_appliance.serve.engine import ADAPTER, Abilities, Engine
from sealwright_appliance.serve.engine_room import EngineRoom, Presence
from sealwright_appliance.serve.errors import ApiError, engine_unavailable
from sealwright_appliance.serve.meter import Tally
from sealwright_appliance.serve.quota import Quota, choices
from sealwright_appliance.serve.text_room import require_room

STARTS_MOST = 2
"""Of an engine for one request: another one may have begun to start it as an adapter was made."""
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
    presence: Presence
    memory_mib: int
    """What it takes while it is in memory."""
    loads: int
    unloads: int
    loading_s: float
    """All loads together; since the gateway has started, like the two counts."""

    @property
    def can_answer(self) -> bool:
        """Whether a request gets an answer: it does also where the model has to be loaded for it."""
        return self.ready or self.presence is not Presence.LOADED


class QueuedEngine:
    """An engine behind its queue; what leaves it is within the budgets."""

    def __init__(self, engine: Engine, admission: Admission, quota: Quota, room: EngineRoom) -> None:
        self._engine = engine
        self._admission = admission
        self._quota = quota
        self._room = room
        self._abilities: Abilities | None = None

    @property
    def model_id(self) -> str:
        """The engine's."""
        return self._engine.model_id

    @property
    def is_busy(self) -> bool:
        """Whether requests run or wait."""
        return bool(self._admission.running or self._admission.waiting)

    async def load(self) -> Load:
        """What it does now; one that hangs is not ready, and does not hide the others."""
        ready = False
        with suppress(TimeoutError, ApiError):
            async with asyncio.timeout(READY_S):
                await self._room.learn()
                ready = await self._engine.ready()
        tenant, admission = self._room.tenant(self.model_id), self._admission
        return Load(
            ready,
            admission.running,
            admission.places,
            admission.waiting,
            tenant.presence,
            tenant.need_mib,
            tenant.loads,
            tenant.unloads,
            round(tenant.loading_s, 3),
        )

    def renew(self) -> None:
        """Have the engine end when nobody uses it: what it was started with has changed."""
        self._room.renew(self.model_id)

    async def abilities(self, key: str) -> Abilities:
        """The engine's, which are those of its model and do not change. The first time a place in the queue and the
        model in memory are needed.

        Args:
            key: whose request wants to know.

        Raises:
            ApiError: 429, the queue is full; or the engine does not answer.
        """
        if self._abilities is None:
            async with self._admission.slot(key), self._room.use(self.model_id):
                self._abilities = await self._engine.abilities()
        return self._abilities

    async def whole(self, request: dict[str, Any], tally: Tally) -> bytes:
        """A whole reply, when it is this request's turn."""
        async with self._turn(request, request, tally) as allowed:
            return await self._engine.whole(allowed, tally)

    async def embed(self, request: dict[str, Any], tally: Tally) -> Embedded:
        """Vectors, when it is this request's turn."""
        async with self._turn(request, request, tally) as allowed:
            return await self._engine.embed(allowed, tally)

    async def vectors_aside(self, texts: Sequence[str], tally: Tally) -> Embedded | None:
        """Vectors for the box itself: they leave no model's box, and so cost nothing of the budgets.

        Returns:
            None: others need engine or memory now.
        """
        await self._room.learn()
        if not self._room.spares(self.model_id):
            return None
        with self._admission.spare() as is_free:
            if not is_free:
                return None
            async with self._room.use(self.model_id):
                return await self._engine.embed({"input": list(texts)}, tally)

    async def vector_of_question(self, text: str, tally: Tally) -> Sequence[float] | None:
        """The same of a key's question, which waits for its turn, but not for the model to be loaded: None."""
        await self._room.learn()
        if self._room.tenant(self.model_id).presence is not Presence.LOADED:
            return None
        async with self._admission.slot(tally.key), self._room.use(self.model_id):
            return (await self._engine.embed({"input": [text]}, tally)).vectors[0]

    async def count(self, request: dict[str, Any], tally: Tally) -> int:
        """Tokens, when it is this request's turn; a request of the budgets, which costs no tokens."""
        async with self._turn(request, request | {"max_tokens": 0}, tally):
            return await self._engine.count(request, tally)

    async def measure(self, request: dict[str, Any], tally: Tally) -> int:
        """Tokens of a request that is still being made, when it is its turn; costs nothing.

        Whoever asks holds no place: two requests that hold one and wait for another would wait for each other.

        Args:
            tally: of nothing else; it is thrown away.
        """
        require_room(request, await self.abilities(tally.key))
        async with self._admission.slot(tally.key), self._room.use(self.model_id):
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
        """Places of the engine, its model in memory, and what the budgets leave of what is to be spent."""
        require_room(request, await self.abilities(tally.key))
        async with (
            self._admission.slot(tally.key, choices(request)),
            self._with_adapter(request.get(ADAPTER)),
            self._quota.spending(spent, tally) as allowed,
        ):
            with tally:
                yield allowed

    @asynccontextmanager
    async def _with_adapter(self, adapter: str | None) -> AsyncIterator[None]:
        """The model in memory, with an adapter: an engine that was started before it was trained is started anew."""
        for _ in range(STARTS_MOST):
            async with self._room.use(self.model_id):
                if adapter is None or adapter in await self._engine.adapters():
                    yield
                    return
            self.renew()
        raise engine_unavailable()
