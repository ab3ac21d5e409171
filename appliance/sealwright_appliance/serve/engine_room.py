"""Which models are in memory: loaded when a request wants them, unloaded by least recent use when others need the room.

No request is cut: a model leaves only when none of its requests runs. Where all that are loaded are busy, the one that
was used least recently takes no further request for a while, so that whoever waits for another model gets there; what
runs on it ends in its own time. Requests for a model that is not there wait, in the order in which models were first
asked for, as long as their clients and the longest time of a request allow. Where one does not load they are refused,
and so is who comes before it is tried again; the pauses grow.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from sealwright_appliance.serve.errors import ApiError

STAY_S = 10.0
"""How long a model that was loaded takes requests before it has to make room while it is busy, or twice the time that
its loading took: else two models that are always wanted would do nothing but load."""
PAUSE_MOST_S = 30.0
"""Between two tries to load a model that does not load; as between a unit's own (RestartMaxDelaySec)."""

QUIET_S = 300.0
"""How long a model was not used before work of the box's own may take its room."""


class Loader(Protocol):
    """Starts and stops engines."""

    async def running_engines(self) -> Collection[str]:
        """Models whose engines run."""

    async def load_engine(self, model: str) -> None:
        """Start an engine and wait until it answers.

        Raises:
            ApiError: it does not; with the reason.
        """

    async def unload_engine(self, model: str) -> None:
        """Stop an engine; its memory is free then.

        Raises:
            ApiError: it does not stop.
        """


class Presence(StrEnum):
    """Where a model is."""

    OUT = "out"
    LOADING = "loading"
    LOADED = "loaded"
    LEAVING = "leaving"
    """It has to make room when its requests are over."""
    UNLOADING = "unloading"


@dataclass(eq=False, slots=True)
class Tenant:
    """One model, and what has become of it."""

    model: str
    need_mib: int
    presence: Presence = Presence.OUT
    uses: int = 0
    """Requests that run."""
    waiting: list[asyncio.Future[None]] = field(default_factory=list)
    ticket: int = 0
    """Order in which models were first asked for, of those that are waited for."""
    last_used: float = 0.0
    stays_until: float = 0.0
    stale: bool = False
    """It takes no further request before it has been started anew."""
    loads: int = 0
    unloads: int = 0
    loading_s: float = 0.0
    """All loads together."""
    refusal: ApiError | None = None
    """Of the last load; None if it went well."""
    pause_s: float = 0.0
    """Behind that one."""
    tried_again_at: float = 0.0

    def require_try(self, now: float) -> None:
        """Refuse who comes before it is tried again.

        Raises:
            ApiError: what the last try has said, and when there may be another.
        """
        if self.refusal is not None and now < self.tried_again_at:
            said, wait_s = self.refusal, math.ceil(self.tried_again_at - now)
            raise ApiError(said.status, said.code, said.message, retry_after_s=wait_s)

    def loaded(self, now: float, spent_s: float) -> None:
        """Note that it is in memory."""
        self.presence, self.loads, self.loading_s = Presence.LOADED, self.loads + 1, self.loading_s + spent_s
        self.last_used, self.stays_until = now, now + max(STAY_S, 2 * spent_s)
        self.refusal, self.pause_s = None, 0.0
        self.let_in()

    def not_loaded(self, now: float, error: ApiError) -> None:
        """Note that it is not, and when it may be tried again."""
        self.pause_s = min(PAUSE_MOST_S, max(2 * self.pause_s, error.retry_after_s or 0))
        self.presence, self.refusal, self.tried_again_at = Presence.OUT, error, now + self.pause_s
        self.refuse(error)

    def let_in(self) -> None:
        """Let all in who wait."""
        for turn in self._taken():
            self.uses += 1
            turn.set_result(None)

    def refuse(self, error: ApiError) -> None:
        """Refuse all who wait."""
        for turn in self._taken():
            turn.set_exception(error)

    def _taken(self) -> list[asyncio.Future[None]]:
        taken = [one for one in self.waiting if not one.done()]
        self.waiting.clear()
        return taken


