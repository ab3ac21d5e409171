"""Where workloads write: for each domain an ext4 of the size that it declares (policies/spec/domain.md, 7).

It lies in a file on the state volume, all of it allotted before a workload writes the first byte: who fills it gets
ENOSPC, and leases, budgets and receipts keep their room. Mounted by :mod:`.unlock` behind the closing of PCR 15, so no
file system of a workload's is read while anything could be unsealed. Quotas would not hold: the owner of a file may
change its project (ioctl_xfs_fsgetxattr(2)), and workloads have other users at other starts.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sealwright_appliance import volumes
from sealwright_appliance.files import KEPT_FREE, free_bytes, remove_durably, sync_directory
from sealwright_appliance.run import run
from sealwright_policies.errors import OperationError
from sealwright_policies.workloads import ResultsPlan

MIB = 1 << 20
COPIED_MOST = 4096 * MIB
"""A boot does not wait for more: :mod:`.unlock` has a quarter of an hour, and a box that does not come up is worse."""
ANYBODY = 0o1777
"""systemd draws the workload's user; nobody else comes through the folder above."""
FULL_PART = 64
"""A volume is full when less than one part in so many is free: ext4 does not give out the last blocks."""


class NoRoomError(OperationError):
    """A volume of this size cannot be made, or what is on the old one not be taken to it."""


@dataclass(frozen=True, slots=True)
class ResultVolumes:
    """Those of one box. ``execute`` runs programs, ``say`` tells what the customer has to know."""

    folder: Path
    """Root's alone; a volume's file and the folder that it is mounted on stand side by side."""
    execute: Callable[..., str] = run
    say: Callable[[str], None] = print

    def open(self, plans: Mapping[str, ResultsPlan], needed: Collection[str], known: Collection[str]) -> dict[str, str]:
        """Mount what there is and make what is needed; why one could not be, by domain.

        Args:
            plans: of the domains that have a volume.
            needed: domains whose workloads run in this boot.
            known: all domains of the release. One that declares no results keeps none; those of other releases stay.
        """
        problems: dict[str, str] = {}
        for domain in sorted({*plans, *known}):
            try:
                if domain in plans:
                    self._open(domain, plans[domain].mib * MIB, make=domain in needed)
                else:
                    remove_durably(self._file(domain))
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

    def _file(self, domain: str) -> Path:
        return self.folder / f"{domain}.ext4"

    def _open(self, domain: str, size: int, *, make: bool) -> None:
        file, place = self._file(domain), self.folder / domain
        self._require_own(file)
        if not file.exists():
            if not make:
                return
            self._put(domain, self._made(domain, size))
        elif file.stat().st_size != size:
            self._resize(domain, size)
        self._mount(file, place)
        place.chmod(ANYBODY)

    def _require_own(self, file: Path) -> None:
        """The state volume is the agent's; no file system that it may have written is mounted."""
        for path in (self.folder, file):
            if path.is_symlink() or (path.exists() and path.stat().st_uid != os.getuid()):
                raise OperationError(f"{path} is not root's: it is left alone.", cure="Install the box anew.")

    def _made(self, domain: str, size: int) -> Path:
        """An empty volume beside, on the disk."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        new = self.folder / f".{domain}.new"
        new.unlink(missing_ok=True)  # a power cut has left it
        free = free_bytes(self.folder) - KEPT_FREE
        if size > free:
            raise NoRoomError(
                f"The state volume has no room for the results of domain {domain}, {size // MIB} MiB.",
                cure=f"Make room for it: {max(free, 0) // MIB} MiB can be used.",
            )
        descriptor = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, size)
            self.execute(volumes.make_results(new, size))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return new

    def _put(self, domain: str, new: Path) -> None:
        """Take a volume that is whole, so that after a power cut there is the old one or this."""
        new.rename(self._file(domain))
        sync_directory(self.folder)

    def _resize(self, domain: str, size: int) -> None:
        """Take what is there into a volume of the size that this release says, all of it or, without room, nothing."""
        file, place = self._file(domain), self.folder / domain
        before = file.stat().st_size
        try:
            if min(before, size) > COPIED_MOST:
                raise NoRoomError(f"More than {COPIED_MOST // MIB} MiB are not copied while the box starts.")
            new = self._made(domain, size)
        except NoRoomError as error:
            if before > size:
                raise
            self.say(f"results {domain}: {error} They have {before // MIB} MiB as before.")
            return
        try:
            with self._mounted(file, place), self._mounted(new, self.folder / f".{domain}"):
                _copy(place, self.folder / f".{domain}")
        except (shutil.Error, RecursionError):
            self.say(f"results {domain}: they had no room in {size // MIB} MiB and are gone.")
            new = self._made(domain, size)
        self._put(domain, new)

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


def _copy(source: Path, target: Path) -> None:
    """Copy everything, with owners, times and attributes: the dates of :mod:`.result_retention` are among these.

    Raises:
        shutil.Error: not all of it could be.
    """
    shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
    for folder, folders, names in os.walk(source):
        for path in (Path(folder, name) for name in (*folders, *names)):
            owner = path.lstat()
            os.chown(target / path.relative_to(source), owner.st_uid, owner.st_gid, follow_symlinks=False)
