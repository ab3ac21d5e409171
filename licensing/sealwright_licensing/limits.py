"""Rate limits: buckets of tokens in memory, bounded in number. Pure; the clock is an argument."""

from __future__ import annotations

import threading
from collections import OrderedDict

from sealwright_policies.wire.client_network import client_network

MOST_BUCKETS = 10_000
"""Buckets that are remembered; the one unused for longest is forgotten first."""


class Buckets:
    """One bucket of tokens for each client, known by a name."""

    def __init__(self, *, tokens: int, period_s: float) -> None:
        """``tokens`` are refilled evenly over ``period_s`` seconds, and as many may be used at once."""
        self._tokens = float(tokens)
        self._rate = tokens / period_s
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def has_token(self, client: str, *, now: float) -> bool:
        """Whether the client has a token left."""
        return self._level(client, now) >= 1

    def take(self, client: str, *, now: float) -> bool:
        """Use up a token; False if there was none."""
        with self._lock:
            level = self._level(client, now)
            self._buckets[client] = (max(level - 1, 0.0) if level >= 1 else level, now)
            self._buckets.move_to_end(client)
            if len(self._buckets) > MOST_BUCKETS:
                self._buckets.popitem(last=False)
            return level >= 1

    def _level(self, client: str, now: float) -> float:
        level, at = self._buckets.get(client, (self._tokens, now))
        return min(self._tokens, level + (now - at) * self._rate)


class AddressBuckets(Buckets):
    """One bucket for each client address."""

    def has_token(self, client: str, *, now: float) -> bool:
        """Whether the address has a token left."""
        return super().has_token(client_network(client), now=now)

    def take(self, client: str, *, now: float) -> bool:
        """Use up a token of the address."""
        return super().take(client_network(client), now=now)
