"""When the box calls the service, and when its lease is over."""

from __future__ import annotations

import pytest

from sealwright_appliance.contact_rules import (
    FIRST_RETRY_S,
    LOCKED_RETRY_S,
    LONGEST_RETRY_S,
    first_contact_s,
    lease_end,
    retry_s,
)
from sealwright_appliance.status import LeaseStatus
from sealwright_policies.wire.lease import EndBehaviour, LicenseTerms

ISSUED = 1_800_000_000
LEASE = LeaseStatus(
    lease_id="lease-1",
    license_id="license-1",
    number=5,
    issued_at=ISSUED,
    expires_at=ISSUED + 86_400,
    clock_end_ms=90_000_000,
    max_ticks=100,
    renew_after_s=3600,
    max_request_s=60,
    license=LicenseTerms(
        ends_at=ISSUED + 10**7,
        grace_ends_at=ISSUED + 10**7,
        at_end=EndBehaviour.CLOSE,
        budget_end_ticks=9000,
        features=[],
    ),
    warnings=[],
)


@pytest.mark.parametrize(
    ("now", "wait"),
    [
        (ISSUED, 3600),
        (ISSUED + 3000, 600),
        (ISSUED + 3600, 0),
        (ISSUED + 10**9, 0),
        (0, 3600),  # a box that believes it is 1970 still calls within the interval
    ],
)
def test_the_first_contact_is_due_by_the_interval(now: int, wait: int) -> None:
    """Counted from the issue, and never longer than the interval."""
    assert first_contact_s(LEASE, now) == wait


def test_without_a_lease_contact_is_due_at_once() -> None:
    """A locked box."""
    assert first_contact_s(None, ISSUED) == 0


def test_retries_back_off_to_a_limit() -> None:
    """Doubled, bounded, spread."""
    full = [retry_s(failures, locked=False, jitter=1.0) for failures in (1, 2, 3, 60)]
    assert full == [FIRST_RETRY_S, 2 * FIRST_RETRY_S, 4 * FIRST_RETRY_S, LONGEST_RETRY_S]
    assert retry_s(1, locked=False, jitter=0.0) == FIRST_RETRY_S / 2
    assert retry_s(60, locked=True, jitter=1.0) == LOCKED_RETRY_S


@pytest.mark.parametrize(
    ("clock_ms", "ticks", "now", "word"),
    [
        (90_000_001, 100, ISSUED, "clock"),
        (90_000_000, 101, ISSUED, "running time"),
        (90_000_000, 100, ISSUED + 86_401, "calendar"),
    ],
)
def test_a_running_lease_ends(clock_ms: int, ticks: int, now: int, word: str) -> None:
    """Whichever bound comes first."""
    over = lease_end(LEASE, clock_ms=clock_ms, ticks=ticks, now=now)
    assert over is not None
    assert word in over.sentence


def test_a_lease_runs_to_its_bounds() -> None:
    """And a calendar that was set back neither ends nor prolongs it."""
    assert lease_end(LEASE, clock_ms=90_000_000, ticks=100, now=ISSUED + 86_400) is None
    assert lease_end(LEASE, clock_ms=90_000_001, ticks=100, now=0) is not None
