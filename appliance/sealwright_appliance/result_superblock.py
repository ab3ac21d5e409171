"""What the superblock of a volume of results says of it: its domain, and the text under which it was last open.

Who has the disk can exchange names of files that are sealed (policies/spec/domain.md, 7), and cannot write what is in
them. Workloads come to files of the volume alone: either field is written by mkfs, or by whoever has CAP_SYS_ADMIN.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid5

from sealwright_appliance.files import read_at
from sealwright_policies.errors import OperationError

NAMESPACE = UUID("73b068ed-b894-455e-9a2a-b0342dd1fdfb")
SUPERBLOCK = 1024
UUID_AT, UUID_SIZE = SUPERBLOCK + 0x68, 16
LABEL_AT, LABEL_SIZE = SUPERBLOCK + 0x78, 16
"""Bytes: ``s_uuid`` and ``s_volume_name`` (https://docs.kernel.org/filesystems/ext4/super.html)."""
LABEL_DIGEST = 12
"""Bytes that sixteen letters of base64 hold."""
FS_IOC_SETFSLABEL, IOCTL_LABEL_SIZE = 0x41009432, 256
"""linux/fs.h; ext4 writes the label into the superblock of what is mounted."""


@dataclass(frozen=True, slots=True)
class VolumeMark:
    """Which volume it is."""

    uuid: UUID
    label: str

    @property
    def label_bytes(self) -> bytes:
        """As the superblock has it."""
        return self.label.encode("ascii")


def mark_of(domain: str, text: bytes) -> VolumeMark:
    """Of a domain's volume that is open under a text, which is given as it is kept."""
    digest = hashlib.sha256(text).digest()[:LABEL_DIGEST]
    return VolumeMark(uuid5(NAMESPACE, domain), base64.urlsafe_b64encode(digest).decode("ascii"))


def is_of(domain: str, volume: Path) -> bool:
    """Whether a volume was made for a domain.

    Raises:
        OperationError: the disk refuses.
    """
    return read_at(volume, UUID_AT, UUID_SIZE) == uuid5(NAMESPACE, domain).bytes


def is_marked(volume: Path, domain: str, text: bytes) -> bool:
    """Whether it was, and was last open under this text. Raises as :func:`is_of`."""
    return is_of(domain, volume) and read_at(volume, LABEL_AT, LABEL_SIZE) == mark_of(domain, text).label_bytes


def put_label(place: Path, mark: VolumeMark) -> None:
    """Write the label of a volume that is mounted, to the disk.

    Raises:
        OperationError: the disk refuses.
    """
    try:
        descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.ioctl(descriptor, FS_IOC_SETFSLABEL, mark.label_bytes.ljust(IOCTL_LABEL_SIZE, b"\0"))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise OperationError(f"{place} cannot be labelled: {error.strerror}.") from None
