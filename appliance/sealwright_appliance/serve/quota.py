"""The gateway's part in budgets: what the agent has handed out, and what of it running requests hold.

A request holds the most that its reply can be, so that no budget is ever overdrawn, and gives back what it did not
need. The agent has counted it on the disk before a token is made (:mod:`sealwright_appliance.outflow.ledger`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from sealwright_appliance.serve.errors import insufficient_quota, quota_held
from sealwright_appliance.serve.meter import Tally

HELD_RETRY_S = 5


@dataclass(frozen=True, slots=True)
class Allowance:
    """What the agent hands out."""

    requests: int
    tokens: int
    retry_after_s: int | None


@dataclass(frozen=True, slots=True)
class Lacking:
    """What a request needs and has not been handed out."""

    model: str
    key: str
    """Name of the API key."""
    requests: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request takes of the budgets."""

    requests: int
    """Each prompt of a text is one."""
    choices: int
    tokens: int
    """Of the longest reply, of one choice."""
    least: int
    """With less of them nothing can be said."""


def wanted_least(request: dict[str, Any]) -> int:
    """A reply can be cut, a vector cannot; counting makes nothing."""
    return int(request["max_tokens"]) if "input" in request else min(1, request["max_tokens"])


def prompts(request: dict[str, Any]) -> int:
    """How many a request brings."""
    return len(request.get("prompt", request.get("input", (None,))))


def choices(request: dict[str, Any]) -> int:
    """How many replies, or vectors, it asks for."""
    return prompts(request) * int(request.get("n", 1))


Ask = Callable[[Lacking], Awaitable[Allowance]]
"""Asks the agent; raises ApiError."""


@dataclass(slots=True)
class _Pool:
    """Of one model and key."""

    requests: int = 0
    tokens: int = 0
    held: int = 0
    """Tokens of running requests."""
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)


class Quota:
    """What may still leave, by model and key."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._pools: dict[tuple[str, str], _Pool] = {}

    @asynccontextmanager
    async def spending(self, request: dict[str, Any], tally: Tally) -> AsyncIterator[dict[str, Any]]:
        """Hold the tokens of a request until it is over.

        Args:
            request: for the engine, with ``max_tokens``.

        Yields:
            The request, its ``max_tokens`` cut to what is left of the budgets.

        Raises:
            ApiError: 429, nothing is left; 503, the agent does not say.
        """
        pool = self._pools.setdefault((tally.model, tally.key), _Pool())
        wanted = Wanted(prompts(request), choices(request), request["max_tokens"], least=wanted_least(request))
        each = await self._take(pool, tally, wanted)
        try:
            yield request | {"max_tokens": each}
        finally:
            pool.held -= each * wanted.choices
            pool.tokens += max(0, each * wanted.choices - tally.outflow_tokens)

    async def _take(self, pool: _Pool, tally: Tally, wanted: Wanted) -> int:
        """Tokens of each choice."""
        retry_after_s = None
        async with pool.asking:
            requests = max(0, wanted.requests - pool.requests)
            tokens = max(0, wanted.tokens * wanted.choices - pool.tokens)
            if requests or tokens:
                allowance = await self._ask(Lacking(tally.model, tally.key, requests, tokens))
                pool.requests += allowance.requests
                pool.tokens += allowance.tokens
                retry_after_s = allowance.retry_after_s
            each = min(wanted.tokens, pool.tokens // wanted.choices)
            if pool.requests < wanted.requests or each < wanted.least:
                raise quota_held(HELD_RETRY_S) if pool.held else insufficient_quota(retry_after_s)
            pool.requests -= wanted.requests
            pool.tokens -= each * wanted.choices
            pool.held += each * wanted.choices
            return each
