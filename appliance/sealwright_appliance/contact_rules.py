"""When the box calls the licence service, and when a running lease is over. Pure."""

from __future__ import annotations

from sealwright_appliance.boot import Obstacle
from sealwright_appliance.status import LeaseStatus
from sealwright_policies.errors import RejectionCode
from sealwright_policies.wire.lease import EndBehaviour

FIRST_RETRY_S = 15.0
LONGEST_RETRY_S = 3600.0
LOCKED_RETRY_S = 120.0
"""Longest pause of a box that serves nothing."""
ENDING_CODES = frozenset({RejectionCode.SUSPENDED, RejectionCode.REVOKED, RejectionCode.EXPIRED})
"""Denials that end serving at once; for any other the running lease goes on to its end."""


def ends_serving(code: str, lease: LeaseStatus | None) -> bool:
    """Whether a denial ends serving at once. Under a licence that runs out, its end does not: the lease's does."""
    if code == RejectionCode.EXPIRED and lease is not None and lease.license.at_end is EndBehaviour.RUN_OUT:
        return False
    return code in ENDING_CODES


def first_contact_s(lease: LeaseStatus | None, now: int) -> float:
    """Seconds until the next renewal is due; none if there is no lease to live on.

    A wrong calendar clock must not put the renewal off for ever: never longer than the contact interval.
    """
    if lease is None:
        return 0.0
    return float(min(max(0, lease.issued_at + lease.renew_after_s - now), lease.renew_after_s))


def retry_s(failures: int, *, locked: bool, jitter: float) -> float:
    """Seconds to wait after so many failures in a row: doubled each time, up to a limit.

    Args:
        failures: at least 1.
        locked: the box serves nothing and asks more often.
        jitter: random, 0 to 1; a thousand boxes must not come back in the same second.
    """
    longest = LOCKED_RETRY_S if locked else LONGEST_RETRY_S
    pause = min(longest, FIRST_RETRY_S * 2.0 ** min(failures - 1, 16))
    return pause * (0.5 + jitter / 2)


def lease_end(lease: LeaseStatus, *, clock_ms: int, ticks: int, now: int) -> Obstacle | None:
    """Why a running lease is over; None while it is not.

    The TPM's clock and ticks decide; the calendar only ends a lease earlier. A calendar that was set back helps nobody.
    """
    if clock_ms > lease.clock_end_ms:
        return Obstacle(RejectionCode.LEASE_EXPIRED, "The lease has ended by the TPM's clock.")
    if ticks > lease.max_ticks:
        return Obstacle(RejectionCode.LEASE_EXPIRED, "The running time of the lease is used up.")
    if now > lease.expires_at:
        return Obstacle(RejectionCode.LEASE_EXPIRED, "The lease has ended by the calendar.")
    return None
