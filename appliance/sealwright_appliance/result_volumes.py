"""Where workloads write: for each domain an ext4 of the size that it declares (policies/spec/domain.md, 7).

It lies in a file on the state volume, all of it allotted before a workload writes the first byte: who fills it gets
ENOSPC, and leases, budgets and receipts keep their room. Mounted by :mod:`.unlock` behind the closing of PCR 15, so no
file system of a workload's is read while anything could be unsealed. Quotas would not hold: the owner of a file may
change its project (ioctl_xfs_fsgetxattr(2)), and workloads have other users at other starts.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sealwright_appliance import volumes
from sealwright_appliance.files import (
    KEPT_FREE,
    free_bytes,
    read_file,
    remove_durably,
    sync_directory,
    write_durably,
)
from sealwright_appliance.flows.closed_files import wider
from sealwright_appliance.result_blocks import allot, give_back_free, lacking_bytes, taken_bytes
from sealwright_appliance.result_copy import copy_results, lacks_room
from sealwright_appliance.result_superblock import is_marked, is_of, mark_of, put_label
from sealwright_appliance.retention_days import LEAST_DAYS
from sealwright_appliance.run import run
from sealwright_policies.domains.entrusted import (
    ENTRUSTED_LIMIT,
    EntrustedText,
    entrusted_bytes,
    parse_entrusted,
)
from sealwright_policies.errors import FormatError, OperationError
from sealwright_policies.workloads import ResultsPlan

MIB = 1 << 20
COPIED_MOST = 4096 * MIB
"""A boot does not wait for more: :mod:`.unlock` has a quarter of an hour, and a box that does not come up is worse."""
ANYBODY = 0o1777
"""systemd draws the workload's user; nobody else comes through the folder above."""
FULL_PART = 64
"""A volume is full when less than one part in so many is free: ext4 does not give out the last blocks."""


Rank = tuple[bool, bool]
"""Of the volumes that a domain may have: whether one has another text than the release, and whether another size."""
CLOSED, TEXT = ".closed", ".text.json"
ASIDE = re.compile(r"([a-z0-9-]+)\.[0-9a-f]{16}\.ext4")


class NoRoomError(OperationError):
    """A volume cannot have this size, or what is on the old one not be taken to it."""


@dataclass(frozen=True, slots=True)
class ClosedVolume:
    """One that was set aside."""

    domain: str
    text: EntrustedText | None
    """Under which it was written, if that is known."""
    size: int
    """Bytes that it has."""
    taken: int
    """Bytes of the state volume that it takes."""


