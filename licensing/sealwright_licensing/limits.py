"""Rate limits: token buckets per address, in memory, bounded in number. Pure; the clock is an argument."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict

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
        return self._level(network_of(address), now) >= 1

    def take(self, address: str, *, now: float) -> bool:
        """Use up a token; False if there was none."""
        key = network_of(address)
        level = self._level(key, now)
        self._buckets[key] = (max(level - 1, 0.0) if level >= 1 else level, now)
        self._buckets.move_to_end(key)
        if len(self._buckets) > MOST_ADDRESSES:
            self._buckets.popitem(last=False)
        return level >= 1

    def _level(self, key: str, now: float) -> float:
        level, at = self._buckets.get(key, (self._tokens, now))
        return min(self._tokens, level + (now - at) * self._rate)


def network_of(address: str) -> str:
    """What counts as one client: an IPv4 address, an IPv6 /64."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)  # or all of IPv4 would be one client of a socket on ::
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