class EngineRoom:
    """The memory that engines have together, MiB.

    Args:
        room_mib: all of it.
        needs: what each model's engine takes; none takes more than all.
        loader: starts and stops them.
        now: seconds of a clock that never goes back.
    """

    def __init__(
        self, room_mib: int, needs: Mapping[str, int], loader: Loader, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.room_mib = room_mib
        self._tenants = {model: Tenant(model, need) for model, need in needs.items()}
        self._loader = loader
        self._now = now
        self._known = False
        self._tickets = 0
        self._changed = asyncio.Event()
        self._arranging: asyncio.Task[None] | None = None
        self._loading: set[asyncio.Task[None]] = set()

    def tenant(self, model: str) -> Tenant:
        """What has become of a model."""
        return self._tenants[model]

    def spares(self, model: str) -> bool:
        """Whether a model can be used by the box itself: it is there, or has room beside those that requests have used
        of late, and nobody waits for another."""
        tenant = self._tenants[model]
        if tenant.presence is Presence.LOADED:
            return True
        if tenant.presence is not Presence.OUT or any(one.waiting for one in self._tenants.values()):
            return False
        since = self._now() - QUIET_S
        present = [one for one in self._tenants.values() if one.presence is not Presence.OUT]
        staying = sum(one.need_mib for one in present if one.uses or one.last_used > since)
        return tenant.need_mib <= self.room_mib - staying

    @asynccontextmanager
    async def use(self, model: str) -> AsyncIterator[None]:
        """Keep a model in memory while the block runs; waits until it is there.

        Raises:
            ApiError: it could not be loaded.
        """
        tenant = self._tenants[model]
        if tenant.presence is Presence.LOADED and not tenant.stale:
            tenant.uses += 1
        else:
            await self._turn(tenant)
        try:
            yield
        finally:
            tenant.uses -= 1
            tenant.last_used = self._now()
            self._end_stale(tenant)
            self._changed.set()

    def renew(self, model: str) -> None:
        """Have a model's engine end as soon as nobody uses it, so that its next start finds what has changed."""
        tenant = self._tenants[model]
        tenant.stale = tenant.presence in (Presence.LOADING, Presence.LOADED, Presence.LEAVING)
        self._end_stale(tenant)

    def _end_stale(self, tenant: Tenant) -> None:
        if tenant.stale and not tenant.uses and tenant.presence in (Presence.LOADED, Presence.LEAVING):
            tenant.presence = Presence.UNLOADING
            self._in_background(self._ended(tenant))

    async def _ended(self, tenant: Tenant) -> None:
        try:
            await self._loader.unload_engine(tenant.model)
        except ApiError as error:
            tenant.presence = Presence.LOADED
            tenant.refuse(error)
        else:
            tenant.presence = Presence.OUT
            tenant.unloads += 1
        finally:
            tenant.stale = False
            self._changed.set()

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._loading.add(task)
        task.add_done_callback(self._loading.discard)

    async def learn(self) -> None:
        """Find out which engines run; those of an earlier gateway do, and those that the box starts with.

        Raises:
            ApiError: nobody knows.
        """
        if self._known:
            return
        running = await self._loader.running_engines()
        for tenant in self._tenants.values():
            if tenant.model in running and tenant.presence is Presence.OUT and not self._known:
                tenant.presence = Presence.LOADED
        self._known = True

    async def close(self) -> None:
        """Wait for nothing any more; engines stay as they are."""
        tasks = [*self._loading, *([self._arranging] if self._arranging else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _turn(self, tenant: Tenant) -> None:
        """Wait; when this returns, the use has been counted."""
        tenant.require_try(self._now())
        if not any(not one.done() for one in tenant.waiting):
            self._tickets += 1
            tenant.ticket = self._tickets
        turn = asyncio.get_running_loop().create_future()
        tenant.waiting.append(turn)
        self._changed.set()
        if self._arranging is None or self._arranging.done():
            self._arranging = asyncio.create_task(self._arrange())
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                tenant.uses -= 1
            turn.cancel()
            self._changed.set()
            raise

    async def _arrange(self) -> None:
        """Let in, load and unload, until nobody waits."""
        try:
            await self.learn()
        except ApiError as error:
            for tenant in self._tenants.values():
                tenant.refuse(error)
            return
        while any(not one.done() for tenant in self._tenants.values() for one in tenant.waiting):
            self._changed.clear()
            pause = await self._arranged()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._changed.wait()

    async def _arranged(self) -> float | None:
        """Do what can be done now; seconds until there is more to do even if nothing happens."""
        for tenant in self._with(Presence.LEAVING):
            tenant.presence = Presence.LOADED
        wanted = [one for one in self._with(Presence.OUT) if any(not turn.done() for turn in one.waiting)]
        pause = None
        for tenant in sorted(wanted, key=lambda one: one.ticket):
            pause = await self._placed(tenant)
            if tenant.presence is Presence.OUT:
                break  # whoever came later does not take the room that this one waits for
        for tenant in self._with(Presence.LOADED):
            if not tenant.stale:
                tenant.let_in()
        return pause

    async def _placed(self, tenant: Tenant) -> float | None:
        """Load a model, if there is room or room can be made at once; else have others leave."""
        idle, pauses = self._makers_of_room(tenant)
        if not all([await self._unloaded(other, tenant) for other in idle]):
            return None
        if tenant.need_mib <= self._free_mib():
            tenant.presence, tenant.stale = Presence.LOADING, False
            self._in_background(self._load(tenant))
        return min(pauses, default=None)

    def _makers_of_room(self, tenant: Tenant) -> tuple[list[Tenant], list[float]]:
        """Those that leave at once, as nobody uses them, and in how many seconds others may be asked to; those that
        have stayed long enough are asked here."""
        idle: list[Tenant] = []
        pauses: list[float] = []
        going = sum(one.need_mib for one in self._with(Presence.UNLOADING))
        lacking = tenant.need_mib - self._free_mib() - going
        for other in sorted(self._with(Presence.LOADED), key=lambda one: (one.uses > 0, one.last_used)):
            if lacking <= 0:
                break
            lacking -= other.need_mib
            if not other.uses:
                # At once, so that no request comes in while an earlier one is still being stopped.
                other.presence = Presence.UNLOADING
                idle.append(other)
            elif (left := other.stays_until - self._now()) > 0:
                pauses.append(left)
            else:
                other.presence = Presence.LEAVING
        return idle, pauses

    async def _unloaded(self, tenant: Tenant, wanted: Tenant) -> bool:
        """Unload a model that nobody uses; if that fails, whoever wanted its room is refused."""
        try:
            await self._loader.unload_engine(tenant.model)
        except ApiError as error:
            tenant.presence = Presence.LOADED
            wanted.refuse(error)
            return False
        tenant.presence = Presence.OUT
        tenant.unloads += 1
        return True

    async def _load(self, tenant: Tenant) -> None:
        began = self._now()
        try:
            await self._loader.load_engine(tenant.model)
        except ApiError as error:
            tenant.presence = Presence.UNLOADING
            with suppress(ApiError):  # it may run all the same, if it was the agent that has gone
                await self._loader.unload_engine(tenant.model)
            tenant.not_loaded(self._now(), error)
        else:
            tenant.loaded(self._now(), self._now() - began)
            self._end_stale(tenant)
        finally:
            self._changed.set()

    def _with(self, presence: Presence) -> list[Tenant]:
        return [one for one in self._tenants.values() if one.presence is presence]

    def _free_mib(self) -> int:
        return self.room_mib - sum(one.need_mib for one in self._tenants.values() if one.presence is not Presence.OUT)