@dataclass(frozen=True, slots=True)
class ResultVolumes:
    """Those of one box. ``execute`` runs programs, ``say`` tells what the customer has to know."""

    folder: Path
    """Root's alone; a volume's file and the folder that it is mounted on stand side by side."""
    execute: Callable[..., str] = run
    say: Callable[[str], None] = print

    def open(
        self,
        plans: Mapping[str, ResultsPlan],
        texts: Mapping[str, EntrustedText],
        needed: Collection[str],
        known: Collection[str],
    ) -> dict[str, str]:
        """Mount what there is and make what is needed; why one could not be, by domain.

        Args:
            plans: of the domains that have a volume.
            texts: what the domains say now, as far as it can be read. What was written under a text that this is not
                within is set aside, and so is a volume of another domain.
            needed: domains whose workloads run in this boot.
            known: all domains of the release. One that declares no results keeps none; those of other releases stay.
        """
        problems: dict[str, str] = {}
        self._tidy()
        for domain in sorted({*plans, *known}):
            try:
                if domain in plans:
                    self._settle(domain, texts.get(domain), plans[domain].mib * MIB)
                    self._open(domain, plans[domain].mib * MIB, texts[domain], make=domain in needed)
                else:
                    remove_durably(self._file(domain))
                    remove_durably(self._text(domain))
            except OperationError as error:
                problems[domain] = str(error)
            except OSError as error:
                problems[domain] = f"The results of domain {domain} cannot be opened: {error.strerror}."
            if domain in problems:
                self.say(f"results {domain}: {problems[domain]}")
        return problems

    def is_full(self, domain: str) -> bool:
        """Whether a workload of the domain can write no more."""
        try:
            room = os.statvfs(self.folder / domain)
        except OSError:
            return False
        return room.f_bavail < room.f_blocks // FULL_PART or room.f_favail == 0

    def closed(self, known: Collection[str]) -> list[ClosedVolume]:
        """Volumes that were set aside.

        Args:
            known: domains of the release.
        """
        return [
            ClosedVolume(domain, _text_aside(domain, volume, text), volume.lstat().st_size, taken_bytes(volume))
            for domain, volume, text in aside(self.folder)
            if domain in known
        ]

    def _file(self, domain: str) -> Path:
        return self.folder / f"{domain}.ext4"

    def _text(self, domain: str) -> Path:
        return self.folder / f"{domain}{TEXT}"

    def _settle(self, domain: str, now: EntrustedText | None, size: int) -> None:
        """Set a volume aside that this text may not have, and take back one that it may; before others its own.

        A text is always there before its volume: one that is left alone by a power cut says nothing.
        """
        file, text, closed = self._file(domain), self._text(domain), self.folder / CLOSED
        self._require_own(file, text, closed)
        fitting = self._fitting(domain, now, size)
        if file.exists() and not is_of(domain, file):
            self.say(f"results {domain}: what lay in their place is no volume of this domain. It is set aside.")
            self._set_aside(domain, None)
        if file.exists():
            then = own_text(domain, file, text, now)
            here = (then != now, file.stat().st_size != size)
            has_better = any(not rank[0] and rank < here for rank, _, _ in fitting)
            if has_better or wider(then, now) is not None:
                if now is not None:  # else no other is made, and it comes back as it is
                    self._give_back_free(domain)
                self._set_aside(domain, entrusted_bytes(now) if now is not None and then == now else _content(text))
        if now is None:
            raise OperationError(f"What this release says of domain {domain} cannot be read.")
        if file.exists():
            return
        for _, held, its_text in fitting[:1]:
            self._require_own(held, its_text)
            self._allot(domain, held, kept_free=KEPT_FREE)
            write_durably(text, read_file(its_text, ENTRUSTED_LIMIT) or b"")
            self._rename(held, file)
            remove_durably(its_text)

    def _give_back_free(self, domain: str) -> None:
        """Let a volume keep of the state volume what it uses. Where that is refused it keeps all."""
        place = self.folder / f".{domain}"
        with suppress(OperationError, OSError), self._mounted(self._file(domain), place):
            if place.is_mount():  # the file system below is another's
                give_back_free(place)

    def _set_aside(self, domain: str, text: bytes | None) -> None:
        closed, name = self.folder / CLOSED, f"{domain}.{os.urandom(8).hex()}"
        closed.mkdir(mode=0o700, exist_ok=True)
        if text is not None:
            write_durably(closed / f"{name}{TEXT}", text)
        self._rename(self._file(domain), closed / f"{name}.ext4")

    def _fitting(self, domain: str, now: EntrustedText | None, size: int) -> list[tuple[Rank, Path, Path]]:
        """Volumes that were set aside and that this text may have, with their texts; the best first."""
        found = [(held, text) for name, held, text in aside(self.folder) if name == domain]
        return sorted(
            (
                ((kept_text(text) != now, held.stat().st_size != size), held, text)
                for held, text in found
                if wider(_text_aside(domain, held, text), now) is None
            ),
            key=lambda one: one[0],
        )

    def _tidy(self) -> None:
        """A power cut has left texts without a volume, and volumes that were being made."""
        for path in self.folder.glob(".*.new"):
            path.unlink()
        kept = {path for _, *both in aside(self.folder) for path in both}
        for path in (self.folder / CLOSED).glob("*"):
            if path not in kept:
                path.unlink()

    def _rename(self, source: Path, target: Path) -> None:
        source.rename(target)
        for folder in (target.parent, source.parent):
            sync_directory(folder)

    def _open(self, domain: str, size: int, text: EntrustedText, *, make: bool) -> None:
        file, place, content = self._file(domain), self.folder / domain, entrusted_bytes(text)
        if not file.exists():
            if not make:
                return
            new = self._made(domain, size, content)
            write_durably(self._text(domain), content)
            self._put(domain, new)
        elif file.stat().st_size != size:
            self._resize(domain, size, content)
        self._allot(domain, file, kept_free=0)  # they were its own
        if not is_marked(file, domain, content):  # from now on it holds what was written under this, too
            with self._mounted(file, place):  # behind it the label stands in the superblock, and not in a journal
                put_label(place, mark_of(domain, content))
        if _content(self._text(domain)) != content:
            write_durably(self._text(domain), content)
        self._mount(file, place)
        place.chmod(ANYBODY)

    def _require_own(self, *files: Path) -> None:
        """The state volume is the agent's; no file system that it may have written is mounted."""
        for path in (self.folder, *files):
            if path.is_symlink() or (path.exists() and path.stat().st_uid != os.getuid()):
                raise OperationError(f"{path} is not root's: it is left alone.", cure="Install the box anew.")

    def _made(self, domain: str, size: int, text: bytes) -> Path:
        """An empty volume beside, on the disk; marked as open under a text."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        new = self.folder / f".{domain}.new"
        new.unlink(missing_ok=True)
        self._require_room(domain, size, size)
        descriptor = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, size)
            mark = mark_of(domain, text)
            self.execute(volumes.make_results(new, size, mark.uuid, mark.label))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return new

    def _put(self, domain: str, new: Path) -> None:
        """Take a volume that is whole, so that after a power cut there is the old one or this."""
        new.rename(self._file(domain))
        sync_directory(self.folder)

    def _require_room(self, domain: str, size: int, lacking: int, *, kept_free: int = KEPT_FREE) -> None:
        free = free_bytes(self.folder) - kept_free
        if lacking > free:
            held = -(-sum(taken_bytes(volume) for _, volume, _ in aside(self.folder)) // MIB)
            raise NoRoomError(
                f"The state volume has no room for the results of domain {domain}, {size // MIB} MiB.",
                cure=f"{max(free, 0) // MIB} MiB can be used; `sealwright-box domain remove` removes files of domains."
                + (f" Results that are set aside take {held} MiB until their days are over." if held else ""),
            )

    def _allot(self, domain: str, volume: Path, *, kept_free: int) -> None:
        """Give a volume all of its blocks: it has given some back, or the kernel has, zeroing through a loop device.

        Raises:
            NoRoomError: there are not so many.
        """
        if lacking := lacking_bytes(volume):
            self._require_room(domain, volume.stat().st_size, lacking, kept_free=kept_free)
        allot(volume)

    def _resize(self, domain: str, size: int, text: bytes) -> None:
        """Take what is there into a volume of the size that this release says.

        The old one goes once all of it is in the new one. Else a smaller one stays, and a larger one is set aside.

        Raises:
            OperationError, OSError: it is larger, and no other can be made: it stays, and is not opened.
        """
        before, new = self._file(domain).stat().st_size, self.folder / f".{domain}.new"
        try:
            if min(before, size) > COPIED_MOST:
                raise NoRoomError(f"More than {COPIED_MOST // MIB} MiB are not copied while the box starts.")
            refused = self._copied(domain, self._made(domain, size, text))
            if refused and before < size:
                raise OperationError(_not_copied(refused, size))
        except (OperationError, OSError) as error:
            new.unlink(missing_ok=True)
            if before > size:
                raise
            reason = error if isinstance(error, OperationError) else f"They cannot be copied: {error.strerror}."
            self.say(f"results {domain}: {reason} They have {before // MIB} MiB as before.")
            return
        if refused:
            self._leave(domain, size, text, refused)
        self._put(domain, new)

    def _copied(self, domain: str, new: Path) -> list[OSError]:
        """Copy what is on a domain's volume; what was refused."""
        place, copy = self.folder / domain, self.folder / f".{domain}"
        with self._mounted(self._file(domain), place), self._mounted(new, copy):
            return copy_results(place, copy)

    def _leave(self, domain: str, size: int, text: bytes, refused: list[OSError]) -> None:
        """Set the old volume aside: the new one has not all of it, and without room for it nothing."""
        there = "what could be copied"
        if lacks_room(refused):
            self._made(domain, size, text)
            there = "an empty one"
        own = text if is_marked(self._file(domain), domain, text) else _content(self._text(domain))
        self._give_back_free(domain)
        self._set_aside(domain, own)
        write_durably(self._text(domain), text)
        why = _not_copied(refused, size)
        self.say(f"results {domain}: {why} The old volume is set aside, whole; in its place is {there}.")

    def _mount(self, file: Path, place: Path) -> None:
        place.mkdir(exist_ok=True)
        self.execute(volumes.mount(file, place, "ext4", f"loop,{volumes.READ_WRITE}"))

    @contextmanager
    def _mounted(self, file: Path, place: Path) -> Iterator[None]:
        self._mount(file, place)
        try:
            yield
        finally:
            self.execute(volumes.unmount(place))


