"""Files of domains on the state volume (policies/spec/domain-flow.md, 1).

A file is written beside, in order, and comes to its place whole and checked, by one rename; it is never overwritten.
What has come of one that was interrupted stays, and is gone on with.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated
from weakref import WeakValueDictionary

from pydantic import Field

from sealwright_appliance.boot import BoxCode
from sealwright_appliance.files import KEPT_FREE, free_bytes, read_file, sync_directory, write_durably
from sealwright_appliance.flows.errors import FlowError
from sealwright_appliance.paths import Paths
from sealwright_policies.domains.entrusted import ENTRUSTED_LIMIT, EntrustedText, entrusted_bytes, parse_entrusted
from sealwright_policies.domains.fields import Name
from sealwright_policies.errors import FormatError, OperationError
from sealwright_policies.flows.content import FRAME_SIZE, frame_count
from sealwright_policies.flows.documents import SIZE_MOST, FileKind, FileName, FlowId
from sealwright_policies.metering.receipt import Seconds
from sealwright_policies.wire.encoding import Document, Sha256Hex, document_bytes, parse_json

ABOUT_LIMIT = 4096
CONTENT, ABOUT, SINCE, TEXT = "content", "about.json", "since.json", "text.json"
INCOMING, REMOVED, CLOSED = ".incoming", ".removed", ".closed"
FILES_MOST = 4096
OWN, READABLE, SEARCHABLE = 0o700, 0o444, 0o755
"""A data set, by the workloads that :mod:`..data_sets` shows it to. The folders above are the agent's alone."""
FOLDERS_ABOVE = 4
"""A file, up to the one of all domains, at most."""
CHECKED_AT_ONCE = 256 * 1024 * 1024
"""Bytes: a check of the whole is made of pieces, between which others have their turn."""


class DomainFile(Document):
    """What is known of a file."""

    version: Annotated[int, Field(ge=1, le=1)]
    domain: Name
    kind: FileKind
    name: FileName
    digest: Sha256Hex
    size: Annotated[int, Field(ge=0, le=SIZE_MOST)]
    at: Seconds
    """When it came, by the box's clock."""
    flow_id: FlowId | None = None
    """With which flow it came; None: the customer put it in, or a workload of this box made it."""


class RunningDigest:
    """SHA-256 of the beginning of a file; with the frames as they come, and of what a restart has left, read again."""

    def __init__(self) -> None:
        self._hasher = hashlib.sha256()
        self.size = 0

    def update(self, part: bytes) -> None:
        """The next bytes."""
        self._hasher.update(part)
        self.size += len(part)

    def hexdigest(self) -> str:
        """Of what it has."""
        return self._hasher.hexdigest()


class FirstSeen(Document):
    """Since when a file is there, by the calendar of its retention."""

    version: Annotated[int, Field(ge=1, le=1)]
    at: Seconds


@dataclass(frozen=True, slots=True)
class HeldFile:
    """A file, whole or begun, and the folder that has it."""

    file: DomainFile
    folder: Path

    @property
    def is_closed(self) -> bool:
        """Whether it is kept closed."""
        return self.folder.parts[-3] == CLOSED


