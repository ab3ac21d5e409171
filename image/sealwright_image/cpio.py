"""Writes cpio archives in the "newc" format, the one that the kernel unpacks as initramfs.

Format: Documentation/driver-api/early-userspace/buffer-format.rst of the kernel. The output depends on the entries
alone: all belong to root, carry one time stamp and are numbered in their order.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

TRAILER = "TRAILER!!!"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, directory, symbolic link or device."""

    path: str
    """Relative, without a leading slash."""
    mode: int
    """File type and permissions."""
    data: bytes = b""
    """Content, or the target of a link."""
    device: tuple[int, int] = (0, 0)
    """Major and minor number, of a device."""


def directory(path: str, permissions: int = 0o755) -> Entry:
    return Entry(path, stat.S_IFDIR | permissions)


def link(path: str, target: str) -> Entry:
    return Entry(path, stat.S_IFLNK | 0o777, target.encode())


def with_parents(entries: Iterable[Entry]) -> list[Entry]:
    """Sorted by path, missing parent directories added, since the kernel makes none."""
    given = {entry.path: entry for entry in entries}
    for path in list(given):
        parent = path.rpartition("/")[0]
        while parent and parent not in given:
            given[parent] = directory(parent)
            parent = parent.rpartition("/")[0]
    return [given[path] for path in sorted(given)]


def archive(entries: Iterable[Entry], mtime: int) -> Iterator[bytes]:
    """The archive in pieces. ``mtime``: seconds since the epoch for every entry."""
    for number, entry in enumerate(entries, start=1):
        yield _record(entry, number, mtime)
    yield _record(Entry(TRAILER, 0), 0, 0)


def _record(entry: Entry, number: int, mtime: int) -> bytes:
    name = entry.path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    fields = (number, entry.mode, 0, 0, links, mtime, len(entry.data), 0, 0, *entry.device, len(name), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields) + name
    return _padded(header) + _padded(entry.data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
