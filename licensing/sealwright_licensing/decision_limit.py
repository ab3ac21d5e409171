"""How many decisions about one device are made in a day: each that is recorded stays in the log for good.

Kept in memory, by each process for itself.
"""

from __future__ import annotations

from sealwright_licensing.leases import DAY_S
from sealwright_licensing.limits import Buckets
from sealwright_policies.errors import RejectionCode, VerificationError

DECISIONS_PER_DAY = 1440


class DecisionLimit:
    """Shared by all that decides about devices."""

    def __init__(self, per_day: int = DECISIONS_PER_DAY) -> None:
        self._buckets = Buckets(tokens=per_day, period_s=DAY_S)

    def count(self, device_id: str, *, now: int) -> None:
        """Count a decision about a device that has proven itself, so that strangers cannot use its decisions up.

        Raises:
            VerificationError: RATE_LIMITED: it has had those of the day, and this one is not made.
        """
        if not self._buckets.take(device_id, now=now):
            raise VerificationError(
                RejectionCode.RATE_LIMITED, "this device has asked too often today; the box asks again later by itself"
            )
