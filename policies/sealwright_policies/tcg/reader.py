"""Bounded readers over bytes that somebody else wrote.

:class:`Reader` is big-endian, as TPM structures are; :class:`LittleEndianReader` serves the event log and UEFI
structures. Both raise :class:`FormatError` and nothing else, copy only what is asked for,
and never believe a length before comparing it with what is there.
"""

from __future__ import annotations

import struct
from typing import Any, ClassVar, Literal

from sealwright_policies.errors import FormatError


class Reader:
    """Reads big-endian fields from the front of ``data``; ``what`` names the structure in messages."""

    byte_order: ClassVar[Literal["big", "little"]] = "big"
    _u16: ClassVar[struct.Struct] = struct.Struct(">H")
    _u32: ClassVar[struct.Struct] = struct.Struct(">I")
    _u64: ClassVar[struct.Struct] = struct.Struct(">Q")

    __slots__ = ("_data", "_end", "_what", "offset")

    def __init__(self, data: bytes, what: str, *, max_size: int) -> None:
        if len(data) > max_size:
            raise FormatError(f"{what}: {len(data)} bytes, the limit is {max_size}")
        self._data = data
        self._end = len(data)
        self._what = what
        self.offset = 0

    @property
    def remaining(self) -> int:
        """Number of bytes not read yet."""
        return self._end - self.offset

    def _advance(self, count: int) -> int:
        start = self.offset
        if count > self._end - start:
            raise FormatError(f"{self._what}: truncated at byte {start}, {count} more bytes are wanted")
        self.offset = start + count
        return start

    def take(self, count: int) -> bytes:
        """Return the next ``count`` bytes."""
        start = self._advance(count)
        return self._data[start : start + count]

    def rest(self) -> bytes:
        """Return everything that is left."""
        return self.take(self.remaining)

    def fields(self, layout: struct.Struct) -> tuple[Any, ...]:
        """Read several fixed fields at once; ``layout`` says their byte order itself."""
        return layout.unpack_from(self._data, self._advance(layout.size))

    def u8(self) -> int:
        """Read one unsigned byte."""
        return self._data[self._advance(1)]

    def u16(self) -> int:
        """Read an unsigned 16-bit integer."""
        value: int = self._u16.unpack_from(self._data, self._advance(2))[0]
        return value

    def u32(self) -> int:
        """Read an unsigned 32-bit integer."""
        value: int = self._u32.unpack_from(self._data, self._advance(4))[0]
        return value

    def u64(self) -> int:
        """Read an unsigned 64-bit integer."""
        value: int = self._u64.unpack_from(self._data, self._advance(8))[0]
        return value

    def sized(self, max_size: int, what: str) -> bytes:
        """Read a TPM2B: a 16-bit length, at most ``max_size``, and that many bytes."""
        size = self.u16()
        if size > max_size:
            raise FormatError(f"{self._what}: {what} is {size} bytes, the limit is {max_size}")
        return self.take(size)

    def finish(self) -> None:
        """Demand that nothing is left."""
        if self.offset != self._end:
            raise FormatError(f"{self._what}: {self._end - self.offset} bytes after the end")


class LittleEndianReader(Reader):
    """The same for little-endian structures (TCG PC Client Platform Firmware Profile, UEFI)."""

    byte_order: ClassVar[Literal["big", "little"]] = "little"
    _u16: ClassVar[struct.Struct] = struct.Struct("<H")
    _u32: ClassVar[struct.Struct] = struct.Struct("<I")
    _u64: ClassVar[struct.Struct] = struct.Struct("<Q")

    __slots__ = ()


def sized_2b(content: bytes) -> bytes:
    """Return ``content`` as a TPM2B: big-endian 16-bit length, then the bytes."""
    return len(content).to_bytes(2, "big") + content
