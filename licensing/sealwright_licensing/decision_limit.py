"""How many decisions about one device are recorded in a day, and how many about all who have proven nothing.

Each that is recorded stays in the log for good. Kept in memory, by each process for itself.
"""

from __future__ import annotations

import threading

from sealwright_licensing.leases import DAY_S
from sealwright_licensing.limits import Buckets
from sealwright_policies.errors import RejectionCode, VerificationError

DECISIONS_PER_DAY = 1440
STRANGERS = ""
"""Is no device's id."""


class DecisionLimit:
    """Shared by all that decides about devices."""

    def __init__(self, per_day: int = DECISIONS_PER_DAY) -> None:
        self._buckets = Buckets(tokens=per_day, period_s=DAY_S)
        self._left_out = 0
        self._lock = threading.Lock()

    def count(self, device_id: str, *, now: int) -> None:
        """Count a decision about a device that has proven itself, so that strangers cannot use its decisions up.

        Raises:
            VerificationError: RATE_LIMITED: it has had those of the day, and this one is not made.
        """
        if not self._buckets.take(device_id, now=now):
            raise VerificationError(
                RejectionCode.RATE_LIMITED, "this device has asked too often today; the box asks again later by itself"
            )

    def admit_stranger(self, *, now: int) -> int | None:
        """Whether the denial of one who has proven nothing is recorded: together they have as many as a device.

        Returns:
            How many have been left out since the last one; None: this one is left out, too.
        """
        with self._lock:
            if not self._buckets.take(STRANGERS, now=now):
                self._left_out += 1
                return None
            left_out, self._left_out = self._left_out, 0
            return left_out
