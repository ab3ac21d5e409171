"""Files of domains on the state volume (policies/spec/domain-flow.md, 1).

A file is written beside, in order, and comes to its place whole and checked, by one rename; it is never overwritten.
What has come of one that was interrupted stays, and is gone on with. What has no seal of this box, or lies elsewhere
than it says, is no file (policies/spec/domain-key.md, 4).
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
from sealwright_appliance.flows.file_seals import SEAL_SIZE, FileSeals, Stage, is_seal, left_seals
from sealwright_appliance.flows.folders import DOMAIN_NAME, folders_in, move
from sealwright_appliance.paths import Paths
from sealwright_policies.domains.entrusted import ENTRUSTED_LIMIT, EntrustedText, entrusted_bytes, parse_entrusted
from sealwright_policies.domains.fields import Name
from sealwright_policies.errors import FormatError, OperationError
from sealwright_policies.flows.content import FRAME_SIZE, frame_count
from sealwright_policies.flows.documents import SIZE_MOST, FileKind, FileName, FlowId
from sealwright_policies.metering.receipt import Seconds
from sealwright_policies.wire.encoding import Document, Sha256Hex, document_bytes, parse_json

ABOUT_LIMIT = 4096
CONTENT, ABOUT, SINCE, TEXT, SEAL = "content", "about.json", "since.json", "text.json", "seal"
PARTS = frozenset((CONTENT, ABOUT, SINCE, TEXT, SEAL))
INCOMING, REMOVED, CLOSED = ".incoming", ".removed", ".closed"
FILES_MOST, KEPT_INODES = 4096, 1024
CLOSED_SENTENCE = "What domains have on this box is closed; its console says why."
READABLE, SEARCHABLE = 0o444, 0o755
"""A data set, by the workloads that :mod:`..data_sets` shows it to. The folders above are the agent's alone."""
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
    seal: Sha256Hex


@dataclass(frozen=True, slots=True)
class HeldFile:
    """A file, whole or begun, and the folder that has it."""

    file: DomainFile
    folder: Path
    about: bytes = field(repr=False)
    """:attr:`file` as it is written there."""

    @property
    def is_closed(self) -> bool:
        """Whether it is kept closed."""
        return self.folder.parts[-3] == CLOSED


