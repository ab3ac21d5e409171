"""One file of the EFI system partition, read without mounting it.

The manifest is needed before anything is unsealed, and the owner can write the partition: a hole in the kernel's FAT
driver must not be reachable with PCRs that are right. What is read is no more trusted for that; its signature is
checked by :mod:`.release_files`.

FAT32 as ``mkfs.fat -F 32 -S 512`` and mtools make it, and no more (Microsoft, FAT General Overview 1.03; its sections
are named below). Not implemented: FAT12 and FAT16, the second FAT, matching without regard to case, writing.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sealwright_policies.errors import FormatError, OperationError

SECTOR_SIZE = 512
DIRECTORY_LIMIT = 64 * 1024
"""Bytes: 2048 entries. A folder of ours has three."""
_COMMON, _FAT32 = struct.Struct("<11xHBHBHHxH"), struct.Struct("<32xIIHHI")
"""What all FATs have in the boot sector, and what FAT32 has behind it."""
_ENTRY = struct.Struct("<11sB8xH4xHI")
_ENTRY_SIZE = 32
_VOLUME_ID, _DIRECTORY, _LONG_NAME = 0x08, 0x10, 0x0F
_FREE, _LAST_LONG = 0xE5, 0x40


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or folder as its parent lists it."""

    name: str
    is_directory: bool
    cluster: int
    size: int


@dataclass(frozen=True, slots=True)
class Fat32:
    """Where things are on a FAT32 volume; offsets and sizes in bytes."""

    descriptor: int
    """Of the open partition."""
    cluster_size: int
    fat_offset: int
    data_offset: int
    clusters: int
    root: int

    def chain(self, cluster: int, limit: int) -> bytes:
        """The bytes of a cluster chain that holds at most ``limit`` bytes, rounded up to whole clusters.

        Raises:
            FormatError: it is longer, or leaves the volume.
        """
        parts: list[bytes] = []
        for _ in range(-(-limit // self.cluster_size)):
            if not 2 <= cluster < self.clusters + 2:
                raise FormatError("FAT: a cluster chain leaves the volume")
            parts.append(
                _read(self.descriptor, self.data_offset + (cluster - 2) * self.cluster_size, self.cluster_size)
            )
            (following,) = struct.unpack("<I", _read(self.descriptor, self.fat_offset + 4 * cluster, 4))
            cluster = following & 0x0FFFFFFF
            if cluster >= 0x0FFFFFF8:
                return b"".join(parts)
        raise FormatError("FAT: a cluster chain is too long")


def read_esp_file(device: Path, path: str, limit: int) -> bytes | None:
    """Content of a file of the ESP, None if it is not there. Names are compared exactly.

    Raises:
        FormatError: no FAT32 volume of ours, or the file is longer than ``limit`` bytes.
        OperationError: the disk refuses.
    """
    try:
        with device.open("rb", buffering=0) as partition:
            return _read_file(parse_boot_sector(partition.fileno()), PurePosixPath(path), limit)
    except OSError as error:
        raise OperationError(f"{device} cannot be read: {error.strerror}.") from None


def _read_file(volume: Fat32, path: PurePosixPath, limit: int) -> bytes | None:
    cluster = volume.root
    for folder in path.parts[:-1]:
        entry = _find(volume, cluster, folder)
        if entry is None or not entry.is_directory:
            return None
        cluster = entry.cluster
    entry = _find(volume, cluster, path.name)
    if entry is None or entry.is_directory:
        return None
    if entry.size > limit:
        raise FormatError(f"FAT: {path.name} is longer than {limit} bytes")
    content = volume.chain(entry.cluster, entry.size) if entry.size else b""
    if len(content) < entry.size:
        raise FormatError(f"FAT: {path.name} ends early")
    return content[: entry.size]


def parse_boot_sector(descriptor: int) -> Fat32:
    """The layout of a volume (3.1, Boot Sector and BPB).

    Raises:
        FormatError: not FAT32 of 512-byte sectors with two mirrored FATs, or larger than its FAT can say.
    """
    sector = _read(descriptor, 0, SECTOR_SIZE)
    if sector[510:] != b"\x55\xaa":
        raise FormatError("FAT: no boot sector")
    sector_size, per_cluster, reserved, fats, root_entries, total16, fat_size16 = _COMMON.unpack_from(sector)
    total, fat_size, flags, version, root = _FAT32.unpack_from(sector)
    if (sector_size, fats, root_entries, total16, fat_size16, flags, version) != (SECTOR_SIZE, 2, 0, 0, 0, 0, 0):
        raise FormatError("FAT: not FAT32 as this box's ESP is made")
    data = reserved + fats * fat_size
    if reserved == 0 or per_cluster not in (1, 2, 4, 8, 16, 32, 64) or data >= total:
        raise FormatError("FAT: impossible layout")
    clusters = (total - data) // per_cluster
    if (clusters + 2) * 4 > fat_size * SECTOR_SIZE:
        raise FormatError("FAT: more clusters than its table holds")
    return Fat32(descriptor, per_cluster * SECTOR_SIZE, reserved * SECTOR_SIZE, data * SECTOR_SIZE, clusters, root)


def parse_directory(content: bytes) -> Iterator[Entry]:
    """Entries of a folder (6, FAT Directory Structure). An entry whose long name does not fit has its short one."""
    long_names: list[bytes] = []
    for start in range(0, len(content) - _ENTRY_SIZE + 1, _ENTRY_SIZE):
        raw = content[start : start + _ENTRY_SIZE]
        short, attributes, high, low, size = _ENTRY.unpack(raw)
        if raw[0] == 0:
            return
        if raw[0] != _FREE and attributes & 0x3F == _LONG_NAME:
            long_names.append(raw)
            continue
        if raw[0] != _FREE and not attributes & _VOLUME_ID:
            name = _long_name(long_names, short) or _short_name(short)
            yield Entry(name, bool(attributes & _DIRECTORY), high << 16 | low, size)
        long_names.clear()


def _find(volume: Fat32, cluster: int, name: str) -> Entry | None:
    content = volume.chain(cluster, DIRECTORY_LIMIT)
    return next((entry for entry in parse_directory(content) if entry.name == name), None)


def _short_name(short: bytes) -> str:
    base, extension = (part.rstrip(b" ").decode("ascii", errors="replace") for part in (short[:8], short[8:]))
    return f"{base}.{extension}" if extension else base


def _long_name(entries: list[bytes], short: bytes) -> str | None:
    """The name in the entries before a short one (7, Long File Names): last part first, each with its checksum."""
    checksum = 0
    for byte in short:
        checksum = ((checksum & 1) << 7) + (checksum >> 1) + byte & 0xFF
    count = len(entries)
    expected = [(number | (_LAST_LONG if number == count else 0), checksum) for number in range(count, 0, -1)]
    if not entries or [(entry[0], entry[13]) for entry in entries] != expected:
        return None
    text = b"".join(entry[1:11] + entry[14:26] + entry[28:32] for entry in reversed(entries))
    return text.decode("utf-16-le", errors="replace").split("\0", 1)[0]


def _read(descriptor: int, offset: int, size: int) -> bytes:
    content = os.pread(descriptor, size, offset)
    if len(content) != size:
        raise FormatError("FAT: the volume is larger than its partition")
    return content
