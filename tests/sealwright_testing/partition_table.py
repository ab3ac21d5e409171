"""Changes the GPT of a virtual box's disk, as whoever has the disk in hand can (UEFI 2.10, 5.3)."""

from __future__ import annotations

import struct
import zlib
from uuid import UUID

from sealwright_testing.virtual_box import VirtualBox

SECTOR = 512
_HEADER = struct.Struct("<8sIIIIQQQQ16sQIII")
"""Signature, revision, size, CRC, reserved, own and other place, first and last usable, GUID, entries' place, number,
size and CRC."""
_UNIQUE = slice(16, 32)
_ENTRY_SIZE = 128


def exchange_identities(box: VirtualBox, first: UUID, second: UUID) -> None:
    """Give each of two partitions the other's unique id; both copies of the table stay valid. The box must be off."""
    other_place = _exchange(box, 1, first, second)
    _exchange(box, other_place, first, second)


def _exchange(box: VirtualBox, place: int, first: UUID, second: UUID) -> int:
    fields = list(_HEADER.unpack(box.read_disk(place * SECTOR, _HEADER.size)))
    signature, size, entries_at, number, entry_size = fields[0], fields[2], fields[10], fields[11], fields[12]
    if (signature, size, entry_size) != (b"EFI PART", _HEADER.size, _ENTRY_SIZE):
        raise RuntimeError(f"there is no GPT at sector {place}")
    entries = bytearray(box.read_disk(entries_at * SECTOR, number * _ENTRY_SIZE))
    others = {first.bytes_le: second.bytes_le, second.bytes_le: first.bytes_le}
    for begin in range(0, len(entries), _ENTRY_SIZE):
        unique = slice(begin + _UNIQUE.start, begin + _UNIQUE.stop)
        entries[unique] = others.get(bytes(entries[unique]), entries[unique])
    fields[13], fields[3] = zlib.crc32(entries), 0
    fields[3] = zlib.crc32(_HEADER.pack(*fields))
    box.write_disk(entries_at * SECTOR, bytes(entries))
    box.write_disk(place * SECTOR, _HEADER.pack(*fields))
    return int(fields[6])