@dataclass(frozen=True, slots=True)
class DomainFiles:
    """The folder ``domains`` of the state volume."""

    root: Path
    _digests: WeakValueDictionary[Path, RunningDigest] = field(default_factory=WeakValueDictionary)
    """Of the files that somebody is writing, by their folders."""

    @classmethod
    def of_boot(cls, paths: Paths, *, are_open: bool) -> DomainFiles:
        """As unlocking left them: none, if it did not open them, whatever lies on the volume in their place."""
        return cls(paths.domain_files if are_open else paths.closed_domain_files)

    def all_files(self) -> list[DomainFile]:
        """All files, by domain, kind and name; what cannot be read is passed over."""
        return sorted(self._all(), key=lambda one: (one.domain, one.kind, one.name))

    def find(self, domain: str, kind: FileKind, name: str) -> DomainFile:
        """One file.

        Raises:
            FlowError: there is none, or it is kept closed.
        """
        if self._closed_place(domain, kind, name).exists():
            raise FlowError(403, BoxCode.DOMAIN_CHANGED, f"The {kind.value} {name} of domain {domain} is kept closed.")
        content = read_file(self._place(domain, kind, name) / ABOUT, ABOUT_LIMIT)
        if content is None:
            raise FlowError(404, "FILE_UNKNOWN", f"Domain {domain} has no {kind.value} named {name}.")
        return parse_json(DomainFile, content, limit=ABOUT_LIMIT)

    def read_frame(self, file: DomainFile, number: int) -> bytes:
        """Bytes of a file, a frame's worth.

        Raises:
            OperationError: the disk refuses.
        """
        path = self._place(file.domain, file.kind, file.name) / CONTENT
        try:
            with path.open("rb") as content:
                content.seek(number * FRAME_SIZE)
                return content.read(min(FRAME_SIZE, file.size - number * FRAME_SIZE))
        except OSError as error:
            raise OperationError(f"{path} cannot be read: {error.strerror}.") from None

    def placed(self) -> list[HeldFile]:
        """All files that are whole; what cannot be read is passed over."""
        return list(self._read("*/*/*"))

    def closed(self) -> list[HeldFile]:
        """Files that are whole and kept closed, for their domain has another text; what cannot be read likewise."""
        return list(self._read(f"*/{CLOSED}/*/*"))

    def text(self, held: HeldFile) -> EntrustedText | None:
        """The text of its domain under which a file came; None if it came before texts were kept.

        Raises:
            FormatError: nobody can tell any more.
            OperationError: the disk refuses.
        """
        content = read_file(held.folder / TEXT, ENTRUSTED_LIMIT)
        return None if content is None else parse_entrusted(content)

    def incoming(self, transfer_id: str, file: DomainFile, text: EntrustedText) -> IncomingFile:
        """A file that is being written; one that was begun is gone on with.

        Args:
            text: what its domain says now. One that was begun under another was offered anew under this.

        Raises:
            FlowError: there is one of that name, no room, or what was begun is another file.
            OperationError: the disk refuses.
        """
        place = self._place(file.domain, file.kind, file.name)
        if self._closed_place(file.domain, file.kind, file.name).exists():
            raise _exists(file)
        if place.exists():
            held = self.find(file.domain, file.kind, file.name)
            if file.flow_id is not None and held.model_copy(update={"at": file.at}) == file:
                return IncomingFile(place, place, held, self._digest(place))  # the sender has not heard of it
            raise _exists(file)
        folder = self.root / file.domain / INCOMING / transfer_id
        begun = read_file(folder / ABOUT, ABOUT_LIMIT)
        if begun is not None:
            same = parse_json(DomainFile, begun, limit=ABOUT_LIMIT).model_copy(update={"at": file.at}) == file
            if not same:
                raise FlowError(409, "FLOW_MISMATCH", "What was begun under this id is another file.")
            write_durably(folder / TEXT, entrusted_bytes(text))
        else:
            self._require_room(file.size)
            write_durably(folder / TEXT, entrusted_bytes(text))
            write_durably(folder / ABOUT, document_bytes(file))
            self._digests.pop(folder, None)  # of one that was dropped
        return IncomingFile(folder, place, file, self._digest(folder))

    def drop_half_received(self, kept: Collection[str]) -> None:
        """Forget what came of flows other than these and was never finished; what a customer puts in stays."""
        for path in self.root.glob(f"*/{INCOMING}/*/{ABOUT}"):
            try:
                flow_id = parse_json(DomainFile, read_file(path, ABOUT_LIMIT) or b"", limit=ABOUT_LIMIT).flow_id
            except (FormatError, OperationError):
                continue
            if flow_id is not None and flow_id not in kept:
                shutil.rmtree(path.parent, ignore_errors=True)

    def held(self) -> list[HeldFile]:
        """Everything that lies here, what was only begun too; what cannot be read is passed over."""
        return [*self._read("*/*/*"), *self._read(f"*/{INCOMING}/*"), *self.closed()]

    def since(self, held: HeldFile, now: int) -> int:
        """When a file was first asked about; now, if it never was or nobody can tell any more.

        Raises:
            OperationError: the disk refuses.
        """
        seen = self.seen(held)
        if seen is None:
            date(held.folder, now)
            return now
        return seen

    def seen(self, held: HeldFile) -> int | None:
        """The same; None if it never was or nobody can tell any more.

        Raises:
            OperationError: the disk refuses.
        """
        try:
            return parse_json(FirstSeen, read_file(held.folder / SINCE, ABOUT_LIMIT) or b"", limit=ABOUT_LIMIT).at
        except FormatError:
            return None

    def close(self, held: HeldFile) -> None:
        """Take a file to where nobody reads or sends it, so that after a crash it is here or there.

        Raises:
            OperationError: the disk refuses, or one of its name is there.
        """
        _move(held.folder, self._closed_place(held.file.domain, held.file.kind, held.file.name))

    def open(self, held: HeldFile) -> None:
        """Take it back. Raises as :meth:`close`."""
        _move(held.folder, self._place(held.file.domain, held.file.kind, held.file.name))

    def remove(self, held: HeldFile) -> None:
        """Remove a file, so that after a crash it is there or is not.

        Raises:
            OperationError: the disk refuses.
        """
        place = self.root / held.file.domain / REMOVED
        try:
            place.mkdir(exist_ok=True)
            held.folder.rename(place / os.urandom(8).hex())
            sync_directory(held.folder.parent)
        except OSError as error:
            raise OperationError(f"{held.folder} cannot be removed: {error.strerror}.") from None
        self.finish_removals()

    def finish_removals(self) -> None:
        """Free the room of what was removed.

        Raises:
            OperationError: the disk refuses.
        """
        try:
            for place in self.root.glob(f"*/{REMOVED}"):
                shutil.rmtree(place)
        except OSError as error:
            raise OperationError(f"{self.root} cannot be cleared: {error.strerror}.") from None

    def _digest(self, folder: Path) -> RunningDigest:
        return self._digests.setdefault(folder, RunningDigest())

    def _require_room(self, size: int) -> None:
        if not self.root.is_dir():  # made and encrypted before the network is there, in a boot that opens payloads
            raise FlowError(503, "DOMAINS_CLOSED", "What domains have on this box is closed; its console says why.")
        free = free_bytes(self.root)
        if size > free - KEPT_FREE:
            raise _no_room(size)
        if sum(1 for _ in self._all()) >= FILES_MOST:
            raise FlowError(507, "NO_ROOM", f"A box keeps {FILES_MOST} files of domains at most.")

    def _all(self) -> Iterator[DomainFile]:
        yield from (held.file for held in self.placed())

    def _read(self, folders: str) -> Iterator[HeldFile]:
        for path in self.root.glob(f"{folders}/{ABOUT}"):
            if path.parts[-3] in (INCOMING, REMOVED) and INCOMING not in folders:
                continue
            try:
                file = parse_json(DomainFile, read_file(path, ABOUT_LIMIT) or b"", limit=ABOUT_LIMIT)
            except (FormatError, OperationError):
                continue
            yield HeldFile(file, path.parent)

    def _place(self, domain: str, kind: FileKind, name: str) -> Path:
        return self.root / domain / kind.value / name

    def _closed_place(self, domain: str, kind: FileKind, name: str) -> Path:
        return self.root / domain / CLOSED / kind.value / name


