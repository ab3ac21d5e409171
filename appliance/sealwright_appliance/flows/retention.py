"""Files of domains go when their domain's days are over (policies/spec/domain-flow.md, 11).

Days are counted on a calendar that whoever owns the box can hold up only by switching it off: the TPM's clock, which
runs on through restarts and goes back by no command, and the latest time of which the licence service has told.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import Field

from sealwright_appliance.files import read_file, write_durably
from sealwright_appliance.flows.domain_files import DomainFile, DomainFiles, HeldFile
from sealwright_appliance.log_lines import Event, Trouble, tell
from sealwright_appliance.retention_days import days_are_over
from sealwright_policies.domains.fields import Name
from sealwright_policies.errors import FormatError, SealwrightError
from sealwright_policies.flows.documents import SIZE_MOST, FileKind, FileName
from sealwright_policies.metering.receipt import Seconds
from sealwright_policies.wire.encoding import Document, Sha256Hex, document_bytes, parse_json

FIRST_LOOK_S, LOOK_EVERY_S = 60.0, 900.0
REMOVED_MOST = 256
CALENDAR_LIMIT, REMOVED_LIMIT = 1024, 256 * 1024


class RetentionCalendar(Document):
    """How far the calendar has come, and where the TPM's clock stood then."""

    version: Annotated[int, Field(ge=1, le=1)]
    at: Seconds
    clock_ms: Annotated[int, Field(ge=0, lt=2**64)]


class RemovedFile(Document):
    """A file that is gone."""

    domain: Name
    kind: FileKind
    name: FileName
    digest: Sha256Hex
    size: Annotated[int, Field(ge=0, le=SIZE_MOST)]
    since: Seconds
    """When it was first seen, by this calendar."""
    removed_at: Seconds


class RemovedFiles(Document):
    """The latest of them, the oldest first."""

    version: Annotated[int, Field(ge=1, le=1)]
    files: Annotated[list[RemovedFile], Field(max_length=REMOVED_MOST)]


def advanced(calendar: RetentionCalendar | None, clock_ms: int, service_time: int) -> RetentionCalendar:
    """The calendar, gone on to where the TPM's clock stands and the service's time has come; it never goes back.

    A power cut takes the TPM's clock back by up to 70 minutes: these are counted again then, and the days last longer.
    """
    if calendar is None:
        return RetentionCalendar(version=1, at=service_time, clock_ms=clock_ms)
    passed = max(0, clock_ms - calendar.clock_ms)
    at = max(calendar.at + passed // 1000, service_time)
    return RetentionCalendar(version=1, at=at, clock_ms=clock_ms - passed % 1000)


def look_regularly(look: Callable[[], None], stop: threading.Event, first_s: float) -> None:
    """Look every quarter of an hour until ``stop`` is set, at first after some seconds. What fails is tried again."""
    wait = first_s
    while not stop.wait(wait):
        wait = LOOK_EVERY_S
        try:
            look()
        except (SealwrightError, OSError) as error:
            tell(Trouble(Event.RETENTION, type(error)))


@dataclass
class Retention:
    """Looks through the files of one box."""

    days: Callable[[str], int | None]
    """How long a domain keeps its files; None where the release has no such domain: nobody can read them, or say it."""
    files: DomainFiles
    folder: Path
    read_clock_ms: Callable[[], int]
    """The TPM's clock."""
    service_time: Callable[[], int]
    """Latest time of which the licence service has told, seconds since the epoch."""
    lock: threading.Lock
    """Held while files are looked through: nobody writes or sends one meanwhile."""
    forget_results: Callable[[int], None]
    """Has what workloads have written removed, where it is over by this time of the calendar."""
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Look until :attr:`stop` is set."""
        look_regularly(self.look, self.stop, FIRST_LOOK_S)

    def look(self) -> None:
        """Remove what is over; each removal is recorded before.

        Raises:
            OperationError: the TPM, the disk or the volume service refuses.
            FormatError: the calendar or the record is damaged; then nothing is removed, and the days last longer.
        """
        clock_ms = self.read_clock_ms()
        with self.lock:
            now = self._go_on(clock_ms)
            self.files.finish_removals()
            for held in self.files.held():
                since = self.files.since(held, now)
                days = self._days(held)
                if days is not None and days_are_over(since, now, days):
                    self._record(held.file, since, now)
                    self.files.remove(held)
        self.forget_results(now)

    def removed(self) -> list[RemovedFile]:
        """The latest removals. Raises as :meth:`look`."""
        content = read_file(self.folder / "removed.json", REMOVED_LIMIT)
        return [] if content is None else parse_json(RemovedFiles, content, limit=REMOVED_LIMIT).files

    @property
    def calendar_file(self) -> Path:
        """How far the calendar has come."""
        return self.folder / "calendar.json"

    def _days(self, held: HeldFile) -> int | None:
        """Also of the text under which it came: a file that is kept closed does not stay for longer."""
        days = self.days(held.file.domain)
        if not held.is_closed:
            return days
        try:
            text = self.files.text(held)
        except FormatError:
            text = None
        return days if days is None or text is None else min(days, text.domain.retention.results_days)

    def _go_on(self, clock_ms: int) -> int:
        path = self.calendar_file
        content = read_file(path, CALENDAR_LIMIT)
        before = None if content is None else parse_json(RetentionCalendar, content, limit=CALENDAR_LIMIT)
        calendar = advanced(before, clock_ms, self.service_time())
        if calendar != before:
            write_durably(path, document_bytes(calendar))
        return calendar.at

    def _record(self, file: DomainFile, since: int, now: int) -> None:
        known = self.removed()
        gone = RemovedFile(
            domain=file.domain, kind=file.kind, name=file.name, digest=file.digest, size=file.size, since=since,
            removed_at=now,
        )  # fmt: skip
        kept = [one for one in known if one.model_copy(update={"removed_at": now}) != gone]  # a power cut came between
        files = RemovedFiles(version=1, files=[*kept, gone][-REMOVED_MOST:])
        write_durably(self.folder / "removed.json", document_bytes(files))
