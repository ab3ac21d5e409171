"""What whoever has a state volume does to it without the keys of its folders: inodes get other places."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

from sealwright_appliance.run import run

_BLOCK_SIZE = 1024 + 24
"""Where an ext4 says how often 1024 is doubled for the size of its blocks."""
CORRECTED = 1
"""Of e2fsck(8): counts of what was removed behind an unmounting."""
_ENTRY = struct.Struct("<IH")
"""Beginning of a directory entry: inode, length of the entry."""


def without_checksums(disk: Path) -> None:
    """Let an ext4 that is not mounted have none over its folders: they have no key, and anybody can make them anew."""
    checked = subprocess.run(["e2fsck", "-f", "-p", str(disk)], capture_output=True, text=True, check=False)
    assert checked.returncode in {0, CORRECTED}, checked.stdout  # tune2fs demands it of what was mounted
    run(["tune2fs", "-O", "^metadata_csum", str(disk)])


def exchange(disk: Path, one: tuple[int, int], other: tuple[int, int]) -> None:
    """Exchange two entries of folders on an ext4 :func:`without_checksums`.

    Args:
        disk: the file system.
        one: inodes of a folder and of what lies in it.
        other: the same, in the same folder or in another.
    """
    places = [(list(_offsets(disk, *one)), other[1]), (list(_offsets(disk, *other)), one[1])]
    with disk.open("r+b") as file:
        for offsets, inode in places:
            (offset,) = offsets
            file.seek(offset)
            file.write(struct.pack("<I", inode))


def _offsets(disk: Path, folder: int, inode: int) -> Iterator[int]:
    """Of the entries of an inode in a folder."""
    content = disk.read_bytes()
    size = 1024 << content[_BLOCK_SIZE]
    for number in run(["debugfs", "-R", f"blocks <{folder}>", str(disk)]).split():
        start = at = int(number) * size
        while at < start + size - 12:
            found, length = _ENTRY.unpack_from(content, at)
            if found == inode:
                yield at
            if length == 0:
                break
            at += length
