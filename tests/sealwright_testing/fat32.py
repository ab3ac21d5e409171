"""A FAT32 volume with a few files in one folder, for boxes without a disk: laid out as mkfs.fat and mtools do.

The tests of the image read a volume that those have made.
"""

from __future__ import annotations

import struct
from pathlib import PurePosixPath

SECTOR = 512
RESERVED = 32
"""Sectors before the first FAT."""
END = 0x0FFFFFFF


def fat32_volume(*files: tuple[str, bytes]) -> bytes:
    """A volume of 512-byte clusters that holds these files, paths and contents, in one folder below its own."""
    folders = PurePosixPath(files[0][0]).parent.parts
    table = [0x0FFFFFF8, END, *([END] * (1 + len(folders)))]
    data = b"".join(_padded(_entries(folder, 0x10, 3 + number, 0)) for number, folder in enumerate(folders))
    listed = contents = b""
    for path, content in files:
        clusters, first = -(-len(content) // SECTOR), len(table)
        table += [first + number + 1 for number in range(clusters - 1)] + [END] * min(clusters, 1)
        listed += _entries(PurePosixPath(path).name, 0x20, first if content else 0, len(content))
        contents += content + bytes(-len(content) % SECTOR)
    data += _padded(listed) + contents
    fat = struct.pack(f"<{len(table)}I", *table)
    fat += bytes(-len(fat) % SECTOR)
    sectors = RESERVED + 2 * len(fat) // SECTOR + len(data) // SECTOR
    return _boot_sector(sectors, len(fat) // SECTOR) + bytes((RESERVED - 1) * SECTOR) + fat + fat + data


def _boot_sector(sectors: int, fat_sectors: int) -> bytes:
    common = struct.pack(
        "<3s8sHBHBHHBHHHI", b"\xeb\x58\x90", b"mkfs.fat", SECTOR, 1, RESERVED, 2, 0, 0, 0xF8, 0, 32, 8, 0
    )
    fat32 = struct.pack("<IIHHIHH12x", sectors, fat_sectors, 0, 0, 2, 1, 6)
    tail = struct.pack("<BBBI11s8s", 0x80, 0, 0x29, 0x5EA1D0C5, b"ESP        ", b"FAT32   ")
    return (common + fat32 + tail).ljust(SECTOR - 2, b"\0") + b"\x55\xaa"


def _entries(name: str, attributes: int, cluster: int, size: int) -> bytes:
    """The directory entries of a name: a short one where that says it, else behind a long one, as mtools does."""
    base, _, extension = name.partition(".")
    fits = len(base) <= 8 and len(extension) <= 3 and name == name.upper()
    short = f"{base:8.8}{extension:3.3}" if fits else f"{base[:6]}~1{extension:3.3}"
    raw = short.upper().encode("ascii")
    entry = struct.pack("<11sB8xH4xHI", raw, attributes, cluster >> 16, cluster & 0xFFFF, size)
    return entry if fits else _long_entries(name, raw) + entry


def _long_entries(name: str, short: bytes) -> bytes:
    checksum = 0
    for byte in short:
        checksum = ((checksum >> 1) | (checksum << 7)) + byte & 0xFF
    units = [*name.encode("utf-16-le"), 0, 0]
    count = -(-len(units) // 26)
    text = bytes(units).ljust(count * 26, b"\xff")
    found = b""
    for number in range(count, 0, -1):
        part = text[(number - 1) * 26 : number * 26]
        order = number | (0x40 if number == count else 0)
        found += struct.pack("<B10sBBB12sH4s", order, part[:10], 0x0F, 0, checksum, part[10:22], 0, part[22:])
    return found


def _padded(content: bytes) -> bytes:
    return content.ljust(SECTOR, b"\0")
