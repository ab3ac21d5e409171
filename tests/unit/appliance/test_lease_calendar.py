"""The box's calendar: advice that a lease can correct."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from sealwright_appliance.lease_calendar import CALENDAR_FILE, LeaseCalendar
from sealwright_policies.wire.lease import Lease

TRUTH, DAY = 1_800_000_000, 86_400
IN_2099 = 4_080_000_000


def lease(issued_at: int = TRUTH) -> Lease:
    """Of one day. Nothing else in it counts here."""
    return cast("Lease", SimpleNamespace(issued_at=issued_at, expires_at=issued_at + DAY))


@pytest.mark.parametrize("clock", [0, TRUTH - DAY, TRUTH, TRUTH + 1800])
def test_a_clock_that_is_right_or_behind_is_taken_as_it_is(tmp_path: Path, clock: int) -> None:
    """It ends no lease that the service has just given."""
    calendar = LeaseCalendar(tmp_path / CALENDAR_FILE, lambda: clock)
    calendar.learn(lease())
    assert calendar.now() == clock
    assert not (tmp_path / CALENDAR_FILE).exists()


def test_a_clock_that_is_ahead_is_known_over_a_restart(tmp_path: Path) -> None:
    """By what the lease says, to the hour."""
    LeaseCalendar(tmp_path / CALENDAR_FILE, lambda: IN_2099).learn(lease())
    assert LeaseCalendar(tmp_path / CALENDAR_FILE, lambda: IN_2099 + DAY).now() == TRUTH + DAY


def test_a_clock_that_was_set_right_is_believed_with_the_next_lease(tmp_path: Path) -> None:
    """Until then it seems behind, which ends nothing."""
    LeaseCalendar(tmp_path / CALENDAR_FILE, lambda: IN_2099).learn(lease())
    calendar = LeaseCalendar(tmp_path / CALENDAR_FILE, lambda: TRUTH + 60)
    assert calendar.now() < TRUTH
    calendar.learn(lease(TRUTH + 30))
    assert calendar.now() == TRUTH + 60
    assert LeaseCalendar(tmp_path / CALENDAR_FILE, lambda: TRUTH + 90).now() == TRUTH + 90


def test_a_service_that_is_behind_is_followed(tmp_path: Path) -> None:
    """By a day, say, and its leases are of a day: the box's right calendar would end each when it comes."""
    calendar = LeaseCalendar(tmp_path / CALENDAR_FILE, lambda: TRUTH)
    calendar.learn(lease(TRUTH - DAY + 60))
    assert calendar.now() == TRUTH - DAY + 60


@pytest.mark.parametrize("content", [b"", b"{}", b'{"version":1,"ahead_s":-1}', b"\xff" * 100])
def test_a_damaged_file_is_as_none(tmp_path: Path, content: bytes) -> None:
    """The next lease tells."""
    (tmp_path / CALENDAR_FILE).write_bytes(content)
    assert LeaseCalendar(tmp_path / CALENDAR_FILE, lambda: TRUTH).now() == TRUTH
