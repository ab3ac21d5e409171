"""The calendar by which days are counted on a box (policies/spec/domain-flow.md, 11).

It goes on with the TPM's clock, which runs on through restarts and goes back by no command, and takes the time at which
leases were issued where that is later. Whoever owns the box holds it up only by switching it off. A licence service
whose clock was ahead moves it by a day at most: a later time waits until another lease, issued a day later, agrees.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import Field

from sealwright_appliance.files import read_file, write_durably
from sealwright_policies.errors import FormatError, OperationError
from sealwright_policies.metering.receipt import Seconds
from sealwright_policies.wire.encoding import Document, document_bytes, parse_json
from sealwright_policies.wire.lease import DAY_S

CALENDAR_LIMIT, TIME_LIMIT = 4096, 256
BELIEVED_S = DAY_S
"""By so much a lease moves the calendar at once: boxes are off at night."""
AGREES_S = DAY_S
"""So much later another lease agrees, by both its own time and the TPM's clock."""
APART_S, DOUBTED_MOST = 3600, 32
"""Of leases that wait."""
READABLE = 0o644
Kept = TypeVar("Kept", bound=Document)


class DoubtedLease(Document):
    """One that was issued later than the TPM's clock explains."""

    issued_at: Seconds
    waited_s: Seconds
    """For how long the TPM's clock has run since."""

    def goes_on(self, seconds: int) -> DoubtedLease:
        """By the TPM's clock."""
        return DoubtedLease(issued_at=self.issued_at, waited_s=self.waited_s + seconds)

    def is_agreed_by(self, issued_at: int) -> bool:
        """Whether a later lease says the same."""
        return self.waited_s >= AGREES_S and issued_at >= self.issued_at + AGREES_S


class RetentionCalendar(Document):
    """How far the calendar has come, and where the TPM's clock stood then."""

    version: Annotated[int, Field(ge=1, le=1)]
    at: Seconds
    clock_ms: Annotated[int, Field(ge=0, lt=2**64)]
    believed: Seconds = 0
    """When the latest lease was issued whose time was taken."""
    doubted: Annotated[tuple[DoubtedLease, ...], Field(max_length=DOUBTED_MOST)] = ()
    """The oldest first."""


class RetentionTime(Document):
    """How far it has come, for who does not see the calendar."""

    version: Annotated[int, Field(ge=1, le=1)]
    at: Seconds
    uptime_s: Seconds
    """Since the machine was started, when it stood there."""


def advanced(calendar: RetentionCalendar | None, clock_ms: int, issued_at: int) -> RetentionCalendar:
    """The calendar, gone on to where the TPM's clock stands and the newest lease has come; it never goes back.

    A power cut takes the TPM's clock back by up to 70 minutes: these are counted again then, and the days last longer.

    Args:
        calendar: as it was; None: it begins at ``issued_at``.
        clock_ms: the TPM's clock.
        issued_at: of the newest lease, seconds since the epoch; 0 without one.
    """
    if calendar is None:
        return RetentionCalendar(version=1, at=issued_at, clock_ms=clock_ms, believed=issued_at)
    passed = max(0, clock_ms - calendar.clock_ms)
    at, believed = calendar.at + passed // 1000, calendar.believed
    doubted = tuple(one.goes_on(passed // 1000) for one in calendar.doubted)
    if issued_at > believed:  # else it is known, or an older one, which says nothing
        is_new = not doubted or issued_at != doubted[-1].issued_at
        agreed = [one for one in doubted if is_new and one.is_agreed_by(issued_at)]
        at = max([at, *(min(one.issued_at + one.waited_s, issued_at) for one in agreed)])
        doubted = tuple(one for one in doubted if one not in agreed and one.issued_at <= issued_at)
        if issued_at <= at + BELIEVED_S:
            at, believed, doubted = max(at, issued_at), issued_at, ()
        elif is_new:
            doubted = (*_spread(doubted), DoubtedLease(issued_at=issued_at, waited_s=0))
    clock_ms -= passed % 1000
    return RetentionCalendar(version=1, at=at, clock_ms=clock_ms, believed=believed, doubted=doubted)


def _spread(doubted: tuple[DoubtedLease, ...]) -> tuple[DoubtedLease, ...]:
    """Without the last, if it is so close behind the one before that this speaks for it, or if there are too many."""
    is_close = len(doubted) > 1 and doubted[-2].waited_s - doubted[-1].waited_s < APART_S
    return doubted[:-1] if is_close or len(doubted) == DOUBTED_MOST else doubted


def kept_document(kind: type[Kept], path: Path, limit: int) -> Kept | None:
    """What was written, if it is there and can be read."""
    with suppress(FormatError, OperationError):
        content = read_file(path, limit)
        return None if content is None else parse_json(kind, content, limit=limit)
    return None


def kept_calendar(path: Path) -> RetentionCalendar | None:
    """How far the calendar has come; None: it begins anew, at the service's time."""
    return kept_document(RetentionCalendar, path, CALENDAR_LIMIT)


def tell_time(path: Path, at: int) -> None:
    """Tell how far it has come to who does not see the calendar.

    Raises:
        OperationError: the disk refuses.
    """
    told = RetentionTime(version=1, at=at, uptime_s=int(time.monotonic()))
    write_durably(path, document_bytes(told), mode=READABLE)


def told_time(path: Path) -> int | None:
    """How far it has come, as it was told in this boot; None before anybody has."""
    told = kept_document(RetentionTime, path, TIME_LIMIT)
    return None if told is None else told.at + max(0, int(time.monotonic()) - told.uptime_s)
