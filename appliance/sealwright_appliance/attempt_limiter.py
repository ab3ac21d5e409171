"""Slows those who ask too often: attempts are counted for each peer, and for all peers together.

A peer that uses its attempts up holds nobody else back. The limit for all is far above what people need; it is there
for whoever comes from many addresses. It also bounds the memory: a peer is forgotten when it has regained all of its
attempts, and in the time that this takes the limit for all lets only some in: about 1100 by the rates of claims.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from sealwright_policies.wire.client_network import client_network


@dataclass(frozen=True, slots=True)
class Rate:
    """So many attempts at once, then one per interval."""

    at_once: int
    every_s: float

    def taken(self, full_at: float, now: float) -> float | None:
        """Take one attempt; when all will be regained, or None if there is none left.

        Args:
            full_at: when all would have been regained before this one.
        """
        full_at = max(full_at, now) + self.every_s
        return full_at if full_at - now <= self.at_once * self.every_s else None


CLAIMS_OF_PEER = Rate(at_once=5, every_s=20.0)
CLAIMS = Rate(at_once=100, every_s=0.1)
"""Ten guesses a second at 60 random bits: 3.2e8 guesses a year of 1.2e18, a chance of 3e-10 a year."""


class AttemptLimiter:
    """Safe to use from several threads."""

    def __init__(self, *, each: Rate = CLAIMS_OF_PEER, everybody: Rate = CLAIMS) -> None:
        self._each, self._everybody = each, everybody
        self._lock = threading.Lock()
        self._all_full_at = 0.0
        self._full_at: dict[str, float] = {}

    def admit(self, host: str, now: float) -> bool:
        """Whether a peer may try once more.

        Args:
            host: its address, as the gateway saw it.
            now: seconds of any steady clock.
        """
        peer = client_network(host)
        with self._lock:
            self._full_at = {known: full_at for known, full_at in self._full_at.items() if full_at > now}
            own = self._each.taken(self._full_at.get(peer, now), now)
            # The limit for all last: an attempt that is refused for its peer's sake costs the others nothing.
            everybody = self._everybody.taken(self._all_full_at, now) if own is not None else None
            if own is None or everybody is None:
                return False
            self._full_at[peer], self._all_full_at = own, everybody
            return True

    def regain(self, host: str) -> None:
        """Give an attempt back that was no guess: whoever knows the code may show it as often as they like."""
        peer = client_network(host)
        with self._lock:
            if peer in self._full_at:
                self._full_at[peer] -= self._each.every_s
                self._all_full_at -= self._everybody.every_s

    def __len__(self) -> int:
        """Peers that are remembered."""
        return len(self._full_at)
