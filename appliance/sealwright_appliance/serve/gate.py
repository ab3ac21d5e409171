"""What a request passes before an engine sees it, and how its reply goes out: alike for every kind of request.

Key, form, lease, model, policy, signs of copying, in this order; budgets and places in the queue come behind, in
:mod:`.admission`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import Request
from fastapi.responses import Response

from sealwright_appliance.serve.adapters import SEPARATOR, Adapters
from sealwright_appliance.serve.box import Box
from sealwright_appliance.serve.engine import ADAPTER, Abilities
from sealwright_appliance.serve.errors import engine_unavailable, model_too_large, unknown_model
from sealwright_appliance.serve.keys import ApiKey, authenticate
from sealwright_appliance.serve.meter import Meter, Tally
from sealwright_appliance.serve.padding import padded_document
from sealwright_appliance.serve.queued_engine import QueuedEngine
from sealwright_appliance.serve.relay import EventStream, while_connected
from sealwright_appliance.serve.watch import Watch
from sealwright_policies.outflow import OutflowPolicy, ReleaseOutflow

T = TypeVar("T")
JSON = "application/json"
Conversation = Sequence[tuple[str, str]]
"""Role and text of each turn."""


@dataclass(frozen=True, slots=True)
class Counting:
    """What counts a request, and by what it is judged."""

    meter: Meter
    watch: Watch
    outflow: ReleaseOutflow


@dataclass(frozen=True, slots=True)
class Entered:
    """A request that may go to its engine."""

    request: Request
    engine: QueuedEngine
    policy: OutflowPolicy
    name: tuple[str, str]
    """Model, and name of the key."""
    watched_as: tuple[str, str]
    """The same of the model as a whole: an adapter is watched as its base."""
    until: float
    """Latest end, by the clock of the event loop."""
    counting: Counting
    adapter: str | None = None
    """Id of the adapter that is asked for."""

    def tally(self) -> Tally:
        """Counts this request."""
        return self.counting.meter.tally(*self.name)

    def watched(self, conversations: Sequence[Conversation], tally: Tally) -> AbstractAsyncContextManager[None]:
        """While it runs, and counts for the signs of copying when it is over."""
        return self.counting.watch.over(self.watched_as, conversations, tally)

    async def whole(self, asked: dict[str, Any], conversations: Sequence[Conversation]) -> bytes:
        """The engine's whole reply."""
        return await self.done(self.engine.whole, asked, conversations)

    async def done(
        self,
        work: Callable[[dict[str, Any], Tally], Coroutine[Any, Any, T]],
        asked: dict[str, Any],
        conversations: Sequence[Conversation],
    ) -> T:
        """What the engine makes of a request, as long as the client is there."""
        tally = self.tally()
        async with self.watched(conversations, tally):
            return await while_connected(self.request.receive, work(self._adapted(asked), tally), until=self.until)

    async def abilities(self) -> Abilities:
        """What the model can; the first time it is waited for, as long as the client is there."""
        return await while_connected(self.request.receive, self.engine.abilities(self.name[1]), until=self.until)

    async def measure(self, asked: dict[str, Any]) -> int:
        """Tokens of a request that is still being made, as long as the client is there."""
        work = self.engine.measure(self._adapted(asked), self.tally())
        return await while_connected(self.request.receive, work, until=self.until)

    def document(self, body: bytes) -> Response:
        """A whole reply on its way out."""
        return Response(padded_document(body, self.policy.padding), media_type=JSON)

    async def stream(
        self,
        asked: dict[str, Any],
        conversations: Sequence[Conversation],
        translate: Callable[[AsyncGenerator[bytes, None]], AsyncGenerator[bytes, None]] = lambda events: events,
    ) -> Response:
        """The engine's events on their way out.

        Args:
            translate: what they become.
        """
        tally = self.tally()
        events = translate(_within(self.watched(conversations, tally), self.engine.stream(self._adapted(asked), tally)))
        first = await while_connected(self.request.receive, _first(events), until=self.until)
        return EventStream(first, events, until=self.until, padding=self.policy.padding)

    def _adapted(self, asked: dict[str, Any]) -> dict[str, Any]:
        return asked if self.adapter is None else asked | {ADAPTER: self.adapter}


@dataclass(frozen=True, slots=True)
class Gate:
    """Of one gateway."""

    box: Box
    engines: Mapping[str, QueuedEngine]
    counting: Counting
    too_large: Mapping[str, str]
    """Models that this machine has not the memory for; in a sentence each."""
    adapters: Adapters

    def models(self, key: ApiKey) -> list[str]:
        """What a key may ask for by its own name; of others it hears nothing. Engines with adapters are asked for by
        their models'."""
        return sorted(one for one in set(self.engines) - set(self.adapters.members.values()) if key.may_ask(one))

    def forget_adapters(self, member: str) -> None:
        """Have an engine end that holds an adapter which is no more."""
        if member in self.engines:
            self.engines[member].renew()

    async def key(self, request: Request) -> ApiKey:
        """Whose request it is.

        Raises:
            ApiError: 401.
        """
        return authenticate(request.headers.get("authorization"), await self.box.keys(), time.time())

    async def enter(
        self,
        request: Request,
        key: ApiKey,
        model: str,
        require_permitted: Callable[[OutflowPolicy], None],
        *,
        prompts: int = 1,
    ) -> Entered:
        """Let a request in whose body has been read.

        Args:
            prompts: that it asks at once.
            require_permitted: raises ApiError for what the model's policy keeps back.

        Raises:
            ApiError: the box does not serve, there is no such model, or the request is refused.
        """
        max_request_s = await self.box.require_serving()
        served, adapter = await self._served(model, key)
        if served in self.too_large:
            raise model_too_large(self.too_large[served])
        engine = self.engines[served]
        policy, name = self.counting.outflow.of(served), (engine.model_id, key.name)
        require_permitted(policy)
        until = asyncio.get_running_loop().time() + max_request_s
        watched_as = (self.counting.outflow.whole(engine.model_id), key.name)
        admitted = self.counting.watch.admit(watched_as, policy, await self.box.key_states(), prompts=prompts)
        await while_connected(request.receive, admitted, until=until)
        return Entered(request, engine, policy, name, watched_as, until, self.counting, adapter)

    async def _served(self, model: str, key: ApiKey) -> tuple[str, str | None]:
        """Which engine answers, and with which adapter."""
        known = self.models(key)
        base, with_adapter, name = model.partition(SEPARATOR)
        if base not in known and not (base in self.too_large and key.may_ask(base)):
            raise unknown_model(known)
        if not with_adapter:
            return base, None
        if (chosen := await self.adapters.chosen(base, name, key)) is None:
            raise unknown_model(known)
        return chosen.member, chosen.adapter_id


async def _within(
    watched: AbstractAsyncContextManager[None], events: AsyncGenerator[bytes, None]
) -> AsyncGenerator[bytes, None]:
    """The same events, until whose end the request is watched."""
    async with watched, aclosing(events):
        async for block in events:
            yield block


async def _first(events: AsyncGenerator[bytes, None]) -> bytes:
    """The first events, awaited before there is a status, so that a refusal still has its own."""
    try:
        return await anext(events)
    except StopAsyncIteration:
        raise engine_unavailable() from None
