"""Warnings 30, 7 and 1 days ahead: which end is named, at which level, on both sides of each boundary."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwright_appliance.budget import remaining
from sealwright_appliance.contact_rules import ends_serving
from sealwright_appliance.status import BudgetStatus, LeaseStatus
from sealwright_policies.errors import RejectionCode
from sealwright_policies.wire.lease import EndBehaviour, LicenseTerms, warning_level

ISSUED = 1_800_000_000
DAY = 86_400
FAR = 400 * DAY


def lease(*, length_s: int = 30 * DAY, max_ticks: int = 10**6, **license_: Any) -> LeaseStatus:
    """A lease that was issued at Clock zero."""
    fields: dict[str, Any] = {
        "ends_at": ISSUED + FAR,
        "grace_ends_at": ISSUED + FAR,
        "at_end": EndBehaviour.CLOSE,
        "budget_end_ticks": 10**6,
        "features": [],
    }
    return LeaseStatus(
        lease_id="lease-1",
        license_id="license-1",
        number=5,
        issued_at=ISSUED,
        expires_at=ISSUED + length_s,
        clock_end_ms=length_s * 1000,
        max_ticks=max_ticks,
        renew_after_s=3600,
        max_request_s=60,
        license=LicenseTerms(**(fields | license_)),
        warnings=[],
    )


def at(one: LeaseStatus, seconds: int = 0, ticks: int = 0, clock_s: int | None = None) -> BudgetStatus:
    """What is left so many seconds behind the issue."""
    clock_ms = (seconds if clock_s is None else clock_s) * 1000
    return remaining(one, clock_ms=clock_ms, ticks=ticks, now=ISSUED + seconds)


@pytest.mark.parametrize(
    ("left_s", "level"),
    [
        (30 * DAY + 1, None), (30 * DAY, 30), (7 * DAY + 1, 30), (7 * DAY, 7), (DAY + 1, 7), (DAY, 1), (1, 1), (0, 1),
    ],
)  # fmt: skip
def test_each_level_begins_at_its_day(left_s: int, level: int | None) -> None:
    assert warning_level(left_s) == level
    shown = at(lease(ends_at=ISSUED + left_s, grace_ends_at=ISSUED + left_s, budget_end_ticks=10**6))
    assert (shown.level_days, shown.license_left_s) == (level, left_s)
    assert shown.warning == (None if level is None else "LICENSE_ENDS" if left_s else "LICENSE_IN_GRACE")


@pytest.mark.parametrize(("ticks_left", "level"), [(721, None), (720, 30), (168, 7), (24, 1), (0, 1), (-5, 1)])
def test_running_time_is_warned_of_by_its_ticks(ticks_left: int, level: int | None) -> None:
    shown = at(lease(budget_end_ticks=1000), ticks=1000 - ticks_left)
    assert (shown.level_days, shown.budget_left_s) == (level, max(0, ticks_left) * 3600)
    assert shown.warning == ("BUDGET_LOW" if level else None)


def test_a_lease_is_warned_of_only_when_it_should_have_been_renewed() -> None:
    """In the second half of its time, and from seven days on."""
    long, short = lease(), lease(length_s=2 * DAY)
    assert at(long, 22 * DAY).warning is None
    assert (at(long, 23 * DAY).warning, at(long, 23 * DAY).level_days) == ("LEASE_ENDS", 7)
    assert at(long, 29 * DAY).level_days == 1
    assert at(short, DAY - 1).warning is None
    assert (at(short, DAY + 1).warning, at(short, DAY + 1).level_days) == ("LEASE_ENDS", 1)
    assert at(lease(max_ticks=100), ticks=80).warning == "LEASE_ENDS", "by its ticks"


def test_the_nearest_end_is_named() -> None:
    one = lease(ends_at=ISSUED + 20 * DAY, grace_ends_at=ISSUED + 25 * DAY, budget_end_ticks=100)
    assert (at(one).warning, at(one).left_s) == ("BUDGET_LOW", 360_000)
    one = lease(ends_at=ISSUED + 2 * DAY, grace_ends_at=ISSUED + 25 * DAY, budget_end_ticks=100)
    assert (at(one).warning, at(one).left_s) == ("LICENSE_ENDS", 2 * DAY)
    assert (at(one, 3 * DAY).warning, at(one, 3 * DAY).left_s) == ("BUDGET_LOW", 360_000)
    assert (at(one, 23 * DAY).warning, at(one, 23 * DAY).left_s) == ("LICENSE_IN_GRACE", 2 * DAY)


def test_a_licence_that_keeps_its_releases_warns_of_no_end() -> None:
    one = lease(ends_at=ISSUED + 1, grace_ends_at=ISSUED + 1, at_end=EndBehaviour.KEEP_RELEASES)
    assert at(one, 10).warning is None


def test_a_calendar_that_is_behind_puts_no_warning_off() -> None:
    """It is 1970 for a box without a battery; the TPM's clock has run for 26 days since the lease was issued."""
    one = lease(ends_at=ISSUED + 30 * DAY, grace_ends_at=ISSUED + 30 * DAY)
    shown = remaining(one, clock_ms=26 * DAY * 1000, ticks=0, now=0)
    assert (shown.level_days, shown.license_left_s, shown.lease_left_s) == (7, 4 * DAY, 4 * DAY)


@given(st.integers(0, 60 * DAY), st.integers(0, 2000), st.integers(0, 60 * DAY), st.integers(0, 40 * DAY))
def test_nothing_that_ends_within_a_day_goes_unnoticed(now_s: int, ticks: int, clock_s: int, ends: int) -> None:
    one = lease(ends_at=ISSUED + ends, grace_ends_at=ISSUED + ends, budget_end_ticks=1000, max_ticks=900)
    shown = at(one, now_s, ticks, clock_s)
    nearest = min(shown.license_left_s, shown.budget_left_s, shown.lease_left_s)
    assert (nearest > DAY) or shown.level_days == 1
    assert shown.left_s is None or (shown.left_s >= nearest and shown.sentence)


@pytest.mark.parametrize("at_end", list(EndBehaviour))
def test_the_end_of_a_licence_that_runs_out_ends_nothing_at_once(at_end: EndBehaviour) -> None:
    """Revocation and suspension do, whatever the licence says; and so does any end for a box without a lease."""
    one = lease(at_end=at_end)
    assert ends_serving(RejectionCode.EXPIRED, one) is (at_end is not EndBehaviour.RUN_OUT)
    assert ends_serving(RejectionCode.REVOKED, one)
    assert ends_serving(RejectionCode.SUSPENDED, one)
    assert ends_serving(RejectionCode.EXPIRED, None)
    assert not ends_serving(RejectionCode.NOT_ENTITLED, one)
