"""Files of domains go when their domain's days are over (policies/spec/domain-flow.md, 11).

Days are counted on the calendar of :mod:`.retention_calendar`.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import Field

from sealwright_appliance.files import sync_directory, write_durably
from sealwright_appliance.flows.domain_files import DomainFile, DomainFiles, HeldFile
from sealwright_appliance.log_lines import Event, Trouble, tell
from sealwright_appliance.retention_calendar import (
    RetentionCalendar,
    advanced,
    kept_calendar,
    kept_document,
    tell_time,
)
from sealwright_appliance.retention_days import days_are_over
from sealwright_policies.domains.fields import Name
from sealwright_policies.errors import FormatError, OperationError, SealwrightError
from sealwright_policies.flows.documents import SIZE_MOST, FileKind, FileName
from sealwright_policies.metering.receipt import Seconds
from sealwright_policies.wire.encoding import Document, Sha256Hex, document_bytes
from sealwright_policies.wire.lease import DAY_S

FIRST_LOOK_S, LOOK_EVERY_S = 60.0, 900.0
REMOVED_MOST = 256
DOUBTED = (
    "retention: the newest lease says a time {days} days later than the TPM's clock explains. Days for which files are "
    "kept go on by the TPM's clock until a lease that is issued a day later agrees."
)
REMOVED_LIMIT = 256 * 1024
Failure = SealwrightError | OSError


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
    ordered: bool = False
    """Whether an administrator has had it removed; else its days were over."""


class RemovedFiles(Document):
    """The latest of them, the oldest first."""

    version: Annotated[int, Field(ge=1, le=1)]
    files: Annotated[list[RemovedFile], Field(max_length=REMOVED_MOST)]


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
    told: Path | None = None
    """Where the adapter service reads how far the calendar has come."""
    say: Callable[[str], None] = lambda _: None
    """To whoever stands before the box."""
    _calendar: RetentionCalendar | None = field(default=None, init=False)
    """As far as it has come since the agent was started; goes on if the file is damaged."""

    def run(self) -> None:
        """Look until :attr:`stop` is set; how far the calendar has come is told at once."""
        try:
            self.go_on()
        except (SealwrightError, OSError) as error:
            tell(Trouble(Event.RETENTION, type(error)))
        look_regularly(self.look, self.stop, FIRST_LOOK_S)

    def go_on(self) -> None:
        """Let the calendar come to where it stands; nothing in a boot that has not opened the domains.

        Raises:
            OperationError: the TPM or the disk refuses.
        """
        if not self.files.is_open:
            return
        clock_ms = self.read_clock_ms()
        failures: list[Failure] = []
        with self.lock:
            self._put_damaged_aside()
            self._go_on(clock_ms, failures)
        if failures:
            raise failures[0]

    def look(self) -> None:
        """Remove what is over; each removal is recorded before. Nothing in a boot that has not opened the domains.

        Raises:
            OperationError: the TPM refuses, and nothing was looked at; or the disk or the volume service refuses
                something, and all else was done.
        """
        if not self.files.is_open:
            return
        clock_ms = self.read_clock_ms()
        failures: list[Failure] = []
        with self.lock:
            self._put_damaged_aside()
            now = self._go_on(clock_ms, failures)
            attempt(self.files.finish_removals, failures)
            attempt(partial(self._look_at_all, now, failures), failures)
        attempt(partial(self.forget_results, now), failures)
        if failures:
            raise failures[0]

    def remove(self, held: HeldFile) -> None:
        """Remove a file before its days are over, for whoever has the lock; recorded before.

        Raises:
            OperationError: the TPM or the disk refuses.
        """
        now = self._go_on(self.read_clock_ms(), [])
        self._remove(held, self.files.seen(held) or now, now, ordered=True)

    def removed(self) -> list[RemovedFile]:
        """The latest removals; none, if the record cannot be read."""
        record = kept_document(RemovedFiles, self.record_file, REMOVED_LIMIT)
        return [] if record is None else record.files

    @property
    def record_file(self) -> Path:
        """What went."""
        return self.folder / "removed.json"

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
        except (FormatError, OperationError):
            text = None
        return days if days is None or text is None else min(days, text.domain.retention.results_days)

    def _look_at_all(self, now: int, failures: list[Failure]) -> None:
        for held in self.files.held():
            attempt(partial(self._look_at, held, now), failures)

    def _look_at(self, held: HeldFile, now: int) -> None:
        since = self.files.since(held, now)
        days = self._days(held)
        if days is not None and days_are_over(since, now, days):
            self._remove(held, since, now)

    def _remove(self, held: HeldFile, since: int, now: int, *, ordered: bool = False) -> None:
        """Recorded before, or, where that fails, as on a full disk, behind it."""
        record = partial(self._record, held.file, since, now, ordered=ordered)
        try:
            record()
        except OperationError:
            self.files.remove(held)
            record()
        else:
            self.files.remove(held)

    def _put_damaged_aside(self) -> None:
        """So that it is said once, and whatever lies there is in nobody's way."""
        if kept_calendar(self.calendar_file) is None:
            _put_aside(self.calendar_file)
        if kept_document(RemovedFiles, self.record_file, REMOVED_LIMIT) is None:
            _put_aside(self.record_file)

    def _go_on(self, clock_ms: int, failures: list[Failure]) -> int:
        before = kept_calendar(self.calendar_file) or self._calendar
        told: list[int] = []
        attempt(lambda: told.append(self.service_time()), failures)
        known = told if before is not None else [*told, *self._dates()]
        calendar = self._calendar = advanced(before, clock_ms, max(known, default=0))
        if calendar != kept_calendar(self.calendar_file):
            attempt(partial(write_durably, self.calendar_file, document_bytes(calendar)), failures)
        if self.told is not None:
            attempt(partial(tell_time, self.told, calendar.at), failures)
        if calendar.doubted and (before is None or not before.doubted):
            self.say(DOUBTED.format(days=(calendar.doubted[0].issued_at - calendar.at) // DAY_S))
        return calendar.at

    def _dates(self) -> Iterator[int]:
        """Where the calendar stood when files were first seen: one that begins anew begins behind none of them."""
        for held in self.files.held():
            with suppress(OperationError):
                if (seen := self.files.seen(held)) is not None:
                    yield seen

    def _record(self, file: DomainFile, since: int, now: int, *, ordered: bool = False) -> None:
        known = self.removed()
        gone = RemovedFile(
            domain=file.domain, kind=file.kind, name=file.name, digest=file.digest, size=file.size, since=since,
            removed_at=now, ordered=ordered,
        )  # fmt: skip
        kept = [one for one in known if one.model_copy(update={"removed_at": now}) != gone]  # a power cut came between
        files = RemovedFiles(version=1, files=[*kept, gone][-REMOVED_MOST:])
        write_durably(self.record_file, document_bytes(files))


def attempt(step: Callable[[], object], failures: list[Failure]) -> None:
    """Go on whatever a step refuses."""
    try:
        step()
    except (SealwrightError, OSError) as error:
        failures.append(error)


def _put_aside(path: Path) -> None:
    """Nothing, if nothing is there. One that was put aside before is replaced."""
    aside = path.with_name(f"{path.name}.damaged")
    try:
        if not os.path.lexists(path):
            return
        if aside.is_dir() and not aside.is_symlink():
            shutil.rmtree(aside)
        path.rename(aside)
        sync_directory(path.parent)
        tell(Trouble(Event.RETENTION, FormatError))
    except OSError as error:
        tell(Trouble(Event.RETENTION, type(error)))