@dataclass(frozen=True, slots=True)
class IncomingFile:
    """A file whose frames are being written, in order."""

    folder: Path
    place: Path
    file: DomainFile
    digest: RunningDigest

    @property
    def next_frame(self) -> int:
        """The first frame that is not there; the number of all if none is missing."""
        try:
            size = (self.folder / CONTENT).stat().st_size
        except FileNotFoundError:
            return 0
        return frame_count(self.file.size) if size == self.file.size else size // FRAME_SIZE

    def append(self, number: int, plain: bytes) -> None:
        """Write the next frame; one that is there already is passed over.

        Raises:
            FlowError: one before it is missing, or the volume has filled up since the file was begun.
            OperationError: the disk refuses.
        """
        wanted = self.next_frame
        if number < wanted:
            return
        if number > wanted:
            raise FlowError(409, "FRAME_MISSING", f"Frame {wanted} comes next, not {number}.")
        if free_bytes(self.folder) - len(plain) < KEPT_FREE:
            raise _no_room(len(plain))
        path = self.folder / CONTENT
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as content:
                content.truncate(number * FRAME_SIZE)  # half a frame, which a power cut has left
                content.seek(number * FRAME_SIZE)
                content.write(plain)
                content.flush()
                os.fsync(content.fileno())
        except OSError as error:
            raise OperationError(f"{path} cannot be written: {error.strerror}.") from None
        if self.digest.size == number * FRAME_SIZE:
            self.digest.update(plain)

    def check(self) -> int:
        """Hash on, by :data:`CHECKED_AT_ONCE` at most; bytes of the file that have been hashed.

        Raises:
            FlowError: some of it is missing.
            OperationError: the disk refuses.
        """
        if self.next_frame != frame_count(self.file.size):
            raise FlowError(409, "FRAME_MISSING", f"Frame {self.next_frame} comes next.")
        until = self.digest.size + CHECKED_AT_ONCE
        try:
            with (self.folder / CONTENT).open("rb") as content:
                content.seek(self.digest.size)
                while self.digest.size < until and (part := content.read(FRAME_SIZE)):
                    self.digest.update(part)
        except OSError as error:
            raise OperationError(f"{self.folder} cannot be read: {error.strerror}.") from None
        return self.digest.size

    def verify(self) -> None:
        """Demand that it is the file that was announced; what is not is dropped.

        Raises:
            FlowError: it is not, or :meth:`check` has not come to its end.
            OperationError: the disk refuses.
        """
        if self.check() < self.file.size:
            raise FlowError(409, "FLOW_UNCHECKED", "The file has not been checked to its end yet.")
        if self.digest.hexdigest() != self.file.digest:
            if self.folder != self.place:
                self.drop()
            raise FlowError(403, "FLOW_CONTENT", "What was received is not the file that was announced.")

    def require_place(self) -> None:
        """Demand that no other file has come to the place meanwhile.

        Raises:
            FlowError: one has.
        """
        if self.folder != self.place and self.place.exists():
            raise _exists(self.file)

    def put_in_place(self) -> None:
        """Make it a file of the domain.

        Raises:
            OperationError: the disk refuses, or there is one of that name now.
        """
        if self.folder == self.place:
            return
        try:
            self.place.parent.mkdir(parents=True, exist_ok=True)
            if self.file.kind is FileKind.DATA_SET:
                (self.folder / CONTENT).chmod(READABLE)
                self.folder.chmod(SEARCHABLE)
            sync_directory(self.folder)
            self.folder.rename(self.place)
            sync_directory(self.place.parent)
        except OSError as error:
            raise OperationError(f"{self.place} cannot be made: {error.strerror}.") from None

    def drop(self) -> None:
        """Forget what was received."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _move(folder: Path, place: Path) -> None:
    """No link is followed: the folders are the agent's, and this is done by root."""
    try:
        for one in (folder, place):
            if link := next((above for above in (one, *one.parents[:FOLDERS_ABOVE]) if above.is_symlink()), None):
                raise OperationError(f"{link} is a link: it is left alone.", cure="Install the box anew.")
        if place.exists():
            raise OperationError(f"{place} is there already.")
        for one in (place.parent.parent, place.parent):
            one.mkdir(mode=OWN, exist_ok=True)
        folder.rename(place)
        sync_directory(place.parent)
        sync_directory(folder.parent)
    except OSError as error:
        raise OperationError(f"{folder} cannot be moved: {error.strerror}.") from None


def date(folder: Path, at: int) -> None:
    """Let a file's days count from then.

    Raises:
        OperationError: the disk refuses.
    """
    write_durably(folder / SINCE, document_bytes(FirstSeen(version=1, at=at)))


def _no_room(size: int) -> FlowError:
    return FlowError(507, "NO_ROOM", f"The state volume has no room for {size} bytes.")


def _exists(file: DomainFile) -> FlowError:
    return FlowError(409, "FILE_EXISTS", f"Domain {file.domain} has a {file.kind.value} {file.name} already.")
