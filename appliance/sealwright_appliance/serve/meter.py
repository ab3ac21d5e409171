"""Counts requests, tokens and time, by model and API key, and hands them to the agent in numbered batches.

A running request is counted as far as it has come, so that a power cut loses no more than what the last batch did not
have yet. A batch that the agent has not acknowledged is sent again under its number, and counts once
(policies/spec/metering.md, 6).
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from sealwright_appliance.serve.background import beside
from sealwright_appliance.serve.errors import ApiError

SEND_EVERY_S = 20.0
ROWS_MOST = 2000
"""In one batch; what is more waits for the next."""
LAST_TRIES = 5
LAST_PAUSE_S = 0.5

Send = Callable[[dict[str, Any]], Awaitable[None]]
"""Hands a batch to the agent; raises ApiError if it has not got it."""


@dataclass(slots=True)
class Counts:
    """What is counted of a model and a key."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    busy_ms: int = 0

    def more_than(self, other: Counts) -> Counts:
        """What came since, never less than nothing."""
        return Counts(
            max(0, self.requests - other.requests),
            max(0, self.prompt_tokens - other.prompt_tokens),
            max(0, self.completion_tokens - other.completion_tokens),
            max(0, self.busy_ms - other.busy_ms),
        )

    def add(self, other: Counts) -> None:
        """Add another."""
        self.requests += other.requests
        self.prompt_tokens += other.prompt_tokens
        self.completion_tokens += other.completion_tokens
        self.busy_ms += other.busy_ms

    def __bool__(self) -> bool:
        return bool(self.requests or self.prompt_tokens or self.completion_tokens or self.busy_ms)


class Tally:
    """Of one request. Entered when it gets its place in the engine, left when it gives it back."""

    def __init__(self, meter: Meter, model: str, key: str) -> None:
        self.model = model
        self.key = key
        self.tokens_seen = 0
        """Of the reply, by its events; what the engine says at the end replaces it."""
        self.prompt_seen = 0
        """Of the prompt, as far as the engine has said that it is through."""
        self.embedded = 0
        """What vectors are charged."""
        self._meter = meter
        self._began: float | None = None
        self._ended: float | None = None
        self._prompt = 0
        self._used = 0
        self._taken = Counts()

    @property
    def completion_tokens(self) -> int:
        """Of the reply, as far as it has come."""
        return max(self._used, self.tokens_seen)

    @property
    def outflow_tokens(self) -> int:
        """What has left the model, in tokens of its budgets."""
        return self.completion_tokens + self.embedded

    def used(self, prompt_tokens: int, completion_tokens: int, *, own_prompt: bool = False) -> None:
        """The engine's own count of one choice; the choices of a request share one prompt, or each has its own."""
        self._prompt = self._prompt + prompt_tokens if own_prompt else max(self._prompt, prompt_tokens)
        self._used += completion_tokens

    def __enter__(self) -> Tally:
        self._began = self._meter.steady()
        self._meter.running.add(self)
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._ended = self._meter.steady()
        self._meter.running.discard(self)
        self._meter.collect(self)

    def take(self) -> Counts:
        """What has come since it was last asked."""
        if self._began is None:
            return Counts()
        until = self._meter.steady() if self._ended is None else self._ended
        now = Counts(
            requests=1,
            prompt_tokens=self._prompt or self.prompt_seen,
            completion_tokens=self.completion_tokens,
            busy_ms=int((until - self._began) * 1000),
        )
        new = now.more_than(self._taken)
        self._taken.add(new)
        return new


class Meter:
    """Counts of everything that this gateway has done and not handed on."""

    def __init__(self, steady: Callable[[], float] = time.monotonic) -> None:
        self.steady = steady
        self.running: set[Tally] = set()
        self._waiting: dict[tuple[str, str], Counts] = {}

    def tally(self, model: str, key: str) -> Tally:
        """For a request by the key of this name."""
        return Tally(self, model, key)

    def collect(self, tally: Tally) -> None:
        """Take what is new in a tally."""
        new = tally.take()
        if new:
            self._waiting.setdefault((tally.model, tally.key), Counts()).add(new)

    def take(self) -> list[dict[str, Any]]:
        """Rows of everything new since the last time, running requests included."""
        for tally in self.running:
            self.collect(tally)
        taken = {key: self._waiting.pop(key) for key in sorted(self._waiting)[:ROWS_MOST]}
        return [
            {
                "model": model,
                "key": key,
                "requests": counts.requests,
                "prompt_tokens": counts.prompt_tokens,
                "completion_tokens": counts.completion_tokens,
                "busy_ms": counts.busy_ms,
            }
            for (model, key), counts in taken.items()
        ]


@dataclass
class MeterSender:
    """Sends a meter's batches, one after the other."""

    meter: Meter
    send: Send
    every_s: float = SEND_EVERY_S
    gateway_id: str = field(default_factory=lambda: secrets.token_hex(16))
    _number: int = 0
    _pending: dict[str, Any] | None = None

    async def send_once(self) -> bool:
        """Send the batch that waits, or a new one if something was counted; whether nothing is left to send."""
        if self._pending is None:
            rows = self.meter.take()
            if not rows:
                return True
            self._number += 1
            self._pending = {"gateway_id": self.gateway_id, "number": self._number, "rows": rows}
        try:
            await self.send(self._pending)
        except ApiError:
            return False
        self._pending = None
        return True

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send from time to time, and at the end once more."""
        async with beside(self._keep_sending(), self._send_rest):
            yield

    async def _keep_sending(self) -> None:
        while True:
            await asyncio.sleep(self.every_s)
            await self.send_once()

    async def _send_rest(self) -> None:
        """Whatever was under way, and what has come since."""
        for _ in range(LAST_TRIES):
            if await self.send_once() and not self.meter.running and await self.send_once():
                return
            await asyncio.sleep(LAST_PAUSE_S)