@dataclass(frozen=True, slots=True)
class DomainFiles:
    """The folder ``domains`` of the state volume."""

    root: Path
    seals: FileSeals
    _digests: WeakValueDictionary[Path, RunningDigest] = field(default_factory=WeakValueDictionary)
    """Of the files that somebody is writing, by their folders."""

    @classmethod
    def of_boot(cls, paths: Paths, *, are_open: bool) -> DomainFiles:
        """As unlocking left them: none, if it did not open them, whatever lies on the volume in their place.

        Raises:
            OperationError: the key of the seals cannot be read.
        """
        seals = left_seals(paths) if are_open else None
        return cls.none(paths) if seals is None else cls(paths.domain_files, seals)

    @classmethod
    def none(cls, paths: Paths) -> DomainFiles:
        """Of a boot that has not opened them."""
        return cls(paths.closed / paths.domain_files.name, FileSeals(os.urandom(SEAL_SIZE)))

    @property
    def is_open(self) -> bool:
        """Whether this boot has opened them."""
        return self.root.is_dir()

    def require_open(self) -> None:
        """Demand that this boot has opened them.

        Raises:
            FlowError: it has not.
        """
        if not self.is_open:
            raise _closed()

    def all_files(self) -> list[DomainFile]:
        """All files, by domain, kind and name; what cannot be read is passed over."""
        return sorted((one.file for one in self.placed()), key=lambda one: (one.domain, one.kind, one.name))

    def find(self, domain: str, kind: FileKind, name: str) -> DomainFile:
        """One file.

        Raises:
            FlowError: there is none, or it is kept closed.
        """
        if os.path.lexists(self._closed_place(domain, kind, name)):
            raise FlowError(403, BoxCode.DOMAIN_CHANGED, f"The {kind.value} {name} of domain {domain} is kept closed.")
        held = self.held_in(self._place(domain, kind, name))
        if held is None:
            raise FlowError(404, "FILE_UNKNOWN", f"Domain {domain} has no {kind.value} named {name}.")
        return held.file

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
        """All files that are whole; what cannot be read, or has no seal, is passed over."""
        return [one for domain in self._domains() for one in self._whole(domain)]

    def closed(self) -> list[HeldFile]:
        """Files that are whole and kept closed, for their domain has another text; others likewise."""
        return [one for domain in self._domains() for one in self._whole(domain / CLOSED)]

    def text(self, held: HeldFile) -> EntrustedText:
        """The text of its domain under which a file came.

        Raises:
            FormatError: nobody can tell any more, or this release cannot read it.
            OperationError: the disk refuses.
        """
        content = read_file(held.folder / TEXT, ENTRUSTED_LIMIT)
        if content is None or not self._is_sealed(held.folder, held.about, content):
            raise FormatError("The text is not the one under which the file came.")
        return parse_entrusted(content)

    def incoming(self, transfer_id: str, file: DomainFile, text: EntrustedText) -> IncomingFile:
        """A file that is being written; one that was begun is gone on with.

        Args:
            text: what its domain says now. One that was begun under another was offered anew under this.

        Raises:
            FlowError: there is one of that name, no room, or what was begun is another file.
            OperationError: the disk refuses.
        """
        place = self._place(file.domain, file.kind, file.name)
        if os.path.lexists(self._closed_place(file.domain, file.kind, file.name)):
            raise _exists(file)
        words = entrusted_bytes(text)
        if os.path.lexists(place):
            held = self.held_in(place)
            if held is not None and file.flow_id is not None and _is_same(held.file, file):
                # The sender has not heard of it.
                return IncomingFile(place, place, held.file, self._digest(place), self.seals, held.about, words)
            raise _exists(file)
        folder = self.root / file.domain / INCOMING / transfer_id
        begun = self.held_in(folder)
        if begun is not None:
            if not _is_same(begun.file, file):
                raise FlowError(409, "FLOW_MISMATCH", "What was begun under this id is another file.")
            about = begun.about
            if read_file(folder / TEXT, ENTRUSTED_LIMIT) != words:
                write_durably(folder / TEXT, words)
        else:
            self._require_room(file)
            shutil.rmtree(folder, ignore_errors=True)
            about = document_bytes(file)
            write_durably(folder / TEXT, words)
            write_durably(folder / ABOUT, about)
            write_durably(folder / CONTENT, b"")
            self._digests.pop(folder, None)  # of one that was dropped
        write_durably(folder / SEAL, self.seals.of(Stage.BEGUN, about, words, folder / CONTENT))
        return IncomingFile(folder, place, file, self._digest(folder), self.seals, about, words)

    def drop_half_received(self, kept: Collection[str]) -> None:
        """Forget what came of flows other than these and was never finished; what a customer puts in stays."""
        for held in self.begun():
            if held.file.flow_id is not None and held.file.flow_id not in kept:
                shutil.rmtree(held.folder, ignore_errors=True)

    def begun(self) -> list[HeldFile]:
        """Files of which something is still to come; others as in :meth:`placed`."""
        folders = [one for domain in self._domains() for one in folders_in(domain / INCOMING)]
        return [held for folder in folders if (held := self.held_in(folder)) is not None]

    def held(self) -> list[HeldFile]:
        """Everything that lies here, what was only begun too; what cannot be read, or has no seal, is passed over."""
        return [*self.placed(), *self.begun(), *self.closed()]

    def since(self, held: HeldFile, now: int) -> int:
        """When a file was first asked about; now, if it never was or nobody can tell any more.

        Raises:
            OperationError: the disk refuses.
        """
        seen = self.seen(held)
        if seen is None:
            _date(held.folder, self.seals, held.about, now)
            return now
        return seen

    def seen(self, held: HeldFile) -> int | None:
        """The same; None if it never was or nobody can tell any more.

        Raises:
            OperationError: the disk refuses.
        """
        try:
            seen = parse_json(FirstSeen, read_file(held.folder / SINCE, ABOUT_LIMIT) or b"", limit=ABOUT_LIMIT)
        except FormatError:
            return None
        expected = self.seals.of_date(held.about, seen.at)
        return seen.at if is_seal(bytes.fromhex(seen.seal), expected) else None

    def held_in(self, folder: Path) -> HeldFile | None:
        """What a folder holds; None if this box has not sealed it, or it is not where it belongs."""
        try:
            about, text = read_file(folder / ABOUT, ABOUT_LIMIT), read_file(folder / TEXT, ENTRUSTED_LIMIT)
            if about is None or text is None or not self._is_sealed(folder, about, text):
                return None
            file = parse_json(DomainFile, about, limit=ABOUT_LIMIT)
        except (FormatError, OperationError):
            return None
        places = (self._place(file.domain, file.kind, file.name), self._closed_place(file.domain, file.kind, file.name))
        is_there = folder in places or folder.parent == self.root / file.domain / INCOMING
        return HeldFile(file, folder, about) if is_there else None

    def close(self, held: HeldFile) -> None:
        """Take a file to where nobody reads or sends it, so that after a crash it is here or there.

        Raises:
            OperationError: the disk refuses, or one of its name is there.
        """
        move(held.folder, self._closed_place(held.file.domain, held.file.kind, held.file.name))

    def open(self, held: HeldFile) -> None:
        """Take it back. Raises as :meth:`close`."""
        move(held.folder, self._place(held.file.domain, held.file.kind, held.file.name))

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
        """Free the room of what was removed; what cannot be freed now is tried again with the next."""
        for domain in self._domains():
            for place in (one for one in folders_in(domain) if one.name == REMOVED):
                shutil.rmtree(place, ignore_errors=True)

    def _digest(self, folder: Path) -> RunningDigest:
        return self._digests.setdefault(folder, RunningDigest())

    def _require_room(self, file: DomainFile) -> None:
        if not (self.root / file.domain).is_dir():  # made and encrypted before the network is there
            raise _closed()
        if file.size > free_bytes(self.root) - KEPT_FREE:
            raise _no_room(file.size)
        if os.statvfs(self.root).f_favail < KEPT_INODES:
            raise FlowError(507, "NO_ROOM", "The state volume has no room for another file.")
        if len(self.held()) >= FILES_MOST:
            raise FlowError(507, "NO_ROOM", f"At most {FILES_MOST} files of domains lie on a box, closed or begun too.")

    def _domains(self) -> list[Path]:
        return [one for one in folders_in(self.root) if DOMAIN_NAME.fullmatch(one.name)]

    def _whole(self, above: Path) -> Iterator[HeldFile]:
        kinds = {kind.value for kind in FileKind}
        for place in (one for one in folders_in(above) if one.name in kinds):
            for folder in folders_in(place):
                if (held := self.held_in(folder)) is not None:
                    yield held

    def _is_sealed(self, folder: Path, about: bytes, text: bytes) -> bool:
        """A file that was begun may have the seal of a whole one, but not the other way round."""
        seal = read_file(folder / SEAL, SEAL_SIZE)
        if seal is None:
            return False
        stages = tuple(Stage) if folder.parent.name == INCOMING else (Stage.WHOLE,)
        return any(is_seal(seal, self.seals.of(stage, about, text, folder / CONTENT)) for stage in stages)

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
    seals: FileSeals
    about: bytes = field(repr=False)
    """As it is written in :attr:`folder`."""
    text: bytes = field(repr=False)

    @property
    def next_frame(self) -> int:
        """The first frame that is not there; the number of all if none is missing."""
        try:
            size = (self.folder / CONTENT).stat().st_size
        except FileNotFoundError:  # dropped meanwhile
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
            descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
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

    def date(self, at: int) -> None:
        """Let its days count from then.

        Raises:
            OperationError: the disk refuses.
        """
        _date(self.folder, self.seals, self.about, at)

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
            write_durably(self.folder / SEAL, self.seals.of(Stage.WHOLE, self.about, self.text, self.folder / CONTENT))
            self.folder.rename(self.place)
            sync_directory(self.place.parent)
        except OSError as error:
            raise OperationError(f"{self.place} cannot be made: {error.strerror}.") from None

    def drop(self) -> None:
        """Forget what was received."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _date(folder: Path, seals: FileSeals, about: bytes, at: int) -> None:
    seen = FirstSeen(version=1, at=at, seal=seals.of_date(about, at).hex())
    write_durably(folder / SINCE, document_bytes(seen))


def _is_same(one: DomainFile, other: DomainFile) -> bool:
    """Whether they are one file; it may have been announced at another time."""
    return one.model_copy(update={"at": other.at}) == other


def _closed() -> FlowError:
    return FlowError(503, "DOMAINS_CLOSED", CLOSED_SENTENCE)


def _no_room(size: int) -> FlowError:
    return FlowError(507, "NO_ROOM", f"The state volume has no room for {size} bytes.")


def _exists(file: DomainFile) -> FlowError:
    return FlowError(409, "FILE_EXISTS", f"Domain {file.domain} has a {file.kind.value} {file.name} already.")
