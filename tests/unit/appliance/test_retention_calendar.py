"""The calendar of retention: it never goes back, and no lease of a service whose clock was wrong moves it far."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwright_appliance.retention_calendar import (
    AGREES_S,
    APART_S,
    BELIEVED_S,
    CALENDAR_LIMIT,
    RetentionCalendar,
    advanced,
    tell_time,
    told_time,
)
from sealwright_policies.wire.encoding import document_bytes, parse_json
from sealwright_policies.wire.lease import DAY_S

BEGUN = 1_800_000_000
HOUR_S = 3600
TEN_YEARS_S = 3652 * DAY_S


@dataclass
class Box:
    """A box that looks at each step. ``time`` is the true one."""

    time: int = BEGUN
    clock_ms: int = 5_000_000
    calendar: RetentionCalendar | None = None

    def __post_init__(self) -> None:
        self.look(self.time)

    def run(self, seconds: int) -> None:
        """The TPM's clock runs."""
        self.time += seconds
        self.clock_ms += seconds * 1000

    def look(self, issued_at: int) -> int:
        """At a newest lease; where the calendar stands then. It goes through the disk each time."""
        calendar = advanced(self.calendar, self.clock_ms, issued_at)
        self.calendar = parse_json(RetentionCalendar, document_bytes(calendar), limit=CALENDAR_LIMIT)
        return self.calendar.at


def test_seconds_are_not_lost_and_it_never_goes_back() -> None:
    """A clock that a power cut took back is counted on from where it is."""
    first = advanced(None, 1_999, BEGUN)
    assert first == RetentionCalendar(version=1, at=BEGUN, clock_ms=1_999, believed=BEGUN)
    second = advanced(advanced(first, 2_998, 0), 2_999, 0)
    assert (second.at, second.clock_ms) == (BEGUN + 1, 2_999)
    back = advanced(second, 500, 0)
    assert (back.at, back.clock_ms) == (BEGUN + 1, 500)
    assert advanced(back, 1_500, BEGUN - 7).at == BEGUN + 2


def test_a_day_in_which_the_box_was_off_counts_at_once() -> None:
    box = Box()
    box.time += BELIEVED_S
    assert box.look(box.time) == box.time
    box.time += BELIEVED_S + 1
    assert box.look(box.time) == BEGUN + BELIEVED_S


def test_months_count_once_a_lease_agrees_that_was_issued_a_day_later() -> None:
    box = Box()
    box.time += 90 * DAY_S
    box.look(box.time)
    back = box.time
    for _ in range(23):
        box.run(HOUR_S)
        assert box.look(box.time) == BEGUN + box.time - back
    box.run(HOUR_S)
    assert box.look(back) == BEGUN + DAY_S  # the same lease
    assert box.look(back + 60) == BEGUN + DAY_S  # a later one of a service whose clock hardly moves
    box.run(60)
    assert box.look(box.time) == box.time


def test_an_agreement_believes_no_more_than_both_leases_say() -> None:
    """The second may be the wrong one; then the first counts, and the second waits."""
    box = Box()
    box.time += 90 * DAY_S
    box.look(box.time)
    box.run(AGREES_S)
    assert box.look(box.time + TEN_YEARS_S) == box.time
    assert box.look(box.time) == box.time


def test_one_lease_of_a_service_whose_clock_was_ahead_moves_nothing() -> None:
    """For as long as it is kept as the newest. Nor does the next such one, if one that was right has come between."""
    box = Box()
    for _ in range(2):
        wrong = box.time + TEN_YEARS_S
        for _ in range(3 * 24):
            assert box.look(wrong) == box.time
            box.run(HOUR_S)
        assert box.look(box.time) == box.time


def test_leases_agree_that_came_a_day_of_the_tpms_clock_apart_alone() -> None:
    """A service whose clock was stepped twice within an hour; and what came too early does not agree by waiting."""
    box = Box()
    box.look(box.time + TEN_YEARS_S)
    box.run(HOUR_S)
    wrong = box.time + 2 * TEN_YEARS_S
    for _ in range(3 * 24):
        assert box.look(wrong) == box.time
        box.run(HOUR_S)


