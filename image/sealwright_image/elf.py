"""The shared libraries that an ELF file asks for: DT_NEEDED of 64-bit little-endian files (System V gABI, ch. 5).

Reads files of our own image, so it bounds nothing beyond what keeps it from reading outside of the file.
"""

from __future__ import annotations

import struct

from sealwright_policies.errors import FormatError

MAGIC = b"\x7fELF\x02\x01"
"""ELFCLASS64, ELFDATA2LSB."""
_PT_LOAD, _PT_DYNAMIC = 1, 2
_DT_NULL, _DT_NEEDED, _DT_STRTAB = 0, 1, 5


def is_elf(data: bytes) -> bool:
    """Whether this is a 64-bit little-endian ELF file."""
    return data.startswith(MAGIC)


def parse_needed(data: bytes) -> tuple[str, ...]:
    """Names in DT_NEEDED, in order; none for a static file.

    Raises:
        FormatError: not such an ELF file, or its tables point outside of it.
    """
    if not is_elf(data):
        raise FormatError("not a 64-bit little-endian ELF file")
    try:
        return _needed(data)
    except (struct.error, ValueError, UnicodeDecodeError) as error:
        raise FormatError(f"broken ELF file: {error}") from error


def _needed(data: bytes) -> tuple[str, ...]:
    table, size, count = struct.unpack_from("<Q14xHH", data, 32)
    headers = [struct.unpack_from("<II6Q", data, table + size * i) for i in range(count)]
    loads = [(address, offset, length) for kind, _, offset, address, _, length, _, _ in headers if kind == _PT_LOAD]
    entries: list[tuple[int, int]] = []
    for kind, _, offset, _, _, length, _, _ in headers:
        if kind == _PT_DYNAMIC:
            entries += struct.iter_unpack("<qQ", data[offset : offset + length])
    strings = next((value for tag, value in entries if tag == _DT_STRTAB), None)
    if strings is None:
        return ()
    start = _file_offset(strings, loads)
    used = entries[: next((i for i, (tag, _) in enumerate(entries) if tag == _DT_NULL), len(entries))]
    return tuple(_string(data, start + value) for tag, value in used if tag == _DT_NEEDED)


def _file_offset(address: int, loads: list[tuple[int, int, int]]) -> int:
    for start, offset, length in loads:
        if start <= address < start + length:
            return address - start + offset
    raise ValueError("string table lies in no segment")


def _string(data: bytes, offset: int) -> str:
    return data[offset : data.index(b"\0", offset)].decode("ascii")
