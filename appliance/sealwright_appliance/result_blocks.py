"""Blocks of the state volume that a volume of results takes: all of its size in use, those that it needs when aside."""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

FITRIM, RANGE = 0xC0185879, struct.Struct("=QQQ")
"""linux/fs.h: ``struct fstrim_range``, from where, how far, the smallest piece."""
WHOLE = RANGE.pack(0, 2**64 - 1, 0)
STAT_BLOCK = 512
"""Bytes of ``st_blocks`` (stat(3type))."""


def taken_bytes(volume: Path) -> int:
    """Bytes of the state volume that a volume takes."""
    return volume.lstat().st_blocks * STAT_BLOCK


def lacking_bytes(volume: Path) -> int:
    """Bytes that it has still to be given."""
    return max(0, volume.lstat().st_size - taken_bytes(volume))


def allot(volume: Path) -> None:
    """Give it all of its blocks; what it holds stays."""
    descriptor = os.open(volume, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if size := os.fstat(descriptor).st_size:
            os.posix_fallocate(descriptor, 0, size)
    finally:
        os.close(descriptor)


def give_back_free(place: Path) -> None:
    """Give the blocks back that nothing on a volume uses, while it is mounted: a loop device punches holes.

    Raises:
        OSError: the kernel refuses.
    """
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, FITRIM, WHOLE)
    finally:
        os.close(descriptor)
