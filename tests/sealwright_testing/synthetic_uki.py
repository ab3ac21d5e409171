"""Small unified kernel images for tests: PE32+ files with the sections of a UKI, and nothing that could run."""

from __future__ import annotations

import struct
from collections.abc import Mapping

FILE_ALIGNMENT = 512
_SECTIONS = {
    ".osrel": b"ID=sealwright\nVERSION_ID=1.2.0\n",
    ".cmdline": b"roothash=5a lockdown=confidentiality systemd.import_credentials=no\n",
    ".initrd": b"070701 the initrd of the synthetic release",
    ".uname": b"6.12.57",
    ".sbat": b"sbat,1,SBAT Version,sbat,1,https://example.invalid\n",
}


def build_uki(sections: Mapping[str, bytes] | None = None, *, certificate: bytes = b"") -> bytes:
    """A PE32+ file with these sections, and optionally an attribute certificate table at its end."""
    content = SECTIONS if sections is None else sections
    optional = bytearray(112 + 16 * 8)
    struct.pack_into("<H", optional, 0, 0x20B)
    struct.pack_into("<II", optional, 32, 4096, FILE_ALIGNMENT)
    struct.pack_into("<I", optional, 108, 16)
    headers = 64 + 24 + len(optional) + 40 * len(content)
    headers_size = _align(headers)
    struct.pack_into("<I", optional, 60, headers_size)
    table, body = b"", b""
    for number, (name, data) in enumerate(content.items()):
        raw = data + bytes(_align(len(data)) - len(data))
        offset = headers_size + len(body)
        table += struct.pack("<8sIIII16x", name.encode(), len(data), 4096 * (number + 1), len(raw), offset)
        body += raw
    struct.pack_into("<I", optional, 64, 0xC0FFEE)  # CheckSum: no part of the Authenticode digest
    if certificate:
        struct.pack_into("<II", optional, 112 + 8 * 4, headers_size + len(body), len(certificate))
    dos = b"MZ" + bytes(58) + struct.pack("<I", 64)
    coff = b"PE\0\0" + struct.pack("<HHIIIHH", 0x8664, len(content), 0, 0, 0, len(optional), 0x22E)
    head = dos + coff + bytes(optional) + table
    return head + bytes(headers_size - len(head)) + body + certificate


def build_kernel(code: bytes) -> bytes:
    """A kernel as it stands in a UKI: a PE file too."""
    return build_uki({".text": code})


def _align(size: int) -> int:
    return -(-size // FILE_ALIGNMENT) * FILE_ALIGNMENT


SECTIONS: dict[str, bytes] = {".linux": build_kernel(b"the kernel of the synthetic release")} | _SECTIONS
