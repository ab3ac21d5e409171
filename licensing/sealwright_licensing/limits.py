"""Rate limits: token buckets per address, in memory, bounded in number. Pure; the clock is an argument."""

from __future__ import annotations

from collections import OrderedDict

from sealwright_policies.wire.client_network import client_network

MOST_ADDRESSES = 10_000
"""Buckets that are remembered; the one unused for longest is forgotten first."""


class AddressBuckets:
    """One bucket of tokens for each client address."""

    def __init__(self, *, tokens: int, period_s: float) -> None:
        """``tokens`` are refilled evenly over ``period_s`` seconds, and as many may be used at once."""
        self._tokens = float(tokens)
        self._rate = tokens / period_s
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def has_token(self, address: str, *, now: float) -> bool:
        """Whether the address has a token left."""
        return self._level(client_network(address), now) >= 1

    def take(self, address: str, *, now: float) -> bool:
        """Use up a token; False if there was none."""
        key = client_network(address)
        level = self._level(key, now)
        self._buckets[key] = (max(level - 1, 0.0) if level >= 1 else level, now)
        self._buckets.move_to_end(key)
        if len(self._buckets) > MOST_ADDRESSES:
            self._buckets.popitem(last=False)
        return level >= 1

    def _level(self, key: str, now: float) -> float:
        level, at = self._buckets.get(key, (self._tokens, now))
        return min(self._tokens, level + (now - at) * self._rate)
