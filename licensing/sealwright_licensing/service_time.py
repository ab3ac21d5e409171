"""The service's time, which never goes back (policies/spec/licence.md, 4).

It is the later of the clock and the latest time that the store has seen. Several processes share the latter; each
writes it down about once a minute, so a clock that is set back gains nothing but that minute, once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from sealwright_licensing.locks import time_name
from sealwright_licensing.logs import logger
from sealwright_licensing.records import ServiceTime
from sealwright_licensing.store import Store

NAME = "service"
EXCHANGE_EVERY_S = 60
"""Also how often a clock that is behind is warned of."""
BEHIND_S = 2
"""Clocks of several machines differ by less than this if they are kept."""


def service_time(store: Store, clock: int) -> int:
    """The service's time for one command, seconds since the epoch."""
    with store.read() as transaction:
        seen = transaction.get(ServiceTime, NAME)
    return max(clock, seen.at) if seen else clock


@dataclass
class ServiceClock:
    """The time of a running service. Safe to use from several threads."""

    store: Store
    clock: Callable[[], float] = time.time
    steady: Callable[[], float] = time.monotonic
    _latest: int = 0
    _exchanged_at: float | None = None
    """When times were last exchanged with the store, by :attr:`steady`."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def now(self) -> int:
        """Seconds since the epoch, never less than before.

        Raises:
            OperationError: the database cannot be read or written.
        """
        with self._lock:
            shown = int(self.clock())
            self._latest = max(self._latest, shown)
            if self._exchanged_at is None or self.steady() - self._exchanged_at >= EXCHANGE_EVERY_S:
                self._latest = self._exchange(self._latest)
                self._exchanged_at = self.steady()
                if self._latest - shown > BEHIND_S:
                    logger.warning("clock behind", extra={"code": "CLOCK_BEHIND", "behind_s": self._latest - shown})
            return self._latest

    def _exchange(self, latest: int) -> int:
        with self.store.write(time_name(NAME)) as transaction:
            seen = transaction.get(ServiceTime, NAME)
            if seen is None or seen.at < latest:
                transaction.put(ServiceTime(NAME, latest))
                return latest
        return seen.at