def test_a_lease_that_says_less_drops_a_wrong_one() -> None:
    """Else the next wrong one would agree with it."""
    box = Box()
    box.time += 90 * DAY_S
    box.look(box.time + TEN_YEARS_S)
    box.run(AGREES_S // 2)
    box.look(box.time)
    box.run(AGREES_S // 2)
    assert box.look(box.time + TEN_YEARS_S + DAY_S) == BEGUN + AGREES_S


def test_a_service_whose_clock_hardly_moves_fills_no_disk() -> None:
    """And once it goes right, it counts from the first lease."""
    box = Box()
    box.time += 90 * DAY_S
    first = box.time
    for number in range(100):
        assert box.look(first + number) < first
        box.run(HOUR_S)
    assert box.look(box.time) == box.time


def test_a_wrong_lease_does_not_hide_months_in_which_the_box_was_off() -> None:
    box = Box()
    box.time += 90 * DAY_S
    box.look(box.time + TEN_YEARS_S)
    box.look(box.time)
    box.run(AGREES_S)
    assert box.look(box.time) == box.time


def test_an_older_lease_put_back_holds_nothing_up() -> None:
    """Whoever has the disk has those, and would have a lease that waits forgotten."""
    box, old = Box(), BEGUN
    box.time += 90 * DAY_S
    for _ in range(24):
        box.look(box.time)
        box.run(HOUR_S)
        box.look(old)
    assert box.look(box.time) == box.time


STEPS = st.tuples(st.integers(0, HOUR_S), st.one_of(st.just(0), st.integers(0, 100 * DAY_S)))
"""How long the box runs until its next lease, and how long it is off then."""


@given(st.lists(st.tuples(st.integers(0, 2**41), st.integers(0, 2**33)), max_size=50))
def test_whatever_is_told_it_never_goes_back(steps: list[tuple[int, int]]) -> None:
    box, at = Box(), 0
    for clock_ms, issued_at in steps:
        box.clock_ms = clock_ms
        now = box.look(issued_at)
        assert now >= at
        at = now


@given(
    st.lists(STEPS, min_size=1, max_size=60), st.integers(0, 59), st.integers(0, 2 * TEN_YEARS_S), st.integers(1, 30)
)
def test_a_single_wrong_lease_moves_it_by_the_bound_at_most(
    steps: list[tuple[int, int]], wrong: int, ahead_s: int, kept: int
) -> None:
    """However long it is kept as the newest."""
    box, newest = Box(), 0
    for number, (runs_s, off_s) in enumerate(steps):
        box.run(runs_s)
        box.time += off_s
        newest = box.time + ahead_s if number == wrong else newest
        is_kept = wrong <= number < wrong + kept
        assert box.look(max(newest, box.time) if is_kept else box.time) <= box.time + BELIEVED_S


@given(st.lists(STEPS, max_size=60), st.integers(0, 59))
def test_whoever_has_the_box_off_wins_a_day_of_running_and_an_hour(steps: list[tuple[int, int]], fewest: int) -> None:
    """At each lease: times of leases that came so long before, by the TPM's clock, have been counted."""
    box, came = Box(), [(0, BEGUN)]
    for runs_s, off_s in steps * (1 + 60 // max(1, fewest)):
        box.run(runs_s)
        box.time += off_s
        at = box.look(box.time)
        long_ago = box.clock_ms - (AGREES_S + APART_S + 2 * HOUR_S) * 1000  # two leases are up to an hour apart here
        assert at >= max(issued_at for clock_ms, issued_at in came if clock_ms <= max(long_ago, 0))
        came.append((box.clock_ms, box.time))


def test_how_far_it_has_come_is_told_to_others_and_runs_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine's calendar says."""
    path = tmp_path / "retention.json"
    assert told_time(path) is None
    uptime_s = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: uptime_s[0])
    monkeypatch.setattr("time.time", lambda: 0.0)
    tell_time(path, BEGUN)
    assert path.stat().st_mode & 0o777 == 0o644
    uptime_s[0] += 7.5
    assert told_time(path) == BEGUN + 7
    uptime_s[0] = 1.0
    assert told_time(path) == BEGUN
    path.write_bytes(b"{}")
    assert told_time(path) is None