def aside(folder: Path) -> list[tuple[str, Path, Path]]:
    """Volumes that were set aside: domain, volume and where its text is, if it has one; the latest first."""
    found = [
        (match[1], path, path.with_name(f"{path.name.removesuffix('.ext4')}{TEXT}"))
        for path in (folder / CLOSED).glob("*.ext4")
        if (match := ASIDE.fullmatch(path.name))
    ]
    return sorted(found, key=lambda one: -one[1].lstat().st_mtime_ns)


def own_text(domain: str, volume: Path, kept: Path, now: EntrustedText | None) -> EntrustedText | None:
    """The text under which a domain's volume was last open; None if the volume does not say so itself.

    Args:
        domain: the domain.
        volume: the volume.
        kept: where its text was kept.
        now: the text of this release: a power cut may have come before it was kept.

    Raises:
        OperationError: the disk refuses.
    """
    if now is not None and is_marked(volume, domain, entrusted_bytes(now)):
        return now
    content = _content(kept)
    return kept_text(kept) if content is not None and is_marked(volume, domain, content) else None


def kept_text(path: Path) -> EntrustedText | None:
    """None if there is none, or none that can be read, by this release or at all."""
    content = _content(path)
    try:
        return None if content is None else parse_entrusted(content)
    except FormatError:
        return None


def _content(text: Path) -> bytes | None:
    """One that nobody can read is as good as none."""
    try:
        return read_file(text, ENTRUSTED_LIMIT)
    except OperationError:
        return None


def _text_aside(domain: str, volume: Path, text: Path) -> EntrustedText | None:
    """Of a volume that was set aside; none of one that cannot be read."""
    try:
        return own_text(domain, volume, text, None)
    except OperationError:
        return None


def days_aside(then: EntrustedText | None, now: int | None) -> int | None:
    """Days that a volume which was set aside stays: the fewer of those that are known; None if none are.

    Args:
        then: the text under which it was written.
        now: days of its domain in this release.
    """
    days = [] if now is None else [now]
    days += [] if then is None else [then.domain.retention.results_days]
    return max(LEAST_DAYS, min(days)) if days else None


def _not_copied(refused: list[OSError], size: int) -> str:
    """Without names, which are the workload's."""
    if lacks_room(refused):
        return f"What was written has no room in {size // MIB} MiB."
    count = "1 file or folder" if len(refused) == 1 else f"{len(refused)} files and folders"
    return f"{count} cannot be copied: {refused[0].strerror}."
